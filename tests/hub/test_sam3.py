"""SAM 3's instances and scores must come out as transformers gives them, or the strategy says why it is not there."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import Sam3Processor

from baselines.sam3 import Sam3Strategy, load_strategy
from evfsam.errors import CheckpointError, ConfigurationError, PhraseError
from evfsam.types import ImageView, Strategy
from evfsam.weights.hub import weights_directory
from tests.hub.tiny_hub import SAM3, SAM3_LITE_TEXT, lay_down, snapshot_of
from workbench.suites.full import full_suite
from workbench.suites.model_lock import find_model

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)


@pytest.fixture
def strategy(hub: Path) -> Sam3Strategy:
    return loaded(hub, SAM3)


def test_the_parameters_of_lite_text_are_those_of_its_class_and_sam_3_1_has_none() -> None:
    """Its documentation names this checkpoint for the class's own sizes; no weight is made to count them."""
    with torch.device("meta"):
        model = transformers.Sam3LiteTextModel(transformers.Sam3LiteTextConfig())
    assert sum(each.numel() for each in model.parameters()) == find_model(SAM3_LITE_TEXT).parameter_count
    assert [name for name in dir(transformers) if name.lower().startswith(("sam3_1", "sam31", "sam3p1"))] == []


def loaded(hub: Path, model_id: str) -> Sam3Strategy:
    lay_down(hub, model_id)
    return load_strategy({"sam3": model_id}, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize(("model_id", "title"), [(SAM3, "SAM 3"), (SAM3_LITE_TEXT, "SAM 3 LiteText")])
def test_instances_are_those_of_transformers(hub: Path, model_id: str, title: str) -> None:
    strategy = loaded(hub, model_id)
    assert isinstance(strategy, Strategy)
    assert strategy.card.title == title
    result = strategy.with_options(threshold=0.1).segment(ImageView(IMAGE), "red cup")
    processor = Sam3Processor.from_pretrained(weights_directory(model_id))
    inputs = processor(images=Image.fromarray(IMAGE), text="red cup", return_tensors="pt")
    with torch.no_grad():
        output = strategy.backbone.model(
            pixel_values=inputs["pixel_values"],
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
        )
    expected = processor.post_process_instance_segmentation(output, threshold=0.1, target_sizes=[(50, 80)])[0]
    order = expected["scores"].argsort(descending=True)
    instances = result.trace[0].values["instances"]
    assert isinstance(instances, list)
    assert len(instances) == len(order) > 1
    assert [each["score"] for each in instances] == pytest.approx(expected["scores"][order].tolist(), abs=1e-5)
    assert [each["box"] for each in instances] == [
        pytest.approx(box, abs=1e-2) for box in expected["boxes"][order].tolist()
    ]
    for prediction, mask, theirs in zip(
        result.predictions, output.pred_masks[0][scores_order(output)], expected["masks"][order], strict=False
    ):
        torch.testing.assert_close(prediction.low_res_logits[0], mask, rtol=0, atol=1e-4)
        # Transformers enlarges probabilities, we logits: borders differ a little.
        assert ((prediction.mask_logits > 0) == theirs.bool()).float().mean() > 0.9
    assert len(result.predictions) == len(result.prompts) == len(order)
    json.dumps(dict(result.trace[0].values), allow_nan=False)


def scores_order(output: Any) -> torch.Tensor:
    """Indices of the instances, the best first."""
    order: torch.Tensor = output.pred_logits[0].argsort(descending=True)
    return order


def test_a_second_phrase_sees_no_image_again(strategy: Sam3Strategy) -> None:
    view = ImageView(IMAGE)
    first = strategy.with_options(threshold=0).segment(view, "red cup")
    second = strategy.with_options(threshold=0).segment(view, "red cup")
    assert (first.embedding_was_cached, second.embedding_was_cached) == (False, True)
    assert torch.equal(first.mask_logits, second.mask_logits)


def test_boxes_reach_the_images_edge_in_half_precision_too(strategy: Sam3Strategy) -> None:
    """bfloat16 has eight binary digits: 1333 would become 1336."""
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.bfloat16)
    step = strategy._step("red cup", whole, torch.tensor([0.9]), 1.0, (801, 1333), 0)
    assert step.values["instances"] == [{"box": [0, 0, 1333, 801], "score": pytest.approx(0.9)}]


def test_no_instance_above_the_threshold_is_absent(strategy: Sam3Strategy) -> None:
    result = strategy.with_options(threshold=1).segment(ImageView(IMAGE), "red cup")
    assert result.verdict.kind == "absent"
    assert "1.00 is asked for" in result.verdict.reason
    assert (result.predictions, result.pred_iou) == ((), None)


def test_long_phrases_are_cut_and_the_trace_says_so(strategy: Sam3Strategy) -> None:
    step = strategy.segment(ImageView(IMAGE), "red cup " * 20).trace[0]
    assert step.values["tokens_cut_off"] > 50  # type: ignore[operator]
    assert strategy.segment(ImageView(IMAGE), "cup").trace[0].values["tokens_cut_off"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo": 1}, "SAM 3 has no option tempo; it has threshold, largest_count"),
        ({"threshold": -1}, "threshold between 0 and 1, got -1"),
        ({"largest_count": 1.5}, r"largest_count between 1 and 200, got 1\.5"),
    ],
)
def test_wrong_options_are_refused(strategy: Sam3Strategy, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        strategy.with_options(**options)


def test_control_tokens_are_refused(strategy: Sam3Strategy) -> None:
    with pytest.raises(PhraseError, match="control token"):
        strategy.segment(ImageView(IMAGE), "cup <|endoftext|>")


def test_a_directory_that_is_no_sam_3_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a saved SAM 3 in"):
        load_strategy({"sam3": tmp_path}, device="cpu", dtype=torch.float32)


def test_without_its_class_in_transformers_the_small_one_says_what_to_do(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers, "Sam3LiteTextModel", None)  # as getattr finds it in older releases
    with pytest.raises(CheckpointError, match=r"expected a transformers with SAM 3 LiteText for .*; install a newer"):
        loaded(hub, SAM3_LITE_TEXT)


def test_the_full_suite_takes_the_small_one_in_its_place(hub: Path) -> None:
    lay_down(hub, SAM3_LITE_TEXT)
    snapshot = snapshot_of(hub, SAM3_LITE_TEXT)
    shutil.copytree(snapshot, snapshot.with_name(find_model(SAM3_LITE_TEXT).revision))
    entry = full_suite(places={"sam3": SAM3_LITE_TEXT}, gated_reason=lambda _: None).strategies["sam3"]
    assert [model.id for model in entry.models.values()] == [SAM3_LITE_TEXT]
    assert entry.load(torch.device("cpu"), torch.float32).card.title == "SAM 3 LiteText"
