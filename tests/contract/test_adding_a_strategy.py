"""CONTRIBUTING.md's way of adding a strategy, followed to the letter."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from baselines import strategy_cards
from evfsam.types import Strategy
from tests.baselines.tiny_models import tiny_sam
from workbench.bundled import CHECKPOINTS
from workbench.comparison import Comparison
from workbench.suites.registry import StrategyEntry, Suite

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
MODULE, KEY = "baselines.middle_box", "middle-box"


def code_blocks() -> tuple[str, str, str]:
    """The card, the module and the entry."""
    text = CONTRIBUTING.read_text(encoding="utf-8").split("## Add a strategy\n")[1].split("\n## ")[0]
    card, module, entry = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return card, module, entry


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StrategyEntry:
    """The entry, with the module where it names it and tiny weights in place of its own."""
    card_text, module_text, entry_text = code_blocks()
    names: dict[str, Any] = {**vars(strategy_cards), "StrategyEntry": StrategyEntry, "CHECKPOINTS": CHECKPOINTS}
    exec(card_text, names)
    monkeypatch.setattr(strategy_cards, "MIDDLE_BOX", names["MIDDLE_BOX"], raising=False)
    path = tmp_path / "middle_box.py"
    path.write_text(module_text)
    spec = util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, MODULE, module)
    spec.loader.exec_module(module)
    tiny_sam().save_pretrained(tmp_path / "sam")
    entry: StrategyEntry = eval(f"{{{entry_text}}}", names)[KEY]
    assert entry.loader == f"{MODULE}:load_strategy"
    assert entry.directory.is_dir()
    return replace(entry, directory=tmp_path / "sam")


def test_a_strategy_is_a_card_a_module_of_under_thirty_lines_and_one_entry() -> None:
    card_text, module_text, entry_text = code_blocks()
    assert len(card_text.splitlines()) <= 3
    assert len([line for line in module_text.splitlines() if line.strip()]) < 30
    assert len(entry_text.splitlines()) <= 3


def test_the_module_passes_the_checks_of_the_project(tmp_path: Path) -> None:
    path = tmp_path / "middle_box.py"
    path.write_text(code_blocks()[1])
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(CONTRIBUTING.with_name("pyproject.toml"))]
        done = subprocess.run([*ruff, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_strategy_added_that_way_answers_in_a_comparison(added: StrategyEntry) -> None:
    suite = Suite("added", "Added", "", MappingProxyType({KEY: added}))
    comparison = Comparison(suite)
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    (result,) = comparison.run(image, "the red cup")
    assert result.segmentation.verdict.kind in ("found", "absent"), result.segmentation.verdict.reason
    assert result.segmentation.mask.shape == (45, 70)
    assert result.segmentation.prompts[0].box == (17.5, 11.25, 52.5, 33.75)
    assert isinstance(comparison.strategy(KEY), Strategy)
    assert result.card.key == KEY
