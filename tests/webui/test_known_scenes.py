import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.types import ImageView
from webui.known_scenes import KnownScene, measured_iou, random_scene, read_examples, suggested_phrases
from workbench.bundled import EXAMPLES
from workbench.datasets.scenes import scene, split_seeds


def test_every_suggested_phrase_of_a_scene_has_its_known_mask() -> None:
    drawn, known = random_scene()
    view = ImageView(drawn.image)
    by_text = {expression.text: drawn.mask(expression) for expression in drawn.expressions}
    assert suggested_phrases(drawn)
    for phrase in suggested_phrases(drawn):
        mask = known.mask_of(view, phrase)
        assert mask is not None
        assert np.array_equal(mask, by_text[phrase])


def test_case_and_spaces_of_a_phrase_do_not_matter() -> None:
    drawn, known = random_scene()
    phrase = suggested_phrases(drawn)[0]
    assert known.mask_of(ImageView(drawn.image), f"  {phrase.upper().replace(' ', '   ')} ") is not None


def test_a_phrase_is_known_with_a_sentence_around_it_and_without_its_article() -> None:
    drawn, known = random_scene()
    view = ImageView(drawn.image)
    (phrase,) = [e.text for e in drawn.expressions if e.kind == "semantic"]
    noun = phrase.removeprefix("[semantic] ")
    texts = (f"[semantic] {noun}", f"Please show me each {noun}.", f"the mask of any {noun}")
    masks = [known.mask_of(view, text) for text in texts]
    assert all(mask is not None and np.array_equal(mask, masks[0]) for mask in masks)


def test_another_image_or_an_unknown_phrase_has_no_known_mask() -> None:
    drawn, known = random_scene()
    changed = drawn.image.copy()
    changed[0, 0, 0] ^= 1
    assert known.mask_of(ImageView(changed), suggested_phrases(drawn)[0]) is None
    assert known.mask_of(ImageView(drawn.image), "my grandmother's hat") is None


def test_random_scenes_come_from_the_test_split() -> None:
    assert random_scene()[0].seed in split_seeds("test")


@pytest.mark.parametrize(("found", "expected"), [(False, 1.0), (True, 0.0)])
def test_finding_nothing_where_nothing_is_counts_as_right(found: bool, expected: float) -> None:
    nothing = np.zeros((4, 4), dtype=bool)
    assert measured_iou(np.full((4, 4), found), nothing) == expected


def test_without_a_known_mask_there_is_no_measured_iou() -> None:
    assert measured_iou(np.ones((4, 4), dtype=bool), None) is None


def test_an_example_of_a_scene_knows_its_masks(tmp_path: Path) -> None:
    drawn = scene(20_000_001, 64, is_plain=True)
    Image.fromarray(drawn.image).save(tmp_path / "scene.png")
    entry = {"file": "scene.png", "title": "A scene", "phrases": [drawn.expressions[0].text], "scene_seed": drawn.seed}
    (tmp_path / "examples.json").write_text(json.dumps([entry | {"licence": "MIT", "source": "made here"}]))
    (example,) = read_examples(tmp_path)
    known = example.known_scene(drawn.image)
    assert isinstance(known, KnownScene)
    mask = known.mask_of(ImageView(drawn.image), example.phrases[0])
    assert mask is not None
    assert np.array_equal(mask, drawn.mask(drawn.expressions[0]))
    assert example.thumbnail.startswith("data:image/jpeg;base64,")


def test_a_photograph_knows_nothing() -> None:
    photographs = [example for example in read_examples() if example.scene_seed is None]
    assert photographs
    assert all(example.known_scene(np.zeros((8, 8, 3), np.uint8)) is None for example in photographs)


def test_a_folder_without_a_list_has_no_examples(tmp_path: Path) -> None:
    assert read_examples(tmp_path) == ()
    assert (EXAMPLES / "examples.json").is_file()
