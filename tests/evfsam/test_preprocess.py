import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evfsam.errors import ImageFormatError
from evfsam.preprocess import LITE_MEAN, LITE_STD, beit3_pixels, clip_pixels, load_image, sam_pixels
from tests.evfsam.tiny import noise_image


def file_bytes(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\1\0IDAT"
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_files_come_back_as_they_are(kind: str, tmp_path: Path) -> None:
    image = noise_image(5, 7)
    content = file_bytes(Image.fromarray(image), kind)
    path = tmp_path / "image"
    path.write_bytes(content)
    for source in (path, str(path), content, io.BytesIO(content)):
        np.testing.assert_array_equal(load_image(source), image)


# What a viewer does to the stored pixels, by the EXIF standard's orientation number.
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.swapaxes(stored, 0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.swapaxes(np.rot90(stored, 2), 0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", list(TURNS))
def test_every_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise_image(4, 9)
    loaded = load_image(file_bytes(Image.fromarray(image), kind, exif=exif, lossless=True))
    np.testing.assert_array_equal(loaded, TURNS[orientation](image))


def test_transparency_is_laid_over_white() -> None:
    pixels = np.zeros((2, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = 255
    loaded = load_image(file_bytes(Image.fromarray(pixels)))
    assert loaded[0].max() == 0
    assert loaded[1].min() == 255


def test_a_transparent_palette_colour_is_laid_over_white() -> None:
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    loaded = load_image(file_bytes(picture, transparency=0))
    np.testing.assert_array_equal(loaded, [[[255, 255, 255], [40, 50, 60]]])


def test_sixteen_bits_are_scaled_to_eight() -> None:
    values = np.array([[0, 257, 65535, 32768]], dtype=np.uint16)
    loaded = load_image(file_bytes(Image.fromarray(values)))
    np.testing.assert_array_equal(loaded[..., 0], [[0, 1, 255, 128]])
    assert loaded.shape == (1, 4, 3)


def deep_png(colour_type: int, *samples: int) -> bytes:
    """A PNG of one row with 16 bits a sample, which Pillow cannot write in colour."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    row = b"\0" + struct.pack(f">{len(samples)}H", *samples)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", len(samples) // channels, 1, 16, colour_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(row)),
        (b"IEND", b""),
    )
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (deep_png(2, 65535, 32896, 257, 0, 0, 0), [[255, 128, 1], [0, 0, 0]]),
        (deep_png(6, 65535, 32896, 257, 65535, 0, 0, 0, 0), [[255, 128, 1], [255, 255, 255]]),
        (deep_png(4, 32896, 65535, 0, 0), [[128, 128, 128], [255, 255, 255]]),
    ],
    ids=["colour", "colour and alpha", "grey and alpha"],
)
def test_sixteen_bits_a_channel_keep_colour_and_transparency(content: bytes, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(load_image(content), [expected])


def test_a_transparent_colour_of_sixteen_bits_is_refused_rather_than_looked_for_in_eight() -> None:
    whole = deep_png(2, 300, 300, 300, 1, 1, 1)
    told = b"tRNS" + struct.pack(">3H", 1, 1, 1)
    chunk = struct.pack(">I", 6) + told + struct.pack(">I", zlib.crc32(told))
    with pytest.raises(ImageFormatError, match="one colour of 16 bits that is transparent"):
        load_image(whole[:33] + chunk + whole[33:])


def test_a_transparent_grey_of_sixteen_bits_is_laid_over_white() -> None:
    values = np.array([[300, 0]], dtype=np.uint16)
    loaded = load_image(file_bytes(Image.fromarray(values), transparency=300))
    np.testing.assert_array_equal(loaded[0, :, 0], [255, 0])


def test_grey_with_alpha_is_laid_over_white() -> None:
    layered = Image.fromarray(np.array([[[40, 255], [40, 0], [0, 128]]], dtype=np.uint8), "LA")
    np.testing.assert_array_equal(load_image(file_bytes(layered))[0, :, 0], [40, 255, 127])


def test_a_palette_with_an_alpha_for_each_colour_is_laid_over_white() -> None:
    picture = Image.new("P", (3, 1), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60, 0, 0, 0])
    picture.putpixel((1, 0), 1)
    picture.putpixel((2, 0), 2)
    loaded = load_image(file_bytes(picture, transparency=bytes([0, 255, 128])))
    np.testing.assert_array_equal(loaded, [[[255, 255, 255], [40, 50, 60], [127, 127, 127]]])


def test_one_bit_pixels_are_black_and_white() -> None:
    values = np.array([[True, False, True]])
    np.testing.assert_array_equal(load_image(file_bytes(Image.fromarray(values)))[0, :, 0], [255, 0, 255])


def test_cmyk_keeps_its_colours() -> None:
    inks = Image.new("RGB", (16, 16), (200, 30, 40)).convert("CMYK")
    for content in (file_bytes(inks, "TIFF"), file_bytes(inks, "JPEG", quality=95)):
        np.testing.assert_allclose(load_image(content)[8, 8], [200, 30, 40], atol=3)


@pytest.mark.parametrize(("photometric", "expected"), [(1, [0, 128, 255]), (0, [255, 127, 0])])
def test_white_is_what_the_file_says_it_is(photometric: int, expected: list[int]) -> None:
    for values in (np.array([[0, 32896, 65535]], np.uint16), np.array([[0, 128, 255]], np.uint8)):
        # Pillow writes no white-is-zero with its values turned round; what is stored stays the same.
        content = tiff_of(values, photometric)
        np.testing.assert_array_equal(load_image(content)[0, :, 0], expected)


def tiff_of(values: np.ndarray, photometric: int, bits: int | None = None) -> bytes:
    """A grey TIFF of one strip, little-endian, with its pixels as they are given."""
    height, width = values.shape
    body = values.tobytes() if bits is None else packed_12(values)
    fields = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, bits or values.itemsize * 8),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 3, height),
        (279, 4, len(body)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in fields)
    directory = struct.pack("<H", len(fields)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def packed_12(values: np.ndarray) -> bytes:
    """Rows of an even number of values, three bytes for two."""
    return b"".join(
        bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
        for first, second in values.reshape(-1, 2).tolist()
    )


def test_twelve_bits_are_as_bright_as_eight() -> None:
    values = np.array([[0, 4095, 2048, 1024]], dtype=np.uint16)
    np.testing.assert_array_equal(load_image(tiff_of(values, 1, bits=12))[0, :, 0], [0, 255, 128, 64])


def pages(*pages_and_kinds: tuple[Image.Image, int | None]) -> bytes:
    """A TIFF of pages, each with its NewSubfileType."""
    (first, kind), *others = pages_and_kinds
    for picture, its_kind in others:
        picture.encoderinfo = {"tiffinfo": {} if its_kind is None else {254: its_kind}}
    options = {} if kind is None else {"tiffinfo": {254: kind}}
    return file_bytes(first, "TIFF", save_all=True, append_images=[each for each, _ in others], **options)


def test_overviews_and_masks_beside_the_picture_of_a_tiff_are_no_pictures() -> None:
    image = noise_image(8, 12)
    picture, small, mask = Image.fromarray(image), Image.new("RGB", (6, 4)), Image.new("1", (12, 8), 1)
    for content in (
        pages((picture, None), (small, 1), (mask, 4), (small, 5)),
        pages((small, 1), (picture, 0)),
    ):
        np.testing.assert_array_equal(load_image(content), image)
    with pytest.raises(ImageFormatError, match="still image, got 2 frames"):
        load_image(pages((picture, 0), (small, 1), (picture, 2)))


def test_the_page_that_is_the_picture_is_held_to_the_bounds() -> None:
    large = Image.new("1", (16_385, 2))
    with pytest.raises(ImageFormatError, match="16384 pixels a side, got 16385 x 2"):
        load_image(pages((Image.new("1", (6, 4)), 1), (large, 0)))


def screenshot_bmp(alpha: int) -> bytes:
    """A BMP with a V4 header that names an alpha channel, two pixels of one red."""
    pixels = bytes([30, 30, 200, alpha, 30, 30, 200, 0])
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks + b"\0" * 52
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


def test_an_alpha_that_nobody_filled_in_hides_nothing() -> None:
    np.testing.assert_array_equal(load_image(screenshot_bmp(0)), [[[200, 30, 30], [200, 30, 30]]])
    np.testing.assert_array_equal(load_image(screenshot_bmp(255)), [[[200, 30, 30], [255, 255, 255]]])
    layered = Image.fromarray(np.array([[[200, 30, 30, 0]]], dtype=np.uint8))
    assert load_image(file_bytes(layered)).min() == 255, "a PNG is transparent where it says so"


@pytest.mark.parametrize("error", [TypeError, KeyError, AssertionError, RecursionError, MemoryError, SystemError])
def test_whatever_a_decoder_raises_is_told_in_words(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error("inside the decoder")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", broken)
    with pytest.raises(ImageFormatError, match=r"damaged or cut short \(.*inside the decoder"):
        load_image(file_bytes(Image.new("RGB", (4, 4))))


def test_floating_point_pixels_are_refused() -> None:
    content = file_bytes(Image.new("F", (6, 4), 0.5), "TIFF")
    with pytest.raises(ImageFormatError, match="whole-number pixels, got floating-point ones; save the image"):
        load_image(content)


@pytest.mark.parametrize(("value", "found"), [(70_000, "got 0 to 70000"), (-5, "got -5 to 0")])
def test_grey_beyond_sixteen_bits_is_refused_rather_than_clipped(value: int, found: str) -> None:
    values = np.array([[0, value]], dtype=np.int32)
    with pytest.raises(ImageFormatError, match=f"at most 16 bits, 0 to 65535, {found}; save the image"):
        load_image(file_bytes(Image.fromarray(values), "TIFF"))


def test_signed_pixels_are_refused_rather_than_wrapped() -> None:
    unsigned = tiff_of(np.array([[156, 100]], np.uint8), 1)
    signed = unsigned.replace(struct.pack("<HHII", 278, 3, 1, 1), struct.pack("<HHII", 339, 3, 1, 2))
    assert load_image(unsigned)[0, 0, 0] == 156
    with pytest.raises(ImageFormatError, match="from 0 up, got signed ones"):
        load_image(signed)


def test_a_gif_of_one_frame_is_a_still_image() -> None:
    loaded = load_image(file_bytes(Image.new("RGB", (5, 3), "red"), "GIF"))
    np.testing.assert_array_equal(loaded, np.full((3, 5, 3), (255, 0, 0), dtype=np.uint8))


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF")])
def test_other_modes_become_rgb(mode: str, kind: str) -> None:
    loaded = load_image(file_bytes(Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode), kind))
    assert loaded.shape == (4, 6, 3)
    assert loaded.dtype == np.uint8
    assert loaded.min() >= 250


def test_an_empty_file_is_named_so() -> None:
    with pytest.raises(ImageFormatError, match="empty file of 0 bytes"):
        load_image(b"")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageFormatError, match=r"there is no file .*absent\.png"):
        load_image(tmp_path / "absent.png")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFormatError, match="is not one"):
        load_image(tmp_path)


@pytest.mark.parametrize("content", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x00" * 100])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageFormatError, match="not one that can be read; use a PNG"):
        load_image(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    content = file_bytes(Image.fromarray(noise_image(64, 64)), kind)
    with pytest.raises(ImageFormatError, match=r"damaged or cut short|not one that can be read"):
        load_image(content[: len(content) // 2])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_are_refused(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    content = file_bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFormatError, match="still image, got 3 frames"):
        load_image(content)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (30_000, 30_000, "at most 64 megapixels"),
        (16_385, 1, "16384 pixels a side, got 16385 x 1"),
        (8_001, 8_000, "got 8001 x 8000"),
        (10_000, 10_000, "got 10000 x 10000"),
    ],
)
def test_the_size_is_refused_before_decoding(width: int, height: int, message: str) -> None:
    with pytest.raises(ImageFormatError, match=message):
        load_image(png_header(width, height))


def test_sam_pads_with_zeros_after_normalising() -> None:
    pixels, frame = sam_pixels(np.full((10, 20, 3), 255, dtype=np.uint8), 64)
    assert frame.input_size == (32, 64)
    torch.testing.assert_close(pixels[0, :32], torch.full((32, 64), (255 - 123.675) / 58.395))
    assert pixels[:, 32:].eq(0).all()


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (1, 1)])
def test_extreme_shapes_are_prepared(size: tuple[int, int]) -> None:
    image = noise_image(*size)
    assert sam_pixels(image, 64)[0].isfinite().all()
    assert beit3_pixels(image, 32).isfinite().all()


def test_beit3_sees_the_whole_image_squashed() -> None:
    image = np.zeros((8, 64, 3), dtype=np.uint8)
    image[:, 32:] = 255
    pixels = beit3_pixels(image, 32)
    torch.testing.assert_close(pixels[:, :, :12], torch.full((3, 32, 12), -1.0))
    torch.testing.assert_close(pixels[:, :, 20:], torch.full((3, 32, 12), 1.0))


@pytest.mark.parametrize(("level", "expected"), [(0, -127 / 128), (127, 0.0), (255, 1.0)])
def test_frozen_convolutions_see_levels_less_127_over_128(level: int, expected: float) -> None:
    pixels = clip_pixels(np.full((4, 4, 3), level, np.uint8), 4, LITE_MEAN, LITE_STD)
    torch.testing.assert_close(pixels, torch.full((3, 4, 4), expected), atol=1e-6, rtol=0)


def test_clip_sees_the_whole_image_squashed_and_smoothed() -> None:
    image = np.zeros((8, 64, 3), dtype=np.uint8)
    image[:, 32:] = 255
    pixels = clip_pixels(image, 32)
    black = torch.tensor([-0.48145466 / 0.26862954, -0.4578275 / 0.26130258, -0.40821073 / 0.27577711])
    torch.testing.assert_close(pixels[:, 3, 0], black)
    torch.testing.assert_close(pixels[0, :, 31], torch.full((32,), (1 - 0.48145466) / 0.26862954))
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert clip_pixels(stripes, 16).flatten(1).std(dim=1).max() < 0.1


@pytest.mark.parametrize("size", [(193, 50), (500, 700), (1201, 33), (999, 2000)])
def test_beit3_reads_few_rows_of_a_large_image_and_gets_the_same_to_the_last_bit(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    unit = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    whole = torch.nn.functional.interpolate(unit[None], (32, 32), mode="bicubic", align_corners=False)[0]
    assert torch.equal(beit3_pixels(image, 32), (whole - 0.5) / 0.5)
