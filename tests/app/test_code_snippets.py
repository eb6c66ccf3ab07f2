"""The snippets for programs, run against a serving page."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from workbench.export.code_snippets import client_snippet, curl_snippet
from workbench.export.run_recipes import ExampleSource, RunRecipe

ROOT = Path(__file__).parents[2]
PHRASES = ('a "red" square', "another's")
OPTIONS = {"evf-sam": {"grid_size": 3}}
RECIPE = RunRecipe(ExampleSource("scene-colour.png"), PHRASES, "mini", ("evf-sam", "clip-text"), OPTIONS)


@pytest.mark.usefixtures("capsys")
def test_the_client_snippet_gets_the_runs_result(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(compile(client_snippet(RECIPE, address), "snippet", "exec"), names)
    result = names["result"]
    assert result["phrases"] == list(RECIPE.phrases)
    assert [answer["strategy"] for answer in result["answers"]] == list(RECIPE.strategies)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_snippet_prints_the_runs_result(address: str) -> None:
    command = ["bash", "-euc", curl_snippet(RECIPE, address)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    result = json.loads(done.stdout)
    assert result["phrases"] == list(RECIPE.phrases)
    assert [answer["strategy"] for answer in result["answers"]] == list(RECIPE.strategies)
