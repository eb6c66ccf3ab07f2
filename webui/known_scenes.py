"""Pictures whose truth is known: random scenes and the examples, with phrases to try and masks to measure against."""

import json
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from secrets import choice
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.types import ImageView, RgbImage
from workbench.bundled import EXAMPLES
from workbench.datasets.known_phrases import known_expression
from workbench.datasets.scenes import Scene, scene, split_seeds
from workbench.metrics.masks import mask_iou
from workbench.pictures.shown_pictures import read_image

SCENE_SIZE: Final = 512
_THUMBNAIL_SIDE: Final = 160


@dataclass(frozen=True)
class KnownScene:
    """A scene that is on a visitor's page.

    Attributes:
        content_hash: of the image shown; another image has no known masks.
        seed, size: what the scene was drawn from.
    """

    content_hash: str
    seed: int
    size: int

    def mask_of(self, view: ImageView, phrase: str) -> NDArray[np.bool_] | None:
        """(H, W) bool: what the phrase means in this scene; None for another image or a phrase nobody knows."""
        if view.content_hash != self.content_hash:
            return None
        drawn = scene(self.seed, self.size)
        expression = known_expression(drawn.objects, phrase)
        return None if expression is None else drawn.mask(expression)


@dataclass(frozen=True)
class Example:
    """One picture of `examples/`.

    Attributes:
        file: the image.
        title: for people.
        phrases: worth trying.
        scene_seed: seed of the scene it shows; None for photographs.
        thumbnail: data URL of a small picture.
    """

    file: Path
    title: str
    phrases: tuple[str, ...]
    scene_seed: int | None
    thumbnail: str

    def image(self) -> RgbImage:
        """(H, W, 3) uint8."""
        return read_image(self.file)

    @cached_property
    def content_hash(self) -> str:
        """Of the decoded image; see `ImageView.content_hash`."""
        return ImageView(self.image()).content_hash

    def known_scene(self, image: RgbImage) -> KnownScene | None:
        """Return the scene behind the decoded image, if it shows one."""
        if self.scene_seed is None or image.shape[0] != image.shape[1]:
            return None
        return KnownScene(ImageView(image).content_hash, self.scene_seed, image.shape[0])


def random_scene() -> tuple[Scene, KnownScene]:
    """Draw a scene of the test split, which no model was trained on."""
    drawn = scene(choice(split_seeds("test")), SCENE_SIZE, is_plain=True)
    return drawn, KnownScene(ImageView(drawn.image).content_hash, drawn.seed, SCENE_SIZE)


def suggested_phrases(drawn: Scene) -> tuple[str, ...]:
    """Return the scene's phrases, each wording once."""
    return tuple(dict.fromkeys(expression.text for expression in drawn.expressions))


def read_examples(directory: Path = EXAMPLES) -> tuple[Example, ...]:
    """Read `examples.json` and make thumbnails; none where the folder has no such list."""
    listing = directory / "examples.json"
    if not listing.is_file():
        return ()
    entries = json.loads(listing.read_text(encoding="utf-8"))
    return tuple(
        Example(
            file=directory / entry["file"],
            title=entry["title"],
            phrases=tuple(entry["phrases"]),
            scene_seed=entry["scene_seed"],
            thumbnail=_thumbnail(directory / entry["file"]),
        )
        for entry in entries
    )


def measured_iou(mask: NDArray[np.bool_], known: NDArray[np.bool_] | None) -> float | None:
    """Return the IoU in [0, 1] with the known mask, None where there is none; nothing against nothing counts as 1."""
    return None if known is None else mask_iou(mask, known)


def _thumbnail(file: Path) -> str:
    with Image.open(file) as opened:
        small = opened.convert("RGB")
        small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")
