"""What the README shows works as it stands there."""

import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
from webui.blocks import launch_arguments
from workbench.__main__ import main as run_workbench

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEFAULT_ADDRESS = "http://127.0.0.1:7860"
TWO_COMMANDS = (
    "pip install -r requirements.txt && python app.py",
    "pip install -r requirements-dev.txt && python -m pytest",
)


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def the_block(language: str, containing: str) -> str:
    (block,) = [block for block in code_blocks(language) if containing in block]
    return block


def output_of(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    return printed.getvalue()


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def served_address() -> Iterator[str]:
    demo, _ = app.create_demo(app.read_settings(["--device", "cpu"]))
    arguments = {**launch_arguments(), "server_name": "127.0.0.1", "prevent_thread_lock": True, "quiet": True}
    _, address, _ = demo.launch(**arguments)
    try:
        yield address
    finally:
        demo.close(verbose=False)


@pytest.mark.parametrize("command", TWO_COMMANDS)
def test_the_two_commands_stand_in_the_readme(command: str) -> None:
    assert f"{command}\n" in code_blocks("bash")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "-r requirements-dev.txt" in script
    assert re.search(r"python -m pytest$", script, re.MULTILINE)


def test_contributing_names_the_checks_that_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    checks = re.findall(r'^step "[^"]+" (python .+)$', script, re.MULTILINE)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(checks) == 5
    assert [check for check in checks if f"\n{check}\n" not in contributing] == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md"])
def test_files_named_in_the_documents_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    folders = (ROOT, ROOT / document.rpartition("/")[0])
    paths = [
        name for name in inline if re.fullmatch(r"\.?[\w-]+(/[\w.-]+)*(/|\.(py|md|txt|toml|json|css))|LICENSE", name)
    ]
    named_results = {"result.json", "config.json"}
    missing = [p for p in paths if p not in named_results and not any((folder / p).exists() for folder in folders)]
    assert missing == []


@pytest.mark.weights
def test_the_library_example_finds_something() -> None:
    printed = output_of(the_block("python", "load_strategy"))
    assert re.match(r"found \(384, 384\) \d+% of the image, pred_iou \d", printed)


@pytest.mark.weights
def test_the_client_example_gets_an_answer_of_every_strategy(served_address: str) -> None:
    example = the_block("python", "gradio_client")
    assert DEFAULT_ADDRESS in example
    lines = output_of(example.replace(DEFAULT_ADDRESS, served_address.rstrip("/"))).splitlines()
    answers = [line for line in lines if not line.startswith("Loaded as API")]
    assert [line.split()[0] for line in answers] == ["evf-sam", "clip-text", "point-query"]
    assert [line for line in answers if line.split()[1] not in ("found", "absent")] == []


COMPARISONS = [line for block in code_blocks("bash") for line in block.splitlines() if "workbench compare" in line]


@pytest.mark.weights
@pytest.mark.parametrize("command", COMPARISONS)
def test_the_command_line_examples_write_their_results(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "workbench"]
    words[words.index("--out") + 1] = str(tmp_path)
    assert run_workbench(words[3:]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    number = "-1" if ";" in command else ""
    wanted = {"result.json", f"evf-sam-mask{number}.png", "evf-sam-overlay.png", f"evf-sam-attention{number}.png"}
    assert wanted <= names


def test_the_figures_are_those_that_the_command_wrote() -> None:
    written = json.loads((ROOT / "checkpoints" / "mini" / "figures.json").read_text(encoding="utf-8"))
    tables = re.findall(r"(^\| (?:strategy \| cIoU|cIoU by kind) .*?)\n\n", README, re.MULTILINE | re.DOTALL)
    by_strategy, by_kind = tables
    for key, scores in written["strategies"].items():
        total = [scores["cIoU"], scores["gIoU"], scores["Pr@0.5"], scores["absent"]["N-acc"]]
        assert f"| `{key}` | {' | '.join(f'{100 * value:.1f}' for value in total)} |" in by_strategy
        kinds = [scores["kinds"][kind]["cIoU"] for kind in by_kind.splitlines()[0].strip("| ").split(" | ")[1:]]
        assert f"| `{key}` | {' | '.join(f'{100 * value:.1f}' for value in kinds)} |" in by_kind
