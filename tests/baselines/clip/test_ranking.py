"""CLIP must see each proposal alone, its ranking must decide, and the ranking must be there to be read."""

import json

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from baselines.clip import ranking as clip_ranking
from baselines.clip.proposals import Proposal, Proposals
from baselines.clip.ranking import ClipRankingStrategy, square_cut_out
from evfsam.errors import ConfigurationError, PhraseError
from evfsam.geometry import stretched_frame
from evfsam.types import ImageView, MaskPrediction, PromptPoint, Strategy
from tests.baselines.tiny_models import tiny_clip_text, tiny_sam

IMAGE = np.random.default_rng(1).integers(0, 256, (40, 70, 3), dtype=np.uint8)
GREY = (123, 117, 104)
LOOSE = {"points_per_side": 3, "pred_iou_threshold": 0, "stability_threshold": 0}


@pytest.fixture(scope="module")
def strategy() -> ClipRankingStrategy:
    model, tokenizer = tiny_clip_text()
    config = CLIPConfig(
        text_config=model.config.text.to_dict(), vision_config=model.config.vision.to_dict(), projection_dim=16
    )
    torch.manual_seed(0)
    clip = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in clip.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
    return ClipRankingStrategy(clip, tokenizer, tiny_sam())


def proposal(left: int, right: int, pred_iou: float = 0.9) -> Proposal:
    """The columns from left to right."""
    logits = torch.full((40, 70), -5.0)
    logits[:, left:right] = 5.0
    box = (float(left), 0.0, float(right), 40.0)
    prediction = MaskPrediction(logits[None], torch.tensor([pred_iou]), 0, stretched_frame((40, 70), 64))
    return Proposal(prediction, 1.0, box, PromptPoint(float(left) + 0.5, 20.0, 1))


def with_proposals(monkeypatch: pytest.MonkeyPatch, *kept: Proposal) -> None:
    monkeypatch.setattr(clip_ranking, "propose", lambda *_: Proposals(kept, 48, len(kept)))


def test_segmentation_is_complete_and_its_ranking_is_evidence(strategy: ClipRankingStrategy) -> None:
    assert isinstance(strategy, Strategy)
    view = ImageView(IMAGE)
    result = strategy.with_options(**LOOSE).segment(view, " red cup ")
    assert result.verdict.kind == "found"
    assert result.mask_logits.shape == (40, 70)
    assert set(result.seconds) == {"encode image", "decode", "rank by CLIP"}
    proposed, ranked = result.trace
    assert proposed.values["candidates"] == 27
    assert ranked.asked == "a photo of red cup"
    ranking = ranked.values["ranking"]
    assert isinstance(ranking, list)
    similarities = [entry["similarity"] for entry in ranking]
    assert similarities == sorted(similarities, reverse=True)
    assert sum(entry["share"] for entry in ranking) == pytest.approx(1)
    json.dumps([dict(step.values) for step in result.trace], allow_nan=False)
    assert strategy.with_options(**LOOSE).segment(view, "red cup").embedding_was_cached


def test_the_most_similar_proposals_are_chosen_and_joined(
    strategy: ClipRankingStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (proposal(0, 10, 0.5), proposal(20, 30, 0.8), proposal(40, 60, 0.7))
    with_proposals(monkeypatch, *kept)
    monkeypatch.setattr(ClipRankingStrategy, "_similarities", lambda *_: torch.tensor([0.1, 0.3, 0.2]))
    best = strategy.segment(ImageView(IMAGE), "cup")
    assert best.mask[:, 20:30].all()
    assert best.area_share == pytest.approx(10 / 70)
    assert best.pred_iou == pytest.approx(0.8)
    assert best.prompts[0].points == (kept[1].point,)
    two = strategy.with_options(top_count=2).segment(ImageView(IMAGE), "cup")
    assert two.area_share == pytest.approx(30 / 70)
    assert two.pred_iou == pytest.approx(0.7)
    ranking = two.trace[1].values["ranking"]
    assert [entry["is_chosen"] for entry in ranking] == [True, True, False]  # type: ignore[union-attr]


def test_similarities_are_those_of_single_cut_outs(
    strategy: ClipRankingStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_ranking, "CROPS_A_BATCH", 2)
    kept = (proposal(0, 10), proposal(20, 30), proposal(40, 60))
    with torch.no_grad():
        batched = strategy._similarities(IMAGE, kept, "red cup")
        alone = [strategy._similarities(IMAGE, (each,), "red cup") for each in kept]
        other = strategy._similarities(IMAGE, kept, "both cats")
    torch.testing.assert_close(batched, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert batched.std() > 1e-3
    assert not torch.allclose(batched, other, atol=1e-3)


def test_clip_sees_nothing_but_the_masked_object() -> None:
    image = np.full((40, 70, 3), 200, np.uint8)
    mask = np.zeros((40, 70), np.bool_)
    mask[10:20, 30:40] = True
    cut = square_cut_out(image, mask, (30, 10, 40, 20))
    assert cut.shape == (12, 12, 3)
    assert (cut[1:11, 1:11] == 200).all()
    assert tuple(cut[0, 0]) == GREY
    plain = square_cut_out(image, None, (30, 10, 40, 20))
    assert (plain == 200).all()


def test_cut_outs_at_the_rim_are_padded() -> None:
    image = np.full((40, 70, 3), 200, np.uint8)
    cut = square_cut_out(image, None, (60, 0, 70, 40))
    assert cut.shape == (48, 48, 3)
    assert (cut[4:44, :29] == 200).all()
    assert tuple(cut[0, 0]) == tuple(cut[-1, -1]) == GREY


def test_hiding_the_surroundings_changes_what_clip_sees(strategy: ClipRankingStrategy) -> None:
    kept = (proposal(20, 30),)
    with torch.no_grad():
        masked = strategy._similarities(IMAGE, kept, "cup")
        plain = strategy.with_options(crop="plain")._similarities(IMAGE, kept, "cup")
    assert not torch.allclose(masked, plain, atol=1e-4)


def test_no_trusted_proposal_fails_with_the_next_step(strategy: ClipRankingStrategy) -> None:
    result = strategy.with_options(points_per_side=2, stability_threshold=1).segment(ImageView(IMAGE), "cup")
    assert result.verdict.kind == "failed"
    assert "lower pred_iou_threshold or stability_threshold" in result.verdict.reason
    assert result.predictions == ()


def test_long_phrases_are_cut_at_clips_limit(strategy: ClipRankingStrategy) -> None:
    result = strategy.with_options(**LOOSE).segment(ImageView(IMAGE), "red cup and " * 40)
    assert result.verdict.kind == "found"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo": 1}, "CLIP ranking has no option tempo; it has points_per_side"),
        ({"points_per_side": 0}, "points_per_side between 1 and 64, got 0"),
        ({"top_count": True}, "top_count between 1 and 16, got True"),
        ({"pred_iou_threshold": "x"}, "pred_iou_threshold between 0 and 1, got 'x'"),
        ({"crop": "blurred"}, r"crop of \('masked', 'plain'\), got 'blurred'"),
    ],
)
def test_wrong_options_are_refused(strategy: ClipRankingStrategy, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        strategy.with_options(**options)


def test_control_tokens_are_refused(strategy: ClipRankingStrategy) -> None:
    with pytest.raises(PhraseError, match="'</s>', a control token"):
        strategy.segment(ImageView(IMAGE), "cup</s>")
