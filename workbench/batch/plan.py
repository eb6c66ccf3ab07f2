"""What a batch asks: phrases of every image, and the rows of CSV files with the columns `image` and `phrase`."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from evfsam.errors import PhraseError
from evfsam.phrases import check_phrase
from workbench.batch.files import BatchError, BatchImage, BatchTable, Fault, Limits, Sources, plain_name

_COLUMNS: Final = ("image", "phrase")
_DELIMITERS: Final = (",", ";", "\t")


@dataclass(frozen=True)
class AskedImage:
    """An image and what is asked of it, each phrase once."""

    image: BatchImage
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class BatchPlan:
    """All questions of a batch, image by image.

    Attributes:
        images: those that are asked something.
        faults: what could not be used, in the order in which it was met.
    """

    images: tuple[AskedImage, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def question_count(self) -> int:
        """Pairs of image and phrase."""
        return sum(len(asked.phrases) for asked in self.images)


@dataclass(frozen=True)
class _Row:
    place: str
    image: str
    phrase: str


def plan_batch(sources: Sources, phrases: Sequence[str], limits: Limits) -> BatchPlan:
    """Say which phrases are asked of which image.

    Args:
        sources: images and CSV files.
        phrases: asked of every image, taken as they are; blank ones are none.
        limits: of this batch.

    Raises:
        BatchError: nothing is left to ask, or more than the limits allow.
    """
    faults = list(sources.faults)
    common = _checked(((f"phrase {number}", phrase) for number, phrase in enumerate(phrases, 1)), faults)
    if not sources.images:
        raise BatchError(_nothing_left("There is no image yet. Add images, or a zip of images.", faults))
    asked = {image.name: dict.fromkeys(common) for image in sources.images}
    for table in sources.tables:
        _add_rows(table, sources.images, asked, faults, limits)
    if not any(asked.values()):
        raise BatchError(
            _nothing_left(
                "There is no phrase yet. Type phrases, one a line, or add a CSV with the columns image and phrase.",
                faults,
            )
        )
    faults += [
        Fault(name, "no phrase and no line of a CSV is about this image; it is not asked")
        for name, questions in asked.items()
        if not questions
    ]
    images = tuple(AskedImage(image, tuple(asked[image.name])) for image in sources.images if asked[image.name])
    plan = BatchPlan(images, tuple(faults))
    _check(plan, limits)
    return plan


def _nothing_left(words: str, faults: Sequence[Fault]) -> str:
    if not faults:
        return words
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{words} What came cannot be used: {faults[0].place} ({faults[0].reason}){more}."


def _checked(numbered: Iterator[tuple[str, str]], faults: list[Fault]) -> list[str]:
    found: list[str] = []
    for place, phrase in numbered:
        if not phrase.strip():
            continue
        try:
            checked = check_phrase(phrase)
        except PhraseError as error:
            faults.append(Fault(place, str(error)))
            continue
        if checked in found:
            faults.append(Fault(place, f"“{checked}” is there already; it is asked once"))
        else:
            found.append(checked)
    return found


def _add_rows(
    table: BatchTable,
    images: Sequence[BatchImage],
    asked: Mapping[str, dict[str, None]],
    faults: list[Fault],
    limits: Limits,
) -> None:
    by_name = {image.name: image.name for image in images}
    by_last: dict[str, list[str]] = defaultdict(list)
    for image in images:
        by_last[PurePosixPath(image.name).name].append(image.name)
    try:
        for number, row in enumerate(_rows(table), 1):
            if number > limits.questions:
                raise BatchError(f"{table.name}: expected at most {limits.questions} lines, got more; split the CSV")
            reason = _ask(row, by_name, by_last, asked)
            if reason is not None:
                faults.append(Fault(row.place, reason))
    except (csv.Error, _TableError) as error:
        faults.append(Fault(table.name, f"cannot be read as a CSV: {error}"))


class _TableError(Exception):
    """A CSV lacks what it needs."""


def _rows(table: BatchTable) -> Iterator[_Row]:
    try:
        text = table.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _TableError("expected UTF-8 text; save it again as “CSV UTF-8”") from error
    head = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count))
    names: list[str] | None = None
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = [cell.strip().lower() for cell in cells]
            if not set(_COLUMNS) <= set(names):
                raise _TableError(f"expected the columns image and phrase, got {', '.join(names)[:200]}")
            continue
        row = dict(zip(names, cells, strict=False))
        yield _Row(f"{table.name}, line {reader.line_num}", *(row.get(name, "").strip() for name in _COLUMNS))


def _ask(
    row: _Row, by_name: Mapping[str, str], by_last: Mapping[str, Sequence[str]], asked: Mapping[str, dict[str, None]]
) -> str | None:
    """Put a row's question; returns why it cannot be put."""
    if not row.image:
        return "names no image"
    wanted = plain_name(row.image)
    known = [by_name[wanted]] if wanted in by_name else by_last.get(wanted, [])
    if not known:
        return f"there is no image “{row.image}”"
    if len(known) > 1:
        return f"several images are called “{row.image}”: {', '.join(known[:3])}; write the folder too"
    try:
        phrase = check_phrase(row.phrase)
    except PhraseError:
        return "the phrase is empty" if not row.phrase else "the phrase is too long"
    if phrase in asked[known[0]]:
        return f"“{phrase}” is asked of this image already; it is asked once"
    asked[known[0]][phrase] = None
    return None


def _check(plan: BatchPlan, limits: Limits) -> None:
    longest = max(plan.images, key=lambda asked: len(asked.phrases))
    if len(longest.phrases) > limits.phrases:
        raise BatchError(
            f"expected at most {limits.phrases} phrases an image, got {len(longest.phrases)} for {longest.image.name}; "
            "ask the others in a second batch"
        )
    if plan.question_count > limits.questions:
        raise BatchError(
            f"expected at most {limits.questions} questions (images times phrases), got {plan.question_count}; "
            "split them into several batches"
        )
