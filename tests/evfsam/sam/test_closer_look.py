"""A small thing in a box is seen alone, and what SAM draws there lies where it belongs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evfsam.geometry import Frame, longest_side_frame, stretched_frame
from evfsam.model.modeling import EvfSamModel
from evfsam.model.strategy import EvfSamStrategy
from evfsam.sam.closer_look import LARGEST, LEAST, Region, in_whole_image, region_around
from evfsam.types import ImageView, MaskPrediction, PromptPoint, SamPrompt
from tests.evfsam.tiny import noise_image, tiny_model, tiny_processor

SIZE = (600, 1000)
BOX = (400.0, 200.0, 500.0, 260.0)
SEEN = "let SAM see the part around the box alone"


def looking_closer() -> EvfSamStrategy:
    model: EvfSamModel = tiny_model().requires_grad_(False).eval()
    model.config.sam = {**model.config.sam, "looks_closer": True}
    return EvfSamStrategy(model, tiny_processor(model))


def test_a_region_is_the_box_with_a_margin_around_it() -> None:
    assert region_around(SamPrompt(box=BOX), SIZE) == Region(360, 160, 540, 300)


def test_a_region_ends_where_the_image_ends() -> None:
    assert region_around(SamPrompt(box=(0, 540, 100, 600)), SIZE) == Region(0, 500, 140, 600)


def test_points_on_the_thing_lie_in_the_region_and_others_do_not_widen_it() -> None:
    on_it, off_it = PromptPoint(600, 230, 1), PromptPoint(900, 500, 0)
    region = region_around(SamPrompt(box=BOX, points=(on_it, off_it)), SIZE)
    assert region is not None
    assert region.left <= 400 < 600 <= region.right < 900
    shown = region.prompt(SamPrompt(box=BOX, points=(on_it, off_it)))
    assert shown.points == (replace(on_it, x=600 - region.left, y=230 - region.top),)
    assert shown.box == (400 - region.left, 200 - region.top, 500 - region.left, 260 - region.top)


def test_a_speck_is_seen_with_enough_around_it() -> None:
    region = region_around(SamPrompt(box=(500, 300, 502, 301)), SIZE)
    assert region is not None
    assert region.longest >= LEAST


@pytest.mark.parametrize("prompt", [SamPrompt(points=(PromptPoint(5, 5, 1),)), SamPrompt(box=(0, 0, 900, 500))])
def test_without_a_box_or_with_a_large_one_the_whole_image_is_seen(prompt: SamPrompt) -> None:
    assert region_around(prompt, SIZE) is None


def test_a_region_of_the_largest_share_is_still_seen_alone() -> None:
    side = LARGEST * 1000 / 1.8  # with its margins
    assert region_around(SamPrompt(box=(300, 10, 300 + side - 2, 20)), SIZE) is not None
    assert region_around(SamPrompt(box=(300, 10, 300 + side + 2, 20)), SIZE) is None


@pytest.mark.parametrize("is_stretched", [False, True])
def test_what_is_drawn_lies_where_the_region_lies(is_stretched: bool) -> None:
    region, framed = Region(360, 160, 540, 300), stretched_frame if is_stretched else longest_side_frame
    own, whole = framed((140, 180), 288), framed(SIZE, 288)
    steps = (torch.arange(96) + 0.5) * 3
    ys, xs = torch.meshgrid(steps / own.scale_xy[1], steps / own.scale_xy[0], indexing="ij")
    disc = 40 - torch.hypot(xs - 90, ys - 70)  # centre at (450, 230) of the image
    prediction = MaskPrediction(torch.stack([disc, -disc]), torch.tensor([0.9, 0.1]), 0, own)
    mask = in_whole_image(prediction, region, whole).mask
    rows, columns = np.ogrid[:600, :1000]
    expected = np.hypot(columns + 0.5 - 450, rows + 0.5 - 230) < 40
    assert (mask & expected).sum() / (mask | expected).sum() > 0.95


@pytest.mark.parametrize("size", [(3000, 4000), (4000, 3000)])
def test_a_thing_at_the_edge_is_marked_to_its_last_pixel(size: tuple[int, int]) -> None:
    height, width = size
    region = Region(width - 900, height - 600, width, height)
    logits = torch.full((1, 72, 72), 0.5)
    logits[0, 0] = -8.0
    drawn = MaskPrediction(logits, torch.ones(1), 0, longest_side_frame((600, 900), 288))
    mask = in_whole_image(drawn, region, longest_side_frame(size, 288)).mask
    assert mask[-1, -300:].all()
    assert mask[-300:, -1].all()


def test_nothing_is_marked_outside_the_region_whatever_is_inside() -> None:
    region, own = Region(360, 160, 540, 300), longest_side_frame((140, 180), 288)
    everything = MaskPrediction(torch.full((1, 96, 96), 7.0), torch.tensor([0.9]), 0, own)
    laid = in_whole_image(everything, region, longest_side_frame(SIZE, 288))
    assert laid.size == SIZE
    mask = laid.mask
    inside = np.zeros(SIZE, dtype=np.bool_)
    inside[160:300, 360:540] = True
    assert (mask & inside).sum() / inside.sum() > 0.95
    assert (mask & ~inside).sum() < 0.05 * inside.sum()
    assert isinstance(laid.frame, Frame)


def test_a_strategy_gives_its_sam_the_part_around_the_box_and_says_so() -> None:
    strategy = looking_closer()
    image = noise_image(120, 200)
    box = (100.0, 40.0, 130.0, 60.0)
    answer = strategy.with_prompt(box=box).segment(ImageView(image), "left")
    region = region_around(SamPrompt(box=box), (120, 200))
    assert region is not None
    assert answer.trace[-1].step == SEEN
    assert answer.trace[-1].values == {"region": [region.left, region.top, region.right, region.bottom]}
    (prompt,) = answer.prompts
    assert prompt.box == box
    alone = strategy.backbone.encode_image(region.of(image))
    drawn = strategy.backbone.decode(alone, region.prompt(prompt), multimask=False)
    whole = strategy.backbone.frame(strategy.backbone.encode_image(image))
    assert torch.equal(answer.predictions[0].low_res_logits, in_whole_image(drawn, region, whole).low_res_logits)
    assert answer.mask.shape == (120, 200)


def test_several_phrases_about_one_box_are_drawn_together() -> None:
    strategy = looking_closer().with_prompt(box=(100.0, 40.0, 130.0, 60.0))
    view = ImageView(noise_image(120, 200))
    together = strategy.segment_many(view, ["left", "zebra"])
    for answer, phrase in zip(together, ["left", "zebra"], strict=True):
        alone = strategy.segment(view, phrase)
        torch.testing.assert_close(answer.mask_logits, alone.mask_logits, atol=1e-4, rtol=1e-4)


def test_a_published_model_is_asked_as_published() -> None:
    model = tiny_model().requires_grad_(False).eval()
    strategy = EvfSamStrategy(model, tiny_processor(model)).with_prompt(box=(100.0, 40.0, 130.0, 60.0))
    view = ImageView(noise_image(120, 200))
    answer = strategy.segment(view, "left")
    assert SEEN not in [entry.step for entry in answer.trace]
    as_published = strategy.backbone.decode(view.embedding(strategy.backbone)[0], answer.prompts[0], multimask=False)
    assert torch.equal(answer.predictions[0].low_res_logits, as_published.low_res_logits)
