"""How a model family writes a place in the image, and the way from there to pixels.

A family has exactly one convention. A number outside its range is a fault that is reported: rescaling it, or trying a
second convention, is how a wrong box goes unnoticed. A box that leaves the range by a little is cut to it, which moves
no other number.
"""

from dataclasses import dataclass
from typing import Literal

from evfsam.errors import ConfigurationError, Sentence
from evfsam.types import BoxXyxy

SpokenBox = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in a convention's own units, whatever order they were written in."""

SpokenPoint = tuple[int, int]
"""(x, y) in a convention's own units."""

Unit = Literal["relative", "pixels", "bins"]
AxisOrder = Literal["xy", "yx"]

_BIN_CENTRE = 0.5
_LITTLE = 0.05
_PATCH = 28
"""Pixels of what such families resize to multiples of: one more or less is a matter of rounding, not of units."""


@dataclass(frozen=True)
class CoordinateGrid:
    """A convention applied to one image.

    Attributes:
        size: (H, W) of the original image, pixels.
        spans: (x, y): units that make up the whole width and the whole height.
        largest: (x, y): the largest numbers that may be written; the smallest is 0.
        offset: what a written number means beyond itself, in units: half a bin, or nothing.
        order: how the numbers are written.
        range_words: the range for a person, such as "0..1000 of relative coordinates".
        least_slack: units beyond the range that count as a little, where 5 % of it are fewer.
    """

    size: tuple[int, int]
    spans: tuple[int, int]
    largest: tuple[int, int]
    offset: float
    order: AxisOrder
    range_words: str
    least_slack: int = 0

    def in_xy(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return written numbers in x, y order."""
        if self.order == "xy":
            return values
        return tuple(values[index + 1 - 2 * (index % 2)] for index in range(len(values)))

    def holds(self, values: tuple[int, ...]) -> bool:
        """Tell whether numbers in x, y order keep to the range."""
        return all(0 <= value <= self.largest[index % 2] for index, value in enumerate(values))

    def clipped(self, values: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return numbers in x, y order cut to the range; None where one leaves it by more than a little."""
        slacks = [max(_LITTLE * largest, self.least_slack) for largest in self.largest]
        if any(not -slacks[i % 2] <= value <= self.largest[i % 2] + slacks[i % 2] for i, value in enumerate(values)):
            return None
        return tuple(min(max(value, 0), self.largest[index % 2]) for index, value in enumerate(values))

    def pixel_point(self, point: tuple[float, float]) -> tuple[float, float]:
        """Turn a point into XY pixels of the original image."""
        height, width = self.size
        return (
            (point[0] + self.offset) * width / self.spans[0],
            (point[1] + self.offset) * height / self.spans[1],
        )

    def pixel_box(self, box: SpokenBox) -> BoxXyxy:
        """Turn a box into XYXY pixels of the original image."""
        return (*self.pixel_point(box[:2]), *self.pixel_point(box[2:]))

    def written(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return numbers in x, y order as the family writes them: in its order, within its range."""
        return self.in_xy(tuple(min(max(value, 0), self.largest[index % 2]) for index, value in enumerate(values)))


@dataclass(frozen=True)
class CoordinateConvention:
    """A family's way of writing places.

    Attributes:
        unit: "relative" numbers 0..`steps` of width and height; "pixels" of the image as the processor resized it;
            "bins" 0..`steps` - 1, of which each stands for its centre.
        order: whether x or y is written first.
        steps: of relative numbers and bins.
    """

    unit: Unit = "relative"
    order: AxisOrder = "xy"
    steps: int = 1000

    def grid(self, size: tuple[int, int], resized_size: tuple[int, int] | None = None) -> CoordinateGrid:
        """Apply the convention to an image.

        Args:
            size: (H, W) of the original image.
            resized_size: (H, W) of the image as the processor resized it; needed for "pixels" alone.

        Raises:
            ConfigurationError: the convention counts pixels and the resized size is not known.
        """
        if self.unit == "relative":
            words = Sentence("0..{last} of relative coordinates", last=self.steps)
            return CoordinateGrid(size, (self.steps,) * 2, (self.steps,) * 2, 0.0, self.order, words)
        if self.unit == "bins":
            words = Sentence("0..{last} of location bins", last=self.steps - 1)
            return CoordinateGrid(size, (self.steps,) * 2, (self.steps - 1,) * 2, _BIN_CENTRE, self.order, words)
        if resized_size is None:
            raise ConfigurationError(
                "the dialect counts pixels of the resized image, but the processor tells no such size; "
                "choose the dialect of this model's family"
            )
        height, width = resized_size
        words = Sentence(
            "0..{width} x 0..{height} pixels (x, y) of the image as the processor resized it",
            width=width,
            height=height,
        )
        return CoordinateGrid(size, (width, height), (width, height), 0.0, self.order, words, _PATCH)
