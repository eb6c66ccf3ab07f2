"""What a batch asks: phrases of every image, and the rows of CSV files with the columns `image` and `phrase`."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from unicodedata import normalize

from evfsam.errors import PhraseError, Sentence
from evfsam.phrases import check_phrase
from workbench.batch.batch_files import BatchError, BatchImage, BatchTable, Fault, Limits, Sources, plain_name
from workbench.batch.csv_rows import CsvRow, TableError, table_rows


class ImageNames:
    """The names of a batch's images.

    Args:
        images: each name once.
    """

    def __init__(self, images: Iterable[BatchImage]) -> None:
        self._by_name: dict[str, str] = {}
        self._by_last: dict[str, list[str]] = defaultdict(list)
        self._by_other: dict[str, list[str]] = defaultdict(list)
        for image in images:
            self._by_name[image.name] = image.name
            self._by_last[PurePosixPath(image.name).name].append(image.name)
            for other in image.other_names:
                self._by_other[normalize("NFC", other)].append(image.name)

    def meant_by(self, written: str) -> list[str]:
        """Return the names of the images that a path can mean; several where it is not clear, none where it is unknown.

        A path may leave folders out in front ("1.png" for "c/1.png"), or have more of them than the batch knows
        ("c/1.png" for "1.png" out of a folder c).
        """
        wanted = plain_name(written)
        if wanted in self._by_name:
            return [wanted]
        alike = self._by_last.get(PurePosixPath(wanted).name, [])
        longer = [name for name in alike if name.endswith(f"/{wanted}")]
        if longer:
            return longer
        shorter = sorted((name for name in alike if wanted.endswith(f"/{name}")), key=len, reverse=True)
        return shorter[:1] or self._by_other.get(wanted, [])


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
    if len(phrases) > limits.questions:
        raise BatchError(
            "expected at most {most} lines of phrases, got {got}; ask the others in a second batch",
            most=limits.questions,
            got=len(phrases),
        )
    common = _checked(((f"phrase {number}", phrase) for number, phrase in enumerate(phrases, 1)), faults)
    if not sources.images:
        raise BatchError(_nothing_left("There is no image yet. Add images, or a zip of images.", faults))
    asked = {image.name: dict.fromkeys(common) for image in sources.images}
    known = ImageNames(sources.images)
    for table in sources.tables:
        _add_rows(table, known, asked, faults, limits)
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


def _nothing_left(words: str, faults: Sequence[Fault]) -> Sentence:
    if not faults:
        return Sentence(words)
    more = Sentence(", and {count} more", count=len(faults) - 1) if len(faults) > 1 else ""
    return Sentence(
        "{words} What came cannot be used: {place} ({reason}){more}.",
        words=Sentence(words),
        place=faults[0].place,
        reason=faults[0].reason,
        more=more,
    )


def _checked(numbered: Iterator[tuple[str, str]], faults: list[Fault]) -> list[str]:
    found: dict[str, None] = {}
    for place, phrase in numbered:
        if not phrase.strip():
            continue
        try:
            checked = check_phrase(phrase)
        except PhraseError as error:
            faults.append(Fault(place, error.message))
            continue
        if checked in found:
            faults.append(Fault(place, Sentence("“{phrase}” is there already; it is asked once", phrase=checked)))
        else:
            found[checked] = None
    return list(found)


def _add_rows(
    table: BatchTable,
    known: ImageNames,
    asked: Mapping[str, dict[str, None]],
    faults: list[Fault],
    limits: Limits,
) -> None:
    try:
        for number, row in enumerate(table_rows(table), 1):
            if number > limits.questions:
                raise BatchError(
                    "{file}: expected at most {most} lines, got more; split the CSV",
                    file=table.name,
                    most=limits.questions,
                )
            reason = row.problem or _ask(row, known, asked)
            if reason:
                faults.append(Fault(row.place, reason))
    except TableError as error:
        faults.append(Fault(table.name, Sentence("cannot be read as a CSV: {reason}", reason=error)))


def _ask(row: CsvRow, known: ImageNames, asked: Mapping[str, dict[str, None]]) -> str:
    """Put a row's question; returns why it cannot be put, "" where it is put."""
    if not row.image:
        return "names no image"
    meant = known.meant_by(row.image)
    if not meant:
        return Sentence("there is no image “{name}”", name=row.image)
    if len(meant) > 1:
        return Sentence(
            "several images are called “{name}”: {names}; write the folder too",
            name=row.image,
            names=", ".join(meant[:3]),
        )
    try:
        phrase = check_phrase(row.phrase)
    except PhraseError:
        return "the phrase is too long" if row.phrase else "the phrase is empty"
    if phrase in asked[meant[0]]:
        return Sentence("“{phrase}” is asked of this image already; it is asked once", phrase=phrase)
    asked[meant[0]][phrase] = None
    return ""


def _check(plan: BatchPlan, limits: Limits) -> None:
    longest = max(plan.images, key=lambda asked: len(asked.phrases))
    if len(longest.phrases) > limits.phrases:
        raise BatchError(
            "expected at most {most} phrases an image, got {got} for {image}; ask the others in a second batch",
            most=limits.phrases,
            got=len(longest.phrases),
            image=longest.image.name,
        )
    if plan.question_count > limits.questions:
        raise BatchError(
            "expected at most {most} questions (images times phrases), got {got}; split them into several batches",
            most=limits.questions,
            got=plan.question_count,
        )
