"""Masks that somebody saved, ours or anyone's: which expression about which image each answers.

A file is one of these, told apart by its content:
    a JSON list, or a JSON object a line: an image (`image_id`, `sample_id`, `image` or `file_name`), a phrase
    (`phrase`, `caption`, `sentence`, `expression` or `text`) and a mask (`segmentation`, `rle` or `mask_rle`) in COCO's
    notation, or null or an empty list where nothing was found; `strategy` tells answers of several strategies apart.
    `masks.jsonl` of `batch` is such a file.
    COCO's format: `images`, `annotations`, and `categories` whose names are the phrases of annotations without one.
    what `evaluate --out FILE.jsonl` wrote.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final

from evfsam.errors import ConfigurationError
from workbench.evaluation.result_lines import FORMAT, read_results
from workbench.text_fitting import named_once

_IMAGE_FIELDS: Final = ("sample_id", "image_id", "image", "file_name")
_PHRASE_FIELDS: Final = ("phrase", "caption", "sentence", "sent", "expression", "text")
_MASK_FIELDS: Final = ("segmentation", "rle", "mask_rle")
_COCO_NUMBER: Final = re.compile(r"(?:.*_)?0*(\d+)")


class SavedMasksError(ConfigurationError):
    """A file of masks cannot be used."""


@dataclass(frozen=True)
class SavedMask:
    """One answer.

    Attributes:
        images: names under which its image may be known.
        phrase: as it was saved.
        segmentation: in COCO's notation; None where nothing was found.
        question_index: of the expression about the image, where the file says so.
        has_failed: whether there was no answer at all.
    """

    images: tuple[str, ...]
    phrase: str
    segmentation: object | None
    question_index: int | None = None
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
            for image in mask.images:
                by_question[image, _folded(mask.phrase)].append(mask)
        object.__setattr__(self, "_by_question", dict(by_question))

    def find(self, sample_id: str, phrase: str, place: int, question_index: int) -> SavedMask | None:
        """Return the answer to an expression; None where there is none.

        Args:
            sample_id: of the image.
            phrase: case and white space do not matter.
            place: which of several equal phrases about the image is meant, from 0.
            question_index: of the expression; decides where the file has such numbers.
        """
        masks = self._by_question.get((sample_id, _folded(phrase)), [])
        if any(mask.question_index is not None for mask in masks):
            return next((mask for mask in masks if mask.question_index == question_index), None)
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
    try:
        return [json.loads(line, object_pairs_hook=named_once) for line in content.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise SavedMasksError(f"expected JSON, or a JSON object a line, in {path}, got {error}") from error


def _of_evaluate(path: Path) -> Iterator[tuple[str, SavedMask]]:
    for answer in read_results(path).answers:
        if answer.outcome != "unread":
            place = answer.place
            mask = {"size": list(answer.size), "counts": answer.mask_counts} if answer.mask_counts else None
            failed = answer.outcome == "failed"
            yield place.strategy, SavedMask((place.sample_id,), answer.phrase, mask, place.question_index, failed)


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
    named += [images[each] for each in named if each in images]
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
    mask = SavedMask(_names_of_image(named), phrase, None if segmentation == [] else segmentation, None, has_failed)
    return strategy, mask


def _is_name(value: object) -> bool:
    """Whether something can be the number or the name of an image."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _first(record: Mapping[str, object], names: Sequence[str]) -> object | None:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _names_of_image(named: Iterable[str]) -> tuple[str, ...]:
    """Return what an image may be called: as it stands, without folder and ending, and COCO's number without zeros."""
    names: list[str] = []
    for text in named:
        stem = PurePosixPath(text).stem
        number = _COCO_NUMBER.fullmatch(stem)
        names += [text, stem, *([number[1]] if number else [])]
    return tuple(dict.fromkeys(names))


def _folded(phrase: str) -> str:
    return " ".join(phrase.casefold().split())
