"""Rows of the ablations run from pre-trained parts to a figure on test scenes, in a step."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evfsam.errors import EvfSamError
from evfsam.model.modeling import EvfSamModel
from evfsam.model.strategy import load_strategy
from training import ablations
from training.ablations import TRAINED_ROWS, run_asked, run_trained
from training.places import Places
from training.recipes import BESIDE, STAGES
from workbench.bundled import CHECKPOINTS
from workbench.reporting.ablation_tables import read_figures


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Pre-trained encoders and SAM, one step each."""
    folder = tmp_path_factory.mktemp("ablations")
    made = Places(folder / "work", folder / "out", steps=1, scenes_a_step=2, held_out=4, pictures=Path("no-pictures"))
    for name in ("sam", "pretrain", "clip"):
        torch.manual_seed(0)
        {**STAGES, **BESIDE}[name].train(made)
    return made


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "SCENES_A_STEP", 2)
    monkeypatch.setattr(ablations, "TEST_EXPRESSIONS", 4)


def weights(places: Places, row: str) -> Mapping[str, torch.Tensor]:
    return EvfSamModel.from_pretrained(places.work / "ablations" / f"{row}-0").state_dict()


@pytest.mark.parametrize("row", ["beit3-early-half", "beit3-late", "beit3-text", "clip-late", "clip-text"])
def test_a_row_is_trained_and_measured(places: Places, row: str) -> None:
    figures = run_trained(places, row, 0)

    assert (figures["row"], figures["seed"], figures["count"], figures["steps"]) == (row, 0, 4, 1)
    assert 0 <= float(str(figures["cIoU"])) <= 1
    saved = load_strategy(places.work / "ablations" / f"{row}-0", device="cpu", dtype=torch.float32)
    assert saved.model.config.encoder_choice == TRAINED_ROWS[row].choice


@pytest.mark.parametrize(
    ("row", "learns"),
    [
        ("decoder-alone", (False, False, True)),
        ("encoder-alone", (True, False, False)),
        ("encoder-and-decoder", (True, False, True)),
        ("beit3-early", (True, True, True)),
    ],
)
def test_only_the_parts_of_a_row_learn(places: Places, row: str, learns: tuple[bool, bool, bool]) -> None:
    stage = ablations._stage(places, TRAINED_ROWS[row])

    parts = ("mm_extractor.", "visual_model.prompt_encoder.no_mask_embed.", "visual_model.mask_decoder.")
    trained = {name for name, value in stage.model.named_parameters() if value.requires_grad}

    assert tuple(any(name.startswith(part) for name in trained) for part in parts) == learns
    assert any(name.startswith("text_hidden_fcs.") for name in trained)
    assert not any(name.startswith("visual_model.image_encoder.") for name in trained)


def test_rows_of_one_encoder_start_alike_and_end_apart(places: Places) -> None:
    for row in ("text-cls", "patch-mean"):
        run_trained(places, row, 0)

    text, mean = weights(places, "text-cls"), weights(places, "patch-mean")

    key = "visual_model.image_encoder.patch_embed.proj.weight"
    assert torch.equal(text[key], mean[key])
    assert not torch.equal(text["text_hidden_fcs.0.0.weight"], mean["text_hidden_fcs.0.0.weight"])


def test_the_point_query_is_asked_as_the_row_says(places: Places) -> None:
    shipped = replace(places, out=CHECKPOINTS / "mini")
    grid, points = run_asked(shipped, "grid-6", 0), run_asked(shipped, "random-25", 1)

    assert (grid["row"], points["row"], points["seed"]) == ("grid-6", "random-25", 1)
    with pytest.raises(EvfSamError, match=str(places.out)):  # it is of the suite that was named, which has none
        run_asked(places, "grid-6", 0)


def test_a_state_goes_once_its_line_is_written(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, figures = places.state("ablation-beit3-text-1"), tmp_path / "figures.jsonl"
    state.write_bytes(b"of a run that was killed while it was measured")
    monkeypatch.setattr(ablations, "run_trained", lambda _, row, seed: made(row, seed) | {"state": state.exists()})

    words = ["--rows", "beit3-text", "--seeds", "1", "--figures", str(figures)]
    code = ablations.main([*words, "--work", str(places.work), "--suite", str(places.out), "--device", "cpu"])

    assert (code, json.loads(figures.read_text())["state"], state.exists()) == (0, True, False)


def test_what_is_measured_is_not_measured_again(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablations, "run_asked", lambda _, row, seed: asked.append((row, seed)) or made(row, seed))
    asked: list[tuple[str, int]] = []
    figures = tmp_path / "figures.jsonl"
    figures.write_text(json.dumps(made("threshold-0.9", 0)) + "\n")

    code = ablations.main(
        ["--rows", "threshold-0.9", "grid-6", "--seeds", "0", "--figures", str(figures), "--work", str(places.work)]
    )

    assert (code, asked) == (0, [("grid-6", 0)])
    assert [run.row for run in read_figures(figures)] == ["threshold-0.9", "grid-6"]
    assert "| grid of 6 x 6 | 50.0 | 74.4 |" in capsys.readouterr().out


def test_an_encoder_that_is_not_trained_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--work", str(tmp_path), "--suite", str(CHECKPOINTS / "mini"), "--rows", "clip-text", "--seeds", "0"]

    assert ablations.main([*arguments, "--figures", str(tmp_path / "none.jsonl")]) == 2
    assert "python -m training clip" in capsys.readouterr().err


def made(row: str, seed: int) -> dict[str, object]:
    return {"row": row, "seed": seed, "cIoU": 0.5, "gIoU": 0.5, "kinds": {}}
