import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

import app
from evfsam.errors import CheckpointError
from tests.webui.fakes import fake_comparison

ROOT = Path(__file__).parents[2]


def test_the_entry_point_stays_short() -> None:
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) < 80


def test_settings_have_safe_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    settings = app.read_settings([])
    assert (settings.suite, settings.device, settings.host, settings.port) == ("mini", "auto", "127.0.0.1", None)


def test_the_environment_sets_the_host_and_the_command_line_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert app.read_settings([]).host == "0.0.0.0"
    assert app.read_settings(["--host", "127.0.0.2", "--port", "7999"]).host == "127.0.0.2"
    assert app.read_settings(["--port", "7999"]).port == 7999


def test_an_unknown_suite_ends_with_the_choices_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        app.read_settings(["--suite", "huge"])
    assert stopped.value.code == 2
    assert "mini" in capsys.readouterr().err


def test_building_the_page_reads_no_weights() -> None:
    _, comparison = app.create_demo(app.read_settings(["--device", "cpu"]))
    assert comparison._strategies == {}


def test_the_page_opens_on_two_weights_of_one_strategy() -> None:
    mini = ROOT / "checkpoints" / "mini" / "evf-sam"
    words = ["--strategies", f"old=evf-sam@{mini},new=evf-sam,point-query", "--option", "point-query.threshold=0.5"]
    _, comparison = app.create_demo(app.read_settings(["--device", "cpu", *words]))
    assert comparison.keys == ("old", "new", "point-query")
    assert [card.title for card in comparison.cards.values()] == ["EVF-SAM (old)", "EVF-SAM (new)", "Point query"]
    assert comparison.suite.strategies["point-query"].options == {"threshold": 0.5}


def test_missing_weights_are_logged_and_do_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def missing() -> None:
        raise CheckpointError("expected weights, found no such directory")

    comparison, _ = fake_comparison(load=missing)
    app.read_weights(comparison)
    assert caplog.text.count("expected weights") == 3


def test_importing_the_entry_point_starts_nothing() -> None:
    code = "import app, threading; assert threading.active_count() == 1"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_the_command_serves_the_page_before_any_weights_are_needed() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--device", "cpu"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            assert "Text-prompted SAM workbench" in _get(f"http://127.0.0.1:{port}/", server)
        finally:
            server.terminate()


def _get(url: str, server: "subprocess.Popen[bytes]") -> str:
    while server.poll() is None:
        try:
            with urlopen(url) as answer:
                return str(answer.read(), "utf-8")
        except URLError:
            time.sleep(0.2)
    raise AssertionError(f"the server ended with code {server.returncode}")


def test_told_to_end_the_server_ends_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = _left_by_a_killed_process(tmp_path)
    with _serving(tmp_path) as (server, address):
        assert not before.exists(), "what a killed process left is deleted by the next"
        (folder,) = tmp_path.glob("sam-workbench-*")
        uploaded = _uploaded(address)
        assert Path(uploaded).is_relative_to(folder)
        with urlopen(f"{address}gradio_api/heartbeat/a"):  # a page that stays open
            asked = time.monotonic()
            server.terminate()
            assert server.wait(timeout=10) == 0
        assert time.monotonic() - asked < 8
    assert list(tmp_path.glob("sam-workbench-*")) == []


def test_the_end_of_one_process_leaves_the_uploads_of_another(tmp_path: Path) -> None:
    with _serving(tmp_path) as (_, address):
        kept = _uploaded(address)
        with _serving(tmp_path) as (other, theirs):
            assert _uploaded(theirs) != kept, "equal files of two processes lie apart"
            other.terminate()
            other.wait(timeout=10)
        assert Path(kept).is_file()


def _left_by_a_killed_process(folder: Path) -> Path:
    left = folder / "sam-workbench-killed"
    left.mkdir()
    (left / "in-use").touch()
    return left


@contextmanager
def _serving(temporary: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Serve fake strategies as the command does, in a process of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from webui import launch; from tests.webui.fakes import fake_comparison; from webui.blocks import build_demo; "
        "comparison, _ = fake_comparison(); launch.create_demo = lambda _: (build_demo(comparison), comparison); "
        "launch.serve()"
    )
    told = {**os.environ, "GRADIO_TEMP_DIR": str(temporary)}
    command = [sys.executable, "-c", code, "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=told, stdout=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}/"
            _get(address, server)
            yield server, address
        finally:
            server.kill()


def _uploaded(address: str) -> str:
    body = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n--edge--\r\n'
    form = Request(f"{address}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=edge"})
    with urlopen(form) as answer:
        return str(json.load(answer)[0])
