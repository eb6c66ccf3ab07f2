from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.encoders.multimodal import EncoderChoice
from evfsam.errors import GeometryError, PhraseError
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.model.strategy import EvfSamStrategy, load_strategy
from evfsam.types import ImageView, PromptPoint, Strategy
from tests.evfsam.tiny import MAX_TOKENS, noise_image, tiny_model, tiny_processor
from workbench.embedding_cache import EmbeddingCache


@pytest.fixture(scope="module")
def strategy(model: EvfSamModel, processor: EvfSamProcessor) -> EvfSamStrategy:
    return EvfSamStrategy(model, processor)


def shifted(offset: float) -> EvfSamStrategy:
    """A strategy whose mask lies wholly above or below the threshold."""
    model = tiny_model().requires_grad_(False)
    head = model.visual_model.mask_decoder.output_hypernetworks_mlps[0].layers[-1]
    head.weight.zero_()
    head.bias.fill_(offset)
    model.visual_model.mask_decoder.output_upscaling[3].bias.fill_(100)  # GELU keeps it positive
    return EvfSamStrategy(model, tiny_processor(model))


def test_an_answer_is_complete(strategy: EvfSamStrategy) -> None:
    answer = strategy.segment(ImageView(noise_image(30, 50)), "zebra top left")
    assert answer.mask_logits.shape == (30, 50)
    assert answer.mask_logits.dtype == torch.float32
    (prediction,) = answer.predictions
    assert answer.pred_iou == prediction.pred_iou
    (prompt,) = answer.prompts
    assert prompt.text_prompt_embeddings is not None
    assert prompt.text_prompt_embeddings.shape == (1, 32)
    assert (prompt.box, prompt.points) == (None, ())
    assert list(answer.seconds) == ["encode image", "fuse", "decode"]
    assert [entry.step for entry in answer.trace] == ["fuse image and phrase", "project [CLS] to a prompt for SAM"]
    assert answer.trace[0].asked == "zebra top left"


def test_attention_of_all_layers_is_recorded(strategy: EvfSamStrategy) -> None:
    record = strategy.segment(ImageView(noise_image(30, 50)), "zebra top left").attention
    assert record is not None
    assert record.probabilities.shape == (2, 4, 25, 25)
    torch.testing.assert_close(record.probabilities.sum(-1), torch.ones(2, 4, 25))
    assert (record.patch_grid, record.original_size) == ((4, 4), (30, 50))
    assert record.text_tokens[1] == "▁zebra"
    assert len(record.text_tokens) == 25 - 17


def test_the_prompt_shown_is_the_prompt_used(strategy: EvfSamStrategy) -> None:
    view = ImageView(noise_image(30, 50))
    answer = strategy.segment(view, "left")
    again = strategy.backbone.decode(view.embedding(strategy.backbone)[0], answer.prompts[0], multimask=False)
    assert torch.equal(again.mask_logits, answer.predictions[0].mask_logits)


def test_an_image_is_looked_at_once_for_all_questions_and_by_each_model_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[EvfSamModel] = []
    look = EvfSamModel.look

    def counted(model: EvfSamModel, pixels: torch.Tensor) -> torch.Tensor:
        looked.append(model)
        return look(model, pixels)

    monkeypatch.setattr(EvfSamModel, "look", counted)
    one, other = (EvfSamStrategy(made, tiny_processor(made)) for made in (tiny_model().eval(), tiny_model().eval()))
    cache = EmbeddingCache()
    views = [ImageView(noise_image(30, 50), cache), ImageView(noise_image(30, 50), cache)]
    first = one.segment(views[0], "zebra")
    again = one.segment(views[1], "zebra")
    one.with_prompt([PromptPoint(4, 5, 1)]).segment_many(views[1], ["left", "top"])
    assert looked == [one.model]
    assert torch.equal(first.mask_logits, again.mask_logits)
    other.segment(views[0], "zebra")
    one.segment(ImageView(noise_image(31, 50), cache), "zebra")
    assert looked == [one.model, other.model, one.model]


def test_the_trace_shows_the_phrase_without_its_surrounding_space(strategy: EvfSamStrategy) -> None:
    assert strategy.segment(ImageView(noise_image(30, 50)), " left \n").trace[0].asked == "left"


def test_it_repeats_itself_and_leaves_the_image_alone(strategy: EvfSamStrategy) -> None:
    image = noise_image(30, 50)
    before = image.copy()
    first, second = (strategy.segment(ImageView(image), "left").mask_logits for _ in range(2))
    assert torch.equal(first, second)
    np.testing.assert_array_equal(image, before)


def test_a_second_phrase_encodes_nothing(strategy: EvfSamStrategy) -> None:
    view = ImageView(noise_image(30, 50))
    assert not strategy.segment(view, "left").embedding_was_cached
    assert strategy.segment(view, "zebra").embedding_was_cached


def test_a_phrase_changes_the_prompt(strategy: EvfSamStrategy) -> None:
    view = ImageView(noise_image(30, 50))
    prompts = [strategy.segment(view, phrase).prompts[0].text_prompt_embeddings for phrase in ("left", "zebra")]
    assert prompts[0] is not None
    assert prompts[1] is not None
    assert not torch.allclose(prompts[0], prompts[1], atol=1e-6)


def test_an_empty_mask_is_absent_with_a_reason() -> None:
    answer = shifted(-1.0).segment(ImageView(noise_image(30, 50)), "left")
    assert answer.verdict.kind == "absent"
    assert answer.verdict.reason == "No pixel of the mask is above the threshold."
    assert torch.equal(answer.mask_logits, answer.predictions[0].mask_logits)
    assert answer.mask_logits.isfinite().all()
    assert not answer.mask.any()


def test_a_mask_is_found() -> None:
    answer = shifted(1.0).segment(ImageView(noise_image(30, 50)), "left")
    assert answer.verdict.kind == "found"
    assert answer.area_share == 1


@pytest.mark.parametrize("phrase", ["", "   ", "x" * 1001, "zebra " * MAX_TOKENS])
def test_phrases_without_use_are_refused_before_the_image_is_encoded(strategy: EvfSamStrategy, phrase: str) -> None:
    view = ImageView(noise_image(30, 50))
    with pytest.raises(PhraseError):
        strategy.segment(view, phrase)
    assert not view.embedding(strategy.backbone)[1]


def test_visitors_at_once_get_their_own_answers(strategy: EvfSamStrategy) -> None:
    images = [noise_image(20 + seed, 30, seed) for seed in range(6)]
    alone = [strategy.segment(ImageView(image), "left").mask_logits for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: strategy.segment(ImageView(image), "left").mask_logits, images))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_directory_makes_the_strategy(strategy: EvfSamStrategy, dtype: torch.dtype, tmp_path: Path) -> None:
    strategy.model.save_pretrained(tmp_path, storage_dtype=torch.float16)
    strategy.processor.save_pretrained(tmp_path)
    loaded = load_strategy(tmp_path, device="cpu", dtype=dtype)
    assert isinstance(loaded, Strategy)
    assert loaded.card.key == "evf-sam"
    view = ImageView(noise_image(30, 50))
    ours, theirs = strategy.segment(view, "left"), loaded.segment(view, "left")
    tolerance = 0.05 if dtype == torch.float32 else 0.5
    scale = ours.predictions[0].mask_logits.std()
    difference = (ours.predictions[0].mask_logits - theirs.predictions[0].mask_logits).abs().max()
    assert difference < tolerance * scale


PHRASES = ("zebra", "the zebra that stands at the top left of all", "left")


def test_phrases_asked_together_are_answered_as_alone(strategy: EvfSamStrategy) -> None:
    view = ImageView(noise_image(30, 50))
    together = strategy.segment_many(view, PHRASES)
    assert len(together) == len(PHRASES)
    for phrase, answer in zip(PHRASES, together, strict=True):
        alone = strategy.segment(view, phrase)
        for ours, theirs in zip(answer.predictions, alone.predictions, strict=True):
            torch.testing.assert_close(ours.mask_logits, theirs.mask_logits, atol=1e-4, rtol=0)
            torch.testing.assert_close(ours.pred_ious, theirs.pred_ious, atol=1e-4, rtol=0)
        assert answer.trace[0].asked == phrase
        assert answer.attention is not None
        assert alone.attention is not None
        assert answer.attention.text_tokens == alone.attention.text_tokens
        torch.testing.assert_close(
            answer.attention.probabilities, alone.attention.probabilities, atol=1e-5, rtol=0, check_stride=False
        )


def test_many_phrases_cost_one_image_one_fusion_and_one_decoding(
    strategy: EvfSamStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: object, **options: object) -> object:
            calls.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    counted(strategy.backbone, "encode_image")
    counted(strategy.model, "fuse")
    counted(strategy.backbone, "decode_many")
    answers = strategy.segment_many(ImageView(noise_image(30, 50)), PHRASES)
    assert calls == ["encode_image", "fuse", "decode_many"]
    assert [answer.embedding_was_cached for answer in answers] == [False, True, True]
    assert [answer.seconds["encode image"] > 0 for answer in answers] == [True, False, False]


@pytest.mark.parametrize(("phrases", "message"), [((), "1 to 16 phrases .* got 0"), (("x",) * 17, "got 17")])
def test_no_phrase_and_too_many_are_refused(strategy: EvfSamStrategy, phrases: tuple[str, ...], message: str) -> None:
    with pytest.raises(PhraseError, match=message):
        strategy.segment_many(ImageView(noise_image(30, 50)), phrases)


def test_clicks_and_a_box_stand_before_the_text(strategy: EvfSamStrategy) -> None:
    view = ImageView(noise_image(30, 50))
    points, box = (PromptPoint(10.5, 4.5, 1), PromptPoint(40.0, 20.0, 0)), (2.0, 3.0, 30.0, 20.0)
    plain = strategy.segment(view, "left")
    refined = strategy.with_prompt(points, box).segment(view, "left")
    (prompt,) = refined.prompts
    assert (prompt.points, prompt.box) == (points, box)
    assert torch.equal(prompt.text_prompt_embeddings, plain.prompts[0].text_prompt_embeddings)
    embedding = view.embedding(strategy.backbone)[0]
    expected = strategy.backbone.decode(embedding, prompt, multimask=False)
    assert torch.equal(refined.predictions[0].mask_logits, expected.mask_logits)
    assert not torch.allclose(refined.predictions[0].mask_logits, plain.predictions[0].mask_logits, atol=1e-4)
    assert refined.trace[-1].values["box"] == box
    assert strategy.segment(view, "left").prompts[0].box is None


def test_a_click_outside_the_image_is_refused(strategy: EvfSamStrategy) -> None:
    refined = strategy.with_prompt([PromptPoint(60.0, 5.0, 1)])
    with pytest.raises(GeometryError, match=r"inside the 50 x 30 image, got \(60.0, 5.0\)"):
        refined.segment(ImageView(noise_image(30, 50)), "left")


@pytest.mark.parametrize(
    ("fusion", "step"), [("late", "read image and phrase apart"), ("text", "read the phrase alone")]
)
def test_without_fusion_there_is_no_attention_and_the_trace_says_so(fusion: str, step: str) -> None:
    model = tiny_model(fusion=fusion)
    answer = EvfSamStrategy(model, tiny_processor(model)).segment(ImageView(noise_image(30, 50)), "left")
    assert answer.attention is None
    assert answer.trace[0].step == step


def test_the_card_says_which_encoder_reads_and_how() -> None:
    model = tiny_model(fusion="late")
    assert model.config.encoder_choice == EncoderChoice("beit3", "late")
    card = EvfSamStrategy(model, tiny_processor(model)).card
    assert (
        card.summary == "BEiT-3 reads image and phrase apart; both [CLS] tokens side by side become one prompt for SAM."
    )
