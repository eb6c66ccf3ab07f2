"""The command lines of training: help tells defaults, and what is wrong is told in a line."""

import argparse
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from training import __main__ as commands
from training.__main__ import _parser, _places, main, run_all, stage_words
from training.alone import alone
from training.places import Places
from training.res_command import build_parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sam", "--steps", "-1"], "at least 1"),
        (["sam", "--scenes-a-step", "0"], "at least 1"),
        (["sam", "--device", "warp"], "expected a device"),
        (["sam", "--pace", "0"], "--pace"),
        (["sam", "--out", "checkpoints/mini"], "add --overwrite"),
        (["sam", "--save-every", "0"], "at least 1"),
        (["sam", "--seed", "-1"], "argument --seed: expected a whole number of at least 0"),
        (["sam", "--seed", str(2**64)], "argument --seed"),
        (["sam", "--pool", "-5"], "argument --pool"),
        (["sam", "--workers", "-1"], "argument --workers"),
        (["sam", "--pace", "inf"], "--pace"),
        (["sun"], "invalid choice: 'sun'"),
        ([], "see python -m training --help"),
        (["res", "--dataset", "scenes:train"], "--out; see python -m training res --help"),
        (["res", "--dataset", "scenes:train", "--out", "x", "--batch", "many"], "argument --batch"),
        (["res", "--dataset", "scenes:train", "--out", "x", "--save-every", "0"], "save_every of at least 1"),
        (["res", "--dataset", "scenes:train", "--out", "x", "--seed", "-1"], "argument --seed"),
        (["data", "--processes", "two"], "argument --processes"),
        (["data", "--processes", "0"], "argument --processes"),
        (["ablations", "--rows", "nothing"], "argument --rows"),
        (["ablations", "--steps", "-1"], "argument --steps"),
        (["ablations", "--seeds", "-1"], "argument --seeds"),
        (["ablations", "--device", "warp"], "expected a device"),
    ],
)
def test_bad_arguments_end_in_one_line_and_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("parser", [_parser(), build_parser()], ids=lambda parser: parser.prog)
def test_help_tells_every_option_and_its_default(parser: argparse.ArgumentParser) -> None:
    said = " ".join(parser.format_help().split())
    options = [each for each in parser._actions if each.option_strings]
    assert [each.dest for each in options if not each.help] == []
    for option in options:
        if option.default not in (None, False, argparse.SUPPRESS):
            shown = str(option.default)
            assert f"(default: {shown})" in said.replace("- ", "-"), option.dest


def test_the_save_interval_reaches_the_stages() -> None:
    assert _places(_parser().parse_args(["sam", "--save-every", "7"])).save_every_s == 7
    assert _places(_parser().parse_args(["sam"])).save_every_s == 120


def test_the_strategy_has_one_name_on_every_command_line() -> None:
    words = ["--dataset", "scenes:train", "--out", "x"]
    for option in ("--strategy", "--strategies"):
        assert build_parser().parse_args([*words, option, "clip-text"]).strategy == "clip-text"


@pytest.mark.parametrize("words", [["all"], ["data"], ["ablations"]])
def test_what_shares_no_gradients_refuses_to_be_one_of_several(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(words) == 2
    assert f"one process of `training {words[0]}`, got 2 of torchrun" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["sam", "all"])
def test_two_trainings_do_not_share_a_state(stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alone(tmp_path, stage):
        assert main([stage, "--work", str(tmp_path), "--device", "cpu"]) == 2
    assert f"process {os.getpid()} does" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["all", "--out", "all"], ["sam", "--out", "all"]),
        (["--out", "all", "--work", "all", "all"], ["--out", "all", "--work", "all", "sam"]),
        (["--out=all", "all"], ["--out=all", "sam"]),
    ],
)
def test_a_stage_takes_the_place_of_all_and_of_no_folder(words: list[str], expected: list[str]) -> None:
    assert stage_words("sam", words) == expected


@pytest.mark.parametrize("mark", ["", '{"out": "../a"}'])
def test_stages_of_another_suite_are_not_done(mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "work" / "done").mkdir(parents=True)
    (tmp_path / "work" / "done" / "sam").write_text(mark)
    assert main(["all", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "b"), "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert ("out '../a' there, '../b' now" in told) if mark else ("cannot be read" in told)


def test_a_run_that_is_ended_ends_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(*_: object) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(["sleep", "60"]))
        return started[-1]

    end = lambda _: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(commands, "_start", start)
    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=end, monotonic=time.monotonic))
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        run_all(Places(tmp_path / "work", tmp_path / "out"), ["all"], at_once=2)
    assert [process.poll() for process in started] == [-signal.SIGTERM] * 2
    assert signal.getsignal(signal.SIGTERM) is handler
