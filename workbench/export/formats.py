"""The formats a run can be taken away in, one by one or all in one zip."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import RgbImage
from workbench.export.annotations import coco_dict, label_studio_config, label_studio_tasks, labelme_dict, sa1b_dict
from workbench.export.exported_run import IMAGE_NAME, ExportedMask, ExportedRun
from workbench.export.file_writing import (
    as_json_value,
    json_bytes,
    npy_bytes,
    write_whole,
    write_whole_zip,
    zip_bytes,
)
from workbench.export.manifest import MANIFEST_NAME, listed_file, manifest_dict
from workbench.export.results import RESULT_NAME, png_bytes, result_dict
from workbench.metrics.masks import Mask
from workbench.names import unknown_name
from workbench.pictures.mask_png import mask_png

BUNDLE_NAME: Final = "take-away.zip"

LARGEST_EXPORT: Final = 500_000_000
"""Bytes of the files that are written at a time: strangers ask for them."""
MOST_LOGITS: Final = 2**28
"""Bytes of one strategy's mask logits at the image's size; beyond it SAM's own, from which they follow, have to do."""

NamedFile = tuple[str, bytes, str]
"""Name inside the zip, content, and one line that says what it is."""


@dataclass(frozen=True)
class ExportFormat:
    """One way to take a run away.

    Attributes:
        key: stable name, such as "coco".
        title: for people.
        summary: one sentence: what it is for.
        files: writes the format's files.
    """

    key: str
    title: str
    summary: str
    files: Callable[[ExportedRun], Iterator[NamedFile]]


def _masks(run: ExportedRun) -> Iterator[NamedFile]:
    for mask in run.masks:
        yield f"masks/{mask.stem}.png", mask_png(mask.mask), f"mask of {mask.phrase!r} by {mask.strategy}"


def _cut_outs(run: ExportedRun) -> Iterator[NamedFile]:
    for mask in run.masks:
        name = f"cut-outs/{mask.stem}.png"
        yield name, cut_out_png(run.image, mask.mask), f"{mask.phrase!r} cut out by the mask of {mask.strategy}"


def _coco(run: ExportedRun) -> Iterator[NamedFile]:
    for key in run.answered:
        yield f"coco-{key}.json", _json(coco_dict(run, key)), f"COCO data set with the masks of {key}"


def _sa1b(run: ExportedRun) -> Iterator[NamedFile]:
    for key in run.answered:
        yield f"sa1b-{key}.json", _json(sa1b_dict(run, key)), f"annotations like those of SA-1B, by {key}"


def _label_studio(run: ExportedRun) -> Iterator[NamedFile]:
    yield "label-studio.json", _json(label_studio_tasks(run)), "Label Studio task with brush predictions"
    yield "label-studio.xml", label_studio_config(run).encode(), "the labelling set-up that fits the task"


def _labelme(run: ExportedRun) -> Iterator[NamedFile]:
    for key in run.answered:
        yield f"labelme-{key}.json", _json(labelme_dict(run, key)), f"labelme polygons of the masks of {key}"


def _arrays(run: ExportedRun) -> Iterator[NamedFile]:
    for key in run.answered:
        numbers = (
            "mask logits, candidates" if _has_mask_logits(run, key) else "candidates (mask logits left out: large)"
        )
        yield f"arrays-{key}.npz", npz_bytes(run, key), f"{numbers} and attention of {key}"


def _result(run: ExportedRun) -> Iterator[NamedFile]:
    content = result_dict(run.image, "; ".join(run.phrases), run.suite, run.results, run.reference)
    yield RESULT_NAME, json_bytes(content), "everything each strategy answered"


def _image(run: ExportedRun) -> Iterator[NamedFile]:
    yield IMAGE_NAME, png_bytes(run.image), "the image as the strategies saw it"


FORMATS: Final[Mapping[str, ExportFormat]] = MappingProxyType(
    {
        each.key: each
        for each in (
            ExportFormat("masks", "PNG masks", "White on black, without loss.", _masks),
            ExportFormat("cut-outs", "Cut-outs", "The image, transparent outside the mask.", _cut_outs),
            ExportFormat("coco", "COCO RLE", "For pycocotools and most training code.", _coco),
            ExportFormat("label-studio", "Label Studio", "Brush predictions to import and correct.", _label_studio),
            ExportFormat("labelme", "labelme", "Polygons to open beside the image and correct.", _labelme),
            ExportFormat("sa1b", "SA-1B style", "The fields of Segment Anything's own data set.", _sa1b),
            ExportFormat("arrays", "NumPy arrays", "Logits, SAM's candidates and attention, for numpy.load.", _arrays),
            ExportFormat("result", "result.json", "Everything each strategy answered.", _result),
            ExportFormat("image", "Image", "The decoded image that the other files refer to.", _image),
        )
    }
)


def export_files(run: ExportedRun, *keys: str) -> Iterator[NamedFile]:
    """Write formats, file by file.

    Raises:
        ConfigurationError: there is no such format, the message lists the choices; or there is too much in them.
    """
    for key in keys:
        if key not in FORMATS:
            raise ConfigurationError(unknown_name("export format", key, tuple(FORMATS)))
    nbytes = 0
    for name, content, what in chain.from_iterable(FORMATS[key].files(run) for key in keys):
        nbytes += len(content)
        if nbytes > LARGEST_EXPORT:
            raise ConfigurationError(
                "expected at most {most} MB of files at a time, but there are more; ask fewer phrases, or take formats "
                "one by one",
                most=LARGEST_EXPORT // 1_000_000,
            )
        yield name, content, what


def bundle_files(run: ExportedRun) -> Iterator[tuple[str, bytes]]:
    """Write all formats, file by file, and manifest.json, which lists them; equal runs make equal bytes.

    Raises:
        ConfigurationError: there is too much in them.
    """
    listed = []
    for file in export_files(run, *FORMATS):
        listed.append(listed_file(*file))
        yield file[:2]
    yield MANIFEST_NAME, json_bytes(manifest_dict(run, listed))


def write_format(directory: Path, run: ExportedRun, key: str) -> Path:
    """Write one format as a file to download: the file itself, or a zip where the format has several.

    Raises:
        ConfigurationError: there is no such format, it is too large, the run has nothing in it, or the file cannot be
            written.
    """
    files = export_files(run, key)
    first, second = next(files, None), next(files, None)
    if first is None:
        raise ConfigurationError("there is nothing to write as {title}: no strategy answered", title=FORMATS[key].title)
    if second is None:
        return write_whole(directory / Path(first[0]).name, first[1])
    several = chain((first, second), files)
    return write_whole_zip(directory / f"{key}.zip", ((name, content) for name, content, _ in several))


def write_bundle(directory: Path, run: ExportedRun) -> Path:
    """Write the zip of all formats.

    Raises:
        ConfigurationError: the file cannot be written, or is too large.
    """
    return write_whole_zip(directory / BUNDLE_NAME, bundle_files(run))


def _json(content: object) -> bytes:
    return json_bytes(as_json_value(content))


def cut_out_png(image: RgbImage, mask: Mask) -> bytes:
    """Encode the image as a PNG that is transparent outside the mask, with nothing of the image left there.

    Raises:
        GeometryError: the mask has another size than the image.
    """
    if mask.shape != image.shape[:2]:
        raise GeometryError(
            "expected a mask of the image's size {size}, got {shape}", size=image.shape[:2], shape=mask.shape
        )
    return png_bytes(np.dstack([image * mask[..., None], mask.astype(np.uint8) * 255]))


def npz_bytes(run: ExportedRun, strategy: str) -> bytes:
    """Write the numbers behind one strategy's masks; read them with `numpy.load`.

    For every phrase, from 1: `mask_logits_1` (H, W) float32, unless all would take more than `MOST_LOGITS`, and
    `mask_1` (H, W) bool. Where SAM was asked: `low_res_logits_1_1` (M, 4h, 4w) float32 and `pred_ious_1_1` (M,); the
    second number is the prompt's. Where there is attention: `attention_1` (L, A, S, S) float16, `patch_grid_1` (h, w)
    and `text_tokens_1`, texts.
    """
    has_logits = _has_mask_logits(run, strategy)
    arrays = (entry for mask in run.masks_of(strategy) for entry in _numbers_behind(mask, has_logits=has_logits))
    return zip_bytes((f"{name}.npy", npy_bytes(values)) for name, values in arrays)


def _has_mask_logits(run: ExportedRun, strategy: str) -> bool:
    height, width = run.size
    return len(run.masks_of(strategy)) * height * width * 4 <= MOST_LOGITS


def _numbers_behind(mask: ExportedMask, *, has_logits: bool) -> Iterator[tuple[str, NDArray[np.generic]]]:
    number, segmentation = mask.number, mask.segmentation
    if has_logits:
        yield f"mask_logits_{number}", segmentation.mask_logits.float().cpu().numpy()
    yield f"mask_{number}", mask.mask
    for place, prediction in enumerate(segmentation.predictions, start=1):
        yield f"low_res_logits_{number}_{place}", prediction.low_res_logits.float().cpu().numpy()
        yield f"pred_ious_{number}_{place}", prediction.pred_ious.float().cpu().numpy()
    attention = segmentation.attention
    if attention is not None:
        # Half precision: the published model has 24 layers of 16 heads, 70 MB a phrase in single precision.
        yield f"attention_{number}", attention.probabilities.cpu().numpy().astype(np.float16)
        yield f"patch_grid_{number}", np.array(attention.patch_grid)
        yield f"text_tokens_{number}", np.array(attention.text_tokens, dtype=np.str_)
