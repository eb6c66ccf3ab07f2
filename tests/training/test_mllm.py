from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.point_query import dialects
from training import mllm, scene_dialogues
from training.clip import build_clip
from training.mllm import CHAT_TEMPLATE, MllmStage, PointingStage, build_model, build_tokenizer
from training.scene_dialogues import DialogueBatch, DialogueDraw, PackedSequence, batched
from training.scene_stream import SQUARE, SceneSource, TrainingScene
from training.tokenizer_training import train_clip_tokenizer
from workbench.datasets.expressions import Expression

NOWHERE = Path("no-pictures")
"""Without fetched pictures scenes are made of the project's own."""


@pytest.fixture(scope="module")
def scenes() -> list[TrainingScene]:
    return SceneSource(NOWHERE, "val").scenes(np.random.default_rng(0), 8)


@pytest.fixture(scope="module")
def stage() -> PointingStage:
    torch.manual_seed(0)
    texts = list(SceneSource(NOWHERE).texts(np.random.default_rng(0), 300))
    clip = build_clip(train_clip_tokenizer(texts, max_length=40))
    tokenizer = build_tokenizer(texts)
    stage = PointingStage(SceneSource(NOWHERE), tokenizer, build_model(tokenizer, clip), 4)
    stage.model.eval()
    return stage


def drawer(stage: PointingStage) -> DialogueDraw:
    assert isinstance(stage.draw, DialogueDraw)
    return stage.draw


def present(scene: TrainingScene, count: int, rng: np.random.Generator) -> list[Expression]:
    return SceneSource(NOWHERE).phrases(scene, rng, count, {"category": 1.0, "position": 1.0, "group": 1.0})


def packed_batch(stage: PointingStage, scene: TrainingScene, expressions: list[Expression]) -> DialogueBatch:
    packed = drawer(stage).pack(scene, expressions, np.random.default_rng(1))
    return batched([scene], [packed], stage.tokenizer.pad_token_id)


def test_a_token_sees_its_own_dialogue_and_nothing_after_itself(scenes: list[TrainingScene]) -> None:
    packed = PackedSequence()
    image = packed.add([1], [], None)
    left = packed.add([2], [3], image)
    packed.add([4], [5], image)
    packed.add([6], [7], left)
    visible = batched(scenes[:1], [packed], 0).visible()[0]
    assert visible[6].tolist() == [True, True, True, False, False, True, True]
    assert visible[4].tolist() == [True, False, False, True, True, False, False]
    assert packed.positions == [0, 1, 2, 1, 2, 3, 4]
    assert packed.labels == [-100, -100, 3, -100, 5, -100, 7]


@torch.inference_mode()
def test_dialogues_packed_together_answer_as_they_do_alone(
    stage: PointingStage, scenes: list[TrainingScene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "draw", replace(drawer(stage), named_points=0))
    first, second = present(scenes[0], 2, np.random.default_rng(2))
    together = stage._answer(packed_batch(stage, scenes[0], [first, second]))
    alone = stage._answer(packed_batch(stage, scenes[0], [first]))
    count = len(alone.labels)
    assert torch.equal(together.labels[:count], alone.labels)
    torch.testing.assert_close(together.logits[:count], alone.logits, atol=1e-4, rtol=1e-4)


def test_segments_join_to_the_tokens_of_the_chat_template(stage: PointingStage) -> None:
    box, points = (1, 20, 300, 999), [(5, 678)]
    first = dialects.box_question("the red fox")
    second = dialects.points_question(box, points)
    answer = dialects.boxes_answer([box])
    messages = [
        dialects.user_turn(first),
        dialects.assistant_turn(answer),
        dialects.user_turn(second),
        dialects.assistant_turn(dialects.YES),
    ]
    whole = stage.tokenizer.apply_chat_template(messages, chat_template=CHAT_TEMPLATE, tokenize=False)
    header = dialects.points_question(box, [])
    parts = [
        "<|user|>",
        f"{first}<|assistant|>",
        f"{answer}<|end|>",
        f"<|user|>{header}",
        f"{dialects.format_point(points[0])}<|assistant|>",
        f"{dialects.YES}",
        "<|end|>",
    ]
    assert [token for part in parts for token in encode(stage, part)] == encode(stage, whole)


def encode(stage: PointingStage, text: str) -> list[int]:
    return drawer(stage)._encode(text)


def test_the_tokenizer_gives_back_what_it_reads(stage: PointingStage) -> None:
    text = 'The RED fox, 12 "zebras"! [001,020,300,999]\n(005,678) inside outside No object found. YesNo'
    assert stage.tokenizer.decode(encode(stage, text)) == text


def test_named_points_say_what_is_there_and_how_it_compares(stage: PointingStage, scenes: list[TrainingScene]) -> None:
    scene = scenes[0]
    packed = drawer(stage).pack(scene, [], np.random.default_rng(0))
    text = stage.tokenizer.decode(packed.ids)
    answers = [part.split("<|assistant|>")[1].split("<|end|>")[0] for part in text.split(mllm.NAMING_QUESTION)[1:]]
    points = [part.split("<|assistant|>")[0] for part in text.split(mllm.NAMING_QUESTION)[1:]]
    assert len(answers) == drawer(stage).named_points
    height, width = scene.object_map.shape
    for point, answer in zip(points, answers, strict=True):
        x, y = (int(n) * side // 1000 for n, side in zip(point.strip("()").split(","), (width, height), strict=True))
        near = np.unique(scene.object_map[y : y + 2, x : x + 2])
        names = [scene.objects[shown - 1].category if shown else mllm.BACKGROUND for shown in near]
        assert any(name in answer for name in names), (point, answer)


@torch.inference_mode()
def test_answers_point_at_what_they_speak_of(
    stage: PointingStage, scenes: list[TrainingScene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "draw", replace(drawer(stage), named_points=0))
    phrase = present(scenes[1], 1, np.random.default_rng(3))[0]
    batch = packed_batch(stage, scenes[1], [phrase])
    answers = stage._answer(batch)
    mask = torch.from_numpy(scenes[1].mask(phrase.object_indices)).float()
    side = answers.targets.shape[-1]
    assert len(answers.targets) == int((batch.aims > 0).sum()) >= scene_dialogues.AIMED_TOKENS
    assert torch.equal(answers.targets, answers.targets[:1].expand_as(answers.targets))
    squashed = torch.nn.functional.interpolate(mask[None, None], (SQUARE, SQUARE), mode="nearest")
    expected = torch.nn.functional.adaptive_avg_pool2d(squashed, side)[0, 0]
    assert float((answers.targets[0] - expected).abs().mean()) < 0.02
    assert all(pointed.shape == answers.targets.shape for pointed in answers.pointed)


def test_every_head_and_the_model_learn_from_one_step(stage: PointingStage) -> None:
    source = SceneSource(NOWHERE)
    stage.loss(DialogueDraw(source, stage.tokenizer, 4, 2)(np.random.default_rng(0))).backward()
    still = [name for name, p in stage.module.named_parameters() if p.grad is None or not p.grad.any()]
    stage.module.zero_grad()
    assert not [name for name in still if "post_layernorm" not in name], still


def test_training_after_the_pretraining_takes_text_alone(stage: PointingStage) -> None:
    clip = build_clip(train_clip_tokenizer(["the fox"], max_length=40))
    text = MllmStage(SceneSource(NOWHERE), stage.tokenizer, build_model(stage.tokenizer, clip), 4)
    text.model.load_state_dict(stage.model.state_dict())
    text.model.eval()
    batch = DialogueDraw(SceneSource(NOWHERE), stage.tokenizer, 2, 2)(np.random.default_rng(3))
    answers = stage._answer(batch)
    expected = torch.nn.functional.cross_entropy(answers.logits, answers.labels)
    torch.testing.assert_close(text.loss(batch), expected, atol=1e-4, rtol=1e-4)
