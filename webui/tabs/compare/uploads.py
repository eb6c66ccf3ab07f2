"""Decode what the image field sent, within bounds."""

from collections.abc import Mapping

from evfsam.errors import ImageFormatError
from evfsam.types import RgbImage
from workbench.pictures.files import read_image


def read_upload(payload: object) -> RgbImage:
    """Decode the image field's unprocessed value.

    Gradio's own decoding is passed over: it has no bound on the size and no plain words for a broken file.

    Args:
        payload: a mapping whose "path" is the uploaded file, already checked by Gradio to lie in its upload folder.

    Returns:
        (H, W, 3) uint8 RGB, upright, without metadata.

    Raises:
        ImageFormatError: there is no image, or it cannot be read.
    """
    if payload is None:
        raise ImageFormatError("There is no image yet. Upload or paste one, or take a random scene.")
    path = payload.get("path") if isinstance(payload, Mapping) else None
    if not isinstance(path, str) or not path:
        raise ImageFormatError("expected an uploaded image file, got something else; upload the image again")
    return read_image(path)
