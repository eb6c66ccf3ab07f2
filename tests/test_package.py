"""The wheel brings weights, examples and the command, and works from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from webui.command import main
from workbench.bundled import CHECKPOINTS, EXAMPLES

ROOT = Path(__file__).parents[1]
PACKED = ("evfsam", "baselines", "workbench", "webui", "checkpoints", "examples")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, since building leaves files behind, and unpack it as an installation would."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "pyproject.toml", source)
    for name in PACKED:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", str(source)]
    subprocess.run([*build, "--wheel-dir", str(source / "dist")], check=True, timeout=300)
    (wheel,) = (source / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def ran(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Call the command of the wheel in another folder, where the repository is on no path."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "import sys; from webui.command import main; sys.exit(main())", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_the_wheel_holds_weights_examples_types_and_the_command(installed: Path) -> None:
    bundled = installed / "workbench" / "_bundled"
    for part, folder in (("checkpoints", CHECKPOINTS), ("examples", EXAMPLES)):
        files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert {path for path in files if not (bundled / part / path).is_file()} == set()
    assert [room for room in PACKED[:4] if not (installed / room / "py.typed").is_file()] == []
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "sam-workbench = webui.command:main" in entry.read_text()
    tops = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == set(PACKED[:4]), "nothing else lies about among other packages"


@pytest.mark.slow
@pytest.mark.weights
def test_the_command_of_the_wheel_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    picture = installed / "workbench/_bundled/examples/scene-colour.png"
    done = ran(installed, tmp_path, "compare", str(picture), "the blue bus", "--strategies", "evf-sam", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("evf-sam      found:")
    assert (tmp_path / "out" / "evf-sam-mask.png").is_file()
    done = ran(installed, tmp_path, "evaluate", "--limit", "2", "--strategies", "evf-sam", "--out", "figures.json")
    assert done.returncode == 0
    assert (tmp_path / "figures.json").is_file()


def test_the_command_says_what_it_can_do_and_where_the_page_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    assert said.startswith("usage: sam-workbench [-h]")
    assert said.endswith("sam-workbench app opens the page; see sam-workbench app --help")
    assert main(["compare"]) == 2
    assert "see sam-workbench compare --help" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["app", "--help"])
    assert capsys.readouterr().out.startswith("usage: sam-workbench app [-h] [--suite")
