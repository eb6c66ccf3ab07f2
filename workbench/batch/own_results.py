"""The results of this workbench among the files of a batch: nobody means to ask about masks and overlays again.

They are known by what they were written with: a folder's manifest or result.json says whose they are.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

BATCH_FORMAT: Final = "workbench-batch-1"
MANIFEST_NAME: Final = "manifest.json"
JOURNAL_NAME: Final = "masks.jsonl"
FIGURES_NAME: Final = "figures.csv"
FAULTS_NAME: Final = "faults.csv"
ARCHIVE_NAME: Final = "batch.zip"
LOCK_NAME: Final = ".lock"
_RESULT_NAME: Final = "result.json"
_RUN_FORMAT: Final = 1
_LARGEST_NOTE: Final = 256 * 2**20
_OF_A_BATCH: Final = frozenset({MANIFEST_NAME, JOURNAL_NAME, FIGURES_NAME, FAULTS_NAME, ARCHIVE_NAME, LOCK_NAME})
_ANSWER: Final = re.compile(r"(?:masks|overlays)/(?:[^/]*\.)?[0-9a-f]{10}\.[A-Za-z0-9._-]+\.(?:png|jpg)")
"""A picture of a batch: words, ten digits of a digest, and the strategy."""
_UNFINISHED: Final = re.compile(r"\.[0-9a-f]{16}\.part(?:\.[^/]*)?")
"""What a writer that was killed leaves of a file."""
_OF_A_COMPARISON: Final = r"(?:{})-(?:mask|overlay|evidence|attention)(?:-\d+)?\.png"


def own_files(names: Iterable[str], read: Callable[[str], bytes]) -> dict[str, str]:
    """Find the files that this workbench wrote.

    Args:
        names: of all files, with "/" between folders.
        read: returns the content of one of them; what it raises makes the file somebody else's.

    Returns:
        Names of our files, each with its folder of results; "" for the topmost one.
    """
    known = list(names)
    found: dict[str, str] = {}
    for note in known:
        path = PurePosixPath(note)
        if path.name not in (MANIFEST_NAME, _RESULT_NAME):
            continue
        is_ours = _judge(path.name, _content(read, note))
        if is_ours is not None:
            folder = "" if path.parent == PurePosixPath() else f"{path.parent}/"
            inside = (name for name in known if name.startswith(folder))
            found |= {name: folder.rstrip("/") for name in inside if is_ours(name.removeprefix(folder))}
    return found


def is_result_name(name: str, strategies: Iterable[str]) -> bool:
    """Whether `compare` calls one of its files so for these strategies."""
    keys = "|".join(map(re.escape, strategies))
    return name == _RESULT_NAME or (bool(keys) and re.fullmatch(_OF_A_COMPARISON.format(keys), name) is not None)


def _content(read: Callable[[str], bytes], name: str) -> Mapping[str, object]:
    try:
        raw = read(name)
        content = json.loads(raw) if len(raw) <= _LARGEST_NOTE else None
    except Exception:  # whatever is wrong with it, it is none of ours
        return {}
    return content if isinstance(content, dict) else {}


def _judge(note_name: str, content: Mapping[str, object]) -> Callable[[str], bool] | None:
    """Return what tells our files in the folder of a note; None where the note is somebody else's."""
    strategies = content.get("strategies")
    if note_name == MANIFEST_NAME and content.get("format") == BATCH_FORMAT:
        return _is_of_a_batch
    if content.get("format") != _RUN_FORMAT or not isinstance(strategies, dict) or "suite" not in content:
        return None
    if note_name == _RESULT_NAME:
        return lambda name: is_result_name(name, strategies)
    listed = content.get("files")
    files = {str(file.get("name")) for file in listed if isinstance(file, dict)} if isinstance(listed, list) else set()
    return lambda name: name == MANIFEST_NAME or name in files


def _is_of_a_batch(name: str) -> bool:
    last = PurePosixPath(name).name
    return name in _OF_A_BATCH or _ANSWER.fullmatch(name) is not None or _UNFINISHED.fullmatch(last) is not None
