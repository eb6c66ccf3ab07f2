"""Marks are drawn as people draw them, and the mask decoder alone learns to follow them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.preprocess import SAM_MEAN, SAM_STD
from evfsam.sam.closer_look import region_around
from evfsam.types import SamPrompt
from tests.evfsam.tiny import BEIT3, TOKENIZER_DIRECTORY
from training import sam_stage
from training.batches import PhraseDraw
from training.marks import MarkedBatch, MarksStage, clicks_on_errors, with_marks
from training.scene_stream import LOSS_SIDE, SIDE, SceneSource, covered_share

NOWHERE = Path("no-pictures")
"""Without fetched pictures scenes are made of the project's own."""


@pytest.fixture(scope="module")
def stage() -> MarksStage:
    torch.manual_seed(0)
    sizes = {**BEIT3, "text_position_count": 202}
    config = EvfSamConfig(beit3=sizes, sam=sam_stage.CONFIG.to_dict())
    tokenizer = PhraseTokenizer.from_pretrained(TOKENIZER_DIRECTORY, 200)
    model = EvfSamModel(config)
    return MarksStage(
        SceneSource(NOWHERE), model, EvfSamProcessor(tokenizer, config), scenes_a_step=4, per_scene=6, held_out=4
    )


@pytest.fixture(scope="module")
def batch(stage: MarksStage) -> MarkedBatch:
    return stage.draw(np.random.default_rng(2))


def test_a_phrase_goes_astray_where_it_means_nothing_and_in_part_where_it_does(stage: MarksStage) -> None:
    drawn = [stage.draw(np.random.default_rng(seed)) for seed in range(12)]
    bits, marked, astray = (
        torch.cat([getattr(one, name) for one in drawn]) for name in ("bits", "marked_bits", "is_astray")
    )
    assert bool(astray[bits == 0].all())
    assert 0.3 < float(astray[bits != 0].float().mean()) < 0.5
    assert torch.equal(marked[~astray], bits[~astray])
    assert bool((marked != 0).all())


def test_boxes_are_around_what_is_marked(stage: MarksStage) -> None:
    drawing = PhraseDraw(stage.source, stage.draw.pixels, stage.draw.encode, 4, 6)
    drawn = with_marks(drawing(np.random.default_rng(5)), np.random.default_rng(5), astray=0.5, plain=0, shaken=0)
    for mask, (x1, y1, x2, y2) in zip(drawn.marked_masks(), drawn.boxes.long().tolist(), strict=True):
        if mask.any():
            outside = mask.clone()
            outside[y1:y2, x1:x2] = 0
            assert not outside.any()
            assert all(edge.any() for edge in (mask[y1], mask[y2 - 1], mask[:, x1], mask[:, x2 - 1]))


def test_a_scene_whose_things_are_all_hidden_has_nothing_to_mark(stage: MarksStage) -> None:
    drawing = PhraseDraw(stage.source, stage.draw.pixels, stage.draw.encode, 4, 6)
    phrases = drawing(np.random.default_rng(5))
    phrases.scenes.object_maps.zero_()
    drawn = with_marks(phrases, np.random.default_rng(5), astray=1.0, plain=0, shaken=0)
    assert not drawn.marked_masks().any()
    assert drawn.boxes.tolist() == [[0, 0, phrases.scenes.side, phrases.scenes.side]] * len(phrases.bits)


def test_clicks_are_on_what_a_mask_lacks_or_has_too_much_whichever_is_more() -> None:
    wanted, marked = torch.zeros(3, 8, 8, dtype=torch.bool), torch.zeros(3, 8, 8, dtype=torch.bool)
    wanted[:, :4] = True
    marked[0, 2:4] = True  # lacks two rows
    marked[1] = True  # has four too many
    marked[2] = wanted[2]  # is right
    draws = torch.linspace(0, 0.999, 5).expand(3, 5)
    points, labels = clicks_on_errors(marked, wanted, torch.tensor([False, False, False]), draws)
    rows = points[..., 1] / (SIDE / 8)
    assert labels.tolist() == [[1] * 5, [0] * 5, [1] * 5]
    assert bool((rows[0] < 2).all())
    assert bool((rows[1] > 4).all())
    assert bool((rows[2] < 4).all())
    assert len({tuple(point) for point in points[1].tolist()}) == 5
    _, labels = clicks_on_errors(marked, wanted, torch.tensor([False, True, False]), draws)
    assert labels[1].tolist() == [1] * 5


def test_there_is_nothing_to_click_on_where_nothing_is_wanted_and_nothing_marked() -> None:
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)
    _, labels = clicks_on_errors(nothing, nothing, torch.tensor([False]), torch.zeros(1, 2))
    assert labels.tolist() == [[-1, -1]]


def test_boxes_are_seen_closer_as_the_strategy_sees_them(stage: MarksStage, batch: MarkedBatch) -> None:
    rows, whole = torch.arange(len(batch.bits)), covered_share(batch.marked_masks())
    images = torch.zeros(len(rows), sam_stage.CONFIG.prompt_embed_dim, 24, 24)
    with torch.no_grad():
        seen, boxes, wanted = stage._closer(batch, rows, torch.ones_like(batch.is_astray), images, whole)
        _, untouched, _ = stage._closer(batch, rows, torch.zeros_like(batch.is_astray), images, whole)
    assert torch.equal(untouched, batch.boxes)
    for row, is_small in enumerate((seen != 0).flatten(1).any(1).tolist()):
        height, width = batch.scenes.sizes[batch.scene_of[row]].tolist()
        x1, y1, x2, y2 = batch.boxes[row].tolist()
        box = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        region = region_around(SamPrompt(box=box), (height, width))
        if max(box[2] - box[0], box[3] - box[1]) < 36:
            continue  # the strategy sees a speck with more around it
        assert is_small == (region is not None) or abs(1.8 * max(x2 - x1, y2 - y1) / max(height, width) - 0.7) < 0.05
        assert is_small != torch.equal(boxes[row], batch.boxes[row])
        in_whole = float(batch.marked_masks()[row].sum()) / 9
        if is_small and in_whole > 20:
            assert float(wanted[row].mean()) * LOSS_SIDE**2 > 1.5 * in_whole


def test_clicks_are_anywhere_on_what_is_marked_where_they_are_plain(stage: MarksStage, batch: MarkedBatch) -> None:
    rows, wanted = torch.arange(len(batch.bits)), covered_share(batch.marked_masks())
    right = wanted > 0.5
    plain = replace(batch, is_plain=torch.ones_like(batch.is_plain), is_astray=torch.zeros_like(batch.is_astray))
    points, labels = stage._clicks(plain, right, wanted, rows, 3)
    cells = (points / (SIDE / LOSS_SIDE)).long()
    for row in range(len(rows)):
        if right[row].any():
            assert labels[row].tolist() == [1, 1, 1]
            assert bool(right[row][cells[row, :, 1], cells[row, :, 0]].all())
    elsewhere = replace(plain, is_plain=torch.zeros_like(batch.is_plain))
    _, labels = stage._clicks(elsewhere, torch.ones_like(right), wanted, rows, 1)
    assert not labels[right.flatten(1).any(1)].any()


def test_a_scene_with_more_pixels_asks_the_same_of_sam(stage: MarksStage) -> None:
    small, large = (
        replace(stage.draw, source=SceneSource(NOWHERE, side=side))(np.random.default_rng(7))
        for side in (SIDE, 2 * SIDE)
    )
    assert large.scenes.sam_pixels(SAM_MEAN, SAM_STD).shape == small.scenes.sam_pixels(SAM_MEAN, SAM_STD).shape
    assert covered_share(large.masks()).shape == covered_share(small.masks()).shape
    rows, targets = torch.arange(len(large.bits)), covered_share(large.marked_masks())
    images = torch.zeros(len(rows), sam_stage.CONFIG.prompt_embed_dim, 24, 24)
    _, boxes, _ = stage._closer(large, rows, torch.zeros_like(large.is_astray), images, targets)
    torch.testing.assert_close(boxes, large.boxes / 2)
    around = boxes / (SIDE / LOSS_SIDE)
    for (x1, y1, x2, y2), target in zip(around.tolist(), targets, strict=True):
        if target.any():
            inside = target[max(0, int(y1) - 8) : int(y2) + 8, max(0, int(x1) - 8) : int(x2) + 8]
            assert float(inside.sum()) > 0.8 * float(target.sum())


def test_the_decoder_and_the_embeddings_of_marks_learn_and_nothing_else(stage: MarksStage, batch: MarkedBatch) -> None:
    loss = stage.loss(batch)
    assert torch.isfinite(loss)
    loss.backward()
    learns = {name for name, each in stage.model.named_parameters() if each.grad is not None and bool(each.grad.any())}
    assert any("mask_decoder.transformer" in name for name in learns)
    assert any("point_embeddings" in name for name in learns)
    assert all("mask_decoder" in name or "prompt_encoder" in name for name in learns)
    stage.model.zero_grad(set_to_none=True)


def test_validation_measures_phrases_alone_and_with_each_kind_of_mark(stage: MarksStage) -> None:
    figures = stage.validate()
    for kind in stage.source.shares:
        assert {f"{kind} {mark}" for mark in ("box", "clicks", "closer")} <= set(figures)
    assert all(0 <= value <= 1 for value in figures.values())
