"""The ways in which a program can send an image."""

from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ImageFormatError
from tests.webui.fakes import three_colours
from webui.api import images as program_images
from webui.api.images import file_paths, read_image_argument

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


def test_a_data_url_an_uploaded_file_and_a_file_served_here_give_the_same_image(uploads: Path) -> None:
    file = saved(uploads / "a b.png")
    sent = [
        "data:image/png;base64," + b64encode(file.read_bytes()).decode(),
        str(file),
        {"path": str(file), "meta": {"_type": "gradio.FileData"}},
        f"http://somewhere:7860/gradio_api/file={str(file).replace(' ', '%20')}",
    ]
    for image in sent:
        assert np.array_equal(read_image_argument(image), three_colours(SIZE))


def test_a_file_outside_the_uploads_is_not_read(uploads: Path) -> None:
    outside = saved(uploads.parent / "private.png")
    named = [str(outside), {"path": str(outside)}, f"{uploads}/../private.png"]
    for image in named:
        with pytest.raises(ImageFormatError, match="uploaded to this server"):
            read_image_argument(image)
    with pytest.raises(ImageFormatError, match="cannot fetch"):
        read_image_argument(f"http://127.0.0.1:9/gradio_api/file={outside}")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "expected an image, got None"),
        (" ", "expected an image"),
        (7, "expected an image, got 7"),
        ("data:image/png;base64,@@", "expected base64"),
        ("data:image/png,abc", "expected a data URL in base64"),
        ("data:;base64,aGVsbG8=", "not one that can be read"),
        ("http://127.0.0.1:9/x.png", "expected a public"),
    ],
)
def test_what_is_no_image_is_refused_in_plain_words(image: object, words: str) -> None:
    with pytest.raises(ImageFormatError, match=words):
        read_image_argument(image)


def test_files_are_found_however_deep_they_lie() -> None:
    hidden = {"a": [{"b": {"path": "/one", "meta": {}}}, {"path": "/none"}], "path": "/two", "meta": None}
    assert sorted(file_paths(hidden)) == ["/one", "/two"]
