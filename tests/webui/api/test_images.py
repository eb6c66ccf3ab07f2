"""The ways in which a program can send an image."""

import asyncio
import time
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ImageFormatError
from tests.webui.fakes import three_colours
from webui.api import images as program_images
from webui.api.images import GivenImages, file_paths, read_image_argument
from webui.api.refusals import RequestError
from webui.fetching import Fetcher
from webui.file_quota import FileQuota

SIZE = (24, 32)


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr(program_images, "get_upload_folder", lambda: str(folder))
    return folder


def saved(path: Path) -> Path:
    Image.fromarray(three_colours(SIZE)).save(path)
    return path


def put_down(image: object, **others: object) -> str:
    arguments = {"image": image, **others}
    asyncio.run(GivenImages(Fetcher(), FileQuota(Path(program_images.get_upload_folder()))).put_down(arguments))
    return str(arguments["image"])


def test_a_data_url_an_uploaded_file_and_a_file_served_here_give_the_same_image(uploads: Path) -> None:
    file = saved(uploads / "a b.png")
    sent = [
        "data:image/png;base64," + b64encode(file.read_bytes()).decode(),
        str(file),
        {"path": str(file), "meta": {"_type": "gradio.FileData"}},
        f"http://somewhere:7860/gradio_api/file={str(file).replace(' ', '%20')}",
    ]
    for image in sent:
        assert np.array_equal(read_image_argument(put_down(image)), three_colours(SIZE))
    assert list(uploads.rglob("*.png")) == [file]


def test_what_was_sent_along_is_read_once_and_goes(uploads: Path) -> None:
    sent = "data:image/png;base64," + b64encode(saved(uploads / "a.png").read_bytes()).decode()
    kept = Path(put_down(sent))
    assert kept.is_relative_to(uploads)
    read_image_argument(str(kept))
    assert not kept.exists()


def test_a_file_outside_the_uploads_is_not_read(uploads: Path) -> None:
    outside = saved(uploads.parent / "private.png")
    named = [str(outside), {"path": str(outside)}, f"{uploads}/../private.png"]
    for image in named:
        with pytest.raises(RequestError, match="uploaded to this server"):
            put_down(image)
        with pytest.raises(ImageFormatError, match="uploaded to this server"):
            read_image_argument(image)
    with pytest.raises(RequestError, match="expected a public address"):
        put_down(f"http://127.0.0.1:8080/gradio_api/file={outside}")


def test_no_other_argument_is_a_file(uploads: Path) -> None:
    file = {"path": str(saved(uploads / "a.png")), "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(RequestError, match="no file as options"):
        put_down(file, options={"a": [file]})


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "expected an image, got None"),
        (" ", "expected an image"),
        (7, "expected an image, got 7"),
        ("data:image/png;base64,@@", "expected base64"),
        ("data:image/png,abc", "expected a data URL in base64"),
        ("http://127.0.0.1:8080/x.png", "expected a public"),
        ({"path": "", "meta": {"_type": "gradio.FileData"}}, "expected an image"),
        ("x" * 100_000, "expected an image, got the text"),
        ("a\0b", "expected an image, got the text"),
    ],
)
def test_what_is_no_image_is_refused_in_plain_words(image: object, words: str, uploads: Path) -> None:
    with pytest.raises(RequestError, match=words) as refusal:
        put_down(image)
    assert refusal.value.status == 422
    assert list(uploads.iterdir()) == []


def test_a_file_that_was_deleted_is_told_from_one_that_never_was(uploads: Path) -> None:
    for image in (str(uploads / "gone.png"), {"path": str(uploads / "gone.png")}):
        with pytest.raises(RequestError, match="this one was deleted"):
            put_down(image)
        with pytest.raises(ImageFormatError, match="this one was deleted"):
            read_image_argument(str(uploads / "gone.png"))


def test_bytes_that_are_no_image_are_refused_when_they_are_read(uploads: Path) -> None:
    with pytest.raises(ImageFormatError, match="not one that can be read"):
        read_image_argument(put_down("data:;base64,aGVsbG8="))
    assert list((uploads / "given").iterdir()) == []


def test_only_so_many_addresses_are_fetched_at_once(uploads: Path) -> None:
    """The next one hears that it must wait, and no thread is spent on it."""

    class Slow(Fetcher):
        def fetch(self, address: str) -> bytes:
            time.sleep(0.3)
            return address.encode()

    async def ask() -> list[object]:
        images = GivenImages(Slow(), FileQuota(uploads))
        asked = [images.put_down({"image": f"http://example.org/{number}"}) for number in range(10)]
        return await asyncio.gather(*asked, return_exceptions=True)

    refused = [one.status for one in asyncio.run(ask()) if isinstance(one, RequestError)]
    assert refused == [503, 503]


def test_files_are_found_however_deep_they_lie() -> None:
    hidden = {"a": [{"b": {"path": "/one", "meta": {}}}, {"path": "/three"}], "path": "/two", "meta": None}
    assert sorted(file_paths(hidden)) == ["/one", "/three", "/two"]
    assert list(file_paths({"path": 5, "paths": "/none"})) == []


@pytest.mark.usefixtures("uploads")
def test_a_long_path_is_refused_as_fast_as_a_short_one() -> None:
    """To resolve it would hold up everyone: it is done where all requests pass."""
    began = time.process_time()
    with pytest.raises(RequestError, match="expected an image"):
        put_down("a/" * 500_000)
    assert time.process_time() - began < 1
