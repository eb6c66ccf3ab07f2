"""The gallery of failures: what the mini suite answered to hard questions, measured, drawn and kept.

`python -m examples.make_failures` asks anew. What was kept names the weights that answered, so that a test can tell
when it is out of date. Sentences about it are made where it is shown, from what was measured.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
from PIL import Image

from evfsam.attention import cls_to_image, mass_inside
from evfsam.errors import ConfigurationError, Sentence, sentence_of
from evfsam.types import RgbImage, Segmentation
from workbench.bundled import EXAMPLES
from workbench.comparison import Comparison, StrategyResult
from workbench.export.file_writing import as_json_value, json_bytes, write_whole
from workbench.export.manifest import weight_digests
from workbench.export.results import mask_box
from workbench.failures.cases import FAILURE_CASES, FailureCase
from workbench.metrics.masks import Mask, box_iou, mask_iou
from workbench.pictures.rendering import overlay
from workbench.pictures.shown_pictures import shrunk, shrunk_mask

FAILURES: Final = EXAMPLES / "failures"
LISTING: Final = "failures.json"
REFRESH_COMMAND: Final = "python -m examples.make_failures"
WANTED: Final = "wanted"
"""Stands for the known mask in place of a strategy's key in the names of pictures."""

RIGHT_IOU: Final = 0.7
"""A mask that overlaps what was meant at least this much counts as right."""
_COVERED: Final = 0.5
"""An object counts as taken where a mask covers at least this share of it."""
_SOURCE: Final = "scenes drawn by this project; sprites MIT, backgrounds CC0 or public domain; see examples/README.md"
_PICTURE_SIDE: Final = 384
_QUALITY: Final = 82

CaseOutcome = Literal[
    "right", "refused", "rough", "denied", "invented", "wrong", "more", "fewer", "whole", "scattered", "failed"
]


@dataclass(frozen=True)
class KeptAnswer:
    """What a strategy answered to a case.

    Attributes:
        strategy: its key.
        verdict: "found", "absent" or "failed".
        reason: as the strategy gave it.
        area_share: share of the image that its mask covers.
        iou: with what was meant; nothing against nothing counts as 1.
        outcome: "right"; "refused": rightly said that there is no such thing; "rough": the right objects, badly
            outlined; "denied": said that there is no such thing, wrongly; "invented": a mask where there is no such
            thing; "wrong", "more", "fewer": other objects, further ones, not all of them; "whole": all of an object of
            which a part was meant; "scattered": no object for the most part; "failed".
        others: names of the objects taken that were not meant.
        facts: numbers and texts of its trace that tell how it came to that, by name.
    """

    strategy: str
    verdict: str
    reason: str
    area_share: float
    iou: float
    outcome: CaseOutcome
    others: tuple[str, ...] = ()
    facts: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class KeptFailure:
    """A case and its answers.

    Attributes:
        case: the question.
        answers: one a strategy.
    """

    case: FailureCase
    answers: tuple[KeptAnswer, ...]


@dataclass(frozen=True)
class KeptFailures:
    """The gallery.

    Attributes:
        directory: where its pictures are.
        suite: whose answers they are.
        weights: SHA-256 of the weight files that answered, by strategy and file.
        failures: in the order of `FAILURE_CASES`.
    """

    directory: Path
    suite: str
    weights: Mapping[str, Mapping[str, str]]
    failures: tuple[KeptFailure, ...]

    def picture(self, case: FailureCase, key: str) -> Path:
        """Return the picture of a strategy's answer, or of what was meant (`WANTED`)."""
        return self.directory / picture_name(case, key)


def picture_name(case: FailureCase, key: str) -> str:
    """Return the file name of a picture."""
    return f"{case.key}-{key}.webp"


def ask(comparison: Comparison, case: FailureCase) -> tuple[tuple[StrategyResult, KeptAnswer], ...]:
    """Ask every strategy of a suite, and measure what it answers."""
    results = comparison.run(case.scene.image, [case.phrase])
    return tuple((result, measured_answer(case, result.key, result.segmentation)) for result in results)


def measured_answer(case: FailureCase, key: str, segmentation: Segmentation) -> KeptAnswer:
    """Say how an answer went."""
    taken = taken_objects(case, segmentation.mask)
    return KeptAnswer(
        strategy=key,
        verdict=segmentation.verdict.kind,
        reason=segmentation.verdict.reason,
        area_share=round(segmentation.area_share, 4),
        iou=round(mask_iou(segmentation.mask, case.wanted_mask), 3),
        outcome=case_outcome(case, segmentation.mask, is_failed=segmentation.verdict.kind == "failed"),
        others=tuple(case.name_of(index) for index in taken if index not in case.wanted),
        facts=facts_of(case, segmentation),
    )


def taken_objects(case: FailureCase, mask: Mask) -> tuple[int, ...]:
    """Return the indices of the objects that a mask covers by half."""
    return tuple(
        index
        for index, each in enumerate(case.scene.objects)
        if each.mask.any() and np.count_nonzero(mask & each.mask) >= _COVERED * np.count_nonzero(each.mask)
    )


def case_outcome(case: FailureCase, mask: Mask, *, is_failed: bool = False) -> CaseOutcome:
    """Compare a mask with what was meant."""
    if is_failed:
        return "failed"
    if not case.wanted:
        return "invented" if mask.any() else "refused"
    if not mask.any():
        return "denied"
    if mask_iou(mask, case.wanted_mask) >= RIGHT_IOU:
        return "right"
    taken, wanted = set(taken_objects(case, mask)), set(case.wanted)
    if not taken:
        return "scattered"
    if not taken & wanted:
        return "wrong"
    if taken - wanted:
        return "more"
    if case.part is not None:
        return "whole"
    return "rough" if taken == wanted else "fewer"


def facts_of(case: FailureCase, segmentation: Segmentation) -> dict[str, float | str]:
    """Read from the trace what tells how a strategy came to its answer; only what it has."""
    facts: dict[str, float | str] = {}
    if segmentation.attention is not None:
        attention = cls_to_image(segmentation.attention)
        facts["attention_wanted"] = round(mass_inside(attention, case.wanted_mask), 3)
        facts["attention_mask"] = round(mass_inside(attention, segmentation.mask), 3)
    if segmentation.pred_iou is not None:
        facts["pred_iou"] = round(segmentation.pred_iou, 3)
    boxes = [prompt.box for prompt in segmentation.prompts if prompt.box is not None]
    if boxes:
        facts["box_iou"] = round(max(box_iou(box, mask_box(case.wanted_mask)) for box in boxes), 3)
    points = [point for prompt in segmentation.prompts for point in prompt.points]
    if points:
        facts["points"], facts["yes"] = len(points), sum(point.label for point in points)
    for entry in segmentation.trace:
        if entry.step == "ask whether it is there" and isinstance(entry.values.get("p_yes"), float):
            facts["p_there"] = round(cast(float, entry.values["p_yes"]), 3)
    return facts


def make_failures(comparison: Comparison, directory: Path, cases: Sequence[FailureCase] = FAILURE_CASES) -> list[Path]:
    """Ask all cases and write listing and pictures; returns what was written.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    listed, written = [], []
    for case in cases:
        answered = ask(comparison, case)
        pictures = {WANTED: _drawn(case, case.wanted_mask, WANTED)}
        pictures |= {result.key: _drawn(case, result.segmentation.mask, result.key) for result, _ in answered}
        for key, picture in pictures.items():
            written.append(write_whole(directory / picture_name(case, key), _webp(picture)))
        listed.append({"case": case.key, "answers": [_content(answer) for _, answer in answered]})
    weights = weight_digests(comparison.suite, comparison.keys)
    content = {
        "suite": comparison.suite.key,
        "made_by": REFRESH_COMMAND,
        "source": _SOURCE,
        "weights_sha256": weights,
        "failures": listed,
    }
    return [write_whole(directory / LISTING, json_bytes(as_json_value(content))), *written]


def read_failures(directory: Path = FAILURES, cases: Iterable[FailureCase] = FAILURE_CASES) -> KeptFailures | None:
    """Read what was kept; None where there is nothing.

    Raises:
        ConfigurationError: the listing has other cases than the code.
    """
    listing = directory / LISTING
    if not listing.is_file():
        return None
    content = json.loads(listing.read_text(encoding="utf-8"))
    by_key = {each["case"]: tuple(_answer(answer) for answer in each["answers"]) for each in content["failures"]}
    known = {case.key: case for case in cases}
    if set(by_key) != set(known):
        raise ConfigurationError(
            "expected the answers to {known} in {listing}, got {by_key}; run {command}",
            known=", ".join(known),
            listing=LISTING,
            by_key=", ".join(by_key),
            command=REFRESH_COMMAND,
        )
    failures = tuple(KeptFailure(case, by_key[key]) for key, case in known.items())
    return KeptFailures(directory, content["suite"], content["weights_sha256"], failures)


def _content(answer: KeptAnswer) -> dict[str, object]:
    """Return an answer as JSON values; a reason with values keeps them apart, so that it can be translated later."""
    reason = answer.reason
    if isinstance(reason, Sentence) and reason.values:
        return {**asdict(answer), "reason": {"template": reason.template, "values": reason.values}}
    return asdict(answer)


def _answer(content: Mapping[str, Any]) -> KeptAnswer:
    values = dict(content)
    if isinstance(values["reason"], Mapping):
        values["reason"] = sentence_of(values["reason"]["template"], values["reason"]["values"])
    others = tuple(values.pop("others"))
    return KeptAnswer(others=others, **values)


def _drawn(case: FailureCase, mask: Mask, key: str) -> RgbImage:
    image = shrunk(case.scene.image, _PICTURE_SIDE)
    return overlay(image, shrunk_mask(mask, _PICTURE_SIDE), key, is_labelled=False)


def _webp(picture: RgbImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=_QUALITY, method=6)
    return buffer.getvalue()
