"""Pictures of agreement, each with the data of its legend. Stripes and numbers repeat what the colours say."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.errors import GeometryError, Sentence
from evfsam.types import RgbImage
from workbench.analysis.agreement import TwoWayRegions, VoteMap
from workbench.metrics.masks import Mask, contour
from workbench.pictures.colours import BLUE, HEAT_STOPS, ORANGE, WHITE, Colour, ramp

IGNORED_COLOUR: Final[Colour] = (90, 90, 90)
_TINT: Final = 0.7
_GREY_SHARE: Final = 0.6
"""The image behind is darkened to this share, so that every colour stands out."""
_STRIPES: Final = 40
"""Stripes over the longest side."""


@dataclass(frozen=True)
class LegendEntry:
    """One colour of a picture.

    Attributes:
        label: what it stands for.
        colour: as it is before it is mixed with the image.
        pixel_count: pixels of that kind.
        share: of the image, in [0, 1].
    """

    label: str
    colour: Colour
    pixel_count: int
    share: float


@dataclass(frozen=True, eq=False)
class LegendedPicture:
    """A picture and what its colours mean.

    Attributes:
        picture: (H, W, 3) uint8 at the image's size.
        legend: from the least to the most, or in the order of the regions.
    """

    picture: RgbImage
    legend: tuple[LegendEntry, ...]


def regions_picture(image: RgbImage, regions: TwoWayRegions, names: tuple[str, str]) -> LegendedPicture:
    """Draw only A in orange with rising stripes, only B in blue with falling ones, both in plain white.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        regions: of its size.
        names: of A and B, for the legend.

    Raises:
        GeometryError: the regions have another size than the image.
    """
    _check_size(image, regions.both)
    picture = _dark_grey(image)
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    width = max(2, max(image.shape[:2]) // _STRIPES)
    _tint(picture, regions.both, WHITE, solid=np.True_)
    _tint(picture, regions.only_a, ORANGE, solid=(rows + columns) % width < width // 2)
    _tint(picture, regions.only_b, BLUE, solid=(rows - columns) % width < width // 2)
    _tint(picture, regions.ignored, IGNORED_COLOUR, solid=np.True_)
    entries = [
        _entry(Sentence("only {who}", who=names[0]), ORANGE, regions.only_a),
        _entry(Sentence("only {who}", who=names[1]), BLUE, regions.only_b),
        _entry("both", WHITE, regions.both),
    ]
    if regions.ignored.any():
        entries.append(_entry("left out of every count", IGNORED_COLOUR, regions.ignored))
    return LegendedPicture(picture, tuple(entries))


def votes_picture(image: RgbImage, votes: VoteMap, strategy_count: int) -> LegendedPicture:
    """Draw how many strategies marked each pixel: the more the brighter, none as the darkened image.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        votes: (H, W) from `workbench.analysis.agreement.vote_map`.
        strategy_count: of those that voted, at least 1.

    Raises:
        GeometryError: the votes have another size than the image.
    """
    _check_size(image, votes)
    picture = _dark_grey(image)
    entries = [_entry(Sentence("{count} of {all}", count=0, all=strategy_count), (0, 0, 0), votes == 0)]
    for count in range(1, strategy_count + 1):
        marked = votes == count
        # The darkest of the scale is for nobody: one vote of many must still be seen.
        colour = _scale_colour(count / strategy_count)
        _tint(picture, marked, colour, solid=np.True_)
        picture[contour(votes >= count)] = colour
        entries.append(_entry(Sentence("{count} of {all}", count=int(count), all=strategy_count), colour, marked))
    return LegendedPicture(picture, tuple(entries))


def disagreement_layer(divided: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour where the strategies are divided, the more the brighter, and darken where they agree.

    Args:
        divided: (H, W) in [0, 1] from `workbench.analysis.agreement.disagreement_map`.

    Returns:
        (H, W, 4) uint8 RGBA, to be laid over the image.
    """
    layer = np.zeros((*divided.shape, 4), dtype=np.uint8)
    layer[..., 3] = round(255 * (1 - _GREY_SHARE))
    for level in np.unique(divided[divided > 0]):
        layer[divided == level] = (*_scale_colour(float(level)), round(255 * _TINT))
    return layer


def _scale_colour(share: float) -> Colour:
    red, green, blue = (round(float(part)) for part in ramp(np.array(0.25 + 0.75 * share), HEAT_STOPS))
    return red, green, blue


def _dark_grey(image: RgbImage) -> RgbImage:
    grey = np.asarray(Image.fromarray(image).convert("L"))
    dark = (grey * np.float32(_GREY_SHARE)).astype(np.uint8)
    return np.repeat(dark[..., None], 3, axis=2)


def _tint(picture: RgbImage, mask: Mask, colour: Colour, *, solid: NDArray[np.bool_] | np.bool_) -> None:
    """Colour a region of `picture` in place: fully where `solid`, half elsewhere."""
    rows, columns = np.nonzero(mask)
    where = np.broadcast_to(solid, mask.shape)[rows, columns]
    share = np.where(where, _TINT, _TINT / 2).astype(np.float32)[:, None]
    mixed = picture[rows, columns] * (1 - share) + np.asarray(colour, dtype=np.float32) * share
    picture[rows, columns] = np.rint(mixed).astype(np.uint8)


def _entry(label: str, colour: Colour, mask: Mask) -> LegendEntry:
    count = int(np.count_nonzero(mask))
    return LegendEntry(label, colour, count, count / mask.size)


def _check_size(image: RgbImage, values: NDArray[np.generic]) -> None:
    if values.shape != image.shape[:2]:
        raise GeometryError(
            "expected a map of the image's size {size}, got {shape}; masks and images are drawn at the original size",
            size=image.shape[:2],
            shape=values.shape,
        )
