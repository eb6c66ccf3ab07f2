import numpy as np
import pytest
import torch

from baselines.point_query import dialects
from training import mllm
from training.clip import build_clip
from training.mllm import CHAT_TEMPLATE, MllmStage, PackedSequence, PointingStage
from training.scene_cache import SceneCache
from training.tokenizers import train_clip_tokenizer


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> PointingStage:
    torch.manual_seed(0)
    scenes = SceneCache(tmp_path_factory.mktemp("scenes"), "val", 6, chunk_size=6, workers=1)
    stage = PointingStage(scenes, scenes, build_clip(train_clip_tokenizer(scenes.texts(), max_length=40)))
    stage.model.eval()
    return stage


def test_a_token_sees_its_own_dialogue_and_nothing_after_itself() -> None:
    packed = PackedSequence()
    image = packed.add([1], [], None)
    left = packed.add([2], [3], image)
    packed.add([4], [5], image)
    packed.add([6], [7], left)
    visible = packed.visible()
    assert visible[6].tolist() == [True, True, True, False, False, True, True]
    assert visible[4].tolist() == [True, False, False, True, True, False, False]
    assert packed.positions == [0, 1, 2, 1, 2, 3, 4]
    assert packed.labels == [-100, -100, 3, -100, 5, -100, 7]


@torch.inference_mode()
def test_dialogues_packed_together_answer_as_they_do_alone(
    stage: PointingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mllm, "NAMED_POINTS_A_SCENE", 0)
    scene = stage.scenes[0]
    first, second = [e for e in scene.expressions if e.object_indices][:2]
    packed = stage.pack(scene, (first, second), np.random.default_rng(1))
    together = stage._answer([scene], [packed])
    alone = stage._answer([scene], [stage.pack(scene, (first,), np.random.default_rng(1))])
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
    assert [token for part in parts for token in stage._encode(part)] == stage._encode(whole)


def test_the_tokenizer_gives_back_what_it_reads(stage: PointingStage) -> None:
    text = 'The RED fox, 12 "zebras"! [001,020,300,999]\n(005,678) inside outside No object found. YesNo'
    assert stage.tokenizer.decode(stage._encode(text)) == text


def test_named_points_say_what_is_there_and_how_it_compares(stage: PointingStage) -> None:
    scene = next(
        scene for scene in (stage.scenes[i] for i in range(6)) if len(set(scene.categories)) < len(scene.categories)
    )
    packed = stage.pack(scene, (), np.random.default_rng(0))
    text = stage.tokenizer.decode(packed.ids)
    answers = [part.split("<|assistant|>")[1].split("<|end|>")[0] for part in text.split(mllm.NAMING_QUESTION)[1:]]
    points = [part.split("<|assistant|>")[0] for part in text.split(mllm.NAMING_QUESTION)[1:]]
    assert len(answers) == mllm.NAMED_POINTS_A_SCENE
    for point, answer in zip(points, answers, strict=True):
        x, y = (int(number) * 256 // 1000 for number in point.strip("()").split(","))
        near = np.unique(scene.object_map[y : y + 2, x : x + 2])
        names = [scene.categories[shown - 1] if shown else mllm.BACKGROUND for shown in near]
        assert any(name in answer for name in names), (point, answer)


@torch.inference_mode()
def test_answers_point_at_what_they_speak_of(stage: PointingStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mllm, "NAMED_POINTS_A_SCENE", 0)
    scenes = [stage.scenes[0], stage.scenes[1]]
    phrases = [next(e for e in scene.expressions if len(e.object_indices) == 1) for scene in scenes]
    packed = [stage.pack(s, (e,), np.random.default_rng(1)) for s, e in zip(scenes, phrases, strict=True)]
    answers = stage._answer(scenes, packed)
    counts = [sum(aim >= 0 for aim in item.aims) for item in packed]
    assert counts == [mllm.AIMED_TOKENS + mllm.POINTS_A_BOX] * 2
    for targets, scene, phrase in zip(answers.targets.split(counts), scenes, phrases, strict=True):
        mask = torch.from_numpy(scene.mask(phrase.object_indices)).float()
        torch.testing.assert_close(targets[0], torch.nn.functional.avg_pool2d(mask[None], 16)[0])
        assert torch.equal(targets, targets[:1].expand_as(targets))
    assert all(pointed.shape == answers.targets.shape for pointed in answers.pointed)


def test_every_head_and_the_model_learn_from_one_step(stage: PointingStage) -> None:
    stage.loss(np.random.default_rng(0)).backward()
    still = [name for name, p in stage.module.named_parameters() if p.grad is None or not p.grad.any()]
    stage.module.zero_grad()
    assert not [name for name in still if "post_layernorm" not in name], still


def test_training_after_the_pretraining_takes_text_alone(stage: PointingStage) -> None:
    text = MllmStage(stage.scenes, stage.scenes, build_clip(train_clip_tokenizer(["the fox"], max_length=40)))
    text.model.load_state_dict(stage.model.state_dict())
    text.model.eval()
    scenes, packed = stage._draw(np.random.default_rng(3))
    answers = stage._answer(scenes, packed)
    expected = torch.nn.functional.cross_entropy(answers.logits, answers.labels)
    torch.testing.assert_close(text.loss(np.random.default_rng(3)), expected, atol=1e-4, rtol=1e-4)
