"""What needs no model is answered without importing what models need."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.names import AUTO_KEY, DTYPE_NAMES, FULL_KEY, SUITE_NAMES
from workbench.placement import DTYPES
from workbench.suites.registry import SUITES

ROOT = Path(__file__).parents[3]
ASK = """
import sys
from workbench.__main__ import main
try:
    code = main(sys.argv[1:])
except SystemExit as left:
    code = left.code
print("loaded:", *sorted({"torch", "numpy", "PIL", "transformers", "tqdm"} & set(sys.modules)))
sys.exit(code)
"""


def asked(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", ASK, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    said, _, loaded = done.stdout.rpartition("loaded:")
    assert loaded.strip() == ""
    return done.returncode, said, done.stderr


def test_help_names_the_commands() -> None:
    code, said, _ = asked("--help")
    assert code == 0
    assert all(command in said for command in ("compare", "batch", "evaluate", "report", "score", "video"))


@pytest.mark.parametrize("command", ["compare", "batch", "evaluate", "report", "score", "video"])
def test_a_commands_help_names_its_options(command: str) -> None:
    code, said, _ = asked(command, "--help")
    assert (code, "--out" in said, "--verbose" in said) == (0, True, True)


def test_the_version_is_that_of_the_project() -> None:
    code, said, _ = asked("--version")
    version = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
    assert (code, said.split()) == (0, ["text-prompted-sam-workbench", version.split('"')[1]])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required"),
        ("compare a.png", "the following arguments are required: PHRASE, --out"),
        ("compare a.png cat --out o --colour red", "unrecognized arguments: --colour red"),
        ("compare a.png cat --out o --suite maxi", "unknown suite 'maxi': expected one of auto, mini, full"),
        ("evaluate --device tpu", "expected a device out of auto, cpu, cuda, mps, got 'tpu'"),
        ("batch a.png --phrases cat --out o --dtype int8", "number type out of float32, bfloat16, float16, got 'int8'"),
        ("compare a.png cat --out o --box 1,2,3", "argument --box: expected 4 numbers"),
        ("report", "the following arguments are required: FILE.jsonl"),
    ],
)
def test_slips_are_one_line_and_code_2(words: str, message: str) -> None:
    code, said, problem = asked(*words.split())
    assert (code, said, len(problem.splitlines())) == (2, "", 1)
    assert message in problem


def test_names_are_those_of_what_bears_them() -> None:
    assert (AUTO_KEY, *SUITES, FULL_KEY) == SUITE_NAMES
    assert tuple(DTYPES) == DTYPE_NAMES
