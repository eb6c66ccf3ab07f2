"""Every family of the registry, from its real repository id to a mask, on tiny models of its real classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlavaNextForConditionalGeneration

from baselines.point_query import dialects, open_models
from baselines.point_query.adapters import with_todays_names
from baselines.point_query.dialects import DIALECTS
from baselines.point_query.dialogue import Message, YesNo
from baselines.point_query.language_model import Conversation, LanguageModel
from baselines.point_query.open_models import family_of, load_strategy
from baselines.point_query.strategy import PointQueryStrategy, grid_points
from evfsam.errors import CheckpointError, ConfigurationError, ImageFormatError, PhraseError
from evfsam.types import ImageView, Segmentation
from tests.hub.tiny_hub import (
    FLORENCE_2,
    INTERNVL,
    LLAVA_NEXT,
    MOLMO2,
    QWEN2_5_VL,
    QWEN3_5,
    QWEN3_VL,
    SAM,
    lay_down,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
CHATTING = (QWEN3_VL, QWEN3_5, QWEN2_5_VL, INTERNVL, LLAVA_NEXT, MOLMO2)
FAMILIES = (*CHATTING, FLORENCE_2)
FLOAT32_NOISE = 5e-6


def load(hub: Path, repo_id: str) -> PointQueryStrategy:
    lay_down(hub, SAM, repo_id)
    dialect = "llava-next" if repo_id == LLAVA_NEXT else None
    return load_strategy({"mllm": repo_id, "sam": SAM}, device="cpu", dtype=torch.float32, dialect=dialect)


def say(monkeypatch: pytest.MonkeyPatch, answer: str, *, p_yes: float = 0.99) -> None:
    """Let conversations say something sensible, which random weights do not."""

    def ask(self: Conversation, messages: list[Message], *, max_new_tokens: int) -> str:
        del self, messages, max_new_tokens
        return answer

    def spoken(self: LanguageModel, logits: torch.Tensor) -> object:
        del self
        return YesNo(torch.full((len(logits),), p_yes), torch.ones(len(logits)))

    monkeypatch.setattr(Conversation, "ask", ask)
    monkeypatch.setattr(LanguageModel, "yes_no", spoken)


@pytest.mark.parametrize("repo_id", FAMILIES)
def test_a_family_loads_from_its_default_id_and_answers_in_words(hub: Path, repo_id: str) -> None:
    strategy = load(hub, repo_id)
    assert strategy.dialect.weights == repo_id
    assert strategy.dialect.title in strategy.card.title
    quick = strategy.with_options(max_new_tokens=16, presence_threshold=0)
    result = quick.segment(ImageView(IMAGE), "the red cup")
    assert result.mask_logits.shape == (50, 80)
    assert result.verdict.kind == "found" or result.verdict.reason
    assert result.trace[-1].step


@pytest.mark.parametrize("repo_id", CHATTING)
def test_cached_questions_answer_as_whole_dialogues_do(hub: Path, repo_id: str) -> None:
    language = load(hub, repo_id).language
    assert isinstance(language, LanguageModel)
    first: list[Message] = [dialects.user_turn("Where is it?", with_image=True)]
    with language.conversation(IMAGE) as conversation:
        answer = conversation.ask(first, max_new_tokens=6)
        talk = [*first, dialects.assistant_turn(answer)]
        asked = [[*talk, dialects.user_turn(f"({x}, {y})?")] for x, y in grid_points((0, 0, 900, 90), 3)]
        cached = conversation.ask_each(asked).p_yes
    with torch.inference_mode():
        picture = Image.fromarray(IMAGE)
        logits = [language.model(**language.encode(picture, messages)).logits[:, -1] for messages in asked]
    whole = language.yes_no(torch.cat(logits)).p_yes
    assert whole.std() > 1e-4
    torch.testing.assert_close(cached, whole, rtol=0, atol=FLOAT32_NOISE)


@pytest.mark.parametrize(
    ("repo_id", "answer", "box"),
    [
        (QWEN3_VL, '[{"bbox_2d": [125, 200, 500, 800]}]', (10, 10, 40, 40)),
        (QWEN3_5, '[{"bbox_2d": [125, 200, 500, 800]}]', (10, 10, 40, 40)),
        (QWEN2_5_VL, '[{"bbox_2d": [21, 28, 42, 56]}]', (20, 25, 40, 50)),  # the processor makes 84 x 56 of it
        (INTERNVL, "<box>[[125, 200, 500, 800]]</box>", (10, 10, 40, 40)),
        (LLAVA_NEXT, "[125,200,500,800]", (10, 10, 40, 40)),
    ],
)
def test_a_spoken_box_and_its_points_reach_sam_in_pixels(
    hub: Path, monkeypatch: pytest.MonkeyPatch, repo_id: str, answer: str, box: tuple[float, ...]
) -> None:
    strategy = load(hub, repo_id)
    say(monkeypatch, answer)
    result = strategy.segment(ImageView(IMAGE), "the red cup")
    (prompt,) = result.prompts
    assert prompt.box == pytest.approx(box)
    assert len(prompt.points) == 25
    x1, y1, x2, y2 = box
    assert all(x1 < point.x < x2 and y1 < point.y < y2 and point.is_kept for point in prompt.points)


def test_each_point_of_molmo_prompts_a_mask_of_its_own(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = load(hub, MOLMO2)
    say(monkeypatch, '<points coords="1 1 125 200 2 500 800">cups</points>')
    result = strategy.segment(ImageView(IMAGE), "the red cup")
    assert [(prompt.box, prompt.points[0].x, prompt.points[0].y) for prompt in result.prompts] == [
        (None, 10, 10),
        (None, 40, 40),
    ]
    assert len(result.predictions) == 2


@pytest.mark.parametrize("repo_id", [QWEN3_VL, MOLMO2])
def test_an_absent_object_ends_with_the_presence_question(
    hub: Path, monkeypatch: pytest.MonkeyPatch, repo_id: str
) -> None:
    strategy = load(hub, repo_id)
    say(monkeypatch, "[1, 2, 3, 4]", p_yes=0.12)
    result = strategy.segment(ImageView(IMAGE), "the red cup")
    assert result.verdict.kind == "absent"
    assert "was 12% sure of Yes; 50% are asked for" in result.verdict.reason
    (step,) = result.trace
    assert step.asked == dialects.DIALECTS["qwen3-vl"].presence_question("the red cup")  # type: ignore[misc]
    assert step.values["p_yes"] == pytest.approx(0.12)


def answered(hub: Path, monkeypatch: pytest.MonkeyPatch, answer: str, repo_id: str = QWEN2_5_VL) -> Segmentation:
    strategy = load(hub, repo_id)
    say(monkeypatch, answer)
    return strategy.segment(ImageView(IMAGE), "the red cup")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The cup stands on the table.", 'answered without a box: "The cup stands on the table."'),
        ('[{"bbox_2d": [21, 28, 42, 28]}]', "no usable box: [21, 28, 42, 28] has no area"),
        ('[{"bbox_2d": [21, 28, 113, 56]}]', "leaves the range 0..84 x 0..56 pixels"),
        ("[]", 'answered "[]"'),
    ],
)
def test_answers_without_a_usable_box_are_put_into_words(
    hub: Path, monkeypatch: pytest.MonkeyPatch, answer: str, reason: str
) -> None:
    result = answered(hub, monkeypatch, answer)
    assert result.verdict.kind == ("absent" if answer == "[]" else "failed")
    assert reason in result.verdict.reason
    assert result.predictions == ()
    assert not result.mask.any()


@pytest.mark.parametrize("repo_id", [QWEN3_VL, QWEN2_5_VL])
def test_an_image_too_long_for_the_processor_is_refused_in_words(hub: Path, repo_id: str) -> None:
    strategy = load(hub, repo_id)
    with pytest.raises(ImageFormatError, match=r"cannot take an image of 300 x 1 pixels .*; crop it nearer"):
        strategy.segment(ImageView(np.zeros((1, 300, 3), np.uint8)), "the red cup")


def test_florence_refuses_what_it_cannot_do(hub: Path) -> None:
    strategy = load(hub, FLORENCE_2)
    assert strategy.options.prompt == "box"
    with pytest.raises(ConfigurationError, match=r"Florence-2 \(box only\) answers no question about points"):
        strategy.with_options(prompt="both")
    with pytest.raises(ConfigurationError, match="not asked about presence apart"):
        strategy.with_options(presence="ask")
    with pytest.raises(PhraseError, match="'<loc_', a control token"):
        strategy.segment(ImageView(IMAGE), "a <loc_5> cup")
    with pytest.raises(PhraseError, match="'<OD>', a control token"):
        strategy.segment(ImageView(IMAGE), "an <OD> cup")


def test_molmo_refuses_what_it_cannot_do(hub: Path) -> None:
    strategy = load(hub, MOLMO2)
    assert (strategy.options.form, strategy.options.prompt) == ("ppg", "points")
    with pytest.raises(ConfigurationError, match=r"Molmo2 \(points only\) names no box; use form='ppg'"):
        strategy.with_options(form="pqpp")
    with pytest.raises(ConfigurationError, match=r"Molmo2 \(points only\) names no box; use prompt='points'"):
        strategy.with_options(prompt="box")


def test_llava_next_asks_for_its_adapters(hub: Path) -> None:
    lay_down(hub, SAM, LLAVA_NEXT)
    with pytest.raises(ConfigurationError, match="only with SAM4MLLM's adapters: give their directory as 'adapter'"):
        load_strategy({"mllm": LLAVA_NEXT, "sam": SAM}, device="cpu", dtype=torch.float32)


def test_an_adapter_needs_peft(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_down(hub, SAM, LLAVA_NEXT)
    monkeypatch.setattr("baselines.point_query.language_model.is_peft_available", lambda: False)
    with pytest.raises(ConfigurationError, match="needs the package peft, which is not installed: pip install peft"):
        load_strategy({"mllm": LLAVA_NEXT, "sam": SAM, "adapter": tmp_path}, device="cpu", dtype=torch.float32)


def test_adapters_change_what_llava_next_says(hub: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="adapters need peft, which is optional")
    plain = load(hub, LLAVA_NEXT).language
    assert isinstance(plain, LanguageModel)
    adapted = LlavaNextForConditionalGeneration.from_pretrained(open_models.weights_directory(LLAVA_NEXT))
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(adapted, settings).save_pretrained(tmp_path)
    loaded = load_strategy({"mllm": LLAVA_NEXT, "sam": SAM, "adapter": tmp_path}, device="cpu", dtype=torch.float32)
    assert isinstance(loaded.language, LanguageModel)
    messages: list[Message] = [dialects.user_turn("Where is it?", with_image=True)]
    picture = Image.fromarray(IMAGE)
    with torch.inference_mode():
        before, after, expected = (
            model(**plain.encode(picture, messages)).logits
            for model in (plain.model, loaded.language.model, adapted.eval())
        )
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [IMAGE.shape[:2], (1100, 2000)])
def test_llava_next_is_told_and_shown_what_the_released_adapters_were_trained_on(
    hub: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    language = load(hub, LLAVA_NEXT).language
    assert isinstance(language, LanguageModel)
    messages: list[Message] = [dialects.user_turn("Where is it?", with_image=True)]
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = Image.fromarray(image)
    squashed = picture.resize((672, 672), Image.Resampling.BICUBIC)
    inputs, expected = (language.encode(each, messages) for each in (picture, squashed))
    torch.testing.assert_close(inputs["pixel_values"], expected["pixel_values"], rtol=0, atol=0)
    seen: list[dict[str, torch.Tensor]] = []
    encode = language.encode
    with monkeypatch.context() as patch, language.conversation(image) as conversation:
        patch.setattr(language, "encode", lambda *given: seen.append(encode(*given)) or seen[-1])
        conversation.ask(messages, max_new_tokens=1)
    torch.testing.assert_close(seen[0]["pixel_values"], expected["pixel_values"], rtol=0, atol=0)
    for tokens in (inputs["input_ids"][0], language.encode_texts([messages])[0]):
        said = language.processor.tokenizer.decode(tokens)
        assert said.startswith("<|im_start|>system\nYou are a helpful language and vision assistant. You are able to")
        assert "a variety of tasks using natural language.<|im_end|>\n<|im_start|>user\n" in said
        assert said.count("<|im_start|>system") == 1
    qwen = load(hub, QWEN3_VL).language
    assert isinstance(qwen, LanguageModel)
    assert not torch.equal(qwen.encode(picture, messages)["image_grid_thw"], torch.tensor([[1, 48, 48]]))
    assert "system" not in qwen.processor.tokenizer.decode(qwen.encode_texts([messages])[0])


def test_adapters_with_the_names_of_the_original_model_load_too(hub: Path, tmp_path: Path) -> None:
    """As released: `model.layers.N` and `mm_projector.0` for what transformers calls otherwise."""
    peft = pytest.importorskip("peft", reason="adapters need peft, which is optional")
    plain = load(hub, LLAVA_NEXT).language
    assert isinstance(plain, LanguageModel)
    adapted = LlavaNextForConditionalGeneration.from_pretrained(open_models.weights_directory(LLAVA_NEXT))
    targets = ["model.language_model.layers.0.self_attn.q_proj", "model.multi_modal_projector.linear_2"]
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    peft.get_peft_model(adapted, settings).save_pretrained(tmp_path)
    released = {"language_model.layers": "layers", "multi_modal_projector.linear_2": "mm_projector.2"}
    weights, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    tensors = load_file(weights)
    for today, original in released.items():
        assert any(today in name for name in tensors)
        tensors = {name.replace(today, original): tensor for name, tensor in tensors.items()}
        config.write_text(config.read_text().replace(today, original))
    save_file(tensors, weights)
    loaded = load_strategy({"mllm": LLAVA_NEXT, "sam": SAM, "adapter": tmp_path}, device="cpu", dtype=torch.float32)
    assert isinstance(loaded.language, LanguageModel)
    inputs = plain.encode(Image.fromarray(IMAGE), [dialects.user_turn("Where is it?", with_image=True)])
    with torch.inference_mode():
        after, expected = (model(**inputs).logits for model in (loaded.language.model, adapted.eval()))
        assert (after - plain.model(**inputs).logits).abs().max() > 1e-3
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"target_modules": ["q_proj"]}', "names its modules in full"),
        ('{"target_modules": "all-linear"}', "names its modules in full, .*, got all-linear"),
        ("{}", "names its modules in full"),
        ("[]", "expected a peft adapter in .*, got: a list"),
        ("[" * 100_000, "expected a peft adapter in"),
    ],
)
def test_an_original_adapter_that_names_only_the_ends_of_modules_is_refused(
    config: str, words: str, tmp_path: Path
) -> None:
    save_file(
        {"base_model.model.model.layers.0.q_proj.lora_A.weight": torch.zeros(2, 2)},
        tmp_path / "adapter_model.safetensors",
    )
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(CheckpointError, match=words), with_todays_names(tmp_path):
        pass


def test_a_directory_that_is_no_adapter_is_refused(hub: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="adapters need peft, which is optional")
    lay_down(hub, SAM, LLAVA_NEXT)
    with pytest.raises(CheckpointError, match="expected a peft adapter for this model"):
        load_strategy({"mllm": LLAVA_NEXT, "sam": SAM, "adapter": tmp_path}, device="cpu", dtype=torch.float32)


def test_a_class_that_this_transformers_lacks_is_named(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_down(hub, MOLMO2)
    monkeypatch.setattr(open_models, "CONFIG_MAPPING", {})
    with pytest.raises(ConfigurationError, match=r"'molmo2'\) has no class in transformers .* code from the Hub"):
        family_of(open_models.weights_directory(MOLMO2))


def test_thinking_is_switched_off_where_a_family_can_think(hub: Path) -> None:
    language = load(hub, QWEN3_5).language
    assert isinstance(language, LanguageModel)
    text = language.processor.tokenizer.decode(language.encode_texts([[dialects.user_turn("Hello")]])[0])
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_every_default_of_the_registry_is_under_test() -> None:
    assert {dialect.weights for dialect in DIALECTS.values() if dialect.weights} == set(FAMILIES)
