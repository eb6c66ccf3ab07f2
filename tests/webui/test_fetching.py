"""Addresses of strangers, asked of a server of the test's own on loopback."""

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from webui.fetching import Fetcher, FetchError, is_public

Answer = Callable[[BaseHTTPRequestHandler], None]


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"a" * 2**20)


def trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"a")
        handler.wfile.flush()
        time.sleep(0.1)


def trickling_head(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        handler.wfile.write(b"X-%d: a\r\n" % number)
        handler.wfile.flush()
        time.sleep(0.1)


BOMB = gzip.compress(bytes(60_000_000), 1)
ANSWERS: dict[str, Answer] = {
    "/picture": lambda handler: send(handler, b"picture"),
    "/gzip": lambda handler: send(handler, gzip.compress(b"picture"), Content_Encoding="gzip"),
    "/cut": lambda handler: send(handler, b"pict", Content_Length="7"),
    "/bomb": lambda handler: send(handler, BOMB, Content_Encoding="gzip"),
    "/brotli": lambda handler: send(handler, b"x", Content_Encoding="br"),
    "/missing": lambda handler: send(handler, b"", 404),
    "/on": lambda handler: send(handler, b"", 302, Location="/picture"),
    "/circle": lambda handler: send(handler, b"", 302, Location="/circle"),
    "/inward": lambda handler: send(handler, b"", 302, Location="http://127.0.0.2:8080/"),
    "/file": lambda handler: send(handler, b"", 302, Location="file:///etc/hostname"),
    "/endless": endless,
    "/trickle": trickle,
    "/trickling-head": trickling_head,
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            ANSWERS[self.path](self)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def fetcher(seconds: float = 20.0) -> Fetcher:
    return Fetcher(largest=10_000_000, seconds=seconds, allows=lambda numbers: numbers == "127.0.0.1")


@pytest.mark.parametrize("path", ["/picture", "/gzip", "/on"])
def test_a_file_is_fetched_as_it_is_packed_or_further_on(site: str, path: str) -> None:
    assert fetcher().fetch(site + path) == b"picture"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/endless", "at most 10 MB"),
        ("/bomb", "at most 10 MB"),
        ("/brotli", "got br"),
        ("/cut", "ended early"),
        ("/missing", "answered 404"),
        ("/circle", "more than 5 times"),
        ("/inward", "public address, got 127.0.0.2"),
        ("/file", "public http"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(site: str, path: str, words: str) -> None:
    with pytest.raises(FetchError, match=words):
        fetcher().fetch(site + path)


@pytest.mark.parametrize("path", ["/trickle", "/trickling-head"])
def test_the_deadline_is_for_all_bytes_together(site: str, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(FetchError, match=r"longer than 0\.5 s"):
        fetcher(seconds=0.5).fetch(site + path)
    assert time.monotonic() - started < 5


def test_a_name_server_that_keeps_silent_is_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: silent.wait(60) and [])
    started = time.monotonic()
    try:
        with pytest.raises(FetchError, match=r"longer than 0\.3 s"):
            Fetcher(seconds=0.3).fetch("http://example.org/a")
        assert time.monotonic() - started < 30
    finally:
        silent.set()


def test_a_name_that_is_not_known_is_said() -> None:
    with pytest.raises(FetchError, match=r"cannot fetch http://picture\.invalid/a \(.*\); check it"):
        Fetcher().fetch("http://picture.invalid/a")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org/a",
        "http://",
        "http://name:word@example.org/",
        "http://example.org:22/",
        "http://[::1",
        "x" * 3000,
    ],
)
def test_an_address_of_another_kind_is_refused_before_anything_is_asked(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    with pytest.raises(FetchError):
        Fetcher().fetch(address)


def test_what_was_looked_at_is_what_is_connected_to(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means another address a moment later changes nothing."""
    port = int(site.rpartition(":")[2])
    told = iter([["93.184.216.34"], ["127.0.0.1"]])
    connected = []

    def look_up(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (numbers, port)) for numbers in next(told)]

    def connect(place: tuple[str, int], **_: object) -> socket.socket:
        connected.append(place[0])
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(FetchError, match="nobody there"):
        Fetcher().fetch(f"http://example.org:{port}/picture")
    assert connected == ["93.184.216.34"]


def test_a_way_that_ends_elsewhere_than_it_should_is_left(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a router or proxy of this machine turns round is noticed at the connection itself."""
    port = int(site.rpartition(":")[2])
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda place, **_: real(("127.0.0.1", place[1])))

    def look_up(host: str, *_: object, **__: object) -> list[Any]:
        numbers = "93.184.216.34" if host == "example.org" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (numbers, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(FetchError, match="no answer"):
        Fetcher().fetch(f"http://example.org:{port}/picture")


@pytest.mark.parametrize(
    "numbers",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.254", "169.254.169.254", "172.31.0.1"),
        *(
            "192.0.0.8",
            "192.0.0.170",
            "192.168.0.1",
            "192.88.99.1",
            "198.19.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
        ),
        *(
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:100.64.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
        ),
        *(
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fe80::1",
            "fe80::1%1",
            "fec0::1",
            "ff02::1",
            "3fff::1",
            "5f00::1",
            "no numbers",
        ),
    ],
)
def test_addresses_that_are_not_public(numbers: str) -> None:
    assert not is_public(numbers)


@pytest.mark.parametrize(
    "numbers", ["93.184.216.34", "1.1.1.1", "192.0.1.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]
)
def test_addresses_that_are_public(numbers: str) -> None:
    assert is_public(numbers)
