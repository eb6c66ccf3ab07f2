import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import torch

import app
from evfsam.errors import CheckpointError
from tests.webui.fakes import fake_comparison, three_colours
from workbench import placement
from workbench.export.results import png_bytes
from workbench.side_processes import SideBySideComparison

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


@pytest.mark.parametrize(("cores", "processes"), [(1, 0), (3, 2)])
def test_the_page_of_small_models_answers_in_as_many_processes_as_there_are_cores(
    cores: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(placement, "_free_bytes", lambda: 8 * 2**30)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    _, comparison = app.create_demo(app.read_settings(["--device", "cpu"]))
    beside = comparison.beside if isinstance(comparison, SideBySideComparison) else []
    assert len(beside) == processes


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
    app.preload_weights(comparison)
    assert caplog.text.count("expected weights") == 3


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


def test_told_to_end_a_server_ends_at_once_and_leaves_nothing_but_the_uploads_of_another(tmp_path: Path) -> None:
    before = _left_by_a_killed_process(tmp_path)
    with _serving(tmp_path) as (_, address):
        assert not before.exists(), "what a killed process left is deleted by the next"
        (folder,) = tmp_path.glob("sam-workbench-*")
        kept = _uploaded(address)
        assert Path(kept).is_relative_to(folder)
        with _serving(tmp_path) as (other, theirs):
            assert len(list(tmp_path.glob("sam-workbench-*"))) == 2
            assert _uploaded(theirs) != kept, "equal files of two processes lie apart"
            with urlopen(f"{theirs}gradio_api/heartbeat/a"):  # a page that stays open
                asked = time.monotonic()
                other.terminate()
                assert other.wait(timeout=10) == 0
            assert time.monotonic() - asked < 8
        assert list(tmp_path.glob("sam-workbench-*")) == [folder]
        assert Path(kept).is_file()


def _left_by_a_killed_process(folder: Path) -> Path:
    left = folder / "sam-workbench-killed"
    left.mkdir()
    (left / "in-use").touch()
    return left


ALONE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
"""Makes a command the first process of a room of its own, as a container does."""


def _may_be_first() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, timeout=20, check=False).returncode == 0
    except OSError:
        return False


def test_as_the_first_process_of_a_container_it_ends_within_seconds_and_leaves_nothing(tmp_path: Path) -> None:
    """A system passes the first process no signal that it has not asked for: without a handler SIGTERM does nothing."""
    if not _may_be_first():
        pytest.skip("this machine lets nobody begin a room of processes (unshare)")
    with _serving(tmp_path, seconds=60, before=ALONE) as (room, address):
        children = Path(f"/proc/{room.pid}/task/{room.pid}/children").read_text(encoding="ascii")
        (first,) = map(int, children.split())
        assert Path(f"/proc/{first}/status").read_text(encoding="ascii").count("\t1\n"), "it is number 1 in its room"
        before = set(tmp_path.rglob("*"))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(_segmented, address)
            while set(tmp_path.rglob("*")) == before and not asked.done():
                time.sleep(0.05)  # until the picture lies there
            told = time.monotonic()
            os.kill(first, signal.SIGTERM)
            assert room.wait(timeout=12) == 0
            assert time.monotonic() - told < 10, "where an answer under way takes a minute"
            refusal = asked.exception(timeout=60)
            assert isinstance(refusal, HTTPError), "whoever waits is told, and when to come again"
            assert (refusal.code, int(refusal.headers["Retry-After"]) > 0) == (503, True)
            assert "is being stopped" in refusal.read().decode()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def _segmented(address: str) -> bytes:
    image = "data:image/png;base64," + b64encode(png_bytes(three_colours())).decode()
    body = json.dumps({"image": image, "phrase": "a square"}).encode()
    with urlopen(Request(f"{address}programs/segment", body, {"Content-Type": "application/json"})) as answer:
        return bytes(answer.read())


@contextmanager
def _serving(
    temporary: Path, seconds: float = 0.0, before: Sequence[str] = ()
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Serve fake strategies as the command does, in a process of their own.

    Args:
        temporary: where its folder for everything temporary is made.
        seconds: that an answer takes.
        before: words before the command.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from webui import launch; from tests.webui.fakes import fake_comparison; from webui.blocks import build_demo; "
        f"comparison, _ = fake_comparison({seconds}); "
        "launch.create_demo = lambda _: (build_demo(comparison), comparison); launch.serve()"
    )
    told = {**os.environ, "GRADIO_TEMP_DIR": str(temporary)}
    command = [*before, sys.executable, "-c", code, "--port", str(port)]
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
