"""What strangers send to a public server: refused in a sentence with a status of 4xx, and nobody else waits for it."""

import errno
import http.client
import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import gradio as gr
import pytest

from tests.webui.fakes import fake_comparison, three_colours
from webui.api import guard
from webui.api.door import MOST_WAITING
from webui.api.refusals import DISK_FULL
from webui.blocks import build_demo, launch_arguments
from webui.fetching import Fetcher
from webui.tabs.compare.tab import FILE_QUEUE, MODEL_QUEUE
from workbench.comparison import MOST_POINTS
from workbench.export.results import png_bytes

IMAGE = "data:image/png;base64," + b64encode(png_bytes(three_colours())).decode()
ASKED = {"image": IMAGE, "phrase": "a square"}
AS_TEXT = json.dumps(ASKED)
FORM = "multipart/form-data; boundary=edge"


@contextmanager
def served(seconds: float = 0.0, load: Callable[[], None] | None = None) -> Iterator[tuple[str, gr.Blocks]]:
    demo = build_demo(fake_comparison(seconds, load)[0])
    _, url, _ = demo.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, _frontend=False, **launch_arguments()
    )
    try:
        yield url, demo
    finally:
        demo.close()


def sent(
    address: str,
    path: str,
    body: bytes | str | Iterator[bytes] = b"",
    method: str = "POST",
    timeout: float = 60,
    **headers: str,
) -> tuple[int, dict[str, str], str]:
    """Send a request as it is; returns status, headers and body."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=timeout)
    told = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    content = body.encode() if isinstance(body, str) else body
    try:
        connection.request(method, f"/{path}", content, {name: value for name, value in told.items() if value})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def refused(address: str, path: str, body: bytes | str | Iterator[bytes], **headers: str) -> tuple[int, str]:
    status, _, text = sent(address, path, body, **headers)
    answer = json.loads(text)
    assert list(answer) == ["detail"]
    assert "\n" not in answer["detail"]
    return status, answer["detail"]


def part(head: str, content: str) -> str:
    return f"--edge\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"image": {"path": "", "meta": {"_type": "gradio.FileData"}}, "phrase": "a"}, 422, "expected an image"),
        (ASKED | {"box": [10**400, 0, 5, 5]}, 422, "at most 15 digits"),
        (AS_TEXT[:-1] + ', "layer": 1e400}', 422, "below 1e308"),
        (AS_TEXT[:-1] + ', "points": [[NaN, 1, 1]]}', 400, "got NaN"),
        (AS_TEXT[:-1] + ', "points": [[-Infinity, 1, 1]]}', 400, "got -Infinity"),
        (ASKED | {"phrase": "\ud800"}, 422, "half a surrogate pair (U+D800)"),
        (ASKED | {"strategy": "point-query", "options": {"self": 1}}, 422, "no option self"),
        (ASKED | {"strategy": "point-query", "options": {"options": 1}}, 422, "no option options"),
        (ASKED | {"options": dict.fromkeys(map(str, range(99)))}, 422, "at most 20 options"),
        (ASKED | {"options": "[" * 10_000}, 422, "expected options as a JSON object"),
        (ASKED | {"options": '{"grid_size": NaN}'}, 422, "NaN, which JSON does not know"),
        (ASKED | {"options": '{"grid_size": 3, "grid_size": 5}'}, 422, "the name 'grid_size' twice"),
        (ASKED | {"points": [[x, 5, 1] for x in range(MOST_POINTS + 1)]}, 422, f"at most {MOST_POINTS} points"),
        (ASKED | {"points": [[x, 5, 1] for x in range(6000)]}, 422, f"at most {MOST_POINTS} points"),
        (ASKED | {"points": [[1, 1, 1]] * 20_000}, 413, "at most 50000 values"),
        ("[" * 900 + "]" * 900, 422, "nested at most 50"),
        ("[" * 15_000, 400, "expected a JSON object"),
        (b'{"phrase": "\xff"}', 400, "UTF-8"),
        (b'{"phrase": "\xed\xa0\x80"}', 400, "UTF-8"),
        (AS_TEXT.encode("utf-16"), 400, "UTF-8"),
        (AS_TEXT[:-1] + ', "phrase": "a circle"}', 400, "the name 'phrase' twice"),
        (AS_TEXT[:-1] + ', "options": {"a": 1, "a": 2}}', 400, "the name 'a' twice"),
        (b"\x00", 400, "expected a JSON object"),
        ("null", 400, "got NoneType"),
    ],
)
def test_a_value_that_nothing_can_use_is_refused_in_a_sentence(
    address: str, body: object, status: int, words: str
) -> None:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    got, detail = refused(address, "programs/segment", content)
    assert (got, words in detail) == (status, True), detail


@pytest.mark.parametrize(
    "body",
    [
        part('name="phrase"', "a"),  # without an end
        "--edge\r\n",
        "no form",
        part('name="phrase', "a") + "--edge--\r\n",
        "--edge\r\nphrase: a\r\n\r\na\r\n--edge--\r\n",
        part("name=\"phrase\"; filename*=utf-8''%ff", "a") + "--edge--\r\n",
        part('name="box"', "[NaN, 0, 1, 1]") + part('name="image"; filename="a"', "x") + "--edge--\r\n",
        "".join(part(f'name="{number}"', "a") for number in range(50)) + "--edge--\r\n",
    ],
)
def test_a_broken_form_is_refused_in_a_sentence(address: str, body: str) -> None:
    status, _ = refused(address, "programs/segment", body, Content_Type=FORM)
    assert status in (400, 422)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (part('name="phrase"', "a circle"), "expected the field 'phrase' once"),
        (part('name="options"; filename="o.json"', "{}"), "expected no file as 'options'"),
        (part('name="phrase2"', "gr\udcf6\udcdfe"), "expected a form in UTF-8"),
        (part('name="phrase\udcff"', "a"), "expected a form in UTF-8"),
        (part('name="strategy"', "\udced\udca0\udc80"), "expected a form in UTF-8"),
    ],
)
def test_no_part_of_a_form_is_lost_or_read_as_something_else(address: str, body: str, words: str) -> None:
    whole = part('name="image"', IMAGE) + part('name="phrase"', "a square") + body + "--edge--\r\n"
    status, detail = refused(address, "programs/segment", whole.encode(errors="surrogateescape"), Content_Type=FORM)
    assert (status in (400, 422), words in detail) == (True, True), detail


def test_a_form_in_another_character_set_is_not_guessed_at(address: str) -> None:
    body = part('name="image"', IMAGE) + part('name="phrase"', "größe") + "--edge--\r\n"
    for kind in (FORM, FORM + "; charset=utf-16", "multipart/form-data; charset=ascii; boundary=edge"):
        assert sent(address, "programs/segment", body, Content_Type=kind)[0] == 200
    coded = "image=" + quote(IMAGE) + "&phrase=gr%F6%DFe"
    kind = "application/x-www-form-urlencoded"
    status, detail = refused(address, "programs/segment", coded, Content_Type=kind)
    assert (status, "expected a form in UTF-8" in detail) == (400, True)
    assert sent(address, "programs/segment", coded.replace("%F6%DF", quote("öß")), Content_Type=kind)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        part('name="files"; filename="a.png"', "x"),
        part('name="files"; filename="a.png"', "x") + "--edge",
        "--edge\r\n",
        "x",
        part('name="files"', "x") + "--edge--\r\n",
        part("name=\"files\"; filename*=utf-8''%ff%fe", "x") + "--edge--\r\n",
    ],
)
def test_a_broken_upload_is_refused_in_a_sentence(address: str, body: str) -> None:
    assert refused(address, "gradio_api/upload", body, Content_Type=FORM)[0] == 400


@pytest.mark.parametrize(
    "call",
    [
        {"component_id": 99_999, "fn_name": "x"},
        {"component_id": -1, "fn_name": "x"},
        {"component_id": 10**14, "fn_name": "__class__"},
    ],
)
def test_a_call_of_a_component_that_is_not_there_is_refused_in_a_sentence(
    address: str, call: dict[str, object]
) -> None:
    body = json.dumps({"data": {"self": 1}, "session_hash": "a", **call})
    assert refused(address, "gradio_api/component_server", body)[0] == 400


def test_a_form_without_its_boundary_is_refused(address: str) -> None:
    assert refused(address, "programs/segment", "a", Content_Type="multipart/form-data")[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        "programs/segment",
        "gradio_api/call/v2/segment",
        "gradio_api/queue/join",
        "gradio_api/run/predict",
        "gradio_api/mcp/",
    ],
)
def test_a_body_beyond_its_bound_is_refused_on_every_route(address: str, path: str) -> None:
    started = time.monotonic()
    assert refused(address, path, b"[" + b"0" * guard.LARGEST_IMAGE_BODY)[0] == 413
    pieces = (b"0" * 2**20 for _ in range(40))
    with suppress(OSError):  # the server may hang up while we are still sending
        assert sent(address, path, pieces, Transfer_Encoding="chunked")[0] == 413
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "path", ["gradio_api/cancel", "gradio_api/reset", "gradio_api/component_server", "gradio_api/x"]
)
def test_other_routes_take_less(address: str, path: str) -> None:
    assert refused(address, path, b'"' + b"0" * guard.LARGEST_BODY + b'"')[0] == 413


def test_a_body_that_comes_too_slowly_is_let_go(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_GRACE_SECONDS", 0.3)

    def slow() -> Iterator[bytes]:
        for _ in range(30):
            yield b"0"
            time.sleep(0.1)

    with suppress(OSError):  # as above
        assert sent(address, "programs/segment", slow(), Transfer_Encoding="chunked")[0] == 408


def test_what_came_fast_buys_no_long_wait(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large bodies that stall near their end would keep everyone else's out."""
    monkeypatch.setattr(guard, "_GRACE_SECONDS", 0.5)
    started = time.monotonic()

    def stalled() -> Iterator[bytes]:
        yield b"[" + b"0" * 2**20
        for _ in range(20):
            time.sleep(0.25)
            yield b"0"

    with suppress(OSError):  # as above
        assert sent(address, "programs/segment", stalled(), Transfer_Encoding="chunked")[0] == 408
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("kind", ["text/plain", "", "application/xml"])
def test_json_must_say_that_it_is_json(address: str, kind: str) -> None:
    """Pages of other sites can send text without being asked first whether they may; JSON they cannot."""
    for path in ("programs/segment", "gradio_api/queue/join", "gradio_api/call/segment", "gradio_api/mcp/"):
        assert refused(address, path, AS_TEXT, Content_Type=kind)[0] == 415


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": "http://localhost:3000"},
    ],
)
def test_nothing_is_taken_from_the_pages_of_other_sites(address: str, headers: dict[str, str]) -> None:
    for path in ("programs/list_strategies", "gradio_api/upload", "gradio_api/queue/join"):
        assert refused(address, path, "{}", **headers)[0] == 403
    body = part('name="files"; filename="a.png"', "x") + "--edge--\r\n"
    assert refused(address, "gradio_api/upload", body, **({"Content_Type": FORM} | headers))[0] == 403


def test_the_page_itself_and_programs_are_served(address: str) -> None:
    own = urlsplit(address).netloc
    for headers in ({}, {"Origin": f"http://{own}"}, {"Sec_Fetch_Site": "same-origin", "Origin": f"http://{own}"}):
        assert sent(address, "programs/list_strategies", "{}", **headers)[0] == 200


@pytest.mark.parametrize("host", ["example.org", "example.org:7860", "127.0.0.1.example.org", "localhost.example.org"])
def test_a_request_for_another_host_is_refused(address: str, host: str) -> None:
    status, _, text = sent(address, "", method="GET", Host=host)
    assert status == 421
    assert "--name" in json.loads(text)["detail"]


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:7860", "192.168.1.5:7860"])
def test_a_request_under_an_own_name_is_served(address: str, host: str) -> None:
    assert sent(address, "gradio_api/startup-events", method="GET", Host=host)[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "gradio_api/file=http://127.0.0.1:8080/a.png"),
        ("GET", "gradio_api/file=https://example.org/a.png"),
        ("GET", "gradio_api/file/https://example.org/a.png"),
        ("GET", "gradio_api/proxy=https://example.org/"),
        ("POST", "gradio_api/process_recording"),
        ("POST", "gradio_api/vibe-edit"),
    ],
)
def test_what_the_page_does_not_need_is_not_there(address: str, method: str, path: str) -> None:
    assert sent(address, path, "{}" if method == "POST" else b"", method=method)[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("gradio_api/queue/join", {"data": [], "fn_index": 99_999, "session_hash": "a"}, 404),
        ("gradio_api/queue/join", {"data": [], "fn_index": True, "session_hash": "a"}, 404),
        ("gradio_api/queue/join", {"data": [], "fn_index": "a", "session_hash": "a"}, 404),
        ("gradio_api/queue/join", {"data": {}, "fn_index": 0, "session_hash": "a"}, 422),
        ("gradio_api/queue/join", {"data": [], "fn_index": 0, "session_hash": "a" * 1000}, 422),
        ("gradio_api/queue/join", {"data": [], "fn_index": 0, "session_hash": {"a": 1}}, 422),
        ("gradio_api/queue/join", [], 400),
        ("gradio_api/run/segment", {"data": [IMAGE, "a", "evf-sam", {}, None, None]}, 404),
        ("gradio_api/run/nothing", {"data": []}, 404),
        ("gradio_api/call/segment", {"data": None}, 422),
    ],
)
def test_gradios_own_routes_say_what_does_not_fit(address: str, path: str, body: object, status: int) -> None:
    assert refused(address, path, json.dumps(body))[0] == status


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
@pytest.mark.parametrize("path", ["http://127.0.0.1:8080/a.png", str(Path(__file__).with_name("private.png"))])
def test_no_event_of_the_page_takes_a_file_from_elsewhere(address: str, path: str, meta: dict[str, object]) -> None:
    """Gradio fetches what stands as a file in any event's data, without a bound, and adds the mark where it lacks."""
    body = {"data": [{"path": path, **meta}], "fn_index": 12, "session_hash": "a"}
    status, detail = refused(address, "gradio_api/queue/join", json.dumps(body))
    assert (status, "uploaded to this server" in detail) == (400, True)


def outcome(address: str, event: dict[str, object]) -> dict[str, Any]:
    """Send an event of the page, as its browser does, and return how it ended."""
    status, _, text = sent(address, "gradio_api/queue/join", json.dumps(event))
    assert status == 200, text
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        connection.request("GET", f"/gradio_api/queue/data?session_hash={event['session_hash']}")
        for line in connection.getresponse():
            message = json.loads(line.removeprefix(b"data:")) if line.startswith(b"data:") else {}
            if message.get("msg") == "process_completed":
                return message
    finally:
        connection.close()
    raise AssertionError(f"no end of {event}")


def test_every_event_of_a_page_that_holds_nothing_yet_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In whatever folder it was started, also of a visitor whose batch is gone: what is missing is said."""
    monkeypatch.chdir(tmp_path)
    chosen = {"index": 0, "value": "all", "selected": True}
    with served() as (address, demo):
        values = {one["id"]: one["props"].get("value") for one in demo.config["components"]}
        events = [one for one in demo.fns.values() if one.fn is not None and one.api_visibility != "public"]
        assert len(events) > 50
        failed = {}
        for one in events:
            data = [values[component._id] for component in one.inputs]
            event = {"data": data, "fn_index": one._id, "session_hash": "new", "event_data": chosen}
            ended = outcome(address, event)
            if not ended["success"]:
                failed[one.name] = ended["output"]
    assert failed == {}
    assert caplog.text.count("Traceback") == 0


def segment(address: str, phrase: str = "a square", timeout: float = 60) -> tuple[int, dict[str, str], str]:
    return sent(address, "programs/segment", json.dumps(ASKED | {"phrase": phrase}), timeout=timeout)


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_full_queue_says_when_to_come_again_and_holds_up_nobody_else() -> None:
    gate = threading.Event()
    with served(load=lambda: gate.wait(60)) as (address, demo), ThreadPoolExecutor(MOST_WAITING + 8) as pool:
        threads = threading.active_count()
        asked = [pool.submit(segment, address) for _ in range(MOST_WAITING + 8)]
        try:
            wait_for(lambda: len(demo._queue) >= MOST_WAITING)
            started = time.monotonic()
            for name in ("list_strategies", "draw_scene"):
                assert sent(address, f"programs/{name}", "{}")[0] == 200
            assert time.monotonic() - started < 5
            status, headers, text = segment(address)
            assert (status, "try again" in json.loads(text)["detail"]) == (503, True)
            assert int(headers["retry-after"]) > 0
            data = [IMAGE, "a", "evf-sam", {}, None, None]
            joined = {"data": data, "fn_index": _index(demo, "segment"), "session_hash": "a"}
            status, headers, _ = sent(address, "gradio_api/queue/join", json.dumps(joined))
            assert (status, int(headers["retry-after"]) > 0) == (503, True)
            assert threading.active_count() <= threads + MOST_WAITING + 8 + 8, "a thread for each who waits"
        finally:
            gate.set()
        assert {answer.result()[0] for answer in asked} == {200, 503}


def _index(demo: gr.Blocks, name: str) -> int:
    return next(number for number, function in demo.fns.items() if function.api_name == name)


def test_an_address_that_answers_slowly_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, began = threading.Event(), threading.Event()

    def slow(*_: object) -> bytes:
        began.set()
        gate.wait(60)
        return png_bytes(three_colours())

    monkeypatch.setattr(Fetcher, "fetch", slow)
    with served() as (address, demo), ThreadPoolExecutor(1) as pool:
        body = json.dumps(ASKED | {"image": "http://example.org/a.png"})
        waiting = pool.submit(sent, address, "programs/segment", body)
        try:
            assert began.wait(30)
            assert segment(address)[0] == 200
            assert not waiting.done()
        finally:
            gate.set()
        assert waiting.result()[0] == 200
        (taken,) = [function for function in demo.fns.values() if function.name == "take_address"]
        assert taken.concurrency_id == FILE_QUEUE != MODEL_QUEUE


def test_who_hangs_up_leaves_the_queue() -> None:
    with served(seconds=0.5) as (address, demo):
        with ThreadPoolExecutor(6) as pool:
            for one in [pool.submit(segment, address, "a square", 0.3) for _ in range(6)]:
                assert isinstance(one.exception(), OSError)
        asked = time.monotonic()
        assert segment(address)[0] == 200
        wait_for(lambda: not demo._queue.event_ids_to_events and not demo.app.state_holder.session_data, 10)
        assert time.monotonic() - asked < 8


def test_nothing_of_a_question_is_kept() -> None:
    with served(seconds=0.0) as (address, demo):
        for number in range(20):
            assert segment(address, f"square {number}")[0] == 200
        queue = demo._queue
        assert not demo.app.state_holder.session_data
        assert not queue.pending_messages_per_session
        assert not queue.pending_event_ids_session
        assert segment(address, "")[0] == 422
        assert not list(Path(demo.app.uploaded_file_dir, "given").iterdir())


def test_the_limits_are_in_the_schema(address: str) -> None:
    document: dict[str, Any] = json.loads(sent(address, "gradio_api/openapi.json", method="GET")[2])
    points = document["components"]["schemas"]["segment_arguments"]["properties"]["points"]
    assert points["anyOf"][0]["maxItems"] == MOST_POINTS
    answers = document["paths"]["/programs/segment"]["post"]["responses"]
    assert {"400", "403", "408", "413", "415", "421", "422", "503"} <= set(answers)
    assert "Retry-After" in answers["503"]["headers"]


def test_a_page_that_is_open_is_not_given_up_for_a_hundred_strangers() -> None:
    with served() as (address, demo):
        visits = demo.app.state_holder
        visits.capacity = 20
        mine = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        mine.request("GET", "/gradio_api/heartbeat/mine")
        assert mine.getresponse().read(5) == b"data:"
        data = [IMAGE, "red", "evf-sam", {}, None, None]
        body = json.dumps({"data": data, "fn_index": _index(demo, "segment"), "session_hash": "mine"})
        assert sent(address, "gradio_api/queue/join", body)[0] == 200
        for number in range(100):
            assert sent(address, "gradio_api/queue/join", body.replace("mine", f"stranger-{number}"))[0] in (200, 503)
        wait_for(lambda: len(visits.session_data) <= 20)
        assert "mine" in visits.session_data
        mine.close()


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """By every endpoint that writes: what is sent, and what is drawn."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with served() as (address, demo):
        monkeypatch.setattr("webui.api.endpoints.Image.Image.save", full)
        assert refused(address, "programs/draw_scene", "{}") == (507, DISK_FULL)
        assert refused(address, "programs/explain_attention", AS_TEXT) == (507, DISK_FULL)
        monkeypatch.setattr(Path, "write_bytes", full)
        for path in ("programs/segment", "programs/compare_strategies", "gradio_api/call/v2/segment"):
            assert refused(address, path, AS_TEXT) == (507, DISK_FULL)
        data = {
            "data": [IMAGE, "a", "evf-sam", {}, None, None],
            "fn_index": _index(demo, "segment"),
            "session_hash": "a",
        }
        assert refused(address, "gradio_api/queue/join", json.dumps(data)) == (507, DISK_FULL)
        monkeypatch.setattr("tempfile._TemporaryFileWrapper", full)
        body = part('name="files"; filename="a.png"', "x") + "--edge--\r\n"
        assert refused(address, "gradio_api/upload", body, Content_Type=FORM) == (507, DISK_FULL)


def test_uploads_stay_within_the_quota() -> None:
    with served() as (address, demo):
        quota = demo.app.state.file_quota
        quota._most = 3_000_000
        quota._spared = 0.0
        body = part('name="files"; filename="a.png"', "NUMBER" + "x" * 900_000) + "--edge--\r\n"
        for number in range(10):
            assert sent(address, "gradio_api/upload", body.replace("NUMBER", str(number)), Content_Type=FORM)[0] == 200
        held = sum(path.stat().st_size for path in Path(demo.app.uploaded_file_dir).rglob("*") if path.is_file())
        assert held <= 3_000_000
