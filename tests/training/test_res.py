"""Training on data sets in their original layouts, with models at a size that trains in seconds."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines.clip import projector as clip_projector
from baselines.clip.text import load_strategy as load_clip_text
from baselines.point_query import dialects
from baselines.point_query.language_model import LanguageModel
from evfsam.errors import ConfigurationError
from evfsam.model.modeling import EvfSamModel, LossWeights
from evfsam.model.strategy import load_strategy as load_evf_sam
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import ImageView
from tests.baselines.tiny_models import tiny_clip_text, tiny_llava, tiny_qwen, tiny_sam
from tests.evfsam.tiny import noise_image, tiny_model, tiny_processor
from tests.hub.tiny_families import save_llava_next
from tests.hub.tiny_hub import CLIP, SAM, lay_down, snapshot_of
from tests.workbench.datasets import layouts
from training.__main__ import main
from training.dialogues import NOT_TRAINED, DialogueObjective, exchange
from training.res_data import DrawnImage, Mixture
from training.res_objectives import counted_mask_loss
from workbench.datasets.contract import Sample, SampleQuestion
from workbench.datasets.known_datasets import open_dataset, scene_sample

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
        if number == 14:
            raise KeyboardInterrupt
        return draw(self, seed, number)

    with monkeypatch.context() as patch:
        patch.setattr(Mixture, "draw", killed_draw)
        with pytest.raises(KeyboardInterrupt):
            main([*command(data, checkpoint, tmp_path), "--save-every", "2"])
    assert len(curve(tmp_path)) == 3
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


def test_a_state_that_cannot_be_written_is_said_in_words(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("accelerate.Accelerator.save_state", full)
    assert main(command(data, checkpoint, tmp_path)) == 2
    assert "is the disk full?" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["accelerate", "torch.utils.tensorboard"])
def test_a_missing_package_is_named_with_the_file_that_brings_it(
    data: Path, tmp_path: Path, package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "training.res_loop", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(command(data, tmp_path, tmp_path)) == 2
    said = capsys.readouterr().err
    assert package.split(".")[-1] in said
    assert "pip install -r requirements-train.txt" in said


def test_evf_sam_starts_from_a_sam_and_a_beit3(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    sources = tiny_model(seed=1)
    SamMaskBackbone(sources.visual_model, sources.config.sam_config).save_pretrained(tmp_path / "sam")
    published = {**sources.mm_extractor.state_dict(), "mim_head.weight": torch.zeros(1)}
    torch.save({"model": published}, tmp_path / "beit3.pth")
    parts = {"config": checkpoint, "sam": tmp_path / "sam", "beit3": tmp_path / "beit3.pth"}
    init = [word for name, source in parts.items() for word in ("--init", f"{name}={source}")]
    words = [*command(data, checkpoint, tmp_path / "out"), "--checkpoint", "", "--precision", "bf16"]
    assert main([*words, *init, "--steps", "1", "--learning-rate", "0", "--weight-decay", "0"]) == 0
    trained = EvfSamModel.from_pretrained(tmp_path / "out/model").state_dict()
    taken = {name: value for name, value in sources.state_dict().items() if "text_hidden_fcs" not in name}
    assert [name for name, value in taken.items() if not torch.equal(trained[name], value)] == []


def test_a_file_that_is_no_beit3_is_said_in_words(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beit3.pth").write_bytes(b"no weights")
    tiny_sam().save_pretrained(tmp_path / "sam")
    init = ["--init", f"config={checkpoint}", "--init", f"sam={tmp_path / 'sam'}"]
    words = [*command(data, checkpoint, tmp_path / "out"), "--checkpoint", "", *init]
    assert main([*words, "--init", f"beit3={tmp_path / 'beit3.pth'}"]) == 2
    assert "training: " in capsys.readouterr().err


def test_adapters_are_refused_on_a_model_with_words_of_its_own() -> None:
    with pytest.raises(ConfigurationError, match="give a checkpoint of type llava"):
        DialogueObjective(LanguageModel(*tiny_qwen()))


def test_the_configuration_for_several_gpus_asks_for_zero_2() -> None:
    config = load_config_from_file(str(ROOT / "training/accelerate/zero2.yaml"))
    assert config.distributed_type == DistributedType.DEEPSPEED
    assert config.deepspeed_config["zero_stage"] == 2


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
    assert {path.name for path in tmp_path.rglob("random_states_*")} == {"random_states_0.pkl", "random_states_1.pkl"}
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


def test_projectors_train_between_a_released_clip_and_sam(data: Path, tmp_path: Path) -> None:
    lay_down(tmp_path, CLIP, SAM)
    parts = {"clip": snapshot_of(tmp_path, CLIP), "sam": snapshot_of(tmp_path, SAM)}
    init = [word for name, source in parts.items() for word in ("--init", f"{name}={source}")]
    words = command(data, tmp_path, tmp_path / "out", strategy="clip-text", steps=1, batch=1)
    assert main([*words, "--checkpoint", "", *init]) == 0
    weights = {**parts, "projector": tmp_path / "out/model"}
    strategy = clip_projector.load_strategy(weights, device="cpu", dtype=torch.float32)
    assert strategy.segment(ImageView(noise_image(20, 30)), "the cup").mask_logits.shape == (20, 30)


def save_llava(directory: Path) -> None:
    for part in tiny_llava():
        part.save_pretrained(directory)


@pytest.mark.parametrize("save", [save_llava, save_llava_next])
def test_dialogues_train_adapters_that_load(data: Path, tmp_path: Path, save: Callable[[Path], None]) -> None:
    save(tmp_path / "llava")
    words = command(data, tmp_path / "llava", tmp_path / "out", strategy="point-query", steps=1, batch=2)
    assert main([*words, "--lora-rank", "4", "--precision", "bf16"]) == 0
    adapted = LanguageModel.from_pretrained(
        tmp_path / "llava", device="cpu", dtype=torch.float32, adapter=tmp_path / "out/model"
    )
    learned = {name: value for name, value in adapted.model.named_parameters() if "lora_B" in name}
    for part in ("language_model", "multi_modal_projector"):
        assert any(bool(value.any()) for name, value in learned.items() if part in name), part


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


def test_only_the_scenes_that_are_drawn_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def remembered(seed: int, **of_what: Any) -> Sample:
        made.append(seed)
        return scene_sample(seed, **of_what)

    monkeypatch.setattr("workbench.datasets.known_datasets.scene_sample", remembered)
    mixture = Mixture.of([open_dataset("scenes:train")], [1.0])
    assert made == []
    first, again = mixture.draw(0, 7), mixture.draw(0, 7)
    assert len(made) == 2
    assert first.phrases == again.phrases
    np.testing.assert_array_equal(first.image, again.image)


def test_a_mixture_draws_in_proportion_to_its_weights() -> None:
    def part(phrase: str) -> tuple[Sample, ...]:
        mask = np.ones((2, 2), dtype=bool)
        return (Sample(np.zeros((2, 2, 3), dtype=np.uint8), (SampleQuestion(phrase, "any", mask),)),)

    with pytest.raises(ConfigurationError, match="one positive weight for each of 2"):
        Mixture(("a", "b"), (part("a"), part("b")), (3.0, -1.0))
    mixture = Mixture(("a", "b"), (part("a"), part("b")), (3.0, 1.0))
    drawn = [mixture.draw(0, number).phrases[0] for number in range(400)]
    assert drawn == [mixture.draw(0, number).phrases[0] for number in range(400)]
    assert 0.68 < drawn.count("a") / 400 < 0.82
