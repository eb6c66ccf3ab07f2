"""From a file or array to RGB, and from RGB to what each model sees: the only means and deviations in the project."""

import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.nn import functional as F

from evfsam.errors import ImageFormatError, PhraseError
from evfsam.geometry import Frame, longest_side_frame, pad_to_square, stretched_frame
from evfsam.types import RgbImage

MAX_PIXELS: Final = 64_000_000
MAX_SIDE: Final = 16_384
MAX_PHRASE_LENGTH: Final = 1_000
_DEEPEST_VALUE: Final = 65_535
MAX_PHRASES: Final = 16
"""Phrases that one request may hold; bounds the memory of a batch."""
PHRASE_SEPARATOR: Final = ";"

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_READABLE: Final = "use a PNG, JPEG, WebP, BMP, TIFF, still GIF or PPM file"
SAM_MEAN: Final = (123.675, 116.28, 103.53)
SAM_STD: Final = (58.395, 57.12, 57.375)
BEIT3_MEAN: Final = (0.5, 0.5, 0.5)
BEIT3_STD: Final = (0.5, 0.5, 0.5)
CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)


def check_phrase(phrase: str) -> str:
    """Return the phrase without surrounding white space.

    Raises:
        PhraseError: it is not text, is empty, or has more than 1,000 characters.
    """
    if not isinstance(phrase, str):
        raise PhraseError(f"expected a phrase as text, got {type(phrase).__name__}; type what to segment")
    stripped = phrase.strip()
    if not stripped:
        raise PhraseError("expected a phrase, got an empty one; type what to segment, such as 'the dog on the left'")
    if len(stripped) > MAX_PHRASE_LENGTH:
        raise PhraseError(f"expected at most {MAX_PHRASE_LENGTH} characters, got {len(stripped)}; shorten the phrase")
    return stripped


def split_phrases(request: str) -> tuple[str, ...]:
    """Split a request into its phrases at each ";"; empty parts and repetitions are dropped.

    Returns:
        One phrase or more, checked, in their order.

    Raises:
        PhraseError: it is not text, no phrase is left, one is too long, or there are more than 16.
    """
    if not isinstance(request, str):
        return (check_phrase(request),)
    parts = [part for part in request.split(PHRASE_SEPARATOR) if part.strip()]
    return check_phrases(tuple(dict.fromkeys(check_phrase(part) for part in parts or [""])))


def check_phrases(phrases: Sequence[str]) -> tuple[str, ...]:
    """Return phrases without surrounding white space.

    Raises:
        PhraseError: one is empty or too long, or there are none or more than 16.
    """
    if not 1 <= len(phrases) <= MAX_PHRASES:
        raise PhraseError(f"expected 1 to {MAX_PHRASES} phrases in one request, got {len(phrases)}; ask for fewer")
    return tuple(check_phrase(phrase) for phrase in phrases)


def load_image(source: str | Path | bytes | BinaryIO) -> RgbImage:
    """Read an image file as RGB, upright, with transparency over white.

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
    with _opened(source) as file, _plain_errors():
        if not file.read(1):
            raise ImageFormatError(f"expected an image, got an empty file of 0 bytes; {_READABLE}")
        file.seek(0)
        with Image.open(file, formats=_FORMATS) as picture:
            _check_size(*picture.size)
            # A phone's MPO is one photograph with previews behind it, not an animation.
            if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
                raise ImageFormatError(
                    f"expected a still image, got {getattr(picture, 'n_frames', 1)} frames; save one of them as PNG"
                )
            return _pil_to_rgb(picture)


def as_rgb(image: NDArray[np.generic] | Image.Image) -> RgbImage:
    """Turn a decoded picture into RGB: PIL in any mode, or a uint8 or uint16 array of 1, 3 or 4 channels.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ImageFormatError: the size, type or channel count does not fit.
    """
    if isinstance(image, Image.Image):
        _check_size(*image.size)
        with _plain_errors():
            return _pil_to_rgb(image)
    array = np.asarray(image)
    shape_fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype not in (np.uint8, np.uint16) or not shape_fits:
        raise ImageFormatError(
            f"expected a uint8 or uint16 array (H, W) or (H, W, 1, 3 or 4), got {array.dtype} {array.shape}; "
            "convert it to 0..255 first"
        )
    _check_size(array.shape[1], array.shape[0])
    pixels = _to_8_bit(array) if array.dtype == np.uint16 else array.astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 4:
        return _pil_to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


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
    unit = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    resized = F.interpolate(unit[None], (side, side), mode="bicubic", align_corners=False, antialias=antialias)[0]
    return _normalise(resized, BEIT3_MEAN, BEIT3_STD)


def clip_pixels(image: RgbImage, side: int) -> torch.Tensor:
    """Make CLIP's input: squashed to a square with PIL's bicubic filter, so that nothing at the rim is cropped away.

    Args:
        image: (H, W, 3) uint8.
        side: side of CLIP's square input, pixels.

    Returns:
        (3, side, side) float32.

    Source:
        CLIP, arXiv:2103.00020, section 2.4; we squash where the paper crops.
    """
    resized = np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return _normalise(torch.from_numpy(resized).permute(2, 0, 1).float() / 255, CLIP_MEAN, CLIP_STD)


def _normalise(pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            with path.open("rb") as file:
                yield file
        except FileNotFoundError as err:
            raise ImageFormatError(f"expected an image file, but there is no file {path}; check the path") from err
        except (PermissionError, IsADirectoryError, ValueError) as err:
            raise ImageFormatError(f"expected a readable image file, but {path} is not one: {err}") from err
    elif isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        yield io.BytesIO(source.read())


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say in plain words what Pillow found wrong with a file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except Image.DecompressionBombError as err:
        raise ImageFormatError(
            f"expected an image of at most {MAX_PIXELS // 10**6} megapixels, got a far larger one; shrink it first"
        ) from err
    except UnidentifiedImageError as err:
        raise ImageFormatError(f"expected an image, but this file is not one that can be read; {_READABLE}") from err
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError) as err:
        raise ImageFormatError(
            f"expected a whole image, but the file is damaged or cut short ({err}); save it again"
        ) from err


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise ImageFormatError(f"expected an image of at least 1 x 1 pixel, got {width} x {height}")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageFormatError(
            f"expected an image of at most {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE} pixels a side, "
            f"got {width} x {height}; shrink it first"
        )


def _pil_to_rgb(picture: Image.Image) -> RgbImage:
    picture = _upright(picture)
    if picture.mode == "F":
        raise ImageFormatError(
            "expected whole-number pixels, got floating-point ones; save the image with 8 or 16 bits"
        )
    if picture.mode.startswith("I"):
        picture = _deep_grey(picture)
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        picture.alpha_composite(layered)
    return np.array(picture.convert("RGB"))


def _deep_grey(picture: Image.Image) -> Image.Image:
    """Bring one channel of 16 bits to 8, keeping the value that stands for transparency."""
    values = np.asarray(picture)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > _DEEPEST_VALUE:
        raise ImageFormatError(
            f"expected grey values of at most 16 bits, 0 to {_DEEPEST_VALUE}, got {lowest} to {highest}; "
            "save the image with 8 or 16 bits"
        )
    grey = Image.fromarray(_to_8_bit(values))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF rotation; a broken EXIF block leaves the picture as it lies."""
    try:
        return ImageOps.exif_transpose(picture)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return picture


def _to_8_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return ((values.astype(np.int64) * 255 + _DEEPEST_VALUE // 2) // _DEEPEST_VALUE).astype(np.uint8)
