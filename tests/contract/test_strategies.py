"""What every strategy promises to the comparison, the page and the reports, whatever its method."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.errors import ConfigurationError, PhraseError
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import ImageView, RgbImage, Segmentation, Strategy
from tests.baselines.tiny_models import PHRASE
from tests.contract.tiny_checkpoints import SAVERS, load
from workbench.comparison import RefinableStrategy
from workbench.suites.registry import SUITES, ConfigurableStrategy

KEYS = tuple(SUITES["mini"].strategies)
FORMS: Mapping[str, tuple[str, dict[str, object]]] = {
    "evf-sam": ("evf-sam", {}),
    "clip-text": ("clip-text", {}),
    "clip-text late": ("clip-text", {"variant": "late-concat"}),
    "point-query": ("point-query", {}),
    "point-query box": ("point-query", {"prompt": "box"}),
    "point-query points": ("point-query", {"prompt": "points"}),
    "point-query joint": ("point-query", {"turns": "joint", "grid_size": 3}),
    "point-query generated": ("point-query", {"form": "ppg"}),
}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints")
    for key, save in SAVERS.items():
        save(directory / key)
    return directory


@pytest.fixture(scope="session")
def loaded(checkpoints: Path) -> dict[str, Strategy]:
    return {key: load(key, checkpoints) for key in KEYS}


@pytest.fixture(params=list(FORMS))
def strategy(request: pytest.FixtureRequest, loaded: dict[str, Strategy]) -> Strategy:
    key, options = FORMS[request.param]
    chosen = loaded[key]
    if options:
        assert isinstance(chosen, ConfigurableStrategy)
        return chosen.with_options(**options)
    return chosen


def picture(height: int = 45, width: int = 70, seed: int = 0) -> RgbImage:
    """Nearly grey, as the taught language model knows it, and different for each seed."""
    return np.random.default_rng(seed).integers(122, 133, (height, width, 3), dtype=np.uint8)


def same(first: Segmentation, second: Segmentation) -> bool:
    return (
        torch.equal(first.mask_logits, second.mask_logits)
        and first.pred_iou == second.pred_iou
        and first.verdict == second.verdict
        and first.trace == second.trace
    )


def test_every_strategy_of_the_suite_is_under_contract() -> None:
    assert set(SAVERS) == set(KEYS) == {key for key, _ in FORMS.values()}


def test_card_is_filled_in(strategy: Strategy, request: pytest.FixtureRequest) -> None:
    key, _ = FORMS[request.node.callspec.params["strategy"]]
    card = strategy.card
    assert card.key == key
    for text in (card.title, card.summary, card.paper, card.licence, card.can, card.cannot):
        assert text.strip()
    assert card.takes_marks == isinstance(strategy, RefinableStrategy), "it is told before the weights are read"


@pytest.mark.parametrize(("height", "width"), [(45, 70), (211, 37), (31, 200), (3, 90), (1, 1)])
def test_logits_are_float32_at_the_original_size(strategy: Strategy, height: int, width: int) -> None:
    result = strategy.segment(ImageView(picture(height, width)), PHRASE)
    assert result.mask_logits.shape == (height, width)
    assert result.mask_logits.dtype == torch.float32
    assert not bool(result.mask_logits.isnan().any())
    assert result.mask.shape == (height, width)
    assert result.mask.dtype == np.bool_


def test_parts_of_the_answer_fit_together(strategy: Strategy) -> None:
    view = ImageView(picture())
    result = strategy.segment(view, PHRASE)
    assert (result.verdict.kind == "found") == bool(result.mask.any())
    assert result.verdict.kind == "found" or result.verdict.reason
    assert len(result.prompts) == len(result.predictions) >= 1
    assert result.pred_iou == min(prediction.pred_iou for prediction in result.predictions)
    union = np.zeros(view.size, np.bool_)
    for prediction in result.predictions:
        assert prediction.mask_logits.shape == view.size
        assert prediction.low_res_logits.dtype == prediction.pred_ious.dtype == torch.float32
        assert prediction.chosen == int(prediction.pred_ious.argmax())
        union |= (prediction.mask_logits > 0).numpy()
    assert np.array_equal(result.mask, union)


def test_prompts_lie_in_the_image(strategy: Strategy) -> None:
    view = ImageView(picture())
    height, width = view.size
    for prompt in strategy.segment(view, PHRASE).prompts:
        assert prompt.box is not None or prompt.points or prompt.text_prompt_embeddings is not None
        for point in prompt.points:
            assert 0 <= point.x <= width
            assert 0 <= point.y <= height
        if prompt.box is not None:
            x1, y1, x2, y2 = prompt.box
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height


def test_trace_and_seconds_can_be_written_as_json(strategy: Strategy) -> None:
    result = strategy.segment(ImageView(picture()), PHRASE)
    assert result.trace
    assert all(step.step for step in result.trace)
    json.dumps([dict(step.values) for step in result.trace], allow_nan=False)
    assert {"encode image", "decode"} <= set(result.seconds)
    assert all(seconds >= 0 for seconds in result.seconds.values())


def test_same_question_gives_the_same_answer(strategy: Strategy) -> None:
    first = strategy.segment(ImageView(picture()), PHRASE)
    strategy.segment(ImageView(picture(seed=1)), "another phrase")
    assert same(first, strategy.segment(ImageView(picture()), PHRASE))


def test_cached_embedding_changes_no_answer(strategy: Strategy) -> None:
    view = ImageView(picture())
    first, second = strategy.segment(view, PHRASE), strategy.segment(view, PHRASE)
    assert not first.embedding_was_cached
    assert second.embedding_was_cached
    assert same(first, second)


def test_visitors_at_the_same_time_do_not_mix(strategy: Strategy) -> None:
    views = [ImageView(picture(seed=seed)) for seed in range(4)]
    alone = [strategy.segment(ImageView(picture(seed=seed)), PHRASE) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda view: strategy.segment(view, PHRASE), views))
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))


def test_answer_depends_on_the_image(strategy: Strategy) -> None:
    first, second = (strategy.segment(ImageView(picture(seed=seed)), PHRASE) for seed in (0, 1))
    assert not torch.equal(first.mask_logits, second.mask_logits)


def test_input_stays_untouched(strategy: Strategy) -> None:
    image = picture()
    view = ImageView(image)
    strategy.segment(view, PHRASE)
    assert np.array_equal(image, picture())
    assert np.array_equal(view.image, picture())


def test_weights_stay_untouched(strategy: Strategy, checkpoints: Path, request: pytest.FixtureRequest) -> None:
    key, _ = FORMS[request.node.callspec.params["strategy"]]
    strategy.segment(ImageView(picture()), PHRASE)
    fresh = load(key, checkpoints)
    backbone, fresh_backbone = strategy.backbone, fresh.backbone  # type: ignore[attr-defined]
    weights = backbone.sam.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in fresh_backbone.sam.state_dict().items())


@pytest.mark.parametrize("phrase", ["", " \n\t", "x" * 1001])
def test_empty_and_endless_phrases_are_refused(strategy: Strategy, phrase: str) -> None:
    with pytest.raises(PhraseError, match="expected"):
        strategy.segment(ImageView(picture()), phrase)


@pytest.mark.parametrize("phrase", ["x", '"quoted" [1,2,3,4] (5,6)', "la tasse à café ☕", "the cup " * 12])
def test_any_other_phrase_gets_an_answer(strategy: Strategy, phrase: str) -> None:
    result = strategy.segment(ImageView(picture()), phrase)
    assert result.mask_logits.shape == (45, 70)
    assert result.verdict.kind == "found" or result.verdict.reason


def test_all_of_a_class_is_asked_in_words_where_the_mark_is_not_the_strategys_own(strategy: Strategy) -> None:
    view = ImageView(picture())
    asked, said = (strategy.segment(view, phrase) for phrase in ("[semantic] light", "every light"))
    assert same(asked, said) == (strategy.card.key != "evf-sam")


@pytest.mark.parametrize("key", sorted({key for key, options in FORMS.values() if options}))
def test_unknown_options_are_refused(key: str, loaded: dict[str, Strategy]) -> None:
    strategy = loaded[key]
    assert isinstance(strategy, ConfigurableStrategy)
    with pytest.raises(ConfigurationError, match="no option tempo"):
        strategy.with_options(tempo=3)


def test_strategies_share_one_image_embedding(loaded: dict[str, Strategy], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[SamMaskBackbone] = []
    encode = SamMaskBackbone.encode_image

    def counting(self: SamMaskBackbone, image: RgbImage) -> object:
        encoded.append(self)
        return encode(self, image)

    monkeypatch.setattr(SamMaskBackbone, "encode_image", counting)
    view = ImageView(picture())
    cached = [loaded[key].segment(view, PHRASE).embedding_was_cached for key in KEYS]
    assert len(encoded) == 1
    assert cached == [False, *[True] * (len(KEYS) - 1)]


@pytest.mark.parametrize("key", KEYS)
def test_half_precision_weights_still_give_float32_logits(key: str, checkpoints: Path) -> None:
    half = load(key, checkpoints, torch.bfloat16)
    result = half.segment(ImageView(picture()), PHRASE)
    assert result.mask_logits.dtype == torch.float32
    assert not bool(result.mask_logits.isnan().any())
