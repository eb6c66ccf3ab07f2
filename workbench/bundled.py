"""Where the weights and examples are that come with the code: in a wheel below this package, in a checkout above it."""

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent


def _bundled(name: str) -> Path:
    installed = _HERE / "_bundled" / name
    return installed if installed.is_dir() else _HERE.parent / name


CHECKPOINTS: Final = _bundled("checkpoints")
EXAMPLES: Final = _bundled("examples")
