"""The image that a program sends: an uploaded file, an address, or the bytes themselves as a data URL."""

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from gradio.components.api_component import Api
from gradio.processing_utils import ssrf_protected_download
from gradio.utils import get_upload_folder

from evfsam.errors import ImageFormatError
from evfsam.types import RgbImage
from workbench.pictures.files import read_image

IMAGE_WORDS: Final = (
    "the image: a public http(s) address, a data URL (data:image/png;base64,...), or a file uploaded to this server; "
    "PNG, JPEG, WebP, BMP, TIFF or GIF with one frame, up to 64 megapixels and 25 MB"
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
_LONGEST_DATA_URL: Final = 35_000_000
"""25 MB as base64, and some."""
_SERVED: Final = "/gradio_api/file="


def image_input(name: str) -> Api:
    """Make an argument that takes an image in each of these ways.

    Gradio would fetch addresses itself, and fail without a word; here they come as they were sent.
    """
    component = Api(None, {**FILE_SCHEMA, "description": IMAGE_WORDS}, name)  # type: ignore[dict-item]
    component.async_move_resource_to_block_cache = _as_sent
    return component


def read_image_argument(given: object) -> RgbImage:
    """Decode what a program sent as image.

    Args:
        given: a text (address, data URL, or path of an upload), or a mapping as Gradio's clients send files.

    Raises:
        ImageFormatError: there is no image, or it cannot be fetched or read.
    """
    if isinstance(given, Mapping):
        given = given.get("path")
    if not isinstance(given, str) or not given.strip():
        raise ImageFormatError(f"expected an image, got {_shown(given)}; send {IMAGE_WORDS}")
    text = given.strip()
    if text.startswith("data:"):
        return read_image(_data_url_bytes(text))
    if text.startswith(("http://", "https://")):
        return read_image(_served_file(text) or _fetched(text))
    if uploaded := in_uploads(text):
        return read_image(uploaded)
    raise ImageFormatError(f"expected an image, got the text {_shown(given)}; send {IMAGE_WORDS}")


async def _as_sent(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _data_url_bytes(text: str) -> bytes:
    head, _, body = text.partition(",")
    if len(text) > _LONGEST_DATA_URL:
        raise ImageFormatError(f"expected a data URL of at most 25 MB, got {len(text) * 3 // 4_000_000} MB; shrink it")
    if not head.endswith(";base64"):
        raise ImageFormatError(f"expected a data URL in base64, got one that starts {head[:40]!r}; encode the bytes")
    try:
        return b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageFormatError(
            f"expected base64 after the comma of the data URL, got something else: {error}"
        ) from error


def file_paths(value: object) -> Iterator[str]:
    """Find the paths of the files, as Gradio's clients send them, anywhere in a value."""
    if isinstance(value, Mapping):
        if isinstance(value.get("path"), str) and "meta" in value:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from file_paths(item)


def _served_file(address: str) -> Path | None:
    """Return the file behind an address of this very server, such as a drawn scene's; None for other addresses."""
    _, found, path = address.partition(_SERVED)
    return in_uploads(unquote(path)) if found else None


def in_uploads(path: str) -> Path | None:
    """Return the file if it lies in Gradio's upload folder: a program may name no other file of this machine."""
    try:
        file = Path(path).resolve()
        is_ours = file.is_relative_to(Path(get_upload_folder()).resolve()) and file.is_file()
    except (OSError, ValueError):
        return None
    return file if is_ours else None


def _fetched(address: str) -> str:
    try:
        return str(ssrf_protected_download(address, get_upload_folder()))
    except Exception as error:
        raise ImageFormatError(
            f"cannot fetch {address[:200]} ({str(error)[:200] or type(error).__name__}); expected a public http(s) "
            "address, so check it, or send the file itself"
        ) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
