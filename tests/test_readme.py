"""What the README and docs/ show works as it stands there; docs/research.md has tests of its own."""

import asyncio
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from pycocotools import mask as coco_mask

import app
from benchmarks.all import main as run_benchmarks
from benchmarks.gpu import main as run_gpu_benchmarks
from training.__main__ import main as run_training
from webui.blocks import launch_arguments
from workbench.__main__ import main as run_workbench

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = tuple(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "research.md")
DOCUMENTS = "\n".join([README, *(page.read_text(encoding="utf-8") for page in PAGES)])
DEFAULT_ADDRESS = "http://127.0.0.1:7860"
TWO_COMMANDS = (
    "pip install -r requirements.txt && python app.py",
    "pip install -r requirements-dev.txt && python -m pytest",
)

PATH = r"\.?[\w-]+(/[\w.-]+)*(/|\.(py|md|txt|toml|json|css|js))|LICENSE"


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENTS, re.MULTILINE | re.DOTALL)


def the_block(language: str, containing: str) -> str:
    (block,) = [block for block in code_blocks(language) if containing in block]
    return block


def bash_commands() -> list[str]:
    """Every command of the bash blocks, continued lines brought together."""
    return [line for block in code_blocks("bash") for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def at(address: str, example: str) -> str:
    """Point an example at a server that runs elsewhere than the usual address."""
    assert DEFAULT_ADDRESS in example
    return example.replace(DEFAULT_ADDRESS, address.rstrip("/"))


def output_of_help(main: Callable[[list[str]], int], command: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return printed.getvalue()


def output_of(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    return printed.getvalue()


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def served_address() -> Iterator[str]:
    demo, _ = app.create_demo(app.read_settings(["--device", "cpu"]))
    arguments = {**launch_arguments(), "server_name": "127.0.0.1", "prevent_thread_lock": True, "quiet": True}
    _, address, _ = demo.launch(**arguments, _frontend=False)
    try:
        yield address
    finally:
        demo.close(verbose=False)


@pytest.mark.parametrize("command", TWO_COMMANDS)
def test_the_two_commands_stand_in_the_readme(command: str) -> None:
    assert f"{command}\n" in code_blocks("bash")


def test_ci_runs_the_test_command_of_the_readme_in_two_parts_that_are_the_whole() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "-r requirements-dev.txt" in script
    assert re.findall(r"python -m pytest (\S+)", script) == ["--ignore=tests/browser", "tests/browser"]
    assert re.search(r'^step "tests" run_tests$', script, re.MULTILINE)


def test_contributing_names_the_checks_that_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    checks = [*re.findall(r'^step "[^"]+" (python .+)$', script, re.MULTILINE), "python -m pytest"]
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(checks) == 5
    assert [check for check in checks if f"\n{check}\n" not in contributing] == []


@pytest.mark.parametrize(
    "document",
    [
        *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md"),
        *(f"docs/{page.name}" for page in PAGES),
    ],
)
def test_files_named_in_the_documents_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named_results = {"result.json", "config.json", "manifest.json"}
    missing = []
    for line in re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
        names = re.findall(r"`([^`\n]+)`", line)
        # A folder lends itself to the files named after it in the same line.
        folders = [ROOT, ROOT / document.rpartition("/")[0], *(ROOT / name for name in names if name.endswith("/"))]
        paths = [name for name in names if re.fullmatch(PATH, name) and name not in named_results]
        missing += [path for path in paths if not any((folder / path).exists() for folder in folders)]
    assert missing == []


@pytest.mark.weights
def test_the_library_example_finds_something() -> None:
    printed = output_of(the_block("python", "load_strategy"))
    assert re.match(r"found \(384, 384\) \d+% of the image, pred_iou \d", printed)


@pytest.mark.weights
def test_the_segment_example_decodes_a_mask(served_address: str) -> None:
    printed = output_of(at(served_address, the_block("python", '"/segment"'))).splitlines()[-1]
    found = re.fullmatch(r"found \[[\d., ]+\] (\d+) pixels", printed)
    assert found
    assert int(found[1]) > 100


@pytest.mark.weights
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_prints_the_mask_as_json(served_address: str) -> None:
    command = ["bash", "-euc", at(served_address, the_block("bash", "curl"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "found"
    assert coco_mask.decode(answer["mask_rle"]).shape == tuple(answer["image_size"])


@pytest.mark.weights
def test_the_mcp_configuration_leads_to_the_tools(served_address: str) -> None:
    (server,) = json.loads(at(served_address, the_block("json", "mcpServers")))["mcpServers"].values()

    async def names() -> list[str]:
        async with (
            streamablehttp_client(server["url"]) as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return [tool.name for tool in (await session.list_tools()).tools]

    with ThreadPoolExecutor(1) as own_loop:  # the browser's tests leave a loop running in this thread
        tools = own_loop.submit(asyncio.run, names()).result()
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page, re.MULTILINE)
    assert rows == tools


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


OTHERS_RUN = [
    command
    for command in bash_commands()
    if command.startswith(("python -m workbench batch", "python -m training ablations"))
    or (command.startswith("python -m workbench video") and "--suite mini" in command)
]


@pytest.mark.weights
@pytest.mark.parametrize("command", OTHERS_RUN)
def test_the_other_commands_that_need_no_more_than_the_repository_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)
    if "--out" in words:
        place = words.index("--out") + 1
        words[place] = str(tmp_path / words[place])
    monkeypatch.chdir(ROOT)
    assert {"workbench": run_workbench, "training": run_training}[words[2]](words[3:]) == 0
    assert "--out" not in words or Path(words[place]).exists()


PARSED = {
    "python -m workbench video": "needs weights of the Hub",
    "python -m workbench evaluate": "takes minutes; its figures are compared below",
    "python -m workbench report": "run by tests/test_research_docs.py, after what it reports on",
    "python -m workbench score": "run by tests/test_research_docs.py, after its masks are made",
    "python -m training data": "fetches packages; tests/training/pictures runs it on less",
    "python -m training all": "takes days; tests/training/test_recipes.py runs its stages on less",
    "python -m training res": "needs data sets of the visitor's own, and days",
    "python -m benchmarks.all --json": "takes minutes; tests/benchmarks/test_all.py runs its parts on less",
    "python -m benchmarks.gpu --minutes": "needs a GPU; tests/benchmarks/test_gpu.py runs it on less",
}
"""Commands that no test runs, and why; that their options exist is tested."""


@pytest.mark.parametrize("command", bash_commands())
def test_every_command_is_run_by_a_test_or_its_options_exist(command: str) -> None:
    if command in (*TWO_COMMANDS, *COMPARISONS, *OTHERS_RUN) or command.startswith("curl "):
        return  # run above, by other tests of this file
    words = shlex.split(command)
    assert " ".join(words[:4]) in PARSED, f"neither run here nor listed in PARSED: {command}"
    programs = {
        "workbench": run_workbench,
        "training": run_training,
        "benchmarks.all": lambda _: run_benchmarks(["--help"]),
        "benchmarks.gpu": lambda _: run_gpu_benchmarks(["--help"]),
    }
    usage = output_of_help(programs[words[2]], words[3])
    assert [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", usage)] == []


FOREIGN = {
    "--help",
    "--multi_gpu",
    "--num_processes",
    "--config_file",
    "--logdir",
    "--build-arg",
    "--gpus",
    "--nproc-per-node",
}
"""Options of argparse, accelerate, TensorBoard, Docker and torchrun."""


def test_modules_and_options_named_in_the_text_exist() -> None:
    """Beside the blocks, the text names commands too: each module is there, and each option is declared in it."""
    names = ("README.md", "CONTRIBUTING.md", "examples/README.md", "workbench/datasets/README.md")
    paths = [*(ROOT / name for name in names), *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    everywhere = declared("evfsam", "baselines", "workbench", "webui", "training", "benchmarks", "examples", ".ci/run")
    wrong = []
    for said in inline:
        named = re.search(r"python -m ([\w.]+)", said)
        module = named[1] if named else ""
        place = module.replace(".", "/") + (".py" if "." in module else "")
        if module and not (ROOT / place).exists():
            wrong.append(said)
        known = declared(place) if module not in ("", "workbench") else everywhere
        wrong += [said for option in re.findall(r"(?<!\S)--[a-z][\w-]*", said) if option not in known | FOREIGN]
    assert wrong == []


@cache
def declared(*places: str) -> set[str]:
    """Return the options that files of folders, or files, declare."""
    files = [each for place in places for each in [ROOT / place, *(ROOT / place).rglob("*.py")] if each.is_file()]
    texts = [each.read_text(encoding="utf-8") for each in files]
    return {
        option
        for text in texts
        for option in re.findall(r"(?<=\")--[a-z][\w-]*(?=\")|(?<=^    )--[a-z]+(?=\))", text, re.M)
    }


def test_every_python_and_json_block_is_run_here() -> None:
    ran = [the_block("python", mark) for mark in ("load_strategy", '"/segment"')]
    assert sorted(code_blocks("python")) == sorted(ran)
    assert code_blocks("json") == [the_block("json", "mcpServers")]


def test_every_block_says_its_language() -> None:
    opened = re.findall(r"^```(\w*)$", DOCUMENTS, re.MULTILINE)[::2]
    assert set(opened) == {"bash", "python", "json", "text"}


def test_the_figures_are_those_that_the_command_wrote() -> None:
    written = json.loads((ROOT / "checkpoints" / "mini" / "figures.json").read_text(encoding="utf-8"))
    tables = re.findall(r"(^\| (?:strategy \| cIoU|cIoU by kind) .*?)\n\n", DOCUMENTS, re.MULTILINE | re.DOTALL)
    by_strategy, by_kind = tables
    for key, scores in written["strategies"].items():
        wordings = [scores["wordings"][which]["Pr@0.5"] for which in ("seen", "unseen")]
        total = [scores["cIoU"], scores["gIoU"], scores["Pr@0.5"], *wordings, scores["absent"]["N-acc"]]
        assert f"| `{key}` | {' | '.join(f'{100 * value:.1f}' for value in total)} |" in by_strategy
        kinds = [scores["kinds"][kind]["cIoU"] for kind in by_kind.splitlines()[0].strip("| ").split(" | ")[1:]]
        assert f"| `{key}` | {' | '.join(f'{100 * value:.1f}' for value in kinds)} |" in by_kind
