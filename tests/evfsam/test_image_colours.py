"""Colours are those that the file's profile or gamma means, as viewers show them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from evfsam.errors import ImageFormatError
from evfsam.preprocess import load_image

COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[200, 30, 40], [128, 128, 128], [7, 90, 250]]], np.uint8)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def profile(gamma: float, columns: tuple[tuple[float, ...], ...], space: bytes = b"RGB ") -> bytes:
    """A display profile (ICC.1): a matrix from its primaries to XYZ at D50, and a gamma for each."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = [(b"wtpt", b"XYZ " + bytes(4) + s15(0.9642) + s15(1.0) + s15(0.8249))]
    if space == b"GRAY":
        tags.append((b"kTRC", curve))
    else:
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
            tags.append((name, b"XYZ " + bytes(4) + b"".join(map(s15, column))))
        tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", place + len(body), bytes(4), 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + s15(0.9642) + s15(1.0) + s15(0.8249)
    return head.ljust(128, b"\0") + table + body


SRGB_COLUMNS = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))
SWAPPED = profile(2.2, SRGB_COLUMNS[::-1])
"""Says that red is blue and blue red: whoever passes it over shows the wrong colours."""


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_that_swaps_red_and_blue_is_followed(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    loaded = load_image(saved(Image.fromarray(COLOURS), kind, icc_profile=SWAPPED, **options))
    np.testing.assert_allclose(loaded.astype(int), COLOURS[..., ::-1], atol=6)


def test_what_is_transparent_stays_so_and_a_palette_has_a_profile_too() -> None:
    layered = Image.fromarray(np.dstack([COLOURS, np.array([[255, 0, 255], [255, 255, 255]], np.uint8)]))
    loaded = load_image(saved(layered, icc_profile=SWAPPED))
    np.testing.assert_allclose(loaded[0], [[0, 0, 255], [255, 255, 255], [255, 0, 0]], atol=6)
    palette = Image.fromarray(COLOURS).quantize(8)
    np.testing.assert_allclose(load_image(saved(palette, icc_profile=SWAPPED)).astype(int), COLOURS[..., ::-1], atol=8)


def test_sixteen_bits_and_grey_follow_a_profile_of_grey() -> None:
    linear = profile(1.0, (), b"GRAY")
    for values in (np.array([[0, 55, 255]], np.uint8), np.array([[0, 55 * 257, 65535]], np.uint16)):
        loaded = load_image(saved(Image.fromarray(values), icc_profile=linear))
        # 55 of 255 parts of the light are shown as 1.055 x 0.2157 ^ (1 / 2.4) - 0.055 = 0.5017, 128 of 255.
        np.testing.assert_allclose(loaded[0, :, 0].astype(int), [0, 128, 255], atol=2)


@pytest.mark.parametrize(
    "given",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        profile(2.2, SRGB_COLUMNS)[:200],
        b"no profile",
        profile(1.0, (), b"GRAY"),
    ],
    ids=["sRGB", "cut short", "something else", "of grey"],
)
def test_srgb_and_what_is_no_profile_of_these_colours_change_nothing(given: bytes) -> None:
    np.testing.assert_array_equal(load_image(saved(Image.fromarray(COLOURS), icc_profile=given)), COLOURS)


def with_chunk(name: bytes, body: bytes, picture: Image.Image) -> bytes:
    whole = saved(picture)
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return whole[:33] + chunk + whole[33:]


@pytest.mark.parametrize(("transfer", "words"), [(16, r"\(PQ\)"), (18, r"\(HLG\)"), (13, ""), (1, "")])
def test_a_picture_of_high_dynamic_range_is_not_shown_as_srgb(transfer: int, words: str) -> None:
    content = with_chunk(b"cICP", bytes([9, transfer, 0, 1]), Image.fromarray(COLOURS))
    if words:
        with pytest.raises(ImageFormatError, match=f"high dynamic range {words}; save it as sRGB"):
            load_image(content)
    else:
        np.testing.assert_array_equal(load_image(content), COLOURS)


@pytest.mark.parametrize(
    ("gamma", "expected"), [(1.0, [0, 128, 255]), (0.45455, [0, 55, 255]), (0.0, [0, 55, 255]), (2e4, [0, 55, 255])]
)
def test_the_gamma_of_a_png_is_followed_where_it_is_another_than_usual(gamma: float, expected: list[int]) -> None:
    told = struct.pack(">I", round(gamma * 100_000))
    for values in (np.array([[0, 55, 255]], np.uint8), np.dstack([np.array([[0, 55, 255]], np.uint8)] * 3)):
        loaded = load_image(with_chunk(b"gAMA", told, Image.fromarray(values)))
        np.testing.assert_allclose(loaded[0, :, 1].astype(int), expected, atol=1)
