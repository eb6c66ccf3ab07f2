"""Training on data sets in their original layouts, with models at a size that trains in seconds."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines import dialects
from baselines.clip_text import load_strategy as load_clip_text
from baselines.language_model import LanguageModel
from evfsam.errors import ConfigurationError
from evfsam.modeling import LossWeights
from evfsam.strategy import load_strategy as load_evf_sam
from tests.baselines.tiny_models import tiny_clip_text, tiny_llava
from tests.evfsam.tiny import noise_image, tiny_model, tiny_processor
from tests.workbench.datasets import layouts
from training.__main__ import main
from training.dialogues import NOT_TRAINED, DialogueObjective, exchange
from training.res_data import DrawnImage, Mixture
from training.res_objectives import counted_mask_loss
from workbench.datasets.contract import Question, Sample

ROOT = Path(__file__).parents[2]
STEPS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    layouts.refer(root / "refer")
    layouts.ade20k(root / "ade20k")
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("evf-sam")
    model = tiny_model()
    model.save_pretrained(directory)
    tiny_processor(model).tokenizer.save_pretrained(directory)
    return directory


def command(data: Path, checkpoint: Path, out: Path, **changes: object) -> list[str]:
    options = {"steps": STEPS, "batch": 4, "images-at-once": 1, "save-every": 1, "learning-rate": 0.01, "workers": 1}
    words = ["res", "--dataset", "refcoco:val", "--root", str(data / "refer"), "--weight", "3"]
    words += ["--dataset", "ade20k:validation", "--root", str(data / "ade20k"), "--weight", "1"]
    words += ["--checkpoint", str(checkpoint), "--out", str(out), "--device", "cpu", "--precision", "no"]
    return words + [word for name, value in (options | changes).items() for word in (f"--{name}", str(value))]


def curve(out: Path) -> list[float]:
    (folder,) = {path.parent for path in out.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.value for event in events.Scalars("loss")]


@pytest.fixture(scope="module")
def unbroken(data: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    assert main(command(data, checkpoint, out)) == 0
    return out


def test_a_run_learns_and_leaves_a_model_that_loads(unbroken: Path, checkpoint: Path) -> None:
    losses = curve(unbroken)
    assert len(losses) == STEPS
    assert losses[-1] < losses[0]
    options = {"device": "cpu", "dtype": torch.float32}
    before, after = load_evf_sam(checkpoint, **options), load_evf_sam(unbroken / "model", **options)
    assert before.backbone.encoder_identity == after.backbone.encoder_identity
    assert not torch.equal(
        before.backbone.sam.mask_decoder.iou_token.weight, after.backbone.sam.mask_decoder.iou_token.weight
    )


def test_a_killed_run_follows_the_curve_of_an_unbroken_one(
    data: Path, checkpoint: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Mixture.draw

    def killed_draw(self: Mixture, seed: int, number: int) -> DrawnImage:
        if number == 10:
            raise KeyboardInterrupt
        return draw(self, seed, number)

    with monkeypatch.context() as patch:
        patch.setattr(Mixture, "draw", killed_draw)
        with pytest.raises(KeyboardInterrupt):
            main(command(data, checkpoint, tmp_path))
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-2"]
    drawn: list[int] = []
    monkeypatch.setattr(Mixture, "draw", lambda *given: drawn.append(given[2]) or draw(*given))
    assert main(command(data, checkpoint, tmp_path)) == 0
    assert min(drawn) == 8
    assert curve(tmp_path) == curve(unbroken)


def test_a_run_of_another_recipe_is_not_gone_on_with(
    data: Path, checkpoint: Path, unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, checkpoint, unbroken, seed=7)) == 2
    assert "seed was 0, is 7" in capsys.readouterr().err


def test_two_processes_follow_the_curve_of_one(data: Path, checkpoint: Path, unbroken: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # what torchrun and accelerate launch set
    words = [sys.executable, "-m", "training", *command(data, checkpoint, tmp_path)]
    ranks = [
        subprocess.Popen(words, cwd=ROOT, env={**shared, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE)
        for rank in "01"
    ]
    told = [rank.communicate(timeout=300)[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], told
    assert curve(tmp_path) == pytest.approx(curve(unbroken), rel=1e-4)


def test_clip_projectors_train_and_load(data: Path, tmp_path: Path) -> None:
    model, tokenizer = tiny_clip_text()
    model.save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    words = command(data, tmp_path / "clip", tmp_path / "out", strategy="clip-text", steps=1, batch=2)
    assert main([*words, "--precision", "bf16"]) == 0
    trained = load_clip_text(tmp_path / "out/model", device="cpu", dtype=torch.float32).model
    before, after = model.state_dict(), trained.state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"projectors", "sam"}


def test_dialogues_train_adapters_that_load(data: Path, tmp_path: Path) -> None:
    model, processor = tiny_llava()
    model.save_pretrained(tmp_path / "llava")
    processor.save_pretrained(tmp_path / "llava")
    words = command(data, tmp_path / "llava", tmp_path / "out", strategy="point-query", steps=1, batch=2)
    assert main([*words, "--lora-rank", "4"]) == 0
    adapted = LanguageModel.from_pretrained(
        tmp_path / "llava", device="cpu", dtype=torch.float32, adapter=tmp_path / "out/model"
    )
    learned = [value for name, value in adapted.model.named_parameters() if "lora_B" in name]
    assert learned
    assert any(bool(value.any()) for value in learned)


def test_the_answers_of_a_dialogue_are_trained_and_nothing_else() -> None:
    model, processor = tiny_llava()
    objective = DialogueObjective(LanguageModel(model, processor), rank=2, alpha=1)
    masks = (layouts.rectangle(2, 2, 12, 12), np.zeros(layouts.SIZE, dtype=bool))
    drawn = DrawnImage(noise_image(*layouts.SIZE), ("the red cup", "both cats"), masks)
    (spoken,) = objective.prepare([drawn], np.random.default_rng(3))
    labels = spoken.labels[0]
    runs = "".join("|" if label == NOT_TRAINED else processor.tokenizer.decode([int(label)]) for label in labels)
    answers = [part.removesuffix("</s>") for part in runs.split("|") if part]
    assert answers[0] == "[062,083,375,500]"
    assert set(answers[1].replace("Yes", "Y").replace("No", "N")) <= {"Y", "N"}
    assert answers[2] == dialects.NO_OBJECT
    assert len(answers) == 3


def test_points_are_asked_in_the_box_and_answered_by_the_mask() -> None:
    mask = layouts.rectangle(2, 2, 12, 12) & ~layouts.rectangle(4, 4, 12, 12)
    turns = exchange("the cup", mask, np.random.default_rng(0))
    question, answer = (turn["content"][0]["text"] for turn in turns[2:])
    points = [tuple(map(int, part.strip("()").split(","))) for part in question.split("\n")[1].split("),(")]
    spoken = dialects.parse_points_answer(answer)
    assert len(points) == len(spoken)
    assert {True, False} == set(spoken)
    height, width = layouts.SIZE
    assert spoken == tuple(mask[y * height // 1000, x * width // 1000] for x, y in points)


def test_pixels_that_do_not_count_change_no_loss_and_no_gradient() -> None:
    weights = LossWeights(1.0, 1.0)
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 0], labels[0, 1] = 1, 255
    logits = torch.randn(1, 4, 4, requires_grad=True)
    loss = counted_mask_loss([logits], [labels], weights)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[0, 1].any()
    other = logits.detach().clone()
    other[0, 1] = 9
    assert counted_mask_loss([other], [labels], weights) == loss


def test_a_sample_that_cannot_be_read_is_noted_and_named(checkpoint: Path, tmp_path: Path) -> None:
    layouts.refer(tmp_path / "refer")
    (tmp_path / "refer/images/mscoco/images/train2014/COCO_train2014_000000000001.jpg").write_bytes(b"no picture")
    layouts.ade20k(tmp_path / "ade20k")
    out = tmp_path / "out"
    assert main(command(tmp_path, checkpoint, out, steps=1)) == 1
    assert "refcoco" in (out / "unreadable.json").read_text()


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (["--dataset", "refcocoo:train", "--root", ".", "--weight", "1"], "did you mean refcoco"),
        (["--dataset", "refcoco:train"], "expected --root once or 3 times"),
        (["--batch", "3", "--images-at-once", "2"], "change --batch or --images-at-once"),
        (["--checkpoint", "nowhere/at all"], "check the path"),
        (["--checkpoint", "", "--init", "sam=there"], "once for each of config, sam, beit3"),
        (["--strategy", "point-query", "--checkpoint", ""], "give it with --checkpoint"),
    ],
)
def test_what_cannot_be_trained_is_said_in_words(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], added: list[str], said: str
) -> None:
    assert main([*command(data, checkpoint, tmp_path), *added]) == 2
    assert said in capsys.readouterr().err


def test_memory_that_does_not_suffice_is_said_in_words(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("training.res_objectives.EvfSamLoss.forward", full)
    assert main(command(data, checkpoint, tmp_path)) == 2
    assert "lower --images-at-once" in capsys.readouterr().err


def test_a_mixture_draws_in_proportion_to_its_weights() -> None:
    def part(phrase: str) -> tuple[Sample, ...]:
        mask = np.ones((2, 2), dtype=bool)
        return (Sample(np.zeros((2, 2, 3), dtype=np.uint8), (Question(phrase, "any", mask),)),)

    with pytest.raises(ConfigurationError, match="one positive weight for each of 2"):
        Mixture(("a", "b"), (part("a"), part("b")), (3.0, -1.0))
    mixture = Mixture(("a", "b"), (part("a"), part("b")), (3.0, 1.0))
    drawn = [mixture.draw(0, number).phrases[0] for number in range(400)]
    assert drawn == [mixture.draw(0, number).phrases[0] for number in range(400)]
    assert 0.68 < drawn.count("a") / 400 < 0.82
