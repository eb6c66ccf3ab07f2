"""From a file or array to RGB, and from RGB to what each model sees: the only means and deviations in the project."""

from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from evfsam.errors import ImageFormatError
from evfsam.geometry import Frame, longest_side_frame, pad_to_square, stretched_frame
from evfsam.image_colours import as_srgb
from evfsam.image_files import as_shown, opened_picture, to_8_bit
from evfsam.types import RgbImage

SAM_MEAN: Final = (123.675, 116.28, 103.53)
SAM_STD: Final = (58.395, 57.12, 57.375)
BEIT3_MEAN: Final = (0.5, 0.5, 0.5)
BEIT3_STD: Final = (0.5, 0.5, 0.5)
_ROWS_READ: Final = 6
"""Rows of an image that may matter to a row of its bicubic copy."""
_WIDE: Final = 24
"""Columns of an image to one of its bicubic copy, from which on picking those that matter is faster."""
_ROWS_AT_ONCE: Final = 16
CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
LITE_MEAN: Final = (127 / 255,) * 3
"""Of EfficientNet-Lite, as its makers trained it."""
LITE_STD: Final = (128 / 255,) * 3


def load_image(source: str | Path | bytes | BinaryIO) -> RgbImage:
    """Read an image file as RGB in the colours that its profile means, upright, with transparency over white.

    The size is checked before anything is decoded. Pages and frames after the first are not guessed at: animated and
    many-page files are refused.

    Args:
        source: path, the file's bytes, or an open binary file.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageFormatError: no such file, empty, not an image, damaged, animated, or larger than 64 megapixels or
            16,384 pixels a side.
    """
    with opened_picture(source) as picture:
        return _pil_to_rgb(picture)


def sam_pixels(image: RgbImage, target: int) -> tuple[torch.Tensor, Frame]:
    """Make SAM's input: longest side to `target` with PIL's bilinear filter, normalised, then zero-padded.

    Args:
        image: (H, W, 3) uint8.
        target: side of SAM's square input, pixels.

    Returns:
        (3, target, target) float32 and the frame that leads back.

    Source:
        SAM, arXiv:2304.02643; parity: tests/parity/test_inputs.py.
    """
    frame = longest_side_frame((image.shape[0], image.shape[1]), target)
    height, width = frame.input_size
    resized = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(resized).permute(2, 0, 1).float()
    return pad_to_square(_normalise(pixels, SAM_MEAN, SAM_STD), target), frame


def stretched_pixels(
    image: RgbImage, target: int, resize: Literal["torch", "bilinear", "bicubic"] = "torch"
) -> tuple[torch.Tensor, Frame]:
    """Make the input of SAM-2 and EfficientSAM: both sides stretched to `target`, rounded to grey levels, normalised.

    Args:
        image: (H, W, 3) uint8.
        target: side of the square input, pixels.
        resize: the reference has three ways. "torch", of its single-image script and ours by default: bilinear without
            antialiasing. "bilinear", of its evaluation: PIL's filter, antialiased when it shrinks. "bicubic", of its
            video loader: PIL's filter.

    Returns:
        (3, target, target) float32 and the frame that leads back.

    Source:
        SAM 2, arXiv:2408.00714; EfficientSAM, arXiv:2312.00863; parity: tests/parity/test_inputs.py.
    """
    frame = stretched_frame((image.shape[0], image.shape[1]), target)
    if resize == "torch":
        levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        pixels = F.interpolate(levels, (target, target), mode="bilinear", align_corners=False, antialias=False)[0]
    else:
        filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        resized = np.array(Image.fromarray(image).resize((target, target), filters[resize]))
        pixels = torch.from_numpy(resized).permute(2, 0, 1)
    return _normalise(pixels.float(), SAM_MEAN, SAM_STD), frame


def beit3_pixels(image: RgbImage, side: int, *, antialias: bool = False) -> torch.Tensor:
    """Make BEiT-3's input: squashed to a square with bicubic weights, values left unclamped.

    Args:
        image: (H, W, 3) uint8.
        side: side of BEiT-3's square input, pixels.
        antialias: the reference's image scripts, its training and its evaluation do not antialias, and neither do we;
            its video script does under a recent torchvision, which True reproduces.

    Returns:
        (3, side, side) float32, about -1.3..1.4.

    Source:
        EVF-SAM, arXiv:2406.20076, section 4.1; parity: tests/parity/test_inputs.py.
    """
    if not antialias and image.shape[0] > _ROWS_READ * side:
        return _normalise(_few_rows_resized(image, side), BEIT3_MEAN, BEIT3_STD)
    unit = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    resized = F.interpolate(unit[None], (side, side), mode="bicubic", align_corners=False, antialias=antialias)[0]
    return _normalise(resized, BEIT3_MEAN, BEIT3_STD)


def _few_rows_resized(image: RgbImage, side: int) -> torch.Tensor:
    """Squash an image to (3, side, side) as one bicubic `interpolate` does, to the last bit, reading few of its rows.

    Without antialiasing four rows make a row of the result, however many lie between. They are squashed along x alone,
    put back in their places, and squashed along y; the weights of an axis that keeps its length are exactly 0 and 1.
    """
    height, width = image.shape[:2]
    rows = _that_matter(height, side)
    if width > _WIDE * side:
        narrow = _few_columns_narrowed(image, rows, side)
    else:
        unit = torch.from_numpy(image[rows]).permute(2, 0, 1).float() / 255
        narrow = F.interpolate(unit[None], (len(rows), side), mode="bicubic", align_corners=False)
    tall = narrow.new_zeros(1, 3, height, side)
    tall[:, :, torch.from_numpy(rows)] = narrow
    return F.interpolate(tall, (side, side), mode="bicubic", align_corners=False)[0]


def _few_columns_narrowed(image: RgbImage, rows: NDArray[np.int_], side: int) -> torch.Tensor:
    """Squash some rows along x to (1, 3, R, side), reading few columns: a few rows at a time, in one small canvas."""
    columns = _that_matter(image.shape[1], side)
    unit = torch.from_numpy(image[rows[:, None], columns]).permute(2, 0, 1).float() / 255
    canvas = unit.new_zeros(1, 3, _ROWS_AT_ONCE, image.shape[1])
    places, parts = torch.from_numpy(columns), []
    for part in unit.split(_ROWS_AT_ONCE, dim=1):
        count = part.shape[1]
        canvas[0, :, :count, places] = part
        parts.append(F.interpolate(canvas[:, :, :count], (count, side), mode="bicubic", align_corners=False))
    return torch.cat(parts, dim=2)


def _that_matter(length: int, side: int) -> NDArray[np.int_]:
    """Return the rows, or columns, that a bicubic copy of `side` pixels without antialiasing is made of."""
    first = np.floor((np.arange(side) + 0.5) * (length / side) - 0.5).astype(int)
    around = np.arange(_ROWS_READ) - _ROWS_READ // 2 + 1  # one more on either side, should a position be rounded
    return np.unique(np.clip(first[:, None] + around, 0, length - 1))


def clip_pixels(
    image: RgbImage, side: int, mean: tuple[float, ...] = CLIP_MEAN, std: tuple[float, ...] = CLIP_STD
) -> torch.Tensor:
    """Make CLIP's input: squashed to a square with PIL's bicubic filter, so that nothing at the rim is cropped away.

    Args:
        image: (H, W, 3) uint8.
        side: side of the square input, pixels.
        mean: of each channel as the encoder was trained, in 0..1; CLIP's by default.
        std: deviation of each channel, likewise.

    Returns:
        (3, side, side) float32.

    Source:
        CLIP, arXiv:2103.00020, section 2.4; we squash where the paper crops.
    """
    resized = np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return _normalise(torch.from_numpy(resized).permute(2, 0, 1).float() / 255, mean, std)


def _normalise(pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def _pil_to_rgb(picture: Image.Image) -> RgbImage:
    if picture.mode == "F":
        raise ImageFormatError(
            "expected whole-number pixels, got floating-point ones; save the image with 8 or 16 bits"
        )
    info = dict(picture.info)
    picture = as_shown(picture)
    if picture.mode.startswith("I"):
        picture = _shallow_grey(picture)
    picture = as_srgb(picture, info)
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        picture.alpha_composite(layered)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _shallow_grey(picture: Image.Image) -> Image.Image:
    """Bring one channel of 16 bits to 8, keeping the value that stands for transparency."""
    values = np.asarray(picture)
    grey = Image.fromarray(to_8_bit(values))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey
