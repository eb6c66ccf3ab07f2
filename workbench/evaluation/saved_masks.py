"""Masks that somebody saved, ours or anyone's: which expression about which image each answers.

A file is one of these, told apart by its content:
    a JSON list, or a JSON object a line: an image (`image_id`, `sample_id`, `image` or `file_name`), a phrase
    (`phrase`, `caption`, `sentence`, `expression` or `text`) and a mask (`segmentation`, `rle` or `mask_rle`) in COCO's
    notation, or null or an empty list where nothing was found; `strategy` tells answers of several strategies apart.
    `masks.jsonl` of `batch` is such a file, and as there a last line that a kill cut short does not count.
    COCO's format: `images`, `annotations`, and `categories` whose names are the phrases of annotations without one.
    what `evaluate --out FILE.jsonl` wrote.

An image is found by its id as it stands, by its file's name, by that without folder or ending, and where it is named as
COCO names its images, by the number in it; the first of these by which anything is saved decides.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final

from evfsam.errors import ConfigurationError
from workbench.batch.batch_files import IMAGE_SUFFIXES
from workbench.evaluation.result_lines import FORMAT, read_results
from workbench.text_fitting import named_once

_IMAGE_FIELDS: Final = ("sample_id", "image_id", "image", "file_name")
_PHRASE_FIELDS: Final = ("phrase", "caption", "sentence", "sent", "expression", "text")
_MASK_FIELDS: Final = ("segmentation", "rle", "mask_rle")
_COCO_NUMBER: Final = re.compile(r"(?:COCO_\w+_)?(\d{12})")
"""The whole name of an image of COCO, without its ending."""
_ID_NUMBER: Final = re.compile(r"0|[1-9]\d*")


class SavedMasksError(ConfigurationError):
    """A file of masks cannot be used."""


@dataclass(frozen=True)
class SavedMask:
    """One answer.

    Attributes:
        images: ids and names of its image, as they were saved.
        phrase: as it was saved.
        segmentation: in COCO's notation; None where nothing was found.
        place: which of several equal phrases about the image is meant, from 0, where the file says so.
        has_failed: whether there was no answer at all.
    """

    images: tuple[str, ...]
    phrase: str
    segmentation: object | None
    place: int | None = None
    has_failed: bool = False


@dataclass(frozen=True, eq=False)
class SavedMasks:
    """The answers of one strategy.

    Attributes:
        source: name of the file.
        digest: of the file.
        masks: in their order.
    """

    source: str
    digest: str
    masks: tuple[SavedMask, ...]
    _by_question: dict[tuple[str, str], list[SavedMask]] = field(init=False)

    def __post_init__(self) -> None:
        by_question: dict[tuple[str, str], list[SavedMask]] = defaultdict(list)
        for mask in self.masks:
            for name in dict.fromkeys(name for image in mask.images for name in _names_of(image)):
                by_question[name, folded_phrase(mask.phrase)].append(mask)
        object.__setattr__(self, "_by_question", dict(by_question))

    def find(self, sample_id: str, phrase: str, place: int, file_name: str = "") -> SavedMask | None:
        """Return the answer to an expression; None where there is none.

        Args:
            sample_id: of the image.
            phrase: case and white space do not matter.
            place: which of several equal phrases about the image is meant, from 0.
            file_name: of the image, where the data set knows it beside the id.
        """
        folded = folded_phrase(phrase)
        names = _names_of_sample(sample_id, file_name)
        masks = next((found for name in names if (found := self._by_question.get((name, folded)))), [])
        if any(mask.place is not None for mask in masks):
            return next((mask for mask in masks if mask.place == place), None)
        return masks[place] if place < len(masks) else None


def read_saved_masks(path: Path, name: str | None = None) -> dict[str, SavedMasks]:
    """Read a file of masks.

    Args:
        path: see the module's text.
        name: of the strategy where the file names none; by default the file's.

    Returns:
        By strategy, in the order in which they are met.

    Raises:
        SavedMasksError: the file cannot be read or is something else; the message names the record.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SavedMasksError(f"cannot read {path}: {error.strerror}; give a file of masks") from error
    digest = sha256(content).hexdigest()[:16]
    by_strategy: dict[str, list[SavedMask]] = defaultdict(list)
    for strategy, mask in _records(path, content):
        by_strategy[strategy or name or path.stem].append(mask)
    if not by_strategy:
        raise SavedMasksError(f"expected masks in {path}, found none; see python -m workbench score --help")
    return {key: SavedMasks(path.name, digest, tuple(masks)) for key, masks in by_strategy.items()}


def _records(path: Path, content: bytes) -> Iterator[tuple[str, SavedMask]]:
    if content.startswith(f'{{"format": "{FORMAT}"'.encode()):
        yield from _of_evaluate(path)
        return
    values = _json_values(path, content)
    if len(values) == 1 and isinstance(values[0], dict) and "annotations" in values[0]:
        yield from _of_coco(path, values[0])
        return
    listed = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    for number, record in enumerate(listed, 1):
        yield _saved(path, number, record, {}, {})


def _json_values(path: Path, content: bytes) -> list[Any]:
    """Return one JSON value, or one a line."""
    try:
        return [json.loads(content, object_pairs_hook=named_once)]
    except (ValueError, RecursionError):
        pass
    lines = content.splitlines()
    values: list[Any] = []
    for place, line in enumerate(lines):
        try:
            values += [json.loads(line, object_pairs_hook=named_once)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            is_cut_short = place and place == len(lines) - 1 and not content.endswith(b"\n")
            if not is_cut_short:
                raise SavedMasksError(f"expected JSON, or a JSON object a line, in {path}, got {error}") from error
    return values


def _of_evaluate(path: Path) -> Iterator[tuple[str, SavedMask]]:
    """Yield the answers of a run, unread ones left out; a question's number is of no use, since a limit changes it."""
    met: Counter[tuple[str, str, str]] = Counter()
    for answer in sorted(
        read_results(path).answers, key=lambda each: (each.place.sample_index, each.place.question_index)
    ):
        key, sample_id = answer.place.strategy, answer.place.sample_id
        question = (key, sample_id, folded_phrase(answer.phrase))
        place, met[question] = met[question], met[question] + 1
        if answer.outcome != "unread":
            mask = {"size": list(answer.size), "counts": answer.mask_counts} if answer.mask_counts else None
            yield key, SavedMask((sample_id,), answer.phrase, mask, place, answer.outcome == "failed")


def _of_coco(path: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, SavedMask]]:
    images = _named(path, content.get("images", []), "file_name")
    categories = _named(path, content.get("categories", []), "name")
    if not isinstance(content["annotations"], list):
        raise SavedMasksError(f"expected a list of annotations in COCO's format in {path}, got something else")
    for number, record in enumerate(content["annotations"], 1):
        yield _saved(path, number, record, images, categories)


def _named(path: Path, records: object, name: str) -> dict[str, str]:
    if not isinstance(records, list) or not all(
        isinstance(each, dict) and {"id", name} <= set(each) for each in records
    ):
        raise SavedMasksError(f"expected images and categories in COCO's format in {path}, with id and {name}")
    named: dict[str, str] = {}
    for each in records:
        if str(each["id"]) in named:
            raise SavedMasksError(f"expected each id once in {path}, got {each['id']!r} twice; number them anew")
        named[str(each["id"])] = str(each[name])
    return named


def _saved(
    path: Path, number: int, record: object, images: Mapping[str, str], categories: Mapping[str, str]
) -> tuple[str, SavedMask]:
    if not isinstance(record, dict):
        raise SavedMasksError(f"expected an object as record {number} of {path}, got {type(record).__name__}")
    named = [str(record[each]) for each in _IMAGE_FIELDS if _is_name(record.get(each))]
    # The file's own ids name its own images, which another file may number otherwise.
    named = [images.get(each, each) for each in named]
    phrase = _first(record, _PHRASE_FIELDS)
    phrase = categories.get(str(record.get("category_id"))) if phrase is None else phrase
    if not named or not isinstance(phrase, str):
        raise SavedMasksError(
            f"expected an image ({', '.join(_IMAGE_FIELDS)}) and a phrase ({', '.join(_PHRASE_FIELDS)}) in record "
            f"{number} of {path}, got the fields {', '.join(map(str, record))}"
        )
    has_failed = record.get("verdict") == "failed"
    segmentation = _first(record, _MASK_FIELDS)
    if not has_failed and not any(each in record for each in _MASK_FIELDS):
        raise SavedMasksError(
            f"expected a mask ({', '.join(_MASK_FIELDS)}) in record {number} of {path}, or null for nothing found, got "
            f"the fields {', '.join(map(str, record))}"
        )
    strategy = record.get("strategy") or ""
    if not isinstance(strategy, str):
        raise SavedMasksError(f"expected text as strategy in record {number} of {path}, got {strategy!r:.60}")
    mask = SavedMask(tuple(named), phrase, None if segmentation == [] else segmentation, None, has_failed)
    return strategy, mask


def _is_name(value: object) -> bool:
    """Whether something can be the number or the name of an image."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _first(record: Mapping[str, object], names: Sequence[str]) -> object | None:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _names_of(text: str) -> Iterator[str]:
    """Yield what a saved image is looked up by; what its name was made into equals none that stands as it is."""
    yield text
    if not _ID_NUMBER.fullmatch(text):
        yield from _parts_of(text)
    if number := _coco_number(text):
        yield f"number\0{number}"


def _names_of_sample(sample_id: str, file_name: str) -> Iterator[str]:
    """Yield what an image of a data set is looked up by, surest first."""
    yield sample_id
    if file_name:
        yield file_name
    yield from _parts_of(file_name or sample_id)
    if not file_name or _coco_number(file_name) == sample_id:
        yield f"number\0{sample_id}"


def _parts_of(text: str) -> tuple[str, str]:
    return f"file\0{PurePosixPath(text).name}", f"stem\0{_stem(text)}"


def _stem(text: str) -> str:
    """Return a name without folder and without the ending of a picture; any other ending is part of the name."""
    path = PurePosixPath(text)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def _coco_number(text: str) -> str | None:
    found = _COCO_NUMBER.fullmatch(_stem(text))
    return str(int(found[1])) if found else None


def folded_phrase(phrase: str) -> str:
    """Return a phrase without what tells no two expressions apart: case and white space."""
    return " ".join(phrase.casefold().split())
