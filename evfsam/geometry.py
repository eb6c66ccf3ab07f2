"""Frames: how an original image lies in SAM's square input, and the way there and back for points, boxes and masks.

Everything here is pure. Coordinates are continuous pixels: pixel (0, 0) covers 0..1, its centre is at 0.5.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from evfsam.errors import GeometryError

BoxXyxy = tuple[float, float, float, float]
"""(x1, y1, x2, y2) in pixels of the original image; pixel (0, 0) covers 0..1."""


@dataclass(frozen=True)
class Frame:
    """An image scaled into the top-left of a square, or stretched over the whole of it.

    Attributes:
        original_size, input_size: (H, W) of the image, and of the part of the square that it fills.
        target: side of the square, pixels.
        is_stretched: whether the aspect was given up, as SAM-2 and EfficientSAM do; their logits go to the original
            size in one step, SAM's by way of the square.
    """

    original_size: tuple[int, int]
    input_size: tuple[int, int]
    target: int
    is_stretched: bool = False

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Input pixels an original pixel, along x and along y; equal but for rounding unless `is_stretched`."""
        return self.input_size[1] / self.original_size[1], self.input_size[0] / self.original_size[0]

    def points_to_input(self, points: torch.Tensor) -> torch.Tensor:
        """Map (..., 2) XY from original pixels to input pixels."""
        return points * points.new_tensor(self.scale_xy)

    def box_to_input(self, box: BoxXyxy) -> BoxXyxy:
        """Map a box from original pixels to input pixels."""
        scale_x, scale_y = self.scale_xy
        return box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y


def longest_side_frame(original_size: tuple[int, int], target: int) -> Frame:
    """Scale an image so that its longer side becomes `target`, keeping its aspect.

    A side is rounded half up, as in SAM, but never falls to 0: SAM's own rule turns 1 x 4000 into 0 x 1024.

    Args:
        original_size: (H, W), both at least 1.
        target: side of the square input, pixels.

    Raises:
        GeometryError: a side is below 1.

    Source:
        SAM, arXiv:2304.02643, appendix A (input of the image encoder).
    """
    if min(*original_size, target) < 1:
        raise GeometryError(
            "expected sides of at least 1 pixel, got an image {size} and target {target}",
            size=original_size,
            target=target,
        )
    scale = target / max(original_size)
    height, width = (max(1, int(side * scale + 0.5)) for side in original_size)
    return Frame(original_size=original_size, input_size=(height, width), target=target)


def stretched_frame(original_size: tuple[int, int], target: int) -> Frame:
    """Scale both sides of an image to `target`, whatever its aspect.

    Args:
        original_size: (H, W), both at least 1.
        target: side of the square input, pixels.

    Raises:
        GeometryError: a side is below 1.

    Source:
        SAM 2, arXiv:2408.00714, appendix D.1 (inputs of 1024 x 1024).
    """
    if min(*original_size, target) < 1:
        raise GeometryError(
            "expected sides of at least 1 pixel, got an image {size} and target {target}",
            size=original_size,
            target=target,
        )
    return Frame(original_size=original_size, input_size=(target, target), target=target, is_stretched=True)


def pad_to_square(pixels: torch.Tensor, target: int) -> torch.Tensor:
    """Append zeros at the right and the bottom of (..., h, w).

    Returns:
        (..., target, target).

    Raises:
        GeometryError: the input is larger than the square.
    """
    height, width = pixels.shape[-2:]
    if max(height, width) > target:
        raise GeometryError(
            "expected an image of at most {most} pixels a side, got {size}; resize it first",
            most=target,
            size=(height, width),
        )
    return F.pad(pixels, (0, target - width, 0, target - height))


def upsample_logits(low_res_logits: torch.Tensor, frame: Frame) -> torch.Tensor:
    """Upsample decoder logits to the original image and drop the padding.

    Args:
        low_res_logits: (B, M, 4h, 4w), unbounded; the decision border is 0.
        frame: where the image lies in SAM's input.

    Returns:
        (B, M, H, W) float32 logits at `frame.original_size`; not thresholded.

    Raises:
        GeometryError: the logits do not have four axes.

    Source:
        SAM, arXiv:2304.02643, mask decoder.
    """
    if low_res_logits.ndim != 4:
        raise GeometryError("expected logits (B, M, 4h, 4w), got {shape}", shape=tuple(low_res_logits.shape))
    logits = within_square(low_res_logits, frame)
    if logits.shape[-2:] == frame.original_size:
        return logits.clone(memory_format=torch.contiguous_format)  # equal to the last bit, and sooner
    return F.interpolate(logits, frame.original_size, mode="bilinear", align_corners=False)


def within_square(low_res_logits: torch.Tensor, frame: Frame) -> torch.Tensor:
    """Return the part of a decoder's logits that the image fills: SAM's at the size of its square, others as they are.

    Args:
        low_res_logits: (B, M, 4h, 4w).
        frame: where the image lies in SAM's input.

    Returns:
        (B, M, h', w') float32, whose stretching to the original size is all that is left to do.
    """
    if frame.is_stretched:
        return low_res_logits.float()
    square = (frame.target, frame.target)
    logits = F.interpolate(low_res_logits.float(), square, mode="bilinear", align_corners=False)
    return logits[..., : frame.input_size[0], : frame.input_size[1]]


def check_point(x: float, y: float, original_size: tuple[int, int]) -> None:
    """Refuse a point outside the image.

    Raises:
        GeometryError: the point is not finite or lies outside 0..W, 0..H.
    """
    height, width = original_size
    if not (0 <= x <= width and 0 <= y <= height):
        raise GeometryError(
            "expected a point inside the {width} x {height} image, got ({x}, {y})", width=width, height=height, x=x, y=y
        )


def check_box(box: BoxXyxy, original_size: tuple[int, int]) -> None:
    """Refuse a box that is empty or leaves the image.

    Raises:
        GeometryError: a corner is not finite or outside the image, or x1 >= x2, or y1 >= y2.
    """
    height, width = original_size
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise GeometryError(
            "expected a box x1 < x2, y1 < y2 inside the {width} x {height} image, got {box}; clip or drop it",
            width=width,
            height=height,
            box=tuple(box),
        )
