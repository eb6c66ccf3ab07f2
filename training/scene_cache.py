"""Scenes drawn once to disk and mapped into memory, so that every stage reads the same pixels at no cost.

A cache is a folder of chunks. A chunk is two arrays, `NNNNN-images.npy` (n, S, S, 3) uint8 and `NNNNN-objects.npy`
(n, S, S) uint8 with 0 for the background and i + 1 where object i shows, and `NNNNN.json` with the words. The JSON file
is written last, so a killed run leaves whole chunks only and goes on from there.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from workbench.datasets.expressions import Expression, ExpressionKind
from workbench.datasets.scenes import Split, scene, split_seeds

CHUNK_SIZE = 500


@dataclass(frozen=True, eq=False)
class CachedScene:
    """A scene as it was stored.

    Attributes:
        image: (S, S, 3) uint8.
        object_map: (S, S) uint8, 0 for the background, i + 1 where object i shows.
        categories, colours: one an object; a colour may be None.
        expressions: phrases with the objects they mean.
    """

    image: NDArray[np.uint8]
    object_map: NDArray[np.uint8]
    categories: tuple[str, ...]
    colours: tuple[str | None, ...]
    expressions: tuple[Expression, ...]

    def mask(self, object_indices: tuple[int, ...]) -> NDArray[np.bool_]:
        """(S, S) bool: the visible pixels of these objects."""
        return np.isin(self.object_map, [i + 1 for i in object_indices])


class SceneCache:
    """The first `count` scenes of a split, drawing what is not on disk yet.

    Args:
        directory: where the chunks are; one folder a split and size is made in it.
        split: "train" or "val".
        count: scenes wanted, rounded up to whole chunks.
        size: side in pixels.
        per_kind: expressions of each kind.
        workers: processes that draw.
        chunk_size: scenes a chunk; a folder keeps the one it was begun with.
    """

    def __init__(
        self,
        directory: Path,
        split: Split,
        count: int,
        *,
        size: int = 256,
        per_kind: int = 3,
        workers: int = 2,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        self.chunk_size = chunk_size
        self._folder = directory / f"{split}-{size}"
        self._folder.mkdir(parents=True, exist_ok=True)
        chunk_count = -(-count // chunk_size)
        missing = [k for k in range(chunk_count) if not (self._folder / f"{k:05d}.json").exists()]
        if missing:
            first = split_seeds(split).start
            jobs = [
                _Chunk(self._folder, k, range(first + k * chunk_size, first + (k + 1) * chunk_size), size, per_kind)
                for k in missing
            ]
            with ProcessPoolExecutor(workers) as pool:
                list(tqdm(pool.map(_draw_chunk, jobs), total=len(jobs), desc=f"drawing {split} scenes"))
        self._images = [np.load(self._folder / f"{k:05d}-images.npy", mmap_mode="r") for k in range(chunk_count)]
        self._objects = [np.load(self._folder / f"{k:05d}-objects.npy", mmap_mode="r") for k in range(chunk_count)]
        self._words = [word for k in range(chunk_count) for word in json.loads(self._words_path(k).read_text())]
        self._allowing: dict[ExpressionKind, NDArray[np.int64]] = {}

    def _words_path(self, chunk: int) -> Path:
        return self._folder / f"{chunk:05d}.json"

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, index: int) -> CachedScene:
        chunk, row = divmod(index, self.chunk_size)
        words = self._words[index]
        stored = words["expressions"]
        expressions = tuple(
            Expression(**entry | {"object_indices": tuple(entry["object_indices"])}) for entry in stored
        )
        return CachedScene(
            self._images[chunk][row],
            self._objects[chunk][row],
            tuple(words["categories"]),
            tuple(words["colours"]),
            expressions,
        )

    def allowing(self, kind: ExpressionKind) -> NDArray[np.int64]:
        """Numbers of the scenes that hold an expression of a kind."""
        if kind not in self._allowing:
            held = [any(e["kind"] == kind for e in words["expressions"]) for words in self._words]
            self._allowing[kind] = np.flatnonzero(held)
        return self._allowing[kind]

    def texts(self) -> Iterator[str]:
        """Every phrase of the cache, in order."""
        return (e["text"] for words in self._words for e in words["expressions"])


def tight_box(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(4,) XYXY pixels around a mask that is not empty; the right and lower edges lie beyond the last pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


def shown_objects(scene: CachedScene, grid: int) -> NDArray[np.int64]:
    """(grid * grid,) i + 1 for the object i that shows most in each patch, 0 where none fills three tenths of it."""
    side = scene.object_map.shape[0] // grid
    tiles = scene.object_map.reshape(grid, side, grid, side).transpose(0, 2, 1, 3).reshape(grid * grid, -1)
    counts = np.stack([(tiles == k).sum(1) for k in range(len(scene.categories) + 1)], axis=1)
    counts[:, 0] = 0.3 * side * side
    shown: NDArray[np.int64] = counts.argmax(1)
    return shown


@dataclass(frozen=True)
class _Chunk:
    """A chunk to draw: where, its number, its seeds, the side in pixels and the expressions of each kind."""

    folder: Path
    number: int
    seeds: range
    size: int
    per_kind: int


def _draw_chunk(job: _Chunk) -> None:
    images = np.empty((len(job.seeds), job.size, job.size, 3), dtype=np.uint8)
    maps = np.zeros((len(job.seeds), job.size, job.size), dtype=np.uint8)
    words = []
    for row, seed in enumerate(job.seeds):
        drawn = scene(seed, job.size, per_kind=job.per_kind)
        images[row] = drawn.image
        for index, item in enumerate(drawn.objects):
            maps[row][item.mask] = index + 1
        words.append(
            {
                "categories": [item.category for item in drawn.objects],
                "colours": [item.colour for item in drawn.objects],
                "expressions": [asdict(e) for e in drawn.expressions],
            }
        )
    np.save(job.folder / f"{job.number:05d}-images.npy", images)
    np.save(job.folder / f"{job.number:05d}-objects.npy", maps)
    unfinished = job.folder / f"{job.number:05d}.json.tmp"
    unfinished.write_text(json.dumps(words))
    unfinished.replace(job.folder / f"{job.number:05d}.json")
