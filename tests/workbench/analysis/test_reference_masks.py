"""A known mask is read from any sensible picture, and told in words where it does not fit."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evfsam.errors import GeometryError, ImageFormatError
from evfsam.types import Segmentation, StrategyCard, Verdict
from workbench.analysis.reference_masks import drawn_mask, figures_against_references, read_reference
from workbench.comparison import StrategyResult
from workbench.metrics.masks import boundary_f

WANTED = np.zeros((20, 30), dtype=bool)
WANTED[4:15, 6:20] = True
SIZE = WANTED.shape


def png(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def cut_out() -> Image.Image:
    pixels = np.full((*SIZE, 4), 77, dtype=np.uint8)
    pixels[..., 3] = WANTED * 255
    return Image.fromarray(pixels)


def palette(*, background: int = 0, wanted: int = 3) -> Image.Image:
    picture = Image.fromarray(np.where(WANTED, wanted, background).astype(np.uint8))
    picture.putpalette([90, 90, 90] * 256)
    return picture


def coloured() -> Image.Image:
    return Image.fromarray(np.where(WANTED[..., None], (200, 0, 30), 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (Image.fromarray(WANTED), "white"),
        (Image.fromarray(WANTED.astype(np.uint8) * 255), "half as bright"),
        (Image.fromarray(WANTED.astype(np.uint8)), "grey value 1"),
        (Image.fromarray(np.where(WANTED, 140, 100).astype(np.uint8)), "half as bright"),
        (Image.fromarray(WANTED.astype(np.uint16) * 65535), "half as bright"),
        (Image.fromarray(np.where(WANTED, 100, 0).astype(np.uint8)), "brighter grey value"),
        (Image.fromarray(np.where(WANTED, 255, 200).astype(np.uint8)), "brighter grey value"),
        (Image.fromarray(WANTED.astype(np.uint16) * 255), "half as bright"),
        (Image.fromarray(WANTED.astype(np.uint16) * 256), "brighter grey value"),
        (Image.fromarray(WANTED * (1 + np.arange(30) % 3).astype(np.uint8)), "every grey value above 0"),
        (palette(), "palette index above 0"),
        (cut_out(), "not transparent"),
        (Image.fromarray(WANTED.astype(np.uint8) * 255).convert("RGB"), "half as bright"),
        (Image.fromarray(WANTED.astype(np.uint8) * 255).convert("RGBA"), "half as bright"),
        (coloured(), "not black"),
    ],
)
def test_every_sensible_form_gives_the_same_mask(picture: Image.Image, words: str) -> None:
    uploaded = read_reference(png(picture), SIZE)
    assert uploaded.mask.dtype == np.bool_
    np.testing.assert_array_equal(uploaded.mask, WANTED)
    assert words in uploaded.reading


def test_a_cut_out_that_is_faint_everywhere_is_read_by_its_alpha() -> None:
    pixels = np.full((*SIZE, 4), 77, dtype=np.uint8)
    pixels[..., 3] = WANTED * 100
    np.testing.assert_array_equal(read_reference(png(Image.fromarray(pixels)), SIZE).mask, WANTED)


def test_grey_labels_of_several_things_leave_value_255_out() -> None:
    labels = WANTED * (1 + np.arange(30) % 3).astype(np.uint8)
    labels[0] = 255
    uploaded = read_reference(png(Image.fromarray(labels)), SIZE)
    expected = WANTED.astype(np.uint8)
    expected[0] = 255
    np.testing.assert_array_equal(uploaded.mask, expected)
    assert "255 is left out" in uploaded.reading


def test_soft_edges_are_cut_at_half() -> None:
    soft = np.where(WANTED, 255, 0).astype(np.uint8)
    soft[4, 6:20], soft[3, 6:20] = 200, 60
    np.testing.assert_array_equal(read_reference(png(Image.fromarray(soft)), SIZE).mask, WANTED)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(SIZE, 100), "got 1 grey values from 100 to 100"),
        (WANTED * (60 * (1 + np.arange(30) % 4)), "got 5 grey values from 0 to 240"),
        (np.arange(600).reshape(SIZE) % 120, "got 120 grey values from 0 to 119"),
    ],
    ids=["one grey", "several objects", "dark everywhere"],
)
def test_greys_that_tell_no_one_object_are_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(ImageFormatError, match=f"a mask of one object, white on black, {words}"):
        read_reference(png(Image.fromarray(values.astype(np.uint8))), SIZE)


def test_a_mask_whose_file_says_that_white_is_zero_is_read_so() -> None:
    stored = Image.fromarray(np.where(WANTED, 0, 65535).astype(np.uint16))
    buffer = io.BytesIO()
    stored.save(buffer, "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(read_reference(buffer.getvalue(), SIZE).mask, WANTED)


@pytest.mark.parametrize("kind", ["grey", "palette"])
def test_value_255_beside_labels_is_left_out(kind: str) -> None:
    labels = WANTED.astype(np.uint8)
    labels[0] = 255
    picture = Image.fromarray(labels)
    if kind == "palette":
        picture.putpalette([90, 90, 90] * 256)
    uploaded = read_reference(png(picture), SIZE)
    assert uploaded.mask.dtype == np.uint8
    np.testing.assert_array_equal(uploaded.mask, labels)
    assert "255 is left out" in uploaded.reading
    inverted = read_reference(png(picture), SIZE, is_inverted=True).mask
    np.testing.assert_array_equal(inverted[1:], 1 - labels[1:])
    assert (inverted[0] == 255).all()


def test_a_mask_can_be_swapped_with_its_background(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(png(Image.fromarray(WANTED)))
    uploaded = read_reference(path, SIZE, is_inverted=True)
    np.testing.assert_array_equal(uploaded.mask, ~WANTED)
    assert "swapped" in uploaded.reading


def test_the_orientation_in_the_file_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees
    stored = Image.fromarray(np.rot90(WANTED).astype(np.uint8) * 255)
    np.testing.assert_array_equal(read_reference(png(stored, exif=exif), SIZE).mask, WANTED)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((30, 20), "30 x 20: it seems to be turned by 90 degrees"),
        ((10, 15), "30 x 20: it has the same shape at 2 times the size"),
        ((33, 47), "30 x 20: its shape differs"),
    ],
)
def test_another_size_is_told_in_words(size: tuple[int, int], words: str) -> None:
    with pytest.raises(GeometryError, match=f"{size[1]} x {size[0]} pixels \\(width x height\\), got {words}"):
        read_reference(png(Image.fromarray(WANTED)), size)


def test_a_file_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageFormatError, match="expected an image"):
        read_reference(b"no picture", SIZE)


def answer(key: str, mask: np.ndarray, kind: str = "found") -> StrategyResult:
    logits = torch.where(torch.from_numpy(mask), 1.0, -1.0)
    return StrategyResult(key, StrategyCard(key, "", "", "", "", "", ""), Segmentation(Verdict(kind), logits), 0.1)


def test_figures_sum_over_phrases_and_leave_unknown_ones_out() -> None:
    half = WANTED.copy()
    half[10:] = False
    small = np.zeros_like(WANTED)
    small[0, 0] = True
    results = [("one", answer("a", half)), ("two", answer("a", small)), ("three", answer("a", ~WANTED))]
    figures = figures_against_references(results, {"one": WANTED, "two": small})
    assert list(figures) == ["a"]
    share = half.sum() / WANTED.sum()
    assert figures["a"].giou == pytest.approx((share + 1) / 2)
    assert figures["a"].ciou == pytest.approx((half.sum() + 1) / (WANTED.sum() + 1))
    assert figures["a"].boundary_f == pytest.approx((boundary_f(half, WANTED) + 1) / 2)
    assert figures["a"].count == 2


def test_of_one_mask_both_ious_are_the_same() -> None:
    figures = figures_against_references([("p", answer("a", WANTED))], {"p": WANTED})["a"]
    assert (figures.ciou, figures.giou, figures.boundary_f) == (1.0, 1.0, 1.0)


def layer(alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((*alpha.shape, 3), np.uint8), alpha[..., None].astype(np.uint8)], axis=2)


def test_strokes_of_all_layers_are_joined_at_the_images_size_without_their_soft_rim() -> None:
    stroke, rim = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    stroke[8:30, 12:40] = 153
    rim[8:30, 12:20] = 153
    rim[8:30, 40:44] = 40
    assert np.array_equal(drawn_mask([layer(stroke), layer(rim)], SIZE), WANTED)


def test_an_empty_drawing_and_a_layer_without_alpha_are_refused() -> None:
    with pytest.raises(GeometryError, match="got an empty drawing; paint over the object"):
        drawn_mask([layer(np.zeros((40, 60), np.uint8))], SIZE)
    with pytest.raises(GeometryError, match=r"with their alpha, got \(40, 60, 3\)"):
        drawn_mask([np.zeros((40, 60, 3), np.uint8)], SIZE)
