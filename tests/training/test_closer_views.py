"""Boxes in training scenes are seen as the strategies see those that people draw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evfsam.geometry import longest_side_frame
from evfsam.preprocess import sam_pixels
from evfsam.sam.closer_look import region_around
from evfsam.types import SamPrompt
from training.closer_views import CloserViews, closer_views, seen_closer
from training.sam_stage import SamBatch, SamDraw
from training.scene_stream import LOSS_SIDE, SIDE, SceneSource

NOWHERE = Path("no-pictures")
"""Without fetched pictures scenes are made of the project's own."""


@pytest.fixture(scope="module")
def batch() -> SamBatch:
    draw = SamDraw(SceneSource(NOWHERE), 8)
    seeds = (np.random.default_rng(seed) for seed in range(30))
    drawn = (draw(rng) for rng in seeds)
    return next(each for each in drawn if each.prompts.boxes is not None and each.prompts.points is None)


@pytest.fixture(scope="module")
def views(batch: SamBatch) -> CloserViews:
    assert batch.prompts.boxes is not None
    return closer_views(batch.scenes, batch.scene_of, batch.masks(), batch.prompts.boxes)


def test_pixels_masks_and_boxes_are_those_of_the_region_cut_out(batch: SamBatch, views: CloserViews) -> None:
    assert batch.prompts.boxes is not None
    compared = 0
    for row, box in enumerate(batch.prompts.boxes.tolist()):
        scene = batch.scene_of[row]
        height, width = batch.scenes.sizes[scene].tolist()
        x1, y1, x2, y2 = box
        is_inside = x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
        if not is_inside:
            continue
        region = region_around(SamPrompt(box=(x1, y1, x2, y2)), (height, width))
        if region is None or not views.is_small[row]:
            continue
        compared += 1
        image = batch.scenes.images[scene, :height, :width].numpy()
        pixels, frame = sam_pixels(region.of(image), SIDE)
        assert frame == longest_side_frame((region.bottom - region.top, region.right - region.left), SIDE)
        rows, columns = frame.input_size
        assert float((views.pixels[row] - pixels).abs()[:, : rows - 8, : columns - 8].mean()) < 0.2
        shown = region.prompt(SamPrompt(box=(x1, y1, x2, y2)))
        assert shown.box is not None
        expected = frame.box_to_input(shown.box)
        assert np.abs(np.array(expected) - views.boxes[row].numpy()).max() < 0.03 * SIDE
        mask = batch.masks()[row, region.top : region.bottom, region.left : region.right]
        share = float(mask.mean()) * rows * columns / SIDE**2
        assert abs(float(views.masks[row].mean()) - share) < 0.02
    assert compared >= 5


def test_around_a_speck_as_much_is_seen_as_when_people_ask(batch: SamBatch) -> None:
    height, width = batch.scenes.sizes[0].tolist()
    box = (100.0, 100.0, 120.0, 116.0)
    masks = torch.zeros(1, batch.scenes.side, batch.scenes.side)
    view = closer_views(batch.scenes, torch.tensor([0]), masks, torch.tensor([box]))
    region = region_around(SamPrompt(box=box), (height, width))
    assert region is not None
    assert float(view.boxes[0, 2] - view.boxes[0, 0]) == pytest.approx(SIDE * 20 / region.longest, rel=0.05)


def test_those_that_are_asked_about_and_small_take_the_place_of_the_whole(batch: SamBatch, views: CloserViews) -> None:
    boxes = batch.prompts.boxes
    assert boxes is not None
    asked = torch.arange(len(boxes)) % 2 == 0
    images, targets = torch.zeros(len(boxes), 3, SIDE, SIDE), torch.zeros(len(boxes), LOSS_SIDE, LOSS_SIDE)
    where = (batch.scenes, batch.scene_of, batch.masks(), boxes)
    seen, moved, wanted = seen_closer(nn.Identity(), *where, asked, images, targets)
    closer = asked & views.is_small
    assert 0 < int(closer.sum()) < len(boxes)
    assert torch.equal(seen[closer], views.pixels[closer])
    assert torch.equal(moved[closer], views.boxes[closer])
    assert bool((wanted[closer].flatten(1).sum(1) > 0).all())
    assert not seen[~closer].any()
    assert torch.equal(moved[~closer], boxes[~closer])
    assert not images.any()
    nothing = torch.zeros_like(asked)
    assert seen_closer(nn.Identity(), *where, nothing, images, targets)[0] is images
