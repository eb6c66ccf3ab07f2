"""Boxes in training scenes are seen as the strategies see those that people draw."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.geometry import longest_side_frame
from evfsam.preprocess import sam_pixels
from evfsam.sam.closer_look import region_around
from evfsam.types import SamPrompt
from training.closer_views import CloserViews, chosen, closer_views
from training.sam_decoder import SamDecoderStage
from training.sam_stage import SamBatch, SamDraw, SamStage, covered_share
from training.scene_stream import SIDE, SceneSource

NOWHERE = Path("no-pictures")
"""Without fetched pictures scenes are made of the project's own."""
SPECK = 36
"""Smaller things get more around them when people ask."""


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
        if not is_inside or max(x2 - x1, y2 - y1) < SPECK:
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


def test_rows_are_chosen_each_for_itself() -> None:
    first, second = torch.ones(3, 2, 2), torch.zeros(3, 2, 2)
    assert chosen(torch.tensor([True, False, True]), first, second)[:, 0, 0].tolist() == [1, 0, 1]


def test_half_of_the_small_boxes_are_seen_closer_and_the_encoder_stays(batch: SamBatch, views: CloserViews) -> None:
    source = SceneSource(NOWHERE)
    torch.manual_seed(0)
    stage = SamDecoderStage(source, 8, SamStage(source, 8).sam.state_dict())
    with torch.no_grad():
        images, asked, targets = stage._embedded(batch)
        whole, _, _ = SamStage._embedded(stage, batch)
    is_closer = views.is_small & (torch.arange(len(targets)) % 2 == 0)
    assert bool(is_closer.any())
    assert torch.equal((images != whole).flatten(1).any(1), is_closer)
    assert asked.prompts.boxes is not None
    assert torch.equal(asked.prompts.boxes[is_closer], views.boxes[is_closer])
    assert torch.equal(targets[is_closer], covered_share(views.masks)[is_closer])
    assert torch.equal(targets[~is_closer], batch.targets()[~is_closer])
    stage.loss(batch).backward()
    learns = {name for name, each in stage.sam.named_parameters() if each.grad is not None}
    assert learns
    assert not [name for name in learns if name.startswith("image_encoder.")]
    assert {"page box", "page closer", "page point"} <= set(stage.validate())
