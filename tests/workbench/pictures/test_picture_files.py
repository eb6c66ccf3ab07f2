"""A picture file goes in, and every mask has the size and orientation that a person sees."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from evfsam.preprocess import load_image
from tests.contract.tiny_checkpoints import save_evf_sam
from tests.workbench.doubles import suite_of
from webui.tabs.compare.runs import read_upload
from workbench.comparison import Comparison
from workbench.suites.registry import SUITES, Suite

SEEN = np.zeros((40, 64), dtype=bool)
"""Bright where a person sees light: an L, which no turn and no mirror leaves as it is."""
SEEN[:, :16] = True
SEEN[24:, :32] = True


def lit(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.where(SEEN, 220, 20).astype(np.uint8)).convert("RGB").convert(mode)


def file_bytes(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    """Pixels stored so that a viewer who applies the orientation shows `lit()`."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = lit() if undo is None else lit().transpose(undo)
    return file_bytes(stored, "JPEG", exif=exif, quality=95)


def see_through() -> bytes:
    """A palette whose clear colour is dark: over white it is bright."""
    picture = Image.fromarray(np.where(SEEN, 0, 1).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 20, 20, 20])
    return file_bytes(picture, "PNG", transparency=0)


def grey_with_alpha() -> bytes:
    layers = np.stack([np.full(SEEN.shape, 20), np.where(SEEN, 0, 255)], axis=2)
    return file_bytes(Image.fromarray(layers.astype(np.uint8), "LA"), "PNG")


FILES: dict[str, Callable[[], bytes]] = {
    **{f"EXIF {orientation}": lambda orientation=orientation: turned(orientation) for orientation in range(1, 9)},
    "16-bit PNG": lambda: file_bytes(Image.fromarray(np.where(SEEN, 60_000, 5_000).astype(np.uint16)), "PNG"),
    "CMYK JPEG": lambda: file_bytes(lit("CMYK"), "JPEG", quality=95),
    "palette with transparency": see_through,
    "grey and alpha": grey_with_alpha,
    "1-bit PNG": lambda: file_bytes(Image.fromarray(SEEN), "PNG"),
    "GIF of one frame": lambda: file_bytes(lit(), "GIF"),
}


@pytest.mark.parametrize("kind", list(FILES))
def test_the_mask_lies_where_a_person_sees_the_object(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(FILES[kind]())
    comparison = Comparison(suite_of(tmp_path, bright="load_bright"))
    for image in (load_image(path), read_upload({"path": str(path)})):
        (result,) = comparison.run(image, "the light")
        assert result.segmentation.mask.shape == SEEN.shape
        assert (result.segmentation.mask == SEEN).mean() > 0.97  # JPEG blurs the border


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1)])
def test_thin_pictures_get_masks_of_their_size_from_real_models(size: tuple[int, int], tmp_path: Path) -> None:
    save_evf_sam(tmp_path)
    entry = replace(SUITES["mini"].strategies["evf-sam"], directory=tmp_path)
    comparison = Comparison(Suite("tiny", "Tiny", "Fresh weights.", MappingProxyType({"evf-sam": entry})))
    content = file_bytes(Image.fromarray(np.full((*size, 3), 127, np.uint8)), "PNG")
    (result,) = comparison.run(load_image(content), "the dog")
    assert result.segmentation.verdict.kind != "failed"
    assert result.segmentation.mask.shape == size
