"""Fetch a file from an address that a stranger names: a public one, within a bound of bytes and a deadline.

Who names an address makes this server ask it. So the address that is really connected to is the one that was looked at,
at every redirect anew; the time for everything together is bounded, not the time between two bytes; and compressed
bytes are unpacked no further than the bound.
"""

import socket
import ssl
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Thread, Timer
from time import monotonic
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from evfsam.errors import EvfSamError
from workbench.limits import LARGEST_FILE

FETCH_SECONDS: Final = 20.0
"""For everything together: names, connections, redirects and bytes."""
_MOST_REDIRECTS: Final = 5
_LONGEST_ADDRESS: Final = 2_000
_CHUNK: Final = 2**16
_PORTS: Final = {"http": 80, "https": 443}
_FIRST_FREE_PORT: Final = 1024
_PATH: Final = "/%:@!$&'()*+,;=~"
_QUERY: Final = _PATH + "?"
_REDIRECTS: Final = {301, 302, 303, 307, 308}
_HEADERS: Final = {
    "User-Agent": "text-prompted-sam-workbench",
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
_NOT_PUBLIC: Final = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # Of IPv6 only 2000::/3 is given out; what carries an IPv4 address inside is left out of it.
        *("::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
"""Source: IANA's registries of special-purpose addresses, IPv4 and IPv6."""


class FetchError(EvfSamError):
    """An address cannot be fetched, or not within the bounds."""


def is_public(address: str) -> bool:
    """Whether an address in numbers is one of the public internet."""
    try:
        host = ip_address(address)
    except ValueError:
        return False
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return host.is_global and not any(_lies_in(host, network) for network in _NOT_PUBLIC)


def _lies_in(host: IPv4Address | IPv6Address, network: object) -> bool:
    return getattr(network, "version", None) == host.version and host in network  # type: ignore[operator]


@dataclass(frozen=True)
class Fetcher:
    """Fetches addresses within bounds; safe to share between threads.

    Attributes:
        largest: bytes of an answer, unpacked.
        seconds: for everything together.
        allows: whether an address in numbers may be connected to; a test has a server of its own.
    """

    largest: int = LARGEST_FILE
    seconds: float = FETCH_SECONDS
    allows: Callable[[str], bool] = field(default=is_public)

    def fetch(self, address: str) -> bytes:
        """Return what an address answers.

        Args:
            address: http(s), without name and password.

        Raises:
            FetchError: the address is no public one, does not answer with a file, or passes a bound.
        """
        ends = monotonic() + self.seconds
        asked = address
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                answer = self._ask(asked, ends)
                if isinstance(answer, bytes):
                    return answer
                asked = urljoin(asked, answer)
        except (OSError, HTTPException, ValueError, zlib.error) as error:
            if monotonic() >= ends:
                raise FetchError(
                    "cannot fetch {address}: it took longer than {seconds:g} s; send the file itself",
                    address=_shown(address),
                    seconds=self.seconds,
                ) from error
            raise FetchError(
                "cannot fetch {address} ({reason}); check it, or send the file itself",
                address=_shown(address),
                reason=str(error)[:200] or type(error).__name__,
            ) from error
        raise FetchError(
            "cannot fetch {address}: it leads on more than {most} times; send the file",
            address=_shown(address),
            most=_MOST_REDIRECTS,
        )

    def _ask(self, address: str, ends: float) -> bytes | str:
        """Return the bytes behind an address, or the address that it leads on to."""
        host, port, path, is_secure = _parts(address)
        with self._socket(host, port, ends) as connected:
            connection = (HTTPSConnection if is_secure else HTTPConnection)(host, port)
            connection.sock = connected
            if is_secure:
                connection.sock = ssl.create_default_context().wrap_socket(connected, server_hostname=host)
            try:
                connection.request("GET", path, headers=_HEADERS)
                response = connection.getresponse()
                if response.status in _REDIRECTS and (place := response.getheader("Location")):
                    return place
                if response.status != 200:
                    raise FetchError(
                        "cannot fetch {address}: it answered {answer}; check it",
                        address=_shown(address),
                        answer=f"{response.status} {response.reason[:60]}",
                    )
                answer = self._read(response, address)
                _left(ends)  # what was hung up on looks like an end
                return answer
            finally:
                connection.close()

    @contextmanager
    def _socket(self, host: str, port: int, ends: float) -> Iterator[socket.socket]:
        """Connect to an allowed address of a host, and hang up when time is over, whatever is being waited for."""
        connected = self._connected(host, port, ends)
        line = connected.dup()
        clock = Timer(_left(ends), _hang_up, (line,))
        clock.daemon = True
        clock.start()
        try:
            yield connected
        finally:
            clock.cancel()
            connected.close()
            line.close()

    def _connected(self, host: str, port: int, ends: float) -> socket.socket:
        """Connect to what was looked at: to that address, whatever its name means a moment later."""
        found = _looked_up(host, port, ends)
        allowed = sorted(filter(self.allows, found), key=lambda numbers: ":" in numbers)
        if not allowed:
            raise FetchError("expected a public address, got {host}, which is none; send the file itself", host=host)
        problem = OSError("no answer")
        for numbers in allowed:
            try:
                connected = socket.create_connection((numbers, port), timeout=_left(ends))
            except OSError as error:
                problem = error
                continue
            if self.allows(str(connected.getpeername()[0])):
                return connected
            connected.close()
        raise problem

    def _read(self, response: HTTPResponse, address: str) -> bytes:
        encoding = (response.getheader("Content-Encoding") or "identity").lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise FetchError(
                "expected {address} as it is or as gzip, got {encoding}; send the file itself",
                address=_shown(address),
                encoding=encoding[:40],
            )
        unpack = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        read = bytearray()
        while chunk := response.read1(_CHUNK):
            read += chunk if unpack is None else unpack.decompress(chunk, self.largest + 1 - len(read))
            if len(read) > self.largest:
                raise FetchError(
                    "expected a file of at most {most:g} MB at {address}, got more; shrink it",
                    most=self.largest / 1e6,
                    address=_shown(address),
                )
        if response.length or (unpack is not None and not unpack.eof):
            raise HTTPException("it ended early")
        return bytes(read)


def _parts(address: str) -> tuple[str, int, str, bool]:
    """Return host, port, path with query, and whether it is https."""
    if len(address) > _LONGEST_ADDRESS:
        raise FetchError(
            "expected an address of at most {most} characters, got {got}; shorten it",
            most=_LONGEST_ADDRESS,
            got=len(address),
        )
    parts = urlsplit(address)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise FetchError(
            "expected a public http(s) address without a password, got {address}; check it", address=_shown(address)
        )
    port = parts.port or _PORTS[parts.scheme]
    if port not in _PORTS.values() and port < _FIRST_FREE_PORT:
        raise FetchError("expected port 80, 443 or one from 1024 on, got {port}; send the file itself", port=port)
    host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
    query = "?" + quote(parts.query, safe=_QUERY) if parts.query else ""
    return host, port, quote(parts.path or "/", safe=_PATH) + query, parts.scheme == "https"


def _looked_up(host: str, port: int, ends: float) -> set[str]:
    """Return the addresses in numbers that a host has; a name server that keeps silent is not waited for any longer."""
    found: Future[set[str]] = Future()

    def look_up() -> None:
        try:
            found.set_result({str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
        except Exception as error:
            found.set_exception(error)

    Thread(target=look_up, daemon=True).start()  # nothing can hang up on it
    return found.result(timeout=_left(ends))


def _hang_up(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _left(ends: float) -> float:
    left = ends - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _shown(address: str) -> str:
    return address if len(address) <= 200 else address[:199] + "…"
