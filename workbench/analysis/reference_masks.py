"""Read a known mask from an uploaded picture of any sensible form or from brush strokes, and measure answers by it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from evfsam.errors import GeometryError
from evfsam.preprocess import load_image
from workbench.comparison import StrategyResult
from workbench.metrics.boundaries import boundary_f
from workbench.metrics.masks import IGNORED_LABEL, Mask, MeanTally, ReferenceMask, Tally

_HALF: Final = 128
_LABELS: Final = frozenset({0, 1, IGNORED_LABEL})


@dataclass(frozen=True, eq=False)
class UploadedMask:
    """A known mask and how it was read.

    Attributes:
        mask: (H, W) as `metrics.ReferenceMask`: bool, or labels where 255 is left out of every count.
        reading: one sentence: what was taken for the object.
    """

    mask: ReferenceMask
    reading: str


@dataclass(frozen=True)
class ReferenceFigures:
    """How well one strategy did on the masks known.

    Attributes:
        ciou, giou: in [0, 1]; of a single mask both are its IoU.
        boundary_f: mean F measure of the outlines, in [0, 1].
        count: masks measured.
    """

    ciou: float
    giou: float
    boundary_f: float
    count: int


def read_reference(source: str | Path | bytes, size: tuple[int, int], *, is_inverted: bool = False) -> UploadedMask:
    """Read a mask picture: 1-bit, grey of 8 or 16 bits, palette, colour, or the alpha of a cut-out.

    In order: an alpha that is not the same everywhere is the mask. In a palette, index 0 is background and 255 is left
    out. Grey values 0, 1 and 255 together are labels: 1 the object, 255 left out; 0 and 1 alone, the object. Else all
    pixels at least half as bright as can be are the object; in colour, all that are not black.

    Args:
        source: path or bytes of the file.
        size: (H, W) of the image that the mask is for.
        is_inverted: whether to swap object and background afterwards.

    Raises:
        ImageFormatError: the file is no picture that can be read.
        GeometryError: it has another size than the image; the message says how they differ.
    """
    load_image(source)  # its bounds and its plain words for broken files
    with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as opened:
        picture = ImageOps.exif_transpose(opened)
    check_reference_size((picture.height, picture.width), size)
    mask, reading = _read(picture)
    if is_inverted:
        mask = ~mask if mask.dtype == np.bool_ else np.where(mask == IGNORED_LABEL, mask, 1 - mask)
        reading = f"{reading}; then swapped with the background"
    return UploadedMask(mask, reading)


def drawn_mask(layers: Sequence[NDArray[np.uint8]], size: tuple[int, int]) -> Mask:
    """Join what was painted on transparent layers over the image, at the size at which the page shows it.

    Args:
        layers: (h, w, 4) uint8 RGBA each; a pixel counts as painted where a layer is at least half as opaque as its
            most opaque pixel, because the brush's rim is soft.
        size: (H, W) of the image; the strokes are stretched to it without smoothing.

    Returns:
        (H, W) bool.

    Raises:
        GeometryError: a layer is no RGBA picture, or nothing is painted.
    """
    painted: Mask = np.zeros(size, dtype=np.bool_)
    for layer in layers:
        if layer.ndim != 3 or layer.shape[2] != 4 or 0 in layer.shape:
            raise GeometryError(f"expected layers (h, w, 4) with their alpha, got {layer.shape}; draw the mask again")
        alpha = layer[..., 3]
        strokes = (alpha > 0) & (alpha >= alpha.max() / 2)
        painted |= np.asarray(Image.fromarray(strokes).resize(size[::-1], Image.Resampling.NEAREST))
    if not painted.any():
        raise GeometryError("expected a drawn object, got an empty drawing; paint over the object with the brush")
    return painted


def check_reference_size(got: tuple[int, int], expected: tuple[int, int]) -> None:
    """Compare a mask's (H, W) with the image's.

    Raises:
        GeometryError: they differ; the message says whether the mask is turned, scaled or of another shape.
    """
    if got == expected:
        return
    if got == expected[::-1]:
        hint = "it seems to be turned by 90 degrees; turn it back"
    elif abs(got[0] * expected[1] - got[1] * expected[0]) <= max(*got, *expected):
        factor = got[0] / expected[0]
        hint = f"it has the same shape at {factor:.3g} times the size; scale it without smoothing"
    else:
        hint = "its shape differs, so it may be of another image; choose the mask of this one"
    raise GeometryError(
        f"expected a mask of the image's size, {expected[1]} x {expected[0]} pixels (width x height), "
        f"got {got[1]} x {got[0]}: {hint}"
    )


def figures_against_references(
    results: Iterable[tuple[str, StrategyResult]], references: Mapping[str, ReferenceMask]
) -> dict[str, ReferenceFigures]:
    """Measure strategies over all phrases whose mask is known.

    Args:
        results: (phrase, answer) pairs; failed answers count as empty masks.
        references: by phrase.

    Returns:
        Figures by strategy key; strategies without a known mask are left out.

    Raises:
        GeometryError: a mask has another size than its reference.
    """
    regions: dict[str, Tally] = {}
    outlines: dict[str, MeanTally] = {}
    for phrase, result in results:
        if phrase not in references:
            continue
        mask, reference = result.segmentation.mask, references[phrase]
        regions[result.key] = regions.get(result.key, Tally()) + Tally.of(mask, reference)
        outlines[result.key] = outlines.get(result.key, MeanTally()) + MeanTally.of(boundary_f(mask, reference))
    return {
        key: ReferenceFigures(tally.ciou or 0.0, tally.giou or 0.0, outlines[key].mean or 0.0, tally.count)
        for key, tally in regions.items()
    }


def _read(picture: Image.Image) -> tuple[ReferenceMask, str]:
    if picture.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in picture.info:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if alpha.min() != alpha.max():
            return alpha >= _HALF, "the object is where the picture is not transparent"
    if picture.mode == "1":
        return np.asarray(picture), "the object is white"
    if picture.mode == "P":
        return _from_indices(np.asarray(picture))
    if picture.mode in ("L", "LA", "La"):
        return _from_grey(np.asarray(picture.getchannel(0)), 255)
    if picture.mode.startswith("I"):
        return _from_grey(np.asarray(picture), 65535)
    return _from_colours(np.asarray(picture.convert("RGB")))


def _from_indices(indices: NDArray[np.uint8]) -> tuple[ReferenceMask, str]:
    if (indices == IGNORED_LABEL).any() and np.any((indices > 0) & (indices < IGNORED_LABEL)):
        labels = np.where(indices == IGNORED_LABEL, IGNORED_LABEL, indices > 0).astype(np.uint8)
        return labels, "the object is every palette index above 0; index 255 is left out of the count"
    return indices > 0, "the object is every palette index above 0"


def _from_grey(values: NDArray[np.integer], brightest: int) -> tuple[ReferenceMask, str]:
    levels = frozenset(int(level) for level in np.unique(values))
    if levels == _LABELS:
        return values.astype(np.uint8), "the object is grey value 1; value 255 is left out of the count"
    if levels <= {0, 1}:
        return values == 1, "the object is grey value 1"
    mask: Mask = values > brightest // 2
    return mask, "the object is every pixel at least half as bright as white"


def _from_colours(pixels: NDArray[np.uint8]) -> tuple[ReferenceMask, str]:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return _from_grey(red, 255)
    return pixels.max(axis=2) >= _HALF // 4, "the object is every pixel that is not black"
