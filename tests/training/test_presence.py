from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.point_query import dialects
from training import presence
from training.clip import build_clip
from training.mllm import build_model, build_tokenizer
from training.presence import PresenceStage, with_noise
from training.scene_dialogues import DialogueDraw
from training.scene_stream import SceneSource
from training.tokenizer_training import train_clip_tokenizer
from workbench.datasets.grammar import read_grammar, split_words

NOWHERE = Path("no-pictures")
"""Without fetched pictures scenes are made of the project's own."""
PHRASE = "the red bus that is on the left"


@pytest.fixture(scope="module")
def stage() -> PresenceStage:
    torch.manual_seed(0)
    texts = list(SceneSource(NOWHERE).texts(np.random.default_rng(0), 300))
    tokenizer = build_tokenizer(texts)
    model = build_model(tokenizer, build_clip(train_clip_tokenizer(texts, max_length=40)))
    stage = PresenceStage(SceneSource(NOWHERE), tokenizer, model, 4)
    stage.model.eval()
    assert isinstance(stage.draw, DialogueDraw)
    stage.draw = replace(stage.draw, scene_count=4)
    return stage


def test_noise_leaves_every_word_that_means_something_in_its_place() -> None:
    rng = np.random.default_rng(0)
    noisy = [with_noise(PHRASE, rng) for _ in range(1000)]
    changed = [text for text in noisy if text != PHRASE]
    assert 0.35 < len(changed) / len(noisy) < 0.45
    for text in changed:
        words = iter(text.split(" "))
        assert all(word in words for word in ("red", "bus", "on", "left")), text
    held_out = {frame.text for frames in read_grammar().frames for frame in frames if frame.is_held_out}
    only_there = {word for text in held_out for word in split_words(text)} - set(presence._words_around())
    assert "outline" in only_there
    assert not {word for word in only_there if len(word) > 3} & {word for text in changed for word in text.split(" ")}


def test_how_each_answer_for_a_box_begins_is_taught_and_nothing_else(stage: PresenceStage) -> None:
    batch = stage.draw(np.random.default_rng(3))
    begins = stage._begins(batch)
    asked = dialects.box_question("\0").split("\0")[0]
    whole = [stage.tokenizer.decode(ids[: int((ids != 0).sum())]) for ids in batch.ids]
    assert int(begins.sum()) == sum(text.count(asked) for text in whole)
    is_absent = batch.labels[begins] == stage._rival
    assert int(is_absent.sum()) == sum(text.count(dialects.NO_OBJECT) for text in whole)
    assert 0 < int(is_absent.sum()) < int(begins.sum())


def test_what_follows_is_held_to_what_was_said_before(stage: PresenceStage) -> None:
    batch = stage.draw(np.random.default_rng(4))
    begins = stage._begins(batch)
    logits = stage._answer(batch).logits
    expected = torch.nn.functional.cross_entropy(logits[begins], batch.labels[begins])
    torch.testing.assert_close(stage.loss(batch), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        weight = stage.model.model.language_model.norm.weight
        kept = weight.clone()
        weight *= 4
        changed = stage._answer(batch).logits
        alone = torch.nn.functional.cross_entropy(changed[begins], batch.labels[begins])
        assert stage.loss(batch) > alone + 0.01
        weight.copy_(kept)


def test_only_the_language_model_learns(stage: PresenceStage) -> None:
    stage.loss(stage.draw(np.random.default_rng(5))).backward()
    learns = {name.split(".")[1] for name, each in stage.model.named_parameters() if each.grad is not None}
    assert learns == {"language_model"}
    assert all(each.grad is None for each in stage.before.parameters())


def test_the_model_before_moves_with_the_one_that_learns_and_is_not_saved(stage: PresenceStage) -> None:
    moved = deepcopy(stage)
    moved.module.to("meta")
    assert {each.device.type for each in moved.before.parameters()} == {"meta"}
    assert set(moved.module.state_dict()) == set(moved.before.state_dict())


def test_the_weights_end_between_those_before_and_those_learnt(stage: PresenceStage) -> None:
    weight, before = (each.model.language_model.norm.weight for each in (stage.model, stage.before))
    with torch.no_grad():
        weight += 1
        stage.average_with_before(0.25)
        torch.testing.assert_close(weight, before + 0.25)
        stage.average_with_before(0)
    assert torch.equal(weight, before)


def test_validation_tells_absent_phrases_from_present_ones(stage: PresenceStage) -> None:
    figures = stage.validate()
    assert {name for name in figures if name.endswith("absent told")} == {
        f"{kind} absent told" for kind in ("page", "drawn", "photo")
    }
    assert all(0 <= figures[name] <= 1 for name in figures if name.endswith("absent told"))
