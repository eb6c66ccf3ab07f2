"""Proposals: the batched way must draw what the contract draws, and the filters must keep what they say."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.clip import proposals
from baselines.clip.proposals import (
    Candidates,
    ProposalSettings,
    box_ious,
    box_nms,
    decode_in_batches,
    mask_boxes,
    point_grid,
    propose,
    stability_scores,
)
from evfsam.geometry import upsample_logits
from evfsam.sam.families import FAMILIES
from evfsam.types import ImageView, PromptPoint, SamPrompt
from tests.baselines.tiny_models import tiny_sam
from tests.evfsam.tiny_families import tiny_family_model

IMAGE = np.random.default_rng(2).integers(0, 256, (30, 70, 3), dtype=np.uint8)
LOOSE = ProposalSettings(points_per_side=3, pred_iou_threshold=-9.0, stability_threshold=0.0, batch_size=4)


def test_a_batch_decodes_what_single_prompts_do() -> None:
    backbone = tiny_sam()
    embedding, _ = ImageView(IMAGE).embedding(backbone)
    prompts = [SamPrompt(points=(point,)) for point in point_grid((30, 70), 3)]
    batches = list(decode_in_batches(backbone, embedding, prompts, batch_size=4))
    assert [len(batch.pred_ious) for batch in batches] == [4, 4, 1]
    low_res = torch.cat([batch.low_res_logits for batch in batches])
    pred_ious = torch.cat([batch.pred_ious for batch in batches])
    for row, prompt in enumerate(prompts):
        alone = backbone.decode(embedding, prompt, multimask=True)
        torch.testing.assert_close(low_res[row], alone.low_res_logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(pred_ious[row], alone.pred_ious, rtol=1e-4, atol=1e-5)
        full = upsample_logits(low_res[None, row, alone.chosen : alone.chosen + 1], backbone.frame(embedding))
        torch.testing.assert_close(full[0, 0], alone.mask_logits, rtol=1e-4, atol=1e-4)
    assert batches[0].logits.shape == (4, 3, 14, 32)  # 30 x 70 fills 27 of 64 rows, the decoder halves the input


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_kind_of_sam_proposes_what_single_prompts_draw(family: str) -> None:
    backbone = tiny_family_model(family).mask_backbone()
    view = ImageView(IMAGE)
    embedding, _ = view.embedding(backbone)
    kept = propose(backbone, embedding, LOOSE).kept
    assert kept
    for proposal in kept:
        alone = backbone.decode(embedding, SamPrompt(points=(proposal.point,)), multimask=True)
        candidates = upsample_logits(alone.low_res_logits[None], backbone.frame(embedding))[0]
        index = int((alone.pred_ious - proposal.prediction.pred_iou).abs().argmin())
        torch.testing.assert_close(proposal.prediction.mask_logits, candidates[index], rtol=1e-4, atol=1e-4)
        assert proposal.prediction.pred_iou == pytest.approx(float(alone.pred_ious[index]), abs=1e-5)


def test_proposals_are_the_most_trusted_first_and_fit_their_boxes() -> None:
    backbone = tiny_sam()
    embedding, _ = ImageView(IMAGE).embedding(backbone)
    found = propose(backbone, embedding, LOOSE)
    assert found.candidate_count == 27
    assert 1 <= len(found.kept) <= found.trusted_count <= 27
    trusts = [proposal.prediction.pred_iou for proposal in found.kept]
    assert trusts == sorted(trusts, reverse=True)
    for proposal in found.kept:
        assert proposal.prediction.mask_logits.shape == (30, 70)
        x1, y1, x2, y2 = proposal.box
        assert 0 <= x1 < x2 <= 70
        assert 0 <= y1 < y2 <= 30


def test_a_box_is_around_the_positive_logits_and_a_mask_without_any_is_no_proposal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = tiny_sam()
    embedding, _ = ImageView(IMAGE).embedding(backbone)

    def drawn(*arguments: Any, **options: Any) -> Iterator[Candidates]:
        for batch in decode_in_batches(*arguments, **options):
            logits = torch.full_like(batch.logits, -5)
            logits[:, 0, 2:5, 8:16] = 5
            yield replace(batch, logits=logits)

    monkeypatch.setattr(proposals, "decode_in_batches", drawn)
    found = propose(backbone, embedding, LOOSE)
    assert (found.candidate_count, found.trusted_count) == (27, 9)
    assert len(found.kept) == 1  # the others are near copies
    assert found.kept[0].box == pytest.approx((8 / 32 * 70, 2 / 14 * 30, 35, 5 / 14 * 30))


@pytest.mark.parametrize("settings", [{"pred_iou_threshold": 99.0}, {"stability_threshold": 1.01}])
def test_filters_can_leave_nothing(settings: dict[str, float]) -> None:
    backbone = tiny_sam()
    embedding, _ = ImageView(IMAGE).embedding(backbone)
    found = propose(backbone, embedding, ProposalSettings(points_per_side=2, **settings))
    assert found.kept == ()
    assert found.candidate_count == 12
    assert found.trusted_count == 0


def test_the_grid_takes_the_centres_of_the_cells() -> None:
    assert point_grid((10, 40), 2) == (
        PromptPoint(10.0, 2.5, 1),
        PromptPoint(30.0, 2.5, 1),
        PromptPoint(10.0, 7.5, 1),
        PromptPoint(30.0, 7.5, 1),
    )


def test_stability_is_the_share_that_stays_when_the_border_moves() -> None:
    logits = torch.tensor([[[2.0, 0.5], [-0.5, -2.0]], [[2.0, 2.0], [-2.0, -2.0]], [[-2.0, -2.0], [-2.0, -2.0]]])
    assert stability_scores(logits).tolist() == pytest.approx([1 / 3, 1.0, 0.0])


@given(st.integers(0, 2**32 - 1))
def test_boxes_touch_the_outermost_pixels(seed: int) -> None:
    mask = torch.from_numpy(np.random.default_rng(seed).random((5, 8)) < 0.2)
    mask[2, 3] = True
    rows, columns = torch.nonzero(mask, as_tuple=True)
    left, top, right, bottom = mask_boxes(mask[None])[0].tolist()
    assert (left * 8, top * 5) == pytest.approx((int(columns.min()), int(rows.min())))
    assert (right * 8, bottom * 5) == pytest.approx((int(columns.max()) + 1, int(rows.max()) + 1))


def test_near_copies_give_way_to_the_better_one() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 10]])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.4])
    assert box_nms(boxes, scores, 0.7).tolist() == [1, 2]
    assert box_nms(boxes, scores, 1.0).tolist() == [1, 0, 3, 2]
    assert box_nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_overlap_is_intersection_over_union() -> None:
    first = torch.tensor([[0.0, 0, 2, 2], [5, 5, 5, 9]])
    second = torch.tensor([[1.0, 0, 3, 2], [5, 5, 5, 9]])
    assert box_ious(first, second).tolist() == [pytest.approx([1 / 3, 0]), pytest.approx([0, 0])]
