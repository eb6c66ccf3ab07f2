"""Write the example clip of the page: `python -m examples.make_clip`.

Its scene is of the validation split, so no model was trained on it. The purple and the yellow penguin stay in view; the
green one passes behind the burger.
"""

import argparse
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from workbench.datasets.moving_scenes import moving_scene
from workbench.video.video_files import VideoWriter

CLIP_NAME: Final = "clip-moving.mp4"
SEED: Final = 10_000_212
SIDE: Final = 320
FRAME_COUNT: Final = 48
RATE: Final = Fraction(16)


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
