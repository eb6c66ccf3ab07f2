"""Scenes as training sees them: drawn when needed, never twice, and turned into tensors where they are drawn.

Worker processes draw whole batches from (seed, step), so a resumed run sees the batches of an unbroken one, whatever
the number of workers. Of the scenes some are those of the page, some are put together from every picture there is, and
some from photographs alone.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from evfsam.types import RgbImage
from training.ranks import RANKS, object_ranks
from workbench.datasets.composites import MAX_OBJECTS, DrawnComposite, described_layout, drawn_composite
from workbench.datasets.cutouts import (
    INDEX_NAME,
    SHIPPED,
    STYLES,
    Library,
    Split,
    Style,
    library,
)
from workbench.datasets.expressions import KINDS, Expression, ExpressionKind
from workbench.datasets.expressions import draw as draw_expressions
from workbench.datasets.phrasing import Wordings
from workbench.datasets.scenes import SceneObject, drawn_scene
from workbench.datasets.vocabulary import COLOURS, NOUNS

SIDE: Final = 288
"""Longest side of a training scene in pixels: SAM mini's input."""
LOSS_SIDE: Final = 96
"""Side of the decoder's masks; targets are the covered share of each cell, which keeps edges finer than the cells."""
SQUARE: Final = 240
"""Side of the object map squashed to a square, as the encoders of phrases see the image."""
SceneKind = Literal["page", "drawn", "photo"]
"""Scenes as the page draws them, composites of every picture, and composites of photographs alone."""
SHARES: Final[Mapping[SceneKind, float]] = MappingProxyType({"page": 0.55, "drawn": 0.1, "photo": 0.35})
_PHOTO_STYLES: Final[tuple[Style, ...]] = ("render", "photo")
NAME_IDS: Final[Mapping[str, int]] = {name: i + 1 for i, name in enumerate(sorted(NOUNS))}
COLOUR_IDS: Final[Mapping[str, int]] = {name: i + 1 for i, name in enumerate(sorted(COLOURS))}


@dataclass(frozen=True, eq=False)
class TrainingScene:
    """A scene without what training does not need.

    Attributes:
        drawn: image (H, W, 3), its longest side `SIDE`, with one object at least.
        object_map: (H, W) uint8, 0 for the background, i + 1 where object i shows.
        kind: what it was put together from.
    """

    drawn: DrawnComposite
    object_map: NDArray[np.uint8]
    kind: SceneKind

    @property
    def image(self) -> RgbImage:
        """(H, W, 3) uint8."""
        return self.drawn.image

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        """From the back to the front."""
        return self.drawn.objects

    def mirrored(self) -> "TrainingScene":
        """Return the scene as a mirror shows it: other places for the same pixels, at hardly any cost."""
        width = self.image.shape[1]
        objects = tuple(
            replace(
                item,
                box=(width - item.box[2], item.box[1], width - item.box[0], item.box[3]),
                centre=(1 - item.centre[0], item.centre[1]),
                mask=item.mask[:, ::-1],
            )
            for item in self.objects
        )
        image, object_map = np.ascontiguousarray(self.image[:, ::-1]), np.ascontiguousarray(self.object_map[:, ::-1])
        return TrainingScene(DrawnComposite(image, objects, self.drawn.behind), object_map, self.kind)

    def without_masks(self) -> Self:
        """Return the scene with objects' masks left out, which the map tells again; for keeping it on disk."""
        return self._with(np.zeros((0, 0), dtype=np.bool_) for _ in self.objects)

    def with_masks(self) -> Self:
        """Return the scene with its objects' masks read from the map."""
        return self._with(self.object_map == index + 1 for index in range(len(self.objects)))

    def _with(self, masks: Iterable[NDArray[np.bool_]]) -> Self:
        objects = tuple(replace(item, mask=mask) for item, mask in zip(self.objects, masks, strict=True))
        return replace(self, drawn=replace(self.drawn, objects=objects))

    def mask(self, object_indices: Sequence[int]) -> NDArray[np.bool_]:
        """(H, W) bool: the visible pixels of these objects."""
        return np.isin(self.object_map, [i + 1 for i in object_indices])


@dataclass(frozen=True, eq=False)
class Tensors:
    """Tensors that belong together and move together."""

    def to(self, device: torch.device, non_blocking: bool = True) -> Self:
        """Return the same on a device, as `torch.Tensor.to`."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = value.to(device, non_blocking=non_blocking) if hasattr(value, "to") else value
        return type(self)(**moved)

    def pin_memory(self) -> Self:
        """Return the same in page-locked memory, from which copies to a GPU do not wait."""
        pinned: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            pinned[field.name] = value.pin_memory() if hasattr(value, "pin_memory") else value
        return type(self)(**pinned)


@dataclass(frozen=True, eq=False)
class SceneTensors(Tensors):
    """B scenes.

    Attributes:
        images: (B, s, s, 3) uint8, each at the top left of a square: SAM's input, or one with more pixels.
        sizes: (B, 2) height and width of each.
        object_maps: (B, s, s) uint8.
        square_maps: (B, SQUARE, SQUARE) uint8, the maps squashed to squares.
        names, colours: (B, MAX_OBJECTS + 1) ids, 0 for the background and for no clear colour.
        ranks: (B, MAX_OBJECTS + 1, R) which of `RANKS` each object holds.
        is_ranked: (B, MAX_OBJECTS + 1) whether it has equals.
    """

    images: torch.Tensor
    sizes: torch.Tensor
    object_maps: torch.Tensor
    square_maps: torch.Tensor
    names: torch.Tensor
    colours: torch.Tensor
    ranks: torch.Tensor
    is_ranked: torch.Tensor

    def sam_pixels(self, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
        """(B, 3, SIDE, SIDE) float32: normalised, the rest of the square zero, as `evfsam.preprocess.sam_pixels`."""
        pixels = self.normalised(mean, std)
        return pixels if self.side == SIDE else F.adaptive_avg_pool2d(pixels, SIDE)

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
        """(B, 3, s, s) float32: the same in the scenes' own square."""
        device = self.images.device
        pixels = self.images.permute(0, 3, 1, 2).float()
        pixels = (pixels - torch.tensor(mean, device=device).view(-1, 1, 1)) / torch.tensor(std, device=device).view(
            -1, 1, 1
        )
        return pixels * self.inside()[:, None]

    @property
    def side(self) -> int:
        """Of the square that scenes lie in, s."""
        return self.images.shape[1]

    def to_sam(self, places: torch.Tensor) -> torch.Tensor:
        """Take points or boxes from the scenes' square to SAM's."""
        return places * (SIDE / self.side)

    def inside(self) -> torch.Tensor:
        """(B, s, s) bool: where the image is, and not the rest of the square."""
        line = torch.arange(self.side, device=self.sizes.device)
        return (line[None, :, None] < self.sizes[:, :1, None]) & (line[None, None] < self.sizes[:, 1:, None])

    def shown(self, grid: int) -> torch.Tensor:
        """(B, grid * grid) i + 1 for the object i that shows most in each patch, 0 where none fills three tenths."""
        tiles = self.square_maps.unflatten(2, (grid, -1)).unflatten(1, (grid, -1)).permute(0, 1, 3, 2, 4).flatten(3)
        tiles = tiles.flatten(1, 2)
        counts = torch.stack([(tiles == k).sum(-1) for k in range(MAX_OBJECTS + 1)], dim=-1).float()
        counts[..., 0] = 0.3 * tiles.shape[-1]
        return counts.argmax(-1)


def referred(maps: torch.Tensor, scene_of: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Return the masks of phrases as float32.

    Args:
        maps: (B, h, w) uint8 object maps.
        scene_of: (P,) scene of each phrase.
        bits: (P,) int64 with bit i set where object i is meant.

    Returns:
        (P, h, w), 0 or 1.
    """
    of_phrase = maps[scene_of].long()
    return ((bits[:, None, None] >> (of_phrase - 1).clamp_min(0)) & (of_phrase > 0).long()).float()


def bits_of(expression: Expression) -> int:
    """Return an expression's objects as bits."""
    return sum(1 << index for index in expression.object_indices)


def covered_share(masks: torch.Tensor) -> torch.Tensor:
    """(P, s, s) float32 masks to (P, LOSS_SIDE, LOSS_SIDE) in [0, 1]: the grid of SAM's decoder."""
    return F.adaptive_avg_pool2d(masks[:, None], LOSS_SIDE)[:, 0]


class SceneSource:
    """Draws scenes of a split, of several kinds.

    Args:
        folder: of the fetched pictures; where there are none, the project's own drawings are used.
        split: whose pictures are used.
        shares: how often each kind is drawn; photographic ones are drawings where no pictures were fetched.
        side: longest side of a scene in pixels.
    """

    def __init__(
        self, folder: Path, split: Split = "train", shares: Mapping[SceneKind, float] = SHARES, side: int = SIDE
    ) -> None:
        self.folder, self.split, self.side = folder, split, side
        self.has_fetched = (folder / INDEX_NAME).is_file()
        self.shares = dict(shares)

    def held_out(self, kind: SceneKind) -> "SceneSource":
        """Return the source of scenes of one kind, of pictures and wordings to validate on."""
        return SceneSource(self.folder, "val", {kind: 1.0}, self.side)

    def digest(self) -> str:
        """SHA-256 of the list of pictures."""
        return hashlib.sha256(((self.folder if self.has_fetched else SHIPPED) / INDEX_NAME).read_bytes()).hexdigest()

    @property
    def wordings(self) -> Wordings:
        """Held-out wordings are for validation and testing."""
        return "seen" if self.split == "train" else "all"

    def library(self, *, is_photographic: bool) -> Library:
        """Return what a scene is put together from."""
        if not self.has_fetched:
            return library(SHIPPED, ("train",), ("drawn",))
        return library(self.folder, (self.split,), _PHOTO_STYLES if is_photographic else STYLES)

    def scene(self, rng: np.random.Generator) -> TrainingScene:
        """Draw one."""
        kinds, weights = list(self.shares), np.array(list(self.shares.values()))
        while True:
            kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
            drawn = _page_scene(rng, self.side) if kind == "page" else self._composite(rng, kind)
            if drawn.objects:
                object_map = np.zeros(drawn.image.shape[:2], dtype=np.uint8)
                for index, item in enumerate(drawn.objects):
                    object_map[item.mask] = index + 1
                return TrainingScene(drawn, object_map, kind)

    def _composite(self, rng: np.random.Generator, kind: SceneKind) -> DrawnComposite:
        is_photographic = kind == "photo" and self.has_fetched
        pictures = self.library(is_photographic=is_photographic)
        return drawn_composite(rng, self.side, pictures, is_photographic=is_photographic or rng.random() < 0.5)

    def scenes(self, rng: np.random.Generator, count: int) -> list[TrainingScene]:
        """Draw half of `count` scenes, and take their mirror images for the other half."""
        drawn = [self.scene(rng) for _ in range(-(-count // 2))]
        return [each for scene in drawn for each in (scene, scene.mirrored())][:count]

    def texts(self, rng: np.random.Generator, count: int) -> Iterator[str]:
        """Draw phrases about layouts that are never drawn as pictures."""
        weights: dict[ExpressionKind, float] = dict.fromkeys(KINDS, 1.0)
        pictures = self.library(is_photographic=False)
        while count > 0:
            objects = described_layout(rng, pictures)
            for each in draw_expressions(objects, rng, 8, weights, wordings=self.wordings) if objects else ():
                count -= 1
                yield each.text

    def phrases(
        self, scene: TrainingScene, rng: np.random.Generator, count: int, weights: Mapping[ExpressionKind, float]
    ) -> list[Expression]:
        """Draw phrases about a scene."""
        drawn = draw_expressions(scene.objects, rng, count + 4, weights, wordings=self.wordings)
        return [each for each in drawn if scene.drawn.allows(each)][:count]


def _page_scene(rng: np.random.Generator, side: int) -> DrawnComposite:
    """Draw a scene as the page does."""
    image, objects = drawn_scene(rng, side)
    return DrawnComposite(image, objects, frozenset())


def scene_tensors(scenes: Sequence[TrainingScene], side: int = SIDE) -> SceneTensors:
    """Lay scenes out as tensors, in squares of `side` pixels."""
    count = len(scenes)
    images = np.zeros((count, side, side, 3), dtype=np.uint8)
    maps = np.zeros((count, side, side), dtype=np.uint8)
    squares = np.zeros((count, SQUARE, SQUARE), dtype=np.uint8)
    names, colours = np.zeros((2, count, MAX_OBJECTS + 1), dtype=np.int64)
    ranks = np.zeros((count, MAX_OBJECTS + 1, len(RANKS)), dtype=np.bool_)
    is_ranked = np.zeros((count, MAX_OBJECTS + 1), dtype=np.bool_)
    for row, scene in enumerate(scenes):
        height, width = scene.object_map.shape
        images[row, :height, :width] = scene.image
        maps[row, :height, :width] = scene.object_map
        squares[row] = np.asarray(Image.fromarray(scene.object_map).resize((SQUARE, SQUARE), Image.Resampling.NEAREST))
        for index, item in enumerate(scene.objects):
            names[row, index + 1] = NAME_IDS[item.category]
            colours[row, index + 1] = COLOUR_IDS[item.colour] if item.colour else 0
        count_here = len(scene.objects) + 1
        ranks[row, :count_here], is_ranked[row, :count_here] = object_ranks(scene.objects)
    sizes = torch.tensor([scene.object_map.shape for scene in scenes])
    arrays = (images, maps, squares, names, colours, ranks, is_ranked)
    images_, maps_, squares_, names_, colours_, ranks_, is_ranked_ = (torch.from_numpy(each) for each in arrays)
    return SceneTensors(images_, sizes, maps_, squares_, names_, colours_, ranks_, is_ranked_)


def tight_box(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(4,) XYXY pixels around a mask that is not empty; the right and lower edges lie beyond the last pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)
