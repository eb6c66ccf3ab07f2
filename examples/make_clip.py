"""Write the example clip of the page: `python -m examples.make_clip`.

Its scene is of the validation split, so no model was trained on it. The purple and the yellow penguin stay in view; the
green one passes behind the burger.
"""

import argparse
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage
from workbench.datasets.scenes import PlacedSprite, drawn, scene_background, scene_layout
from workbench.video.video_files import VideoWriter

_LEAST_TRAVEL, _LONGEST_TRAVEL = 0.35, 0.7
CLIP_NAME: Final = "clip-moving.mp4"
SEED: Final = 10_000_212
SIDE: Final = 320
FRAME_COUNT: Final = 48
RATE: Final = Fraction(16)


@dataclass(frozen=True, eq=False)
class MovingScene:
    """A clip and what is on it.

    Attributes:
        names: (category, colour or None) of each object, from the back to the front.
        frames: (S, S, 3) uint8 RGB, one a frame.
        masks: for each frame, the pixels (S, S) that show each object.
    """

    names: tuple[tuple[str, str | None], ...]
    frames: tuple[RgbImage, ...]
    masks: tuple[tuple[NDArray[np.bool_], ...], ...]


def moving_scene(seed: int, size: int, frame_count: int) -> MovingScene:
    """Let the objects of a scene move at an even pace, each its own way, and turn back at the border.

    The first frame is the scene of that seed, `workbench.datasets.scenes.scene(seed, size)`.

    Args:
        seed: any non-negative number; see `workbench.datasets.scenes.split_seeds`.
        size: side of the square frames in pixels, at least 32.
        frame_count: at least 1.

    Raises:
        ConfigurationError: an argument is out of range.
    """
    if seed < 0 or size < 32 or frame_count < 1:
        raise ConfigurationError(
            f"expected a seed >= 0, a size >= 32 pixels and at least 1 frame, got seed {seed}, size {size} and "
            f"{frame_count} frames"
        )
    rng = np.random.default_rng(seed)
    pixels, placed = scene_background(rng, size), scene_layout(rng)
    directions = rng.uniform(0, 2 * np.pi, len(placed))
    travels = rng.uniform(_LEAST_TRAVEL, _LONGEST_TRAVEL, len(placed))
    frames, masks = [], []
    for moment in np.linspace(0, 1, frame_count):
        moved = [
            _moved(item, float(moment * travel * np.cos(direction)), float(moment * travel * np.sin(direction)))
            for item, direction, travel in zip(placed, directions, travels, strict=True)
        ]
        image, visible = drawn(pixels, moved)
        frames.append(image)
        masks.append(visible)
    return MovingScene(tuple((item.category, item.colour) for item in placed), tuple(frames), tuple(masks))


def _moved(item: PlacedSprite, right: float, down: float) -> PlacedSprite:
    width, height = item.extent
    x, y = item.centre
    return replace(item, centre=(_within(x + right, width), _within(y + down, height)))


def _within(centre: float, length: float) -> float:
    """Fold a centre back, as a ball from a wall, so that an object of this length stays in the picture."""
    least, room = length / 2, 1 - length
    offset = (centre - least) % (2 * room)
    return least + min(offset, 2 * room - offset)


@dataclass(frozen=True)
class EvenTimes:
    """Frames of one size, at even times."""

    size: tuple[int, int] = (SIDE, SIDE)
    rate: Fraction = RATE

    def seconds(self, index: int) -> Fraction:
        """When a frame is shown, from the first one."""
        return index / self.rate


def write_clip(folder: Path) -> Path:
    """Draw the moving scene as an MP4 of three seconds."""
    path = folder / CLIP_NAME
    with VideoWriter(path, EvenTimes()) as writer:
        for frame in moving_scene(SEED, SIDE, FRAME_COUNT).frames:
            writer.write(frame)
    return path


def main() -> None:
    """Write the clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    write_clip(folder)


if __name__ == "__main__":
    main()
