"""Image files opened within bounds, as the picture that their metadata says; what a decoder raises is told in words."""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from evfsam.errors import EvfSamError, ImageFormatError, Sentence
from evfsam.image_checks import check_png, check_png_colours, check_tiff

MAX_PIXELS: Final = 64_000_000
MAX_SIDE: Final = 16_384
DEEPEST_VALUE: Final = 65_535

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_READABLE: Final = Sentence("use a PNG, JPEG, WebP, BMP, TIFF, still GIF or PPM file")
# Fields of TIFF 6.0: NewSubfileType, SubfileType, BitsPerSample, PhotometricInterpretation, ExtraSamples, SampleFormat.
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 254, 255, 258, 262, 338, 339
_SIGNED: Final = 2
_REDUCED_OR_MASK: Final = 0b101
_REDUCED_BY_OLD_NAME: Final = 2
_WHITE_IS_ZERO: Final = 0
_DECLARED_ALPHA: Final = frozenset({1, 2})
_AS_IT_LIES: Final = 1
"""EXIF's orientation of a picture that is not to be turned."""
_MOST_PAGES: Final = 64
"""TIFF pages that are looked at; a pyramid of overviews has a dozen."""


@contextmanager
def opened_picture(source: str | Path | bytes | BinaryIO) -> Iterator[Image.Image]:
    """Open an image file at its one picture; its header is read and its size checked, nothing is decoded.

    Overviews and masks beside the picture of a TIFF are no pictures of their own. Animations and files of many pages
    are refused: nothing is guessed. What goes wrong while the picture is in use is told in words too.

    Args:
        source: path, the file's bytes, or an open binary file.

    Raises:
        ImageFormatError: no such file, empty, not an image, damaged, animated, or larger than 64 megapixels or
            16,384 pixels a side.
    """
    with _opened(source) as file, image_errors_in_words():
        if not file.read(1):
            raise ImageFormatError("expected an image, got an empty file of 0 bytes; {readable}", readable=_READABLE)
        file.seek(0)
        with Image.open(file, formats=_FORMATS) as picture:
            check_size(*picture.size)
            _turn_to_the_picture(picture)
            check_size(*picture.size)
            _check_bytes(file, picture)
            yield picture


def as_shown(picture: Image.Image) -> Image.Image:
    """Return a picture as viewers show it: white where its file says so, opaque where nothing is said, upright.

    Returns:
        A picture of the same mode, decoded; one of 16 bits with values from 0, black, to 65,535, white.

    Raises:
        ImageFormatError: a grey is beyond 16 bits, or below 0.
    """
    fields = _tiff_fields(picture)  # turning a picture makes one without them
    may_lack_alpha = picture.format == "BMP" or (
        picture.format == "TIFF" and fields.get(_EXTRA_SAMPLES) not in _DECLARED_ALPHA
    )
    if fields.get(_SAMPLE_FORMAT) == _SIGNED and not picture.mode.startswith("I"):
        raise ImageFormatError("expected grey values or colours from 0 up, got signed ones; save the image unsigned")
    shown = _upright(picture)
    if shown.mode.startswith("I"):
        return _deep_grey(shown, fields)
    if may_lack_alpha and shown.mode == "RGBA" and shown.getchannel("A").getextrema() == (0, 0):
        shown = shown.copy()
        shown.putalpha(255)  # screenshots as BMP, some TIFF: a field that nobody filled in
    return shown


def check_size(width: int, height: int) -> None:
    """Refuse a size in pixels that is not worked with.

    Raises:
        ImageFormatError: it is beyond the bounds, or nothing.
    """
    if min(width, height) < 1:
        raise ImageFormatError(
            "expected an image of at least 1 x 1 pixel, got {width} x {height}", width=width, height=height
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageFormatError(
            "expected an image of at most {most} megapixels and {side} pixels a side, got {width} x {height}; "
            "shrink it first",
            most=MAX_PIXELS // 10**6,
            side=MAX_SIDE,
            width=width,
            height=height,
        )


@contextmanager
def image_errors_in_words() -> Iterator[None]:
    """Say in plain words what Pillow found wrong with a file, whatever it raises.

    Raises:
        ImageFormatError: in place of every error that is not one of ours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oversized and of odd files: both are judged here
            yield
    except EvfSamError:
        raise
    except Image.DecompressionBombError as err:
        raise ImageFormatError(
            "expected an image of at most {most} megapixels, got a far larger one; shrink it first",
            most=MAX_PIXELS // 10**6,
        ) from err
    except UnidentifiedImageError as err:
        raise ImageFormatError(
            "expected an image, but this file is not one that can be read; {readable}", readable=_READABLE
        ) from err
    except Exception as err:  # damaged files make decoders raise nearly anything, TypeError and KeyError among them
        raise ImageFormatError(
            "expected a whole image, but the file is damaged or cut short ({reason}); save it again", reason=err
        ) from err


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            with path.open("rb") as file:
                yield file
        except FileNotFoundError as err:
            raise ImageFormatError(
                "expected an image file, but there is no file {path}; check the path", path=path
            ) from err
        except (OSError, ValueError) as err:
            raise ImageFormatError(
                "expected a readable image file, but {path} is not one: {reason}", path=path, reason=err
            ) from err
    elif isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        yield io.BytesIO(source.read())


def _check_bytes(file: BinaryIO, picture: Image.Image) -> None:
    """Hold a file to the sums and lengths that it keeps of its own pixels, and to colours that can be shown."""
    if picture.format == "PNG":
        check_png(file)
        check_png_colours(file)
    elif picture.format == "TIFF":
        check_tiff(file, getattr(picture, "tag_v2", {}))


def _turn_to_the_picture(picture: Image.Image) -> None:
    """Turn to the page that is the picture; refuse several."""
    count = int(getattr(picture, "n_frames", 1))
    # A phone's MPO is one photograph with previews behind it, not an animation.
    if count == 1 or picture.format == "MPO":
        return
    if picture.format == "TIFF" and count <= _MOST_PAGES:
        pages = [page for page in range(count) if _is_a_picture(picture, page)]
        if len(pages) == 1:
            picture.seek(pages[0])
            return
        count = len(pages) or count
    raise ImageFormatError("expected a still image, got {frames} frames; save one of them as PNG", frames=count)


def _is_a_picture(picture: Image.Image, page: int) -> bool:
    """Whether a page of a TIFF is more than an overview or a mask of another one."""
    picture.seek(page)
    fields = _tiff_fields(picture)
    is_reduced = fields.get(_SUBFILE_TYPE) == _REDUCED_BY_OLD_NAME
    return not (is_reduced or int(fields.get(_NEW_SUBFILE_TYPE, 0)) & _REDUCED_OR_MASK)


def _tiff_fields(picture: Image.Image) -> dict[int, int]:
    """The whole numbers among the fields of a TIFF, the first of each; nothing for other files."""
    known = getattr(picture, "tag_v2", {})
    first = {key: values[0] if isinstance(values, tuple) and values else values for key, values in known.items()}
    return {key: value for key, value in first.items() if isinstance(value, int)}


def _deep_grey(picture: Image.Image, fields: Mapping[int, int]) -> Image.Image:
    """Bring one channel of up to 16 bits to 0..65,535, from black to white."""
    values = np.asarray(picture)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > DEEPEST_VALUE:
        raise ImageFormatError(
            "expected grey values of at most 16 bits, 0 to {most}, got {least} to {largest}; save the image with "
            "8 or 16 bits",
            most=DEEPEST_VALUE,
            least=lowest,
            largest=highest,
        )
    bits = fields.get(_BITS, 16)
    if bits < 16:
        values = _rescaled(values, 2**bits - 1, DEEPEST_VALUE)
    if fields.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns it round for 8 bits and fewer alone
        values = DEEPEST_VALUE - values.astype(np.int64)
    shown = Image.fromarray(values.astype(np.uint16))
    shown.info = picture.info  # its value that stands for transparency, in files that are never rescaled
    return shown


def to_8_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Bring values of 16 bits to 8, rounded."""
    return _rescaled(values, DEEPEST_VALUE, 255).astype(np.uint8)


def _rescaled(values: NDArray[np.generic], old: int, new: int) -> NDArray[np.int64]:
    return (values.astype(np.int64) * new + old // 2) // old


def _upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF rotation, with a copy only where there is one; a broken EXIF block turns nothing."""
    picture.load()
    try:
        is_upright = picture.getexif().get(ExifTags.Base.Orientation, _AS_IT_LIES) == _AS_IT_LIES
        return picture if is_upright else ImageOps.exif_transpose(picture)
    except Exception:  # as with pixels, decoders raise nearly anything on damage
        return picture
