"""The command lines of training: help tells defaults, and what is wrong is told in a line."""

import argparse

import pytest

from training.__main__ import _parser, _places, main
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
        (["sun"], "invalid choice: 'sun'"),
        ([], "see python -m training --help"),
        (["res", "--dataset", "scenes:train"], "--out; see python -m training res --help"),
        (["res", "--dataset", "scenes:train", "--out", "x", "--batch", "many"], "argument --batch"),
        (["res", "--dataset", "scenes:train", "--out", "x", "--save-every", "0"], "save_every of at least 1"),
        (["data", "--processes", "two"], "argument --processes"),
        (["ablations", "--rows", "nothing"], "argument --rows"),
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
