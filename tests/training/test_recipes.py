"""Every stage runs from drawn scenes to a checkpoint that the suite's own loaders take, in a few steps."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.clip.text import load_strategy as load_clip_text
from baselines.point_query.strategy import load_strategy as load_point_query
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.strategy import load_strategy as load_evf_sam
from evfsam.types import ImageView
from evfsam.weights.checkpoint_files import read_weights
from training.finetune import BLEND
from training.recipes import FURTHER, STAGES, Places
from training.warm_start import respelled
from workbench.datasets.scenes import scene

pytestmark = pytest.mark.slow
SMALL = {"steps": 1, "scenes_a_step": 2, "held_out": 4, "pictures": Path("no-pictures")}
"""A step of every stage; without fetched pictures scenes are made of the project's own."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("training")
    places = Places(folder / "work", folder / "out", **SMALL)
    for recipe in STAGES.values():
        torch.manual_seed(0)
        recipe.train(places)
    return places


def test_the_three_strategies_load_and_share_one_embedding(trained: Places) -> None:
    options = {"device": "cpu", "dtype": torch.float32}
    strategies = [
        load_evf_sam(trained.out / "evf-sam", **options),
        load_clip_text(trained.out / "clip-text", **options),
        load_point_query(trained.out / "point-query", **options),
    ]
    view = ImageView(np.ascontiguousarray(scene(0).image))
    view.embedding(strategies[0].backbone)
    for strategy in strategies:
        assert view.embedding(strategy.backbone)[1], strategy.card.key
        assert strategy.segment(view, "the fox").mask_logits.shape == (256, 256)


def test_every_checkpoint_has_a_card_with_its_measured_figures(trained: Places) -> None:
    cards = [
        trained.out / name / "README.md" for name in ("evf-sam", "clip-text", "point-query/sam", "point-query/mllm")
    ]
    for card in cards:
        text = card.read_text()
        assert "1 steps" in text
        assert "| figure | value |" in text


def test_files_are_stored_as_float16_and_stay_under_ten_megabytes(trained: Places) -> None:
    files = list(trained.out.rglob("*.safetensors"))
    assert {file.parent.name for file in files} == {"evf-sam", "clip-text", "sam", "mllm"}
    assert max(file.stat().st_size for file in files) < 10_000_000


def test_a_stage_without_what_it_reads_names_the_stage_to_run_first(tmp_path: Path) -> None:
    places = Places(
        tmp_path / "work", tmp_path / "out", steps=1, scenes_a_step=2, held_out=4, pictures=Path("no-pictures")
    )
    with pytest.raises(CheckpointError, match="python -m training pretrain"):
        STAGES["finetune"].train(places)


def test_every_stage_comes_after_those_it_needs() -> None:
    done: set[str] = set()
    for name, recipe in STAGES.items():
        assert done.issuperset(recipe.needs), name
        done.add(name)


def test_a_run_goes_on_only_with_its_own_seed(trained: Places) -> None:
    with pytest.raises(CheckpointError, match="seed 0 there, 1 now"):
        STAGES["sam"].train(replace(trained, seed=1))


def test_a_finished_suite_can_be_started_from(trained: Places, tmp_path: Path) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out)
    (tmp_path / "work").mkdir()
    for name in ("phrases.txt", "sentencepiece.bpe.model"):
        shutil.copy(trained.work / name, tmp_path / "work")
    STAGES["pretrain"].train(again)
    before = torch.load(trained.work / "beit3.pt", weights_only=True)
    after = torch.load(tmp_path / "work" / "beit3.pt", weights_only=True)
    kept = [name for name in before if "text_embed" not in name]  # words are respelled
    moved = max(float((before[name] - after[name]).abs().max()) for name in kept)
    assert 0 < moved < 0.05  # a step from the same weights, not fresh ones


def test_an_earlier_suite_s_encoders_are_kept_where_none_are_trained_anew(trained: Places, tmp_path: Path) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out)
    shutil.copytree(trained.out / "point-query" / "sam", again.out / "point-query" / "sam")
    (tmp_path / "work").mkdir()
    for name in ("phrases.txt", "sentencepiece.bpe.model"):
        shutil.copy(trained.work / name, tmp_path / "work")
    for name in ("finetune", "projector"):
        STAGES[name].train(again)
    states = {name: torch.load(again.state(name), weights_only=True)["module"] for name in ("finetune", "projector")}
    assert "patches.naming.1.weight" in states["finetune"]  # names are taught beside the masks
    for name, part in (("evf-sam", "encoder.layers.0.ffn.A.fc1.weight"), ("clip-text", "projectors.text.0.weight")):
        before, after = read_weights(trained.out / name), read_weights(again.out / name)
        (key,) = (each for each in before if each.endswith(part))
        assert 0 < float((before[key] - after[key]).abs().max()) < 0.05  # a step from the same weights, not fresh ones
    frozen = "text_encoder.embeddings.token_embedding.weight"
    assert torch.equal(read_weights(trained.out / "clip-text")[frozen], read_weights(again.out / "clip-text")[frozen])


def test_an_earlier_suite_learns_more_wordings_at_its_own_sizes(trained: Places, tmp_path: Path) -> None:
    again = replace(trained, work=tmp_path / "work", out=tmp_path / "out", start=trained.out)
    (tmp_path / "work").mkdir()
    for name in ("phrases.txt", "sentencepiece.bpe.model"):
        shutil.copy(trained.work / name, tmp_path / "work")
    for name in ("wordings", "absent"):
        FURTHER[name].train(again)
    before, after = read_weights(trained.out / "evf-sam"), read_weights(again.out / "evf-sam")
    (key,) = (each for each in before if each.endswith("layers.0.ffn.A.fc1.weight"))
    assert 0 < float((before[key] - after[key]).abs().max()) < 0.05
    assert "the page's scenes" in (again.out / "evf-sam" / "README.md").read_text()
    frozen = "visual_model.image_encoder.pos_embed"
    assert torch.equal(read_weights(trained.out / "evf-sam")[frozen], read_weights(again.out / "evf-sam")[frozen])

    name = "text_hidden_fcs.0.0.weight"
    before, after = (read_weights(places.out / "evf-sam")[name].float() for places in (trained, again))
    FURTHER["blend"].train(again)
    blended = read_weights(again.out / "evf-sam")[name].float()
    torch.testing.assert_close(blended, before + BLEND * (after - before), atol=1e-3, rtol=1e-3)
    assert "Blended" in (again.out / "evf-sam" / "README.md").read_text()


@pytest.mark.parametrize("name", FURTHER)
def test_a_stage_that_goes_on_from_a_suite_asks_for_one(name: str, tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "out", **SMALL)
    with pytest.raises(ConfigurationError, match="--start"):
        FURTHER[name].train(places)


def test_words_that_both_tokenizers_know_keep_their_embedding(trained: Places) -> None:
    tokenizer = trained.tokenizer()
    rows = tokenizer.vocab_size + 1
    embedding = torch.randn(rows, 4)
    assert torch.allclose(respelled(embedding, tokenizer, tokenizer, rows)[100:200], embedding[100:200])
