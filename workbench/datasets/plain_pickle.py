"""Read pickles of plain data without running what they hold.

A pickle is a program: it may name any function and have it called. The annotations of the RefCOCO family need none of
that, so every name is refused before anything is looked up.
"""

import pickle
from pathlib import Path
from typing import NoReturn

from workbench.datasets.contract import DatasetError


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, tuples, sets, dictionaries, strings, numbers and None; any other thing is refused."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which plain data does not need")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to the outside object {pid!r}")


def read_plain_pickle(name: str, path: Path) -> object:
    """Read a pickle of containers, strings and numbers, of Python 2 or 3.

    Args:
        name: of the data set, for messages.
        path: the file.

    Raises:
        DatasetError: it is damaged, cannot be read, or holds anything else; nothing of it was run.
    """
    try:
        with path.open("rb") as file:
            # Python 2 wrote text as bytes; Latin-1 reads any of them, and the phrases are ASCII.
            content: object = _PlainUnpickler(file, encoding="latin-1").load()
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{name}: expected plain data in {path}, got {reason}; fetch the file again") from error
    return content
