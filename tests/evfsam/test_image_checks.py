"""Damage that a file's own sums and lengths show is told, and never becomes a picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from evfsam import image_checks
from evfsam.errors import ImageFormatError
from evfsam.preprocess import load_image

PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 30, 3), dtype=np.uint8))
DEFLATED = {"compression": "tiff_adobe_deflate"}


def file_bytes(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "palette", "mask", "TIFF"])
def test_one_changed_bit_is_told_where_the_file_has_sums(kind: str) -> None:
    shown = {"palette": PICTURE.convert("P"), "mask": PICTURE.convert("1")}.get(kind, PICTURE)
    whole = file_bytes(shown, "TIFF", **DEFLATED) if kind == "TIFF" else file_bytes(shown, "PNG")
    load_image(whole)
    first = 8 + 25 + 8 if kind != "TIFF" else 16
    for place in np.linspace(first, len(whole) - 200, 12).astype(int):
        broken = bytearray(whole)
        broken[place] ^= 4
        with pytest.raises(ImageFormatError, match=r"damaged or cut short|not one that can be read"):
            load_image(bytes(broken))


def test_a_chunk_that_decides_no_pixel_may_be_damaged() -> None:
    whole = file_bytes(PICTURE, "PNG")
    text = b"tEXtComment\0x"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text) ^ 1)
    np.testing.assert_array_equal(load_image(whole[:-12] + chunk + whole[-12:]), np.asarray(PICTURE))


def tiff(planes: int, strips: list[bytes], rows: int, compression: int = 1) -> bytes:
    """An RGB TIFF of 4 x 4 pixels in strips, one sample after the other or `planes` of them apart."""
    body = b"".join(strips)
    starts = np.cumsum([8, *map(len, strips[:-1])])
    arrays = struct.pack(f"<{len(strips)}I", *starts) + struct.pack(f"<{len(strips)}I", *map(len, strips))
    end = 8 + len(body)
    after = (end, end + 4 * len(strips)) if len(strips) > 1 else (starts[0], len(strips[0]))
    fields = [
        (256, 3, 1, 4),
        (257, 3, 1, 4),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 2 if planes else 1),
        (273, 4, len(strips), after[0]),
        (277, 3, 1, 3 if planes else 1),
        (278, 3, 1, rows),
        (279, 4, len(strips), after[1]),
        *([(284, 3, 1, 2)] if planes else []),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, count, int(value)) for tag, kind, count, value in fields)
    end += len(arrays)
    return b"II*\0" + struct.pack("<I", end) + body + arrays + struct.pack("<H", len(fields)) + entries + bytes(4)


def test_a_tiff_that_lacks_strips_is_told() -> None:
    strips = [bytes(range(start, start + 8)) for start in (0, 8)]
    np.testing.assert_array_equal(load_image(tiff(0, strips, 2))[..., 0], np.arange(16).reshape(4, 4))
    with pytest.raises(ImageFormatError, match="1 of its 2 parts are there"):
        load_image(tiff(0, strips[:1], 2))


def test_a_strip_behind_the_end_is_told() -> None:
    packed = [zlib.compress(bytes(8)), zlib.compress(bytes(8))]
    content = tiff(0, packed, 2, compression=8)
    load_image(content)
    place = 8 + sum(map(len, packed)) + 4
    moved = content[:place] + struct.pack("<I", len(content) - 3) + content[place + 4 :]
    with pytest.raises(ImageFormatError, match="a part of it lies behind its end"):
        load_image(moved)


def test_strips_that_lie_one_on_another_are_not_unpacked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = []
    real = image_checks._checked_zlib

    def counted(content: bytes, most: int) -> int:
        unpacked.append(real(content, most))
        return unpacked[-1]

    monkeypatch.setattr(image_checks, "_checked_zlib", counted)
    bomb = zlib.compress(bytes(50_000_000))
    content = tiff(0, [bomb, zlib.compress(bytes(4))], 1, compression=8)
    place = 8 + len(bomb) + len(zlib.compress(bytes(4)))
    with pytest.raises(ImageFormatError):
        load_image(content[: place + 4] + struct.pack("<I", 8) + content[place + 8 :])
    load_image(file_bytes(PICTURE, "TIFF", **DEFLATED))
    assert max(unpacked) <= 2**20 + 40 * 30 * 3


def test_tiles_planes_and_pages_are_counted_as_they_are() -> None:
    for options in ({"compression": "tiff_lzw"}, DEFLATED, {"compression": "packbits"}, {}):
        np.testing.assert_array_equal(load_image(file_bytes(PICTURE, "TIFF", **options)), np.asarray(PICTURE))
    tiled = file_bytes(PICTURE, "TIFF", tiffinfo={322: 16, 323: 16}, compression="tiff_lzw")
    np.testing.assert_array_equal(load_image(tiled), np.asarray(PICTURE))
    with pytest.raises(ImageFormatError, match="of its 3 parts are there"):
        load_image(tiff(3, [bytes(16), bytes(16)], 4))
