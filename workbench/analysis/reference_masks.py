"""Read a known mask from an uploaded picture of any sensible form or from brush strokes, and measure answers by it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.errors import GeometryError, ImageFormatError, Sentence
from evfsam.image_files import DEEPEST_VALUE, as_shown, opened_picture
from workbench.comparison import StrategyResult
from workbench.metrics.masks import IGNORED_LABEL, Mask, MeanTally, ReferenceMask, Tally, boundary_f

_LEAST_COLOUR: Final = 32
_FEW: Final = 20
"""Grey values that a picture of labels may have; soft edges have more."""


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
    out. A few grey values from 0 on, none of them bright, are labels: all above 0 are the object, and 255 beside them
    is left out. Of two grey values the brighter is the object, of more all pixels at least half as bright as can be;
    in colour, all that are not black. What could be several objects, or none, is refused.

    Args:
        source: path or bytes of the file.
        size: (H, W) of the image that the mask is for.
        is_inverted: whether to swap object and background afterwards.

    Raises:
        ImageFormatError: the file is no picture that can be read, or none that says where one object is.
        GeometryError: it has another size than the image; the message says how they differ.
    """
    with opened_picture(source) as opened:
        picture = as_shown(opened)
        check_reference_size((picture.height, picture.width), size)
        mask, reading = _read(picture)
    if is_inverted:
        mask = ~mask if mask.dtype == np.bool_ else np.where(mask == IGNORED_LABEL, mask, 1 - mask)
        reading = Sentence("{reading}; then swapped with the background", reading=reading)
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
            raise GeometryError(
                "expected layers (h, w, 4) with their alpha, got {shape}; draw the mask again", shape=layer.shape
            )
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
        hint = Sentence("it seems to be turned by 90 degrees; turn it back")
    elif abs(got[0] * expected[1] - got[1] * expected[0]) <= max(*got, *expected):
        factor = got[0] / expected[0]
        hint = Sentence(
            "it has the same shape at {factor:.3g} times the size; scale it without smoothing", factor=factor
        )
    else:
        hint = Sentence("its shape differs, so it may be of another image; choose the mask of this one")
    raise GeometryError(
        "expected a mask of the image's size, {width} x {height} pixels (width x height), got {got_width} x "
        "{got_height}: {hint}",
        width=expected[1],
        height=expected[0],
        got_width=got[1],
        got_height=got[0],
        hint=hint,
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
        # Masks that are all empty, and should be, agree.
        key: ReferenceFigures(
            1.0 if tally.ciou is None else tally.ciou, tally.giou or 0.0, outlines[key].mean or 0.0, tally.count
        )
        for key, tally in regions.items()
    }


def _read(picture: Image.Image) -> tuple[ReferenceMask, str]:
    if picture.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in picture.info:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if alpha.min() != alpha.max():
            return alpha > alpha.max() // 2, "the object is where the picture is not transparent"
    if picture.mode == "1":
        return np.asarray(picture), "the object is white"
    if picture.mode == "P":
        return _from_indices(np.asarray(picture))
    if picture.mode in ("L", "LA", "La"):
        return _from_grey(np.asarray(picture.getchannel(0)))
    if picture.mode.startswith("I"):
        return _from_grey(np.asarray(picture))
    return _from_colours(np.asarray(picture.convert("RGB")))


def _from_indices(indices: NDArray[np.uint8]) -> tuple[ReferenceMask, str]:
    if (indices == IGNORED_LABEL).any() and np.any((indices > 0) & (indices < IGNORED_LABEL)):
        return _labelled(indices), "the object is every palette index above 0; index 255 is left out of the count"
    return indices > 0, "the object is every palette index above 0"


def _from_grey(values: NDArray[np.integer]) -> tuple[ReferenceMask, str]:
    levels, counts = np.unique(values, return_counts=True)
    half = (IGNORED_LABEL if levels[-1] <= IGNORED_LABEL else DEEPEST_VALUE) // 2
    if levels.tolist() == [0, 1, IGNORED_LABEL]:
        return _labelled(values), "the object is grey value 1; value 255 is left out of the count"
    if levels[-1] <= 1:
        return values == 1, "the object is grey value 1"
    if len(levels) == 2:
        is_told_apart_by_half = levels[0] <= half < levels[1]
        if is_told_apart_by_half:
            return values == levels[1], "the object is every pixel at least half as bright as white"
        return values == levels[1], "the object is the brighter grey value"
    if _are_labels(levels, counts, half):
        if levels[-1] == IGNORED_LABEL:
            return _labelled(values), "the object is every grey value above 0; value 255 is left out of the count"
        return values > 0, "the object is every grey value above 0"
    _check_one_object(levels, counts, half)
    return values > half, "the object is every pixel at least half as bright as white"


def _labelled(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.where(values == IGNORED_LABEL, IGNORED_LABEL, values > 0).astype(np.uint8)


def _are_labels(levels: NDArray[np.integer], counts: NDArray[np.intp], half: int) -> bool:
    """Whether a few grey values are numbers of things: 0, dark ones, and perhaps 255 for what is left out."""
    if levels[0] != 0 or not 3 <= len(levels) <= _FEW:
        return False
    if levels[-1] <= half:
        return True
    # A soft or compressed edge has dark values too, but fewer pixels than the white object.
    return bool(levels[-1] == IGNORED_LABEL and levels[-2] <= _FEW and counts[1:-1].sum() > counts[-1])


def _check_one_object(levels: NDArray[np.integer], counts: NDArray[np.intp], half: int) -> None:
    is_dark, is_bright = (levels > 0) & (levels <= half), levels > half
    is_uniform = not is_bright.any() or (is_bright.all() and len(levels) > 1)
    may_be_several = len(levels) <= _FEW and 2 * counts[is_dark].sum() > counts[is_bright].sum()
    if is_uniform or may_be_several:
        raise ImageFormatError(
            "expected a mask of one object, white on black, got {levels} grey values from {least} to {most}; "
            "save the object white and all else black",
            levels=len(levels),
            least=levels[0],
            most=levels[-1],
        )


def _from_colours(pixels: NDArray[np.uint8]) -> tuple[ReferenceMask, str]:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return _from_grey(red)
    return pixels.max(axis=2) >= _LEAST_COLOUR, "the object is every pixel that is not black"
