"""The image that a program sends: an uploaded file, an address, or the bytes themselves as a data URL.

Whatever it is, it becomes a file in Gradio's upload folder before the question waits for the models: nobody waits for
another's address then, and what waits costs no memory.
"""

import asyncio
import binascii
import secrets
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from gradio.components.api_component import Api
from gradio.utils import get_upload_folder

from evfsam.errors import EvfSamError, ImageFormatError
from evfsam.types import RgbImage
from webui.api.refusals import DISK_FULL, RequestError, is_disk_full, shown
from webui.fetching import Fetcher
from webui.file_quota import FileQuota, mark_used
from workbench.limits import LARGEST_AS_BASE64, LARGEST_FILE_MB
from workbench.pictures.shown_pictures import read_image

IMAGE_WORDS: Final = (
    "the image: a public http(s) address, a data URL (data:image/png;base64,...), or a file uploaded to this server; "
    f"PNG, JPEG, WebP, BMP, TIFF or GIF with one frame, up to 64 megapixels and {LARGEST_FILE_MB} MB"
)
FILE_SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "title": "FileData",
    "description": "a file: its path as the upload answered it, or a public http(s) address as its path",
    "properties": {
        "path": {"type": "string", "description": "path or address"},
        "meta": {"type": "object", "properties": {"_type": {"const": "gradio.FileData"}}, "required": ["_type"]},
    },
    "required": ["path", "meta"],
}
IMAGE: Final = "image"
"""Name of the arguments that take an image."""
_SERVED: Final = "/gradio_api/file="
_GIVEN: Final = "given"
"""Folder in the upload folder of the files that are read once and go."""
_MOST_FETCHES: Final = 8
_LONGEST_PATH: Final = 4096
"""Characters, as many as Linux takes: to resolve a longer path takes time that grows with the square of its length."""


def image_input(name: str) -> Api:
    """Make an argument that takes an image in each of these ways."""
    return Api(None, {**FILE_SCHEMA, "description": IMAGE_WORDS}, name)  # type: ignore[dict-item,unused-ignore]


class GivenImages:
    """Makes files of what programs send as images; belongs to one event loop.

    Args:
        fetcher: of addresses.
        quota: on the files that are made.
    """

    def __init__(self, fetcher: Fetcher, quota: FileQuota) -> None:
        self._fetcher = fetcher
        self._quota = quota
        self._fetches = 0

    async def put_down(self, arguments: dict[str, object]) -> None:
        """Replace the image among the arguments of an endpoint by the path of a file in the upload folder.

        Raises:
            RequestError: it is no image, cannot be fetched, or another argument is a file.
        """
        for name, value in arguments.items():
            if name != IMAGE and next(file_paths(value), None) is not None:
                raise RequestError(422, f"expected no file as {name}, got one; leave it out")
        if IMAGE in arguments:
            try:
                arguments[IMAGE] = await self._file_of(arguments[IMAGE])
            except EvfSamError as error:
                raise RequestError(422, str(error)) from error

    def take_away(self, arguments: Mapping[str, object]) -> None:
        """Delete the file that `put_down` made, where nobody read it."""
        path = Path(str(arguments.get(IMAGE, "")))
        if path.parent == _folder():
            path.unlink(missing_ok=True)

    async def _file_of(self, given: object) -> str:
        is_file = isinstance(given, Mapping)
        if isinstance(given, Mapping):
            given = given.get("path")
        if not isinstance(given, str) or not given.strip():
            raise ImageFormatError(f"expected an image, got {shown(given)}; send {IMAGE_WORDS}")
        text = given.strip()
        if text.startswith("data:"):
            async with self._quota.room_for(len(text)):
                return await asyncio.to_thread(kept_file, lambda: _data_url_bytes(text))
        is_address = text.startswith(("http://", "https://"))
        if file := (_served_file(text) if is_address else in_uploads(text)):
            return str(file)
        if not is_address and (is_file or _of_uploads(text) is not None):
            raise ImageFormatError(no_such_file(text))
        if not is_address:
            raise ImageFormatError(f"expected an image, got the text {shown(given)}; send {IMAGE_WORDS}")
        return await self._fetched(text)

    async def _fetched(self, address: str) -> str:
        if self._fetches >= _MOST_FETCHES:
            raise RequestError(503, f"{self._fetches} addresses are being fetched just now; try again in a while")
        self._fetches += 1
        try:
            async with self._quota.room_for(self._fetcher.largest):
                return await asyncio.to_thread(kept_file, lambda: self._fetcher.fetch(address))
        finally:
            self._fetches -= 1


def read_image_argument(given: object) -> RgbImage:
    """Decode the image of an endpoint.

    Args:
        given: path of a file in the upload folder, as `GivenImages` makes it of whatever a program sends.

    Raises:
        ImageFormatError: there is no such file, or it is no image.
    """
    file = in_uploads(given) if isinstance(given, str) else None
    if file is None:
        raise ImageFormatError(no_such_file(str(given)))
    mark_used(file)
    try:
        return read_image(file)
    finally:
        if file.parent == _folder().resolve():
            file.unlink(missing_ok=True)


def file_paths(value: object) -> Iterator[str]:
    """Find the paths of the files, as Gradio's clients send them, anywhere in a value.

    Whatever has a path is one: Gradio's own model of an image adds the `meta` that marks files where it is missing.
    """
    if isinstance(value, Mapping):
        if isinstance(value.get("path"), str):
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from file_paths(item)


def in_uploads(path: str) -> Path | None:
    """Return the file if it lies in Gradio's upload folder: a program may name no other file of this machine."""
    file = _of_uploads(path)
    try:
        return file if file is not None and file.is_file() else None
    except OSError:
        return None


def no_such_file(path: str) -> str:
    """Say that a path is no file that was uploaded here, or is one no more."""
    if _of_uploads(path) is not None:
        return "expected a file that is still here, but this one was deleted; upload it again"
    return f"expected a file uploaded to this server, got {shown(path)}; upload it first"


def _of_uploads(path: str) -> Path | None:
    if len(path) > _LONGEST_PATH:
        return None
    try:
        file = Path(path).resolve()
        return file if file.is_relative_to(Path(get_upload_folder()).resolve()) else None
    except (OSError, ValueError):
        return None


def _served_file(address: str) -> Path | None:
    """Return the file behind an address of this very server, such as a drawn scene's; None for other addresses."""
    _, found, path = address.partition(_SERVED)
    return in_uploads(unquote(path)) if found else None


def _folder() -> Path:
    return Path(get_upload_folder()) / _GIVEN


def kept_file(make: Callable[[], bytes]) -> str:
    """Write bytes to a file that is read once.

    Raises:
        RequestError: the disk is full.
    """
    content = make()
    file = _folder() / secrets.token_hex(16)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        file.unlink(missing_ok=True)
        if is_disk_full(error):
            raise RequestError(507, DISK_FULL) from error
        raise
    return str(file)


def _data_url_bytes(text: str) -> bytes:
    head, _, body = text.partition(",")
    if len(text) > LARGEST_AS_BASE64:
        got = len(text) * 3 // 4_000_000
        raise ImageFormatError(f"expected a data URL of at most {LARGEST_FILE_MB} MB, got {got} MB; shrink it")
    if not head.endswith(";base64"):
        raise ImageFormatError(f"expected a data URL in base64, got one that starts {head[:40]!r}; encode the bytes")
    try:
        return b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageFormatError(
            f"expected base64 after the comma of the data URL, got something else: {error}"
        ) from error
