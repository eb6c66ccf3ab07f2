"""What every strategy promises, held by the strategies on models of the Hub, at tiny sizes and in half precision."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines import grounded, sam3
from baselines.clip import ranking as clip_ranking
from baselines.point_query import open_models
from evfsam.errors import ConfigurationError, PhraseError
from evfsam.types import ImageView, RgbImage, Segmentation, Strategy
from tests.hub.tiny_hub import (
    CLIP,
    FLORENCE_2,
    GROUNDING_DINO,
    MOLMO2,
    QWEN2_5_VL,
    QWEN3_VL,
    SAM,
    SAM3,
    SAM3_LITE_TEXT,
    lay_down,
)
from workbench.suites.registry import ConfigurableStrategy

Loader = Callable[..., ConfigurableStrategy]
LOOSE = {"points_per_side": 2, "pred_iou_threshold": 0, "stability_threshold": 0}
QUICK = {"max_new_tokens": 8, "presence_threshold": 0}
FORMS: Mapping[str, tuple[Loader, dict[str, str], dict[str, object]]] = {
    "clip-ranking": (clip_ranking.load_strategy, {"clip": CLIP, "sam": SAM}, LOOSE),
    "grounded-sam": (grounded.load_strategy, {"detector": GROUNDING_DINO, "sam": SAM}, {"box_threshold": 0}),
    "sam3": (sam3.load_strategy, {"sam3": SAM3}, {"threshold": 0}),
    "sam3-lite-text": (sam3.load_strategy, {"sam3": SAM3_LITE_TEXT}, {"threshold": 0}),
    "qwen3-vl": (open_models.load_strategy, {"mllm": QWEN3_VL, "sam": SAM}, QUICK),
    "qwen2.5-vl": (open_models.load_strategy, {"mllm": QWEN2_5_VL, "sam": SAM}, QUICK),
    "molmo2": (open_models.load_strategy, {"mllm": MOLMO2, "sam": SAM}, QUICK),
    "florence-2": (open_models.load_strategy, {"mllm": FLORENCE_2, "sam": SAM}, {"max_new_tokens": 8}),
}
CERTAIN = ("clip-ranking", "grounded-sam", "sam3", "sam3-lite-text")
"""Strategies that draw something even with random weights."""


def picture(height: int = 45, width: int = 70, seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def loaded() -> dict[tuple[str, torch.dtype], Strategy]:
    return {}


def load(
    hub: Path, loaded: dict[tuple[str, torch.dtype], Strategy], form: str, dtype: torch.dtype = torch.float32
) -> Strategy:
    if (form, dtype) not in loaded:
        loader, weights, options = FORMS[form]
        lay_down(hub, *weights.values())
        loaded[form, dtype] = loader(weights, device="cpu", dtype=dtype).with_options(**options)
    return loaded[form, dtype]


@pytest.fixture(params=list(FORMS))
def strategy(request: pytest.FixtureRequest, hub: Path, loaded: dict[tuple[str, torch.dtype], Strategy]) -> Strategy:
    return load(hub, loaded, request.param)


def check(result: Segmentation, view: ImageView) -> None:
    assert result.mask_logits.shape == view.size
    assert result.mask_logits.dtype == torch.float32
    assert not bool(result.mask_logits.isnan().any())
    assert (result.verdict.kind == "found") == bool(result.mask.any())
    assert result.verdict.kind == "found" or result.verdict.reason
    assert len(result.prompts) == len(result.predictions)
    union = np.zeros(view.size, np.bool_)
    for prediction in result.predictions:
        assert prediction.chosen == int(prediction.pred_ious.argmax())
        assert prediction.mask_logits.shape == view.size
        union |= (prediction.mask_logits > 0).numpy()
    assert np.array_equal(result.mask, union)
    assert result.trace
    json.dumps([dict(step.values) for step in result.trace], allow_nan=False)
    assert all(seconds >= 0 for seconds in result.seconds.values())


@pytest.mark.parametrize(("height", "width"), [(45, 70), (3, 90), (1, 1)])
def test_any_size_of_image_gets_a_whole_answer(strategy: Strategy, height: int, width: int) -> None:
    view = ImageView(picture(height, width))
    check(strategy.segment(view, "the red cup"), view)
    card = strategy.card
    assert all((card.key, card.title, card.summary, card.paper, card.licence, card.can, card.cannot))


def test_same_question_gives_the_same_answer_also_to_visitors_at_once(strategy: Strategy) -> None:
    def answers(seed: int) -> tuple[torch.Tensor, object, object]:
        result = strategy.segment(ImageView(picture(seed=seed)), "the red cup")
        return result.mask_logits, result.verdict, [step.answered for step in result.trace]

    alone = [answers(seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(answers, range(2)))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1:] == other[1:]


@pytest.mark.parametrize("phrase", ["", " \n", "x" * 1001])
def test_empty_and_endless_phrases_are_refused(strategy: Strategy, phrase: str) -> None:
    with pytest.raises(PhraseError, match="expected"):
        strategy.segment(ImageView(picture()), phrase)


def test_odd_phrases_get_an_answer(strategy: Strategy) -> None:
    view = ImageView(picture())
    check(strategy.segment(view, '"quoted" [1,2,3,4] {x} à café ☕'), view)


def test_all_of_a_class_is_asked_in_the_strategys_own_words(strategy: Strategy, request: pytest.FixtureRequest) -> None:
    every = "light" if request.node.callspec.params["strategy"] in CERTAIN else "every light"
    view = ImageView(picture())
    asked, said = (strategy.segment(view, phrase) for phrase in ("[semantic] light", every))
    assert [(step.asked, step.answered) for step in asked.trace] == [(step.asked, step.answered) for step in said.trace]
    assert torch.equal(asked.mask_logits, said.mask_logits)


def test_unknown_options_are_refused(strategy: Strategy) -> None:
    assert isinstance(strategy, ConfigurableStrategy)
    with pytest.raises(ConfigurationError, match="no option tempo"):
        strategy.with_options(tempo=3)


@pytest.mark.parametrize("form", list(FORMS))
def test_half_precision_weights_still_give_float32_logits(
    hub: Path, loaded: dict[tuple[str, torch.dtype], Strategy], form: str
) -> None:
    view = ImageView(picture())
    check(load(hub, loaded, form, torch.bfloat16).segment(view, "the red cup"), view)


@pytest.mark.parametrize("form", CERTAIN)
def test_random_weights_draw_something_that_depends_on_the_image(
    hub: Path, loaded: dict[tuple[str, torch.dtype], Strategy], form: str
) -> None:
    first, second = (load(hub, loaded, form).segment(ImageView(picture(seed=seed)), "the red cup") for seed in (0, 1))
    assert first.verdict.kind == second.verdict.kind == "found"
    assert not torch.equal(first.mask_logits, second.mask_logits)


def test_strategies_on_one_sam_share_the_images_embedding(
    hub: Path, loaded: dict[tuple[str, torch.dtype], Strategy]
) -> None:
    view = ImageView(picture())
    cached = [
        load(hub, loaded, form).segment(view, "the red cup").embedding_was_cached
        for form in ("clip-ranking", "grounded-sam")
    ]
    assert cached == [False, True]
