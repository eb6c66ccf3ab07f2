"""What docs/research.md shows works as it stands there, in its order, and prints what it says it prints."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from workbench.__main__ import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "research.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"<?[+-]?\d[\d.,]*")


def form(line: str) -> str:
    """Return a line without its figures, which change with the weights, and without its spacing."""
    return " ".join(NUMBER.sub("#", line).split())


def run(language: str, block: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if language == "python":
            exec(compile(block, "docs/research.md", "exec"), {"__name__": "research"})
        else:
            words = shlex.split(block)
            assert words[:3] == ["python", "-m", "workbench"]
            assert main(words[3:]) in (0, 3), "3: a part of what was measured could not be asked"
    return printed.getvalue()


@pytest.mark.slow
@pytest.mark.weights
def test_every_block_runs_and_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("checkpoints", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    printed = ""
    for language, block in BLOCKS:
        if language == "text":
            lines = {form(line) for line in printed.splitlines()}
            assert [line for line in block.splitlines() if form(line) not in lines] == []
        else:
            printed = run(language, block)
    wanted = {"report.md", "report.html", "figures.csv", "pairs.csv", "tables.tex"}
    assert wanted <= {path.name for path in (tmp_path / "report").iterdir()}


def test_blocks_are_of_languages_that_are_run_or_compared() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python", "text"}


def test_the_readme_shows_the_same_commands_and_the_same_output() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## Compare two models") : readme.index("## Check it")]
    shown = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in shown] == ["bash", "text"]
    assert re.findall(r"^python -m workbench (\w+)", shown[0][1], re.MULTILINE) == ["evaluate", "report", "score"]
    here = {line for _, block in BLOCKS for line in block.splitlines()}
    assert [line for _, block in shown for line in block.splitlines() if line not in here] == []
