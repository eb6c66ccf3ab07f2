"""What the answers are measured against: the scene's own mask, a file, or a drawing of this image and no other."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import GeometryError
from tests.webui.fakes import fake_comparison
from webui.known_scenes import random_scene
from webui.tabs.compare.runs import Progress, ask_strategies
from webui.tabs.opened_run import ALL_PHRASES
from webui.tabs.reference_source import DRAWING, FILE, SCENE, Drawing, chosen_kind, offered_kinds, reference_of
from workbench.export.results import png_bytes


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    """A run on a scene, of a phrase that it knows and one that nobody knows."""
    drawn, known = random_scene()
    path = tmp_path / "scene.png"
    Image.fromarray(drawn.image).save(path)
    asked = f"{drawn.expressions[0].text}; what nobody knows"
    *_, last = ask_strategies(fake_comparison()[0], {"path": str(path)}, asked, ["evf-sam"], known=known)
    return last


def painted(progress: Progress, content_hash: str) -> Drawing:
    mask = np.zeros(progress.view.size, np.uint8)
    mask[:9] = 255
    return Drawing(content_hash, png_bytes(mask))


def test_the_scenes_own_mask_is_offered_where_it_is_known_and_is_then_the_first(progress: Progress) -> None:
    assert offered_kinds(progress, 0) == (SCENE, FILE, DRAWING)
    assert offered_kinds(progress, 1) == offered_kinds(progress, ALL_PHRASES) == (FILE, DRAWING)
    assert [chosen_kind(progress, 0, value) for value in (None, "x", 3, DRAWING)] == [SCENE, SCENE, SCENE, DRAWING]
    assert chosen_kind(progress, 1, SCENE) == FILE


def test_each_kind_brings_its_mask_and_another_images_drawing_brings_none(progress: Progress) -> None:
    own = painted(progress, progress.view.content_hash)
    scene = reference_of(progress, 0, SCENE, None, False, own)
    assert scene is not None
    assert np.array_equal(scene.mask, progress.known_masks[0])
    assert not scene.is_own
    drawn = reference_of(progress, 0, DRAWING, None, False, own)
    assert drawn is not None
    assert drawn.mask.sum() == 9 * progress.view.size[1]
    assert drawn.is_own
    assert reference_of(progress, 0, DRAWING, None, False, painted(progress, "another")) is None
    assert reference_of(progress, 0, DRAWING, None, False, "from a client") is None
    assert reference_of(progress, 0, FILE, None, False, own) is None


def test_a_file_of_another_size_is_refused(progress: Progress, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(GeometryError, match="got 8 x 8"):
        reference_of(progress, 0, FILE, {"path": str(tmp_path / "small.png")}, False, None)
