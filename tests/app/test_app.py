import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

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
