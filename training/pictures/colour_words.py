"""Name the colour of a cut-out, where one colour is clear."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SHARE = 0.72
"""Least share of the opaque pixels that have the colour."""


def dominant_colour(image: Image.Image) -> str | None:
    """The colour word that most of an RGBA cut-out has, or None where there is no such colour."""
    small = image.copy()
    small.thumbnail((48, 48))
    rgba = np.asarray(small.convert("RGBA"), dtype=np.float64) / 255
    rgb = rgba[rgba[..., 3] > 0.6][:, :3]
    if len(rgb) < 30:
        return None
    words = _words(rgb)
    names, counts = np.unique(words, return_counts=True)
    best = int(counts.argmax())
    return str(names[best]) if names[best] and counts[best] >= _SHARE * len(words) else None


def _words(rgb: NDArray[np.float64]) -> NDArray[np.str_]:
    """(N,) colour word of each pixel, "" between two colours."""
    value, low = rgb.max(axis=-1), rgb.min(axis=-1)
    span = value - low
    saturation = span / np.maximum(value, 1e-6)
    red, green, blue = rgb.T
    safe = np.maximum(span, 1e-6)
    sector = np.where(value == red, ((green - blue) / safe) % 6, (blue - red) / safe + 2)
    hue = np.where((value == blue) & (value != red), (red - green) / safe + 4, sector) / 6
    is_warm = (hue < 0.11) | (hue > 0.95)
    rules = [
        (value < 0.24, "black"),
        ((saturation < 0.13) & (value > 0.82), "white"),
        (saturation < 0.13, "grey"),
        (is_warm & (hue < 0.11) & (hue > 0.02) & (value < 0.66), "brown"),
        (((hue > 0.83) & (hue < 0.95)) | (((hue > 0.9) | (hue < 0.03)) & (saturation < 0.5) & (value > 0.7)), "pink"),
        ((hue < 0.03) | (hue > 0.95), "red"),
        ((hue < 0.115) & (saturation > 0.5), "orange"),
        ((hue > 0.115) & (hue < 0.185) & (saturation > 0.3), "yellow"),
        ((hue > 0.2) & (hue < 0.45), "green"),
        ((hue > 0.5) & (hue < 0.69), "blue"),
        ((hue > 0.7) & (hue < 0.83), "purple"),
    ]
    return np.select([rule for rule, _ in rules], [word for _, word in rules], "")
