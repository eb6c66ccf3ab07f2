"""The colours of a picture as its file means them: by its ICC profile or its gamma, where it has one, as sRGB.

Viewers and browsers show pictures so. A profile that says sRGB in its own words changes nothing, to the last bit.
"""

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

_SPACES: Final[Mapping[str, tuple[str, ...]]] = {
    "RGB": ("RGB", "RGBA", "RGBa", "P", "PA"),
    "L": ("L", "LA", "La", "1"),
    "CMYK": ("CMYK",),
}
"""By the mode in which a profile's colours are transformed, the modes of pictures that hold such colours."""
_SIGNATURES: Final = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_UNSEEN: Final = 4
"""Levels of 255 by which a profile must move some colour to be taken for another than sRGB."""
_PROBED: Final = np.linspace(0, 255, 6).round().astype(np.uint8)
_USUAL_GAMMA: Final = 1 / 2.2
_ALIKE: Final = 0.05
_LARGEST_GAMMA: Final = 10


def as_srgb(picture: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """Return the colours of a picture as sRGB; one without a profile or gamma, or with a broken one, as it is.

    Args:
        picture: of any mode; what is transparent stays so.
        info: of its file, as Pillow has it.

    Returns:
        A picture of mode RGB or RGBA where anything was changed.
    """
    profile = info.get("icc_profile")
    try:
        if profile:
            return _by_profile(picture, bytes(profile))
        gamma = info.get("gamma")
        if isinstance(gamma, float) and "srgb" not in info and picture.mode not in _SPACES["CMYK"]:
            return _by_gamma(picture, gamma)
    except Exception:  # as with EXIF: a broken block leaves the picture as it is
        return picture
    return picture


def _by_profile(picture: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _SIGNATURES.get(source.profile.xcolor_space, "")
    if picture.mode not in _SPACES.get(mode, ()):
        return picture
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode != "CMYK" and _is_alike(transform, mode):
        return picture
    return _changed(picture, mode, lambda colours: ImageCms.applyTransform(colours, transform))


def _is_alike(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a profile leaves colours as sRGB would have them."""
    levels = np.stack(np.meshgrid(*[_PROBED] * len(mode), indexing="ij"), axis=-1).reshape(1, -1, len(mode))
    probe = Image.fromarray(np.ascontiguousarray(levels if mode == "RGB" else levels[..., 0]))
    shown = ImageCms.applyTransform(probe, transform)
    before = np.asarray(probe.convert("RGB")).astype(int)
    return bool(np.abs(np.asarray(shown).astype(int) - before).max() <= _UNSEEN)


def _by_gamma(picture: Image.Image, gamma: float) -> Image.Image:
    if not 0 < gamma < _LARGEST_GAMMA or abs(gamma / _USUAL_GAMMA - 1) <= _ALIKE:
        return picture
    light = (np.arange(256) / 255) ** (1 / gamma)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    table = (shown * 255).round().astype(int).tolist()
    return _changed(picture, "RGB", lambda colours: colours.point(table * 3))


def _changed(picture: Image.Image, mode: str, change: Any) -> Image.Image:
    """Change the colours of a picture, in the mode given, and leave its transparency."""
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        shown: Image.Image = change(layered.convert(mode)).convert("RGBA")
        shown.putalpha(layered.getchannel("A"))
        return shown
    changed: Image.Image = change(picture.convert(mode))
    return changed
