import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from evfsam.errors import GeometryError
from evfsam.geometry import (
    Frame,
    check_box,
    check_point,
    longest_side_frame,
    pad_to_square,
    stretched_frame,
    upsample_logits,
    within_square,
)

sides = st.integers(1, 5000)
targets = st.sampled_from([64, 256, 1024])


@settings(deadline=None)
@given(height=sides, width=sides, target=targets)
def test_longest_side_becomes_the_target_and_no_side_vanishes(height: int, width: int, target: int) -> None:
    frame = longest_side_frame((height, width), target)
    assert max(frame.input_size) == target
    assert min(frame.input_size) >= 1


@pytest.mark.parametrize(
    ("size", "expected"), [((1380, 1130), (1024, 838)), ((700, 1500), (478, 1024)), ((97, 64), (1024, 676))]
)
def test_sides_are_rounded_half_up(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert longest_side_frame(size, 1024).input_size == expected


@settings(deadline=None)
@given(height=sides, width=sides, target=targets, x=st.floats(0, 1, width=32), y=st.floats(0, 1, width=32))
def test_points_and_boxes_come_back(height: int, width: int, target: int, x: float, y: float) -> None:
    frame = longest_side_frame((height, width), target)
    point = torch.tensor([[x * width, y * height]], dtype=torch.float64)
    there = frame.points_to_input(point)
    assert 0 <= there[0, 0] <= frame.input_size[1] * (1 + 1e-9)
    assert 0 <= there[0, 1] <= frame.input_size[0] * (1 + 1e-9)
    torch.testing.assert_close(there / there.new_tensor(frame.scale_xy), point)
    box = (0.0, 0.0, x * width, y * height)
    corners = torch.tensor(box, dtype=torch.float64).view(2, 2)
    assert frame.box_to_input(box) == pytest.approx(frame.points_to_input(corners).flatten().tolist())


def test_corners_of_the_image_are_corners_of_its_part_of_the_frame() -> None:
    frame = longest_side_frame((300, 700), 256)
    assert frame.box_to_input((0, 0, 700, 300)) == pytest.approx((0, 0, 256, 110))


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"at least 1 pixel, got an image \(0, 5\)"):
        longest_side_frame((0, 5), 64)


def test_padding_goes_to_the_right_and_the_bottom() -> None:
    padded = pad_to_square(torch.ones(3, 2, 5), 6)
    assert padded.shape == (3, 6, 6)
    assert padded[:, :2, :5].eq(1).all()
    assert padded.sum() == 3 * 2 * 5


def test_padding_refuses_what_is_larger() -> None:
    with pytest.raises(GeometryError, match=r"at most 4 pixels a side, got \(5, 3\)"):
        pad_to_square(torch.ones(3, 5, 3), 4)


@settings(deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_upsampled_logits_have_the_original_size(height: int, width: int) -> None:
    frame = longest_side_frame((height, width), 64)
    logits = upsample_logits(torch.full((2, 3, 32, 32), 1.5, dtype=torch.float16), frame)
    assert logits.shape == (2, 3, height, width)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, torch.full_like(logits, 1.5))


@pytest.mark.parametrize("frame", [longest_side_frame((64, 48), 64), stretched_frame((16, 16), 64)])
def test_an_image_of_the_size_of_the_square_gets_a_copy_of_the_logits(frame: Frame) -> None:
    low_res = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    inside = within_square(low_res, frame)
    logits = upsample_logits(low_res, frame)
    assert torch.equal(logits, F.interpolate(inside, frame.original_size, mode="bilinear", align_corners=False))
    assert logits.is_contiguous()
    assert logits.data_ptr() != low_res.data_ptr()


def test_what_lies_in_the_padding_never_reaches_the_mask() -> None:
    low_res = torch.full((1, 1, 16, 16), -1.0)
    low_res[..., 10:, :] = 9.0  # below a 64 x 32 image, which fills the upper half
    assert upsample_logits(low_res, longest_side_frame((32, 64), 64)).max() < 0


def test_upsampling_refuses_a_missing_axis() -> None:
    with pytest.raises(GeometryError, match=r"\(B, M, 4h, 4w\), got \(16, 16\)"):
        upsample_logits(torch.zeros(16, 16), longest_side_frame((32, 64), 64))


@pytest.mark.parametrize(("x", "y"), [(-0.1, 0), (0, 10.5), (20.5, 1), (math.nan, 1), (1, math.inf)])
def test_points_outside_are_refused(x: float, y: float) -> None:
    with pytest.raises(GeometryError, match="inside the 20 x 10 image"):
        check_point(x, y, (10, 20))


@pytest.mark.parametrize("box", [(5, 1, 5, 3), (1, 4, 3, 2), (-1, 0, 3, 3), (0, 0, 21, 3), (0, 0, math.nan, 3)])
def test_boxes_that_are_empty_or_leave_the_image_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(GeometryError, match="inside the 20 x 10 image"):
        check_box(box, (10, 20))


def test_the_whole_image_is_a_box_and_its_rim_holds_points() -> None:
    check_box((0, 0, 20, 10), (10, 20))
    check_point(20, 10, (10, 20))


@settings(deadline=None)
@given(height=sides, width=sides, target=targets, x=st.floats(0, 1, width=32), y=st.floats(0, 1, width=32))
def test_stretched_points_and_boxes_come_back(height: int, width: int, target: int, x: float, y: float) -> None:
    frame = stretched_frame((height, width), target)
    assert frame.input_size == (target, target)
    point = torch.tensor([[x * width, y * height]], dtype=torch.float64)
    there = frame.points_to_input(point)
    torch.testing.assert_close(there, torch.tensor([[x * target, y * target]], dtype=torch.float64))
    torch.testing.assert_close(there / there.new_tensor(frame.scale_xy), point)
    box = (0.0, 0.0, x * width, y * height)
    corners = torch.tensor(box, dtype=torch.float64).view(2, 2)
    assert frame.box_to_input(box) == pytest.approx(frame.points_to_input(corners).flatten().tolist())


def test_logits_of_a_stretched_frame_go_to_the_original_in_one_step() -> None:
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours = upsample_logits(logits, stretched_frame((20, 50), 32))
    once = torch.nn.functional.interpolate(logits, (20, 50), mode="bilinear", align_corners=False)
    assert torch.equal(ours, once)
    # A square image fills SAM's frame too, but goes there by way of the square.
    by_way = upsample_logits(logits, longest_side_frame((20, 20), 32))
    direct = torch.nn.functional.interpolate(logits, (20, 20), mode="bilinear", align_corners=False)
    assert not torch.allclose(by_way, direct)


def test_images_without_pixels_cannot_be_stretched() -> None:
    with pytest.raises(GeometryError, match="at least 1 pixel"):
        stretched_frame((0, 5), 64)
