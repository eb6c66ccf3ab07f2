"""The formats a run can be taken away in, one by one or all in one zip."""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from evfsam.errors import ConfigurationError
from workbench.export.annotations import coco_dict, label_studio_config, label_studio_tasks, labelme_dict, sa1b_dict
from workbench.export.arrays import npz_bytes
from workbench.export.exported_run import IMAGE_NAME, ExportedRun
from workbench.export.files import as_json_value, json_bytes, write_whole
from workbench.export.manifest import MANIFEST_NAME, manifest_dict
from workbench.export.pictures import cut_out_png, mask_png
from workbench.export.results import RESULT_NAME, png_bytes, result_dict
from workbench.suites.registry import unknown_name

BUNDLE_NAME: Final = "take-away.zip"
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)

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
        if (mask.raw != mask.mask).any():
            yield f"masks/{mask.stem}-raw.png", mask_png(mask.raw), f"the same as {mask.strategy} answered it"


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
        yield f"arrays-{key}.npz", npz_bytes(run, key), f"mask logits, candidates and attention of {key}"


def _result(run: ExportedRun) -> Iterator[NamedFile]:
    content = result_dict(run.image, "; ".join(run.phrases), run.suite, run.results, run.reference)
    yield RESULT_NAME, json_bytes(content), "everything each strategy answered, before finishing"


def _image(run: ExportedRun) -> Iterator[NamedFile]:
    yield IMAGE_NAME, png_bytes(run.image), "the image as the strategies saw it"


FORMATS: Final[Mapping[str, ExportFormat]] = MappingProxyType(
    {
        each.key: each
        for each in (
            ExportFormat("masks", "PNG masks", "White on black, without loss; raw and finished ones.", _masks),
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


def export_files(run: ExportedRun, key: str) -> list[NamedFile]:
    """Write one format.

    Raises:
        ConfigurationError: there is no such format; the message lists the choices.
    """
    if key not in FORMATS:
        raise ConfigurationError(unknown_name("export format", key, tuple(FORMATS)))
    return list(FORMATS[key].files(run))


def bundle_bytes(run: ExportedRun) -> bytes:
    """Write all formats and manifest.json, which lists them, into one zip; equal runs make equal bytes."""
    files = [file for key in FORMATS for file in export_files(run, key)]
    manifest = json_bytes(manifest_dict(run, files))
    return _zip([(MANIFEST_NAME, manifest, ""), *files])


def write_format(directory: Path, run: ExportedRun, key: str) -> Path:
    """Write one format as a file to download: the file itself, or a zip where the format has several.

    Raises:
        ConfigurationError: there is no such format, the run has nothing in it, or the file cannot be written.
    """
    files = export_files(run, key)
    if not files:
        raise ConfigurationError(f"there is nothing to write as {FORMATS[key].title}: no strategy answered")
    if len(files) == 1:
        name, content, _ = files[0]
        return write_whole(directory / Path(name).name, content)
    return write_whole(directory / f"{key}.zip", _zip(files))


def write_bundle(directory: Path, run: ExportedRun) -> Path:
    """Write the zip of all formats.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    return write_whole(directory / BUNDLE_NAME, bundle_bytes(run))


def _zip(files: Sequence[NamedFile]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, _ in files:
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _json(content: object) -> bytes:
    return json_bytes(as_json_value(content))
