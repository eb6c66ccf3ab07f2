"""Whether the bytes of an image file are there and unchanged, as far as the file keeps sums and lengths of them.

Pillow reads a PNG whose sums do not fit, a TIFF that lacks strips, and one whose strips are damaged without a word:
what it shows then is something else than was stored.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, BinaryIO, Final

from evfsam.errors import ImageFormatError, Sentence

_SUMMED: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
"""Chunks of a PNG that decide its pixels."""
_HEAD_BYTES: Final = 13
_DEEP_COLOUR: Final = bytes((16, 2))
"""Bits a sample and colour type of a PNG with red, green and blue of 16 bits."""
_HIGH_RANGE: Final = {16: "PQ", 18: "HLG"}
"""Transfer functions by their number in ITU-T H.273."""
_PIECE: Final = 2**20
# Fields of TIFF 6.0.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PLANAR = 256, 257, 258, 259, 277, 284
_STRIPS, _ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_SIDES: Final = ((_WIDTH, _TILE_WIDTH), (_HEIGHT, _TILE_HEIGHT))
_DEFLATE: Final = frozenset({8, 32946})
_SEPARATE_PLANES: Final = 2


def check_png(file: BinaryIO) -> None:
    """Hold the chunks of a PNG that decide its pixels to their sums; leaves the file where it stood.

    Raises:
        ImageFormatError: one does not fit.
    """
    with _kept_place(file):
        for name, length in _chunks(file):
            if name not in _SUMMED:
                continue
            found, told = _sum_of(file, name, length), file.read(4)
            if len(told) == 4 and found != int.from_bytes(told, "big"):  # what is cut off, the decoder tells
                raise _damaged(Sentence("the sum of a chunk {name} does not fit", name=name.decode("ascii")))


def check_png_colours(file: BinaryIO) -> None:
    """Refuse a PNG whose colours Pillow would show as others; leaves the file where it stood.

    It takes light of high dynamic range for sRGB, and halves samples of 16 bits before it looks which colour is clear.

    Raises:
        ImageFormatError: see above.
    """
    with _kept_place(file):
        before_pixels = takewhile(lambda chunk: chunk[0] != b"IDAT", _chunks(file))
        said = {name: file.read(min(length, _HEAD_BYTES)) for name, length in before_pixels}
    if said.get(b"IHDR", b"")[8:10] == _DEEP_COLOUR and b"tRNS" in said:
        raise ImageFormatError(
            "expected transparency as a channel of its own, got one colour of 16 bits that is transparent; save the "
            "image with an alpha channel"
        )
    if kind := _HIGH_RANGE.get(int.from_bytes(said.get(b"cICP", b"")[1:2], "big")):
        raise ImageFormatError(
            "expected colours of standard range, got a picture of high dynamic range ({kind}); save it as sRGB",
            kind=kind,
        )


def check_tiff(file: BinaryIO, fields: Mapping[int, Any]) -> None:
    """Hold the strips or tiles of a TIFF's page to their number, to the file's length, and to zlib's sums.

    Args:
        file: left where it stood.
        fields: of the page; tuples where there are several values.

    Raises:
        ImageFormatError: some are missing or damaged.
    """
    places, lengths = (
        _values(fields, tiled, plain) for tiled, plain in ((_TILES, _STRIPS), (_TILE_BYTES, _STRIP_BYTES))
    )
    expected = _part_count(fields)
    if len(places) < expected:
        raise _damaged(Sentence("{count} of its {expected} parts are there", count=len(places), expected=expected))
    left = _unpacked_bytes(fields) if fields.get(_COMPRESSION) in _DEFLATE else 0
    with _kept_place(file):
        end = file.seek(0, 2)
        for place, length in zip(places, lengths, strict=False):
            if place + length > end:
                raise _damaged(Sentence("a part of it lies behind its end"))
            if left > 0:  # strips may lie one on another, and be unpacked to more than there is
                file.seek(place)
                left -= _checked_zlib(file.read(length), left)


def _damaged(reason: str) -> ImageFormatError:
    return ImageFormatError(
        "expected a whole image, but the file is damaged or cut short ({reason}); save it again", reason=reason
    )


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and length of each chunk of a PNG, the file at its first byte."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        start = file.tell()
        yield name, length
        file.seek(start + length + 4)


def _sum_of(file: BinaryIO, name: bytes, length: int) -> int:
    found = zlib.crc32(name)
    while length > 0 and (piece := file.read(min(length, _PIECE))):
        found, length = zlib.crc32(piece, found), length - len(piece)
    return found


def _values(fields: Mapping[int, Any], *names: int) -> Sequence[int]:
    for name in names:
        if (found := fields.get(name)) is not None:
            return found if isinstance(found, tuple) else (found,)
    return ()


def _part_count(fields: Mapping[int, Any]) -> int:
    """How many strips or tiles a page is made of."""
    width, height = int(fields[_WIDTH]), int(fields[_HEIGHT])
    across, down = 1, min(int(fields.get(_ROWS, height)), height)
    if _TILES in fields:
        across, down = -(-width // int(fields[_TILE_WIDTH])), int(fields[_TILE_HEIGHT])
    planes = int(fields.get(_SAMPLES, 1)) if fields.get(_PLANAR) == _SEPARATE_PLANES else 1
    return across * -(-height // max(down, 1)) * planes


def _unpacked_bytes(fields: Mapping[int, Any]) -> int:
    """How many bytes the parts of a page make together, with room for the rims of tiles."""
    bits = max(_values(fields, _BITS), default=1) * int(fields.get(_SAMPLES, 1))
    sides = [int(fields[side]) + int(fields.get(tile, 0)) for side, tile in _SIDES]
    return -(-sides[0] * bits // 8) * sides[1]


def _checked_zlib(content: bytes, most: int) -> int:
    """Unpack what zlib packed up to some bytes, keep nothing, and return how many there were."""
    unpacking, unpacked = zlib.decompressobj(), 0
    try:
        while content and unpacked <= most:
            unpacked += len(unpacking.decompress(content, _PIECE))
            content = unpacking.unconsumed_tail
    except zlib.error as error:
        raise _damaged(str(error)) from error
    return unpacked


@contextmanager
def _kept_place(file: BinaryIO) -> Iterator[None]:
    place = file.tell()
    try:
        yield
    finally:
        file.seek(place)
