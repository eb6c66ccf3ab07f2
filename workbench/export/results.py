"""Write what a comparison found: result.json, lossless pictures without metadata, and a zip of them all."""

import io
import platform
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from evfsam.attention import cls_to_image, mass_inside
from evfsam.types import BoxXyxy, PromptPoint, RgbImage, SamPrompt, Segmentation
from workbench.analysis.agreement import pairwise_iou
from workbench.comparison import StrategyResult
from workbench.export.file_writing import as_json_value, json_bytes, npy_bytes, write_whole, write_whole_zip
from workbench.metrics.masks import Mask, ReferenceMask, mask_iou
from workbench.pictures.answer_figures import attention_overlay, evidence_figure, mask_figure
from workbench.pictures.mask_png import mask_png

RESULT_FORMAT = 1
RESULT_NAME = "result.json"
VERSIONED_PACKAGES = ("torch", "transformers", "segment-anything", "numpy", "pillow")

_DESCRIBED: WeakKeyDictionary[StrategyResult, dict[str, object]] = WeakKeyDictionary()
"""What result.json says of answers that are still held: it is asked for after every answer, and again by each file."""


def result_dict(
    image: RgbImage,
    phrase: str,
    suite_key: str,
    results: Sequence[StrategyResult],
    reference: ReferenceMask | None = None,
) -> dict[str, object]:
    """Return the content of result.json: JSON values alone, without NaN or infinity.

    Args:
        image: (H, W, 3) uint8 RGB, as the strategies saw it.
        phrase: as it was asked; several with ";" between them.
        suite_key: which weights answered.
        results: one a strategy. Where several phrases were asked, each strategy has their answers under `answers`, and
            beside them all of them joined.
        reference: (H, W), the known mask where there is one; adds `iou_with_reference` to every strategy.
    """
    height, width = image.shape[:2]
    digest = sha256(np.ascontiguousarray(image).data).hexdigest()
    content = {
        "format": RESULT_FORMAT,
        "suite": suite_key,
        "phrase": phrase,
        "phrases": _phrases(phrase, results),
        "image": {"height": height, "width": width, "pixels_sha256": digest},
        "strategies": {result.key: _strategy_dict(result, reference) for result in results},
        "agreement_iou": pairwise_iou(results),
        "versions": installed_versions(),
    }
    return cast(dict[str, object], as_json_value(content))


def coco_rle(mask: Mask) -> dict[str, object]:
    """Encode a mask as COCO's compressed RLE: {"size": [H, W], "counts": text}, column by column."""
    size = [int(side) for side in mask.shape]
    encoded = coco_mask.frPyObjects({"size": size, "counts": _runs_down_columns(mask)}, *size)
    return {"size": size, "counts": encoded["counts"].decode("ascii")}


def _runs_down_columns(mask: Mask) -> list[int]:
    """Return how many equal pixels follow each other, column by column, beginning with those off the mask.

    Borders are looked for along the rows, as the mask lies in memory: turned round, a large one would take many times
    as long.
    """
    height, width = mask.shape
    rows, columns = np.divmod(np.flatnonzero(mask[1:] != mask[:-1]), width)
    tops = np.flatnonzero(mask[0, 1:] != mask[-1, :-1]) + 1
    first = [0] if mask[0, 0] else []
    borders = np.sort(np.concatenate([columns * height + rows + 1, tops * height, first]).astype(np.int64))
    runs: list[int] = np.diff(borders, prepend=0, append=height * width).tolist()
    return runs


def mask_box(mask: Mask) -> BoxXyxy | None:
    """Return the least box around the mask, XYXY in pixels, or None of an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Encode (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA as a PNG that holds the pixels and nothing else.

    Masks and figures compress well at the lowest level, which takes a fraction of the time of the usual one.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def write_results(
    directory: Path,
    image: RgbImage,
    phrase: str,
    suite_key: str,
    results: Sequence[StrategyResult],
) -> list[Path]:
    """Write result.json, masks and figures; a file is there whole or not at all, and result.json comes last.

    Masks have the image's size, figures the size the page shows. Beside the figure of an attention stands the attention
    itself at its own grid, (h, w) float32 for `numpy.load`.

    Raises:
        ConfigurationError: the directory cannot be made or written.
    """
    files = _files(image, phrase, suite_key, results)
    return [write_whole(directory / name, content) for name, content in files]


def write_results_zip(
    path: Path,
    image: RgbImage,
    phrase: str,
    suite_key: str,
    results: Sequence[StrategyResult],
    reference: ReferenceMask | None = None,
) -> Path:
    """Write the files of `write_results` into one zip; equal results make equal bytes.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    return write_whole_zip(path, _files(image, phrase, suite_key, results, reference))


def _files(
    image: RgbImage,
    phrase: str,
    suite_key: str,
    results: Sequence[StrategyResult],
    reference: ReferenceMask | None = None,
) -> Iterator[tuple[str, bytes]]:
    shown = image.view()
    shown.setflags(write=False)  # so that it is made smaller once for all figures
    for result in results:
        key = result.key
        yield f"{key}-mask.png", mask_png(result.segmentation.mask)
        yield f"{key}-overlay.png", png_bytes(mask_figure(shown, result))
        drawn = evidence_figure(shown, result)
        if drawn is not None:
            yield f"{key}-evidence.png", png_bytes(drawn)
        yield from _attention_files(shown, result.segmentation, f"{key}-attention")
        for number, answer in enumerate(result.answers, start=1):
            yield f"{key}-mask-{number}.png", mask_png(answer.segmentation.mask)
            yield from _attention_files(shown, answer.segmentation, f"{key}-attention-{number}")
    yield RESULT_NAME, json_bytes(result_dict(image, phrase, suite_key, results, reference))


def _phrases(phrase: str, results: Sequence[StrategyResult]) -> list[str]:
    answers = next((result.answers for result in results if result.answers), ())
    return [answer.phrase for answer in answers] or [phrase]


def _attention_files(image: RgbImage, segmentation: Segmentation, stem: str) -> Iterator[tuple[str, bytes]]:
    if segmentation.attention is None:
        return
    yield f"{stem}.png", png_bytes(attention_overlay(image, segmentation))
    yield f"{stem}.npy", npy_bytes(cls_to_image(segmentation.attention))


def _strategy_dict(result: StrategyResult, reference: ReferenceMask | None) -> dict[str, object]:
    content = _DESCRIBED.get(result)
    if content is None:
        content = _DESCRIBED[result] = _described(result)
    if reference is None:
        return content
    return content | {"iou_with_reference": mask_iou(result.segmentation.mask, reference)}


def _described(result: StrategyResult) -> dict[str, object]:
    content: dict[str, object] = {
        "title": result.card.title,
        "licence": result.card.licence,
        **segmentation_dict(result.segmentation),
        "seconds": {
            "total": result.seconds,
            "load": result.load_seconds,
            "stages": result.segmentation.seconds,
        },
        "embedding_was_cached": result.segmentation.embedding_was_cached,
    }
    if result.answers:
        content["answers"] = [
            {"phrase": answer.phrase, **segmentation_dict(answer.segmentation)} for answer in result.answers
        ]
    return content


def verdict_dict(segmentation: Segmentation) -> dict[str, object]:
    """Return what an answer says of itself."""
    return {
        "verdict": segmentation.verdict.kind,
        "reason": segmentation.verdict.reason,
        "pred_iou": segmentation.pred_iou,
    }


def segmentation_dict(segmentation: Segmentation) -> dict[str, object]:
    """Return all that is written of one answer, here and to programs (`workbench.export.answer_json`)."""
    mask = segmentation.mask
    return {
        **verdict_dict(segmentation),
        "area_share": segmentation.area_share,
        "box": mask_box(mask),
        "mask_rle": coco_rle(mask),
        "sam_prompts": [_prompt_dict(prompt) for prompt in segmentation.prompts],
        "attention_share_in_mask": _attention_share(segmentation, mask),
        "trace": [
            {"step": entry.step, "asked": entry.asked, "answered": entry.answered, "values": entry.values}
            for entry in segmentation.trace
        ],
    }


def _attention_share(segmentation: Segmentation, mask: Mask) -> float | None:
    if segmentation.attention is None or not mask.any():
        return None
    return mass_inside(cls_to_image(segmentation.attention), mask)


def _prompt_dict(prompt: SamPrompt) -> dict[str, object]:
    return {
        "box": prompt.box,
        "points": [_point_dict(point) for point in prompt.points],
        "text_prompt_embeddings": prompt.text_prompt_embeddings,
    }


def _point_dict(point: PromptPoint) -> dict[str, object]:
    return {
        "x": point.x,
        "y": point.y,
        "label": point.label,
        "confidence": point.confidence,
        "is_kept": point.is_kept,
        "p_yes": point.p_yes,
    }


def installed_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that decide an answer; None of those not installed."""
    return {"python": platform.python_version()} | {name: _installed(name) for name in VERSIONED_PACKAGES}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
