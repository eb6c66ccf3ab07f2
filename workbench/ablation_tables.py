"""The papers' ablations beside ours in miniature: figures read from a file, laid out as tables, orders compared.

A run is a row trained or asked with one seed. A table shows each row's mean over seeds with the 95 % interval of
Student's t, the paper's own figure beside it, and below in words which orders of the paper hold: a pair of rows is
compared seed by seed, and told apart where the interval of the differences leaves out zero.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evfsam.errors import ConfigurationError
from workbench.suites import CHECKPOINTS

FIGURES: Final = CHECKPOINTS / "mini" / "ablations.jsonl"


@dataclass(frozen=True)
class AblationRun:
    """What one row came to with one seed.

    Attributes:
        row: its key.
        seed: of training, or of the test scenes where nothing is trained.
        ciou, giou: shares over all kinds but "absent".
        kinds: cIoU by kind of expression.
        hardware: where it was trained; empty where nothing was.
        steps, seconds: of training.
    """

    row: str
    seed: int
    ciou: float
    giou: float
    kinds: Mapping[str, float]
    hardware: str = ""
    steps: int = 0
    seconds: float = 0.0


def read_figures(path: Path) -> list[AblationRun]:
    """Read the runs of a file, none where there is no file.

    Raises:
        ConfigurationError: a line is damaged; names it.
    """
    if not path.exists():
        return []
    runs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            made = {key: values[key] for key in ("hardware", "steps", "seconds") if key in values}
            runs.append(
                AblationRun(values["row"], values["seed"], values["cIoU"], values["gIoU"], values["kinds"], **made)
            )
        except (ValueError, KeyError, TypeError) as err:
            raise ConfigurationError(
                f"expected a JSON object with row, seed, cIoU, gIoU and kinds in line {number} of {path}, got "
                f"{line[:60]!r}; remove the line, and the run is made again"
            ) from err
    return runs
