from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ImageFormatError
from webui.tabs.compare.runs import read_upload


def test_no_image_is_said_in_plain_words() -> None:
    with pytest.raises(ImageFormatError, match="There is no image yet"):
        read_upload(None)


@pytest.mark.parametrize(
    "payload", ["/etc/passwd", {"url": "http://example.com/a.png"}, {"path": None}, {"path": 3}, 7]
)
def test_anything_but_an_uploaded_file_is_refused(payload: object) -> None:
    with pytest.raises(ImageFormatError, match="expected an uploaded image file"):
        read_upload(payload)


def test_an_upload_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (40, 20), "red").save(path, exif=exif)
    assert read_upload({"path": str(path)}).shape == (40, 20, 3)


def test_a_lossless_upload_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    assert np.array_equal(read_upload({"path": str(path)}), pixels)
