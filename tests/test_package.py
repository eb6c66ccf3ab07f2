"""The wheel brings weights, examples and the command, and works from any folder."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest
from gradio_client import Client, handle_file

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


COMMAND = (sys.executable, "-c", "import sys; from webui.command import main; sys.exit(main())")
"""What `sam-workbench` runs."""
IN_TURN = (
    "import json, sys; from webui.command import main; sys.exit(any(main(each) for each in json.loads(sys.argv[1])))"
)
"""The same for several commands one after the other, until one fails."""


def of(installed: Path) -> dict[str, str]:
    """Return an environment where the wheel is on the path, and the repository is not."""
    return {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}


def ran(command: list[str], installed: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Call the wheel in another folder."""
    return subprocess.run(
        command, cwd=folder, env=of(installed), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_the_wheel_holds_weights_examples_types_and_the_command(installed: Path) -> None:
    bundled = installed / "workbench" / "_bundled"
    for part, folder in (("checkpoints", CHECKPOINTS), ("examples", EXAMPLES)):
        files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert {path for path in files if not (bundled / part / path).is_file()} == set()
    assert [room for room in PACKED[:4] if not (installed / room / "py.typed").is_file()] == []
    sources = [path for room in PACKED[:4] for path in (ROOT / room).rglob("*") if path.is_file()]
    sources = [path.relative_to(ROOT) for path in sources if path.suffix not in (".pyc", ".md")]
    assert [path for path in sources if not (installed / path).is_file()] == []
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "sam-workbench = webui.command:main" in entry.read_text()
    tops = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == set(PACKED[:4]), "nothing else lies about among other packages"


@pytest.mark.slow
@pytest.mark.weights
def test_the_command_of_the_wheel_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    picture = installed / "workbench/_bundled/examples/scene-colour.png"
    compare = ("compare", str(picture), "the blue bus", "--strategies", "evf-sam", "--out", "out")
    done = ran([*COMMAND, *compare], installed, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("evf-sam      found:")
    assert (tmp_path / "out" / "evf-sam-mask.png").is_file()
    others = (
        ("evaluate", "--limit", "2", "--strategies", "a=evf-sam,b=evf-sam", "--out", "runs.jsonl"),
        ("score", "runs.jsonl", "--limit", "2", "--out", "scores.jsonl"),
        ("report", "runs.jsonl", "scores.jsonl", "--out", "report"),
    )
    done = ran([sys.executable, "-c", IN_TURN, json.dumps(others)], installed, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "pairs.csv").is_file()


@pytest.mark.slow
@pytest.mark.weights
def test_the_page_of_the_wheel_answers_in_any_folder(installed: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    picture = installed / "workbench/_bundled/examples/scene-colour.png"
    words = ("app", "--host", "127.0.0.1", "--port", str(port))
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([*COMMAND, *words], cwd=tmp_path, env=of(installed), stdout=log, stderr=log) as process,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            await_page(address, process)
            client = Client(address, verbose=False, httpx_kwargs={"timeout": 90})
            answer = client.predict(handle_file(picture), "the blue bus", "evf-sam", api_name="/segment")
            assert answer["verdict"] == "found"
        finally:
            process.terminate()
            process.wait(timeout=90)


def await_page(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the page is served; at most 90 s."""
    for _ in range(180):
        assert process.poll() is None, "the server ended"
        try:
            urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"nothing at {address} after 90 s")


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
