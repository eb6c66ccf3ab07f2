from pathlib import Path

import numpy as np
import pytest

from evfsam.errors import ConfigurationError
from examples.make_clip import CLIP_NAME, FRAME_COUNT, RATE, SEED, SIDE, moving_scene
from workbench.datasets.scenes import scene, split_seeds
from workbench.video.video_files import VideoFrames

EXAMPLE = Path(__file__).parents[1] / "examples" / CLIP_NAME


def test_a_clip_begins_with_the_scene_of_its_seed_and_its_masks() -> None:
    clip, still = moving_scene(SEED, 96, 3), scene(SEED, 96)
    assert np.array_equal(clip.frames[0], still.image)
    assert clip.names == tuple((each.category, each.colour) for each in still.objects)
    for mask, each in zip(clip.masks[0], still.objects, strict=True):
        assert np.array_equal(mask, each.mask)


def test_objects_move_and_stay_in_the_picture() -> None:
    clip = moving_scene(SEED, 96, 40)
    for number in range(len(clip.names)):
        boxes = []
        for masks in clip.masks:
            shown = masks[number]
            if not any((shown[0].any(), shown[-1].any(), shown[:, 0].any(), shown[:, -1].any())) and shown.any():
                rows, columns = np.nonzero(shown)
                boxes.append((columns.mean(), rows.mean()))
        travelled = np.linalg.norm(np.diff(boxes, axis=0), axis=1)
        assert travelled.sum() > 10
        assert np.median(travelled) < 96 / 10


def test_the_example_clip_is_small_and_shows_the_moving_scene_it_was_made_from() -> None:
    assert EXAMPLE.stat().st_size < 300_000
    assert SEED in split_seeds("val")
    drawn = moving_scene(SEED, SIDE, FRAME_COUNT)
    with VideoFrames(EXAMPLE) as frames:
        assert (len(frames), frames.rate, frames.size) == (FRAME_COUNT, RATE, (SIDE, SIDE))
        for index in (0, FRAME_COUNT - 1):
            assert np.abs(frames[index].astype(int) - drawn.frames[index].astype(int)).mean() < 6


@pytest.mark.parametrize("arguments", [(-1, 64, 2), (0, 16, 2), (0, 64, 0)])
def test_arguments_out_of_range_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match="expected a seed >= 0"):
        moving_scene(*arguments)
