"""Files of measured answers, one JSON object a line, which outlive a kill at any moment.

The first line says which run the file is of, then comes a line an answer, and a last line says that the run is whole.
A line counts once its newline is there: what follows the last newline was cut short, and is dropped and asked again. A
question that could not be put is asked again as well, and the later answer to it is the one that counts.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from types import MappingProxyType, TracebackType, UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from evfsam.errors import ConfigurationError
from workbench.evaluation.evaluation import Shard
from workbench.evaluation.measured_answers import Answer, Place
from workbench.evaluation.run_identity import Facts, Header, RunIdentity
from workbench.export.file_writing import as_json_value, write_whole

FORMAT: Final = "workbench-results-1"
_BEGINNING: Final = f'{{"format": "{FORMAT}"'.encode()
_LARGEST: Final = 1e300
"""Numbers beyond are of no file of ours, and arithmetic ends there."""
_HINTS: Final[Mapping[type, Mapping[str, Any]]] = {
    kind: get_type_hints(kind) for kind in (Answer, Facts, Place, RunIdentity, Shard)
}
"""Types of the fields, by dataclass."""
_Made = TypeVar("_Made")


class ResultsError(ConfigurationError):
    """A file of results cannot be used or written."""


@dataclass(frozen=True)
class Results:
    """What a file holds.

    Attributes:
        path: of the file.
        header: its first line.
        answers: in the order in which they were written.
        is_complete: whether the run reached its end.
        good_bytes: length of the file up to the last complete line.
        parameters: how many numbers the weights of each strategy have, by key, as far as the last line says.
    """

    path: Path
    header: Header
    answers: tuple[Answer, ...]
    is_complete: bool
    good_bytes: int
    parameters: Mapping[str, int] = field(default_factory=dict)


def read_results(path: Path) -> Results:
    """Read a file of results, whether its run is complete or not.

    Raises:
        ResultsError: it cannot be read, is something else, or is damaged before its last line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}; give files that evaluate --out wrote") from error
    complete = content[: content.rfind(b"\n") + 1]
    lines = complete.splitlines()
    header = _header_of(path, lines[0] if lines else b"")
    answers: dict[Place, Answer] = {}
    is_complete, parameters = False, {}
    for number, line in enumerate(lines[1:], start=2):
        record = _object(path, number, line)
        if record.get("end") is True:
            is_complete, parameters = True, record.get("parameters", {})
            if not _is_of(parameters, Mapping[str, int]):
                raise _damaged(path, number)
            continue
        answer = _answer_of(path, number, record)
        if answer.place.strategy not in header.run.strategies:
            raise _damaged(path, number)
        if answer.place in answers and answers[answer.place].outcome != "unread":
            raise ResultsError(f"{path} has the same answer twice, again in line {number}; write a new file with --out")
        answers[answer.place] = answer
    return Results(path, header, tuple(answers.values()), is_complete, len(complete), parameters)


class ResultsFile:
    """A file of results that is being written; continues what an earlier run of the same kind left.

    Args:
        path: of the file; made where there is none.
        header: of this run.

    Raises:
        ResultsError: the file is of another run, is something else, or cannot be written.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.earlier: Results | None = None
        self._known: frozenset[Answer] = frozenset()
        """Unread answers of earlier, which a question that still cannot be put would repeat."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._take_up(header)
        except BaseException:
            self._file.close()
            raise

    @property
    def done(self) -> dict[tuple[int, int, str], str]:
        """Answers at hand and the data they are about, as `measure` wants to know them; without unread ones."""
        answers = self.earlier.answers if self.earlier else ()
        places = ((answer.place, answer.data) for answer in answers if answer.outcome != "unread")
        return {(place.sample_index, place.question_index, place.strategy): data for place, data in places}

    def append(self, answers: Iterable[Answer]) -> None:
        """Add the answers of one image, but for those that the file has; they are on the disk when this returns.

        Raises:
            ResultsError: the disk is full, or cannot be written for another reason.
        """
        self._append(b"".join(_line(_answer_record(answer)) for answer in answers if answer not in self._known))

    def finish(self, parameters: Mapping[str, int] = MappingProxyType({})) -> None:
        """Mark the run as complete.

        Args:
            parameters: how many numbers the weights of each strategy have, as far as known.

        Raises:
            ResultsError: see `append`.
        """
        if self.earlier is None or not self.earlier.is_complete:
            self._append(_line({"end": True, **({"parameters": dict(parameters)} if parameters else {})}))

    def __enter__(self) -> "ResultsFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _take_up(self, header: Header) -> None:
        try:
            _lock(self._file)
            if not _is_cut_short(self._file.readline()):
                self.earlier = read_results(self.path)
                _check_same_run(self.earlier, header)
                self._known = frozenset(answer for answer in self.earlier.answers if answer.outcome == "unread")
            self._file.truncate(self.earlier.good_bytes if self.earlier else 0)
            self._file.seek(0, os.SEEK_END)
        except BlockingIOError as error:
            raise ResultsError(
                f"another process is writing {self.path}; wait for it, or choose another file"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        if self.earlier is None:
            self._append(_line(_header_record(header)))

    def _append(self, content: bytes) -> None:
        try:
            left = memoryview(content)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ResultsError:
        return ResultsError(
            f"cannot write {self.path}: {error.strerror or error}; make room or choose another place, then run "
            "the same command again: what is written is not asked again"
        )


def rewrite_results(path: Path, header: Header, answers: Iterable[Answer]) -> None:
    """Give a file of results another header, and keep some of its answers; it is the old or the new one at any moment.

    Raises:
        ResultsError: another process is writing it, or it cannot be written.
    """
    lines = (_line(_header_record(header)), *(_line(_answer_record(answer)) for answer in answers))
    try:
        with path.open("r+b", buffering=0) as file:
            if not _lock(file):
                file.close()  # Windows, where there is no lock to keep, replaces no file that is open
            write_whole(path, b"".join(lines))
    except BlockingIOError as error:
        raise ResultsError(f"another process is writing {path}; wait for it, or choose another file") from error
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}; make room, or choose another file") from error


def _lock(file: FileIO) -> bool:
    """Keep a second process from the file, and return whether that can be; raises BlockingIOError where one has it."""
    try:
        import fcntl
    except ImportError:  # Windows; two processes on one file are not kept apart there
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # some network file systems know no locks
        return False
    return True


def _is_cut_short(first_line: bytes) -> bool:
    """Whether a file holds the beginning of our own header and no more; nothing else may be overwritten."""
    return not first_line.endswith(b"\n") and (_BEGINNING.startswith(first_line) or first_line.startswith(_BEGINNING))


def _check_same_run(earlier: Results, header: Header) -> None:
    before, now = earlier.header, header
    named = {name: (getattr(before.run, name), getattr(now.run, name)) for name in asdict(now.run)}
    asked_before, asked_now = named.pop("samples")
    named["shard"] = (f"{before.shard.number}/{before.shard.count}", f"{now.shard.number}/{now.shard.count}")
    differences = [f"{name} was {old!r} and is {new!r}" for name, (old, new) in named.items() if old != new]
    if asked_before != asked_now and not differences:
        differences = ["the data set's images or phrases were others"]
    if differences:
        raise ResultsError(
            f"{earlier.path} holds another run: {'; '.join(differences)}; choose another file with --out, or delete it"
        )


def _header_record(header: Header) -> dict[str, object]:
    return {
        "format": FORMAT,
        "fingerprint": header.run.fingerprint,
        "run": asdict(header.run),
        "shard": [header.shard.number, header.shard.count],
        "root": header.root,
        "facts": asdict(header.facts),
    }


def _header_of(path: Path, line: bytes) -> Header:
    foreign = f"expected results of evaluate in {path}, got something else; choose another file"
    try:
        record = json.loads(line)
        if record["format"] != FORMAT:
            raise ResultsError(foreign)
        number, count = record["shard"]
        shard = _made(Shard, {"number": number, "count": count})
        facts = _made(Facts, record.get("facts", {}))
        return Header(_made(RunIdentity, record["run"]), shard, str(record["root"]), facts)
    except (ValueError, KeyError, TypeError, RecursionError, ConfigurationError) as error:
        raise ResultsError(foreign) from error


def _answer_record(answer: Answer) -> dict[str, object]:
    record = asdict(answer)
    return {**record.pop("place"), **record}


def _answer_of(path: Path, number: int, record: dict[str, Any]) -> Answer:
    try:
        place = _made(Place, {name: record.pop(name) for name in _HINTS[Place]})
        return _made(Answer, {**record, "place": place, "size": tuple(record["size"])})
    except (KeyError, TypeError) as error:
        raise _damaged(path, number) from error


def _made(kind: type[_Made], values: Mapping[str, object]) -> _Made:
    """Make a dataclass of what JSON held.

    Raises:
        TypeError: a value is of another type than its field says, or there are other fields.
    """
    for name, hint in _HINTS[kind].items():
        if name in values and not _is_of(values[name], hint):
            raise TypeError(name)
    return kind(**values)


def _is_of(value: object, hint: Any) -> bool:
    """Whether a value is of a type that these dataclasses have: one of several, a mapping by text, a pair, a number."""
    outer, inner = get_origin(hint), get_args(hint)
    if outer is Literal:
        return value in inner
    if outer is UnionType:
        return any(_is_of(value, each) for each in inner)
    if outer is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_is_of, value, inner))
    if outer is not None:  # a mapping
        return isinstance(value, dict) and all(_is_of(each, inner[1]) for each in value.values())
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < _LARGEST
    return isinstance(value, hint)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, number) from error
    if not isinstance(record, dict):
        raise _damaged(path, number)
    return record


def _damaged(path: Path, number: int) -> ResultsError:
    return ResultsError(
        f"expected an answer in line {number} of {path}, got something else: the file is damaged; write a new one"
    )


def _line(record: Mapping[str, object]) -> bytes:
    text = json.dumps(as_json_value(record), ensure_ascii=False, allow_nan=False)
    # A phrase may hold lone surrogates; "backslashreplace" writes them as JSON's own \udXXX.
    return text.encode("utf-8", "backslashreplace") + b"\n"
