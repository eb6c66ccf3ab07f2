"""`python -m workbench`: one line a strategy, files whole or not at all, one line and exit code 2 for bad input."""

import gc
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from evfsam.preprocess import load_image
from evfsam.types import RgbImage
from tests.workbench.doubles import half_lit, suite_of
from workbench.__main__ import main
from workbench.datasets.contract import ABSENT
from workbench.evaluation.evaluation import load_dataset

ROOT = Path(__file__).parents[3]
Run = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(half_lit()).save(path)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process, with doubles in place of the suite `mini`."""
    folder = tmp_path / "weights"
    folder.mkdir()
    suite = suite_of(folder, light="load_bright", broken="load_buggy", refused="load_refused", batch="load_batching")
    monkeypatch.setattr("workbench.suites.registry.SUITES", MappingProxyType({"mini": suite}))

    def call(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return call


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_compare_prints_one_line_a_strategy_and_writes_everything(run: Run, image: Path, tmp_path: Path) -> None:
    code, out, err = run("compare", image, " the light ", "--out", tmp_path / "out")
    assert (code, err) == (0, [])
    assert len(out) == 4
    assert re.fullmatch(r"light        found: 50\.0 % of the image, pred_iou 0\.75 \(\d+\.\d\d s\)", out[0])
    assert re.fullmatch(r"broken       failed: an unexpected error \(ZeroDivisionError\) .*", out[1])
    assert re.fullmatch(r"refused      failed: expected daylight, got night; wait .*", out[2])
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (content["phrase"], list(content["strategies"])) == ("the light", ["light", "broken", "refused", "batch"])
    mask = np.asarray(Image.open(tmp_path / "out" / "light-mask.png"))
    np.testing.assert_array_equal(mask, np.where(half_lit()[..., 0] > 128, 255, 0))
    for name in ("light-overlay.png", "light-evidence.png", "light-attention.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_a_comparison_does_not_write_over_its_own_image(run: Run, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("compare", image, "the light", "--strategies", "light", "--out", out)[0] == 0
    before = (out / "light-overlay.png").read_bytes()
    code, _, (error,) = run("compare", out / "light-overlay.png", "x", "--strategies", "light", "--out", out)
    assert code == 2
    assert "light-overlay.png would be written over by its own results; choose another folder" in error
    assert (out / "light-overlay.png").read_bytes() == before


def test_names_of_files_steer_no_terminal(run: Run, tmp_path: Path) -> None:
    code, _, (error,) = run("compare", tmp_path / "\x1b]0;owned\x07.png", "x", "--out", tmp_path / "out")
    assert code == 2
    assert "\\x1b]0;owned\\x07.png" in error


def test_several_phrases_get_a_line_and_a_mask_each(run: Run, image: Path, tmp_path: Path) -> None:
    code, out, _ = run("compare", image, "the light; nothing", "--strategies", "light", "--out", tmp_path / "out")
    assert code == 0
    assert out[0].startswith("light        found: 50.0 % of the image")
    assert out[1:] == [
        "  the light: found: 50.0 % of the image, pred_iou 0.75",
        "  nothing: absent: the phrase says so",
    ]
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (content["phrase"], content["phrases"]) == ("the light; nothing", ["the light", "nothing"])
    assert (tmp_path / "out" / "light-mask-2.png").exists()


def test_points_and_a_box_reach_the_strategy(run: Run, image: Path, tmp_path: Path) -> None:
    given = ("--point", "5,6.5,1", "--point", "7,8,0", "--box", "1,2,30,20")
    code, _, _ = run("compare", image, "the light", "--strategies", "batch", *given, "--out", tmp_path / "out")
    assert code == 0
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    (prompt,) = content["strategies"]["batch"]["sam_prompts"]
    assert prompt["box"] == [1.0, 2.0, 30.0, 20.0]
    assert [(point["x"], point["y"], point["label"]) for point in prompt["points"]] == [(5.0, 6.5, 1), (7.0, 8.0, 0)]


def test_device_and_number_type_are_chosen_once_and_handed_down(run: Run, image: Path, tmp_path: Path) -> None:
    given = ("--device", "cpu", "--dtype", "bfloat16", "--strategies", "batch")
    run("compare", image, "the light", *given, "--out", tmp_path / "out")
    assert (tmp_path / "weights" / "batch" / "loaded.txt").read_text() == "cpu torch.bfloat16\n"


def test_an_absent_object_is_an_answer_with_its_reason(run: Run, image: Path, tmp_path: Path) -> None:
    code, out, _ = run("compare", image, "nothing", "--strategies", "light", "--out", tmp_path / "out")
    assert code == 0
    assert out[0].startswith("light        absent: the phrase says so")


def test_only_the_strategies_named_run(run: Run, image: Path, tmp_path: Path) -> None:
    _, out, _ = run("compare", image, "the light", "--strategies", "refused, light", "--out", tmp_path / "out")
    assert [line.split()[0] for line in out] == ["refused", "light"]


def test_the_exit_code_is_1_where_every_strategy_failed(run: Run, image: Path, tmp_path: Path) -> None:
    code, _, _ = run("compare", image, "the light", "--strategies", "broken,refused", "--out", tmp_path / "out")
    assert code == 1
    assert (tmp_path / "out" / "result.json").exists()


def test_garbage_is_looked_for_seldom_while_a_command_runs_and_as_before_afterwards(
    run: Run, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thresholds = []

    def noted(path: Path) -> RgbImage:
        thresholds.append(gc.get_threshold()[0])
        return load_image(path)

    before = gc.get_threshold()
    monkeypatch.setattr("workbench.cli.compare.load_image", noted)
    code, _, _ = run("compare", image, "the light", "--out", tmp_path / "out")
    assert code == 0
    assert thresholds[0] > 10 * before[0]
    assert gc.get_threshold() == before


def test_ctrl_c_ends_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.cli.evaluate.evaluate", interrupt)
    assert run("evaluate") == (130, [], [])


BROKEN_FILES = {
    "empty": b"",
    "text": b"this is no image, whatever its name says" * 9,
    "truncated": b"",
    "huge": png_header(30_000, 30_000),
}


@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_a_file_that_is_no_usable_image_is_one_line_and_code_2(
    run: Run, image: Path, tmp_path: Path, kind: str
) -> None:
    content = BROKEN_FILES[kind]
    if kind == "truncated":
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(image)
        content = image.read_bytes()[:2000]
    image.write_bytes(content)
    code, out, err = run("compare", image, "the light", "--out", tmp_path / "out")
    assert (code, out, len(err)) == (2, [], 1)
    assert re.match("error: .*(image|pixels)", err[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": "nowhere.png"}, "no file nowhere.png"),
        ({"image": "."}, "image"),
        ({"phrase": ""}, "expected a phrase, got an empty one"),
        ({"phrase": "   "}, "expected a phrase, got an empty one"),
        ({"phrase": "x" * 10_000}, "at most 1000 characters, got 10000"),
        ({"--strategies": "light,lihgt"}, "unknown strategy 'lihgt': expected one of .*; did you mean light?"),
        ({"--strategies": ","}, "at least one strategy"),
        ({"--suite": "maxi"}, "unknown suite 'maxi': expected one of auto, mini, full"),
        ({"--device": "tpu"}, "device out of auto, cpu, cuda, mps, got 'tpu'"),
        ({"--colour": "red"}, "unrecognized arguments: --colour red"),
        ({"--dtype": "int8"}, "number type out of float32, bfloat16, float16, got 'int8'"),
        ({"--point": "1,2"}, "argument --point: expected 3 numbers with commas between, got '1,2'"),
        ({"--point": "1,x,1"}, "argument --point: expected 3 numbers with commas between, got '1,x,1'"),
        ({"--point": "1,2,2"}, "argument --point: expected a label 1 or 0 as the third number, got '1,2,2'"),
        ({"--point": "61,2,1"}, r"expected a point inside the 60 x 40 image, got \(61.0, 2.0\)"),
        ({"--box": "1,2,3"}, "argument --box: expected 4 numbers"),
        ({"--box": "nan,2,3,4"}, "expected a box x1 < x2"),
        ({"phrase": ";".join("abcdefghijklmnopq")}, "1 to 16 phrases in one request, got 17"),
    ],
)
def test_bad_arguments_are_one_line_and_code_2(
    run: Run, image: Path, tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    options = {name: value for name, value in changed.items() if name.startswith("--")}
    code, out, err = run(
        "compare",
        changed.get("image", image),
        changed.get("phrase", "the light"),
        "--out",
        tmp_path / "out",
        *(part for option in options.items() for part in option),
    )
    assert (code, out, len(err)) == (2, [], 1)
    assert re.search(message, err[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out_name", ["picture.png", "picture.png/deeper", "weights\0"])
def test_a_folder_that_cannot_be_written_is_found_before_the_work(
    run: Run, image: Path, tmp_path: Path, out_name: str
) -> None:
    before = image.read_bytes()
    code, out, err = run("compare", image, "the light", "--out", tmp_path / out_name)
    assert (code, out, len(err)) == (2, [], 1)
    assert "cannot write" in err[0]
    assert not (tmp_path / "weights" / "light" / "loaded.txt").exists()
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [[], ["compare"], ["compare", "a.png", "x"], ["draw"], ["evaluate", "--limit", "x"]]
)
def test_an_incomplete_command_is_one_line_and_code_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert "--help" in err[0]


def test_the_program_itself_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workbench", "compare", "nowhere.png", "the light", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nowhere.png" in done.stderr


def test_evaluate_prints_a_table_and_writes_the_figures(run: Run, tmp_path: Path) -> None:
    figures = tmp_path / "new" / "figures.json"
    code, out, _ = run("evaluate", "--limit", "12", "--strategies", "light,refused", "--out", figures)
    assert code == 3, "the figures are there, but a strategy failed"
    absent_count = sum(q.kind == ABSENT for s in load_dataset("scenes:test", 12) for q in s.questions)
    assert out[0] == "scenes:test, suite doubles: 12 expressions, in percent;"
    assert out[1].startswith(f"{absent_count} absent ones come on top")
    content = json.loads(figures.read_text())
    light = content["strategies"]["light"]
    assert light["count"] == sum(kind["count"] for kind in light["kinds"].values()) == 12
    assert light["absent"]["count"] == absent_count
    assert f"{100 * light['cIoU']:.1f}" in next(line for line in out if line.startswith("all but absent"))
    assert content["strategies"]["refused"]["failed_count"] == 12 + absent_count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "scenes:tset"], "unknown data set 'scenes:tset'"),
        (["--limit", "0"], "at least 1 expression, got 0"),
        (["--dataset", "refcoco:val"], "give it with --root"),
        (["--dataset", "refcoco:val", "--root", "nowhere"], "expected the folder nowhere/refcoco"),
        (["--shard", "half"], "expected a shard I/N, such as 1/4, got 'half'"),
        (["--shard", "3/2", "--out", "a.jsonl"], "1 <= I <= N <= 10000, such as 1/4, got 3/2"),
        (["--shard", "1/2"], "expected --out FILE.jsonl for a run in 2 shards"),
        (["--strategies", "sam"], "unknown strategy 'sam'"),
        (["--out", "."], "it is a folder"),
    ],
)
def test_evaluate_refuses_bad_arguments_in_one_line(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run("evaluate", *arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_two_weights_of_one_strategy_are_asked_measured_and_compared_together(
    run: Run, image: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    both = ("--strategies", f"a=light@{other},b=light", "--option", "b.threshold=250")
    code, out, _ = run("compare", image, "the light", *both, "--out", tmp_path / "out")
    assert (code, [line.split()[:2] for line in out]) == (0, [["a", "found:"], ["b", "found:"]])
    assert (tmp_path / "out" / "b-mask.png").is_file()
    lines = tmp_path / "results.jsonl"
    code, _, _ = run("evaluate", "--limit", "6", *both, "--out", lines)
    assert code == 0
    header = json.loads(lines.read_text(encoding="utf-8").splitlines()[0])
    assert header["facts"]["weights"]["b"].endswith("weights/light, threshold=250")
    _, report, _ = run("report", lines)
    assert any(line.startswith("| a | b | ") for line in report)
    code, _, _ = run("batch", image, "--phrases", "the light", *both, "--out", tmp_path / "batch")
    settings = json.loads((tmp_path / "batch" / "manifest.json").read_text(encoding="utf-8"))["settings"]
    assert (code, settings["strategies"]["b"]["options"]) == (0, {"threshold": 250})
    assert run("compare", image, "x", "--option", "lihgt.threshold=1", "--out", tmp_path / "out")[0] == 2


def test_evaluate_writes_a_line_an_answer_and_report_lays_them_out(run: Run, tmp_path: Path) -> None:
    lines, folder = tmp_path / "results.jsonl", tmp_path / "report"
    code, printed, _ = run("evaluate", "--limit", "24", "--strategies", "light", "--out", lines)
    header, *answers, end = (json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines())
    assert (code, header["run"]["dataset"], end) == (0, "scenes:test", {"end": True})
    assert sum(answer["kind"] != ABSENT for answer in answers) == 24  # of several scenes, between which figures vary
    again, printed_again, _ = run("evaluate", "--limit", "24", "--strategies", "light", "--out", lines)
    assert (again, printed_again) == (0, printed)
    code, out, err = run("report", lines, "--out", folder)
    assert code == 0
    assert "\n".join(out) + "\n" == (folder / "report.md").read_text(encoding="utf-8")
    figure = next(line for line in printed if line.startswith("all but absent")).split()[3]
    assert any(line.startswith(f"| cIoU | {figure} (") for line in out)
    names = {path.name for path in folder.iterdir()}
    assert {"figures-1-by-kind.svg", "figures-1-overall.svg", "report.html", "report.md", "tables.tex"} <= names
    assert {"figures.csv", "pairs.csv"} <= names
    assert sorted(err) == sorted(f"wrote {folder / name}" for name in names)


def test_evaluate_does_not_go_on_with_another_run(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "results.jsonl"
    run("evaluate", "--limit", "3", "--strategies", "light", "--out", lines)
    code, out, err = run("evaluate", "--limit", "2", "--strategies", "light", "--out", lines)
    assert (code, out, len(err)) == (2, [], 1)
    assert "holds another run: limit was 3 and is 2; choose another file" in err[0]


def test_evaluate_does_not_go_on_with_other_phrases_or_another_picture(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    phrases = folder / "one.txt"
    Image.fromarray(half_lit()).save(folder / "one.png")
    Image.fromarray(half_lit()[..., 0] // 100 * 255).save(folder / "one.mask.png")
    phrases.write_text("the light")
    words = ("evaluate", "--dataset", f"folder:{folder}", "--strategies", "light", "--out", tmp_path / "results.jsonl")
    assert run(*words)[0] == 0
    content = (tmp_path / "results.jsonl").read_bytes()
    phrases.write_text("the dark")
    code, _, err = run(*words)
    assert (code, len(err)) == (2, 1)
    assert "holds another run: the data set's images or phrases were others" in err[0]
    phrases.write_text("the light")
    Image.fromarray(255 - half_lit()).save(folder / "one.png")
    code, _, err = run(*words)
    assert (code, len(err)) == (2, 1)
    assert "the image one or the known mask of 'the light' has changed" in err[0]
    assert (tmp_path / "results.jsonl").read_bytes() == content


def test_a_shard_writes_a_file_of_its_own_and_report_names_the_missing_one(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "results.jsonl"
    code, out, _ = run("evaluate", "--limit", "12", "--strategies", "light", "--shard", "2/2", "--out", lines)
    assert code == 0
    assert out[0].startswith("scenes:test, suite doubles, shard 2 of 2: ")
    code, out, _ = run("report", tmp_path / "results.2-of-2.jsonl")
    assert (code, "- shard 1 of 2 is missing" in out) == (3, True)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "results.1-of-2.jsonl"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, "results.jsonl"),
        ({"WORLD_SIZE": "2"}, "results.jsonl"),
    ],
)
def test_the_launcher_says_which_shard_a_process_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    run("evaluate", "--limit", "3", "--strategies", "light", "--out", tmp_path / "results.jsonl")
    assert [path.name for path in tmp_path.glob("*.jsonl")] == [name]


@pytest.mark.parametrize("content", [None, "my diary"])
def test_report_refuses_what_evaluate_did_not_write(run: Run, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "results.jsonl"
    if content is not None:
        path.write_text(content)
    code, out, err = run("report", path)
    assert (code, out, len(err)) == (2, [], 1)
    assert "results.jsonl" in err[0]


def test_what_cannot_be_measured_is_named_and_ends_in_code_3(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.fromarray(half_lit()).save(folder / "good.png")
    Image.fromarray(half_lit()[..., 0]).save(folder / "good.mask.png")
    (folder / "good.txt").write_text("the light\n" + "x" * 2000)
    Image.fromarray(half_lit()).save(folder / "small.png")
    Image.fromarray(half_lit()[::2, ::2, 0]).save(folder / "small.mask.png")
    (folder / "small.txt").write_text("the light")
    (folder / "torn.png").write_bytes(b"no picture")
    (folder / "torn.txt").write_text("the light")
    Image.fromarray(half_lit()).save(folder / "void.png")
    Image.fromarray(half_lit()[..., 0] * 0).save(folder / "void.mask.png")
    (folder / "void.txt").write_text("nothing")
    lines = tmp_path / "results.jsonl"
    code, out, _ = run("evaluate", "--dataset", f"folder:{folder}", "--strategies", "light", "--out", lines)
    assert code == 3
    assert "3 expressions could not be asked and are in no figure: image, mask or phrase unusable" in out
    assert "1 expressions have an empty known mask and are counted as absent" in out
    code, out, _ = run("report", lines)
    report = "\n".join(out)
    assert code == 3
    assert re.search(r"light, good 'x+.*: expected at most \d+ characters, got 2000; shorten the phrase", report)
    assert "light, small 'the light': expected a mask of the image's size (40, 60), got (20, 30)" in report
    assert re.search(r"light, torn 'the light': cannot read the image .*torn\.png", report)
    assert "| absent ones | 1 |" in report
