"""Grounding DINO's boxes must reach SAM clipped, sorted and with their scores; bad ones are named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.grounded import Detection, GroundedStrategy, detector_text, load_strategy, usable_boxes, widened
from evfsam.errors import CheckpointError, ConfigurationError, PhraseError
from evfsam.types import BoxXyxy, ImageView, SamPrompt, Strategy
from tests.hub.tiny_hub import GROUNDING_DINO, SAM, lay_down

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)


@pytest.fixture
def strategy(hub: Path) -> GroundedStrategy:
    lay_down(hub, GROUNDING_DINO, SAM)
    return load_strategy({"detector": GROUNDING_DINO, "sam": SAM}, device="cpu", dtype=torch.float32)


def detecting(strategy: GroundedStrategy, monkeypatch: pytest.MonkeyPatch, *detections: Detection) -> GroundedStrategy:
    monkeypatch.setattr(GroundedStrategy, "_detect", lambda *_: list(detections))
    return strategy


def test_boxes_and_scores_of_the_detector_are_evidence(strategy: GroundedStrategy) -> None:
    assert isinstance(strategy, Strategy)
    result = strategy.with_options(box_threshold=0.5, largest_count=3).segment(ImageView(IMAGE), "The red cup.")
    (step,) = result.trace
    assert step.asked == "the red cup."
    boxes = step.values["boxes"]
    assert isinstance(boxes, list)
    assert [tuple(box["box"]) for box in boxes] == [prompt.box for prompt in result.prompts]
    scores = [box["score"] for box in boxes]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= 0.5 for score in scores)
    assert {box["label"] for box in boxes} <= {"the red cup", "the", "red", "cup", "red cup", "the red", "the cup", ""}
    assert step.values["boxes_left_out"] > 0  # type: ignore[operator]
    json.dumps(dict(step.values), allow_nan=False)
    assert len(result.predictions) == 3
    union = torch.stack([prediction.mask_logits > 0 for prediction in result.predictions]).any(0)
    assert np.array_equal(result.mask, union.numpy())


def test_several_boxes_give_several_masks(strategy: GroundedStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Detection((0, 0, 30, 40), 0.9, "cup"), Detection((40, 5, 90, 45), 0.6, "cup")
    copy = Detection((1, 0, 30, 40), 0.5, "cup")
    result = detecting(strategy, monkeypatch, first, second, copy).segment(ImageView(IMAGE), "cup")
    assert [prompt.box for prompt in result.prompts] == [(0, 0, 30, 40), (40, 5, 80, 45)]
    assert len(result.predictions) == 2


def test_boxes_are_decoded_in_one_pass_as_each_alone(
    strategy: GroundedStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes: list[BoxXyxy] = [(0, 0, 30, 40), (40, 5, 80, 45), (10, 20, 60, 50)]
    detecting(strategy, monkeypatch, *(Detection(box, 0.9, "cup") for box in boxes))
    backbone, view = strategy.backbone, ImageView(IMAGE)
    decode_features, passes = backbone.decode_features, []  # type: ignore[attr-defined]

    def counted(*arguments: object, **options: object) -> object:
        passes.append(len(arguments))
        return decode_features(*arguments, **options)

    monkeypatch.setattr(backbone, "decode_features", counted)
    result = strategy.segment(view, "cup")
    assert len(passes) == 1
    embedding, _ = view.embedding(backbone)
    for box, together in zip(boxes, result.predictions, strict=True):
        alone = backbone.decode(embedding, SamPrompt(box=box), multimask=True)
        torch.testing.assert_close(together.low_res_logits, alone.low_res_logits, atol=1e-5, rtol=1e-4)
        assert together.chosen == alone.chosen


def test_no_box_above_the_threshold_is_absent(strategy: GroundedStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
    result = detecting(strategy, monkeypatch).segment(ImageView(IMAGE), "cup")
    assert (result.verdict.kind, result.verdict.reason) == (
        "absent",
        "The detector found no box with a score of at least 0.30.",
    )
    assert bool(torch.isneginf(result.mask_logits).all())


def test_a_real_threshold_of_one_leaves_nothing(strategy: GroundedStrategy) -> None:
    assert strategy.with_options(box_threshold=1).segment(ImageView(IMAGE), "cup").verdict.kind == "absent"


def test_boxes_without_an_area_fail_in_words(strategy: GroundedStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
    flat, outside = Detection((10, 10, 10, 30), 0.9, "cup"), Detection((90, 10, 120, 30), 0.8, "cup")
    result = detecting(strategy, monkeypatch, flat, outside).segment(ImageView(IMAGE), "cup")
    assert result.verdict.kind == "failed"
    assert "[10, 10, 10, 30] has no area within the 80 x 50 image" in result.verdict.reason
    assert "[90, 10, 120, 30] has no area within the 80 x 50 image" in result.verdict.reason


def test_a_box_that_is_no_number_is_dropped() -> None:
    nan = float("nan")
    boxes, problems = usable_boxes([Detection((nan, 0, 10, 10), 0.9, ""), Detection((0, 0, 10, 10), 0.8, "")], (20, 20))
    assert [box.score for box in boxes] == [0.8]
    assert len(problems) == 1


def test_very_long_images_are_widened_and_keep_their_coordinates() -> None:
    row = np.arange(90, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    wide = widened(row)
    assert wide.shape == (12, 90, 3)
    assert (wide == row).all()
    assert np.array_equal(widened(IMAGE), IMAGE)


@pytest.mark.parametrize(
    ("phrase", "text"), [("The Red Cup", "the red cup."), ("a cup. left.", "a cup left."), ("cup ...", "cup.")]
)
def test_the_detector_reads_one_lower_case_sentence(phrase: str, text: str) -> None:
    assert detector_text(phrase) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo": 1}, "Grounded-SAM has no option tempo; it has box_threshold, text_threshold, largest_count"),
        ({"box_threshold": 2}, "box_threshold between 0 and 1, got 2"),
        ({"largest_count": 0}, "largest_count between 1 and 32, got 0"),
        ({"text_threshold": True}, "text_threshold between 0 and 1, got True"),
    ],
)
def test_wrong_options_are_refused(strategy: GroundedStrategy, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        strategy.with_options(**options)


def test_control_tokens_are_refused(strategy: GroundedStrategy) -> None:
    with pytest.raises(PhraseError, match=r"'\[SEP\]', a control token"):
        strategy.segment(ImageView(IMAGE), "cup [SEP]")


def test_endless_phrases_are_cut_at_the_detectors_limit(strategy: GroundedStrategy) -> None:
    result = strategy.with_options(box_threshold=0).segment(ImageView(IMAGE), "red cup " * 60)
    assert result.verdict.kind == "found"


def test_a_directory_that_is_no_detector_is_refused(hub: Path, tmp_path: Path) -> None:
    del hub
    with pytest.raises(CheckpointError, match="expected a saved Grounding DINO in"):
        load_strategy({"detector": tmp_path, "sam": SAM}, device="cpu", dtype=torch.float32)
