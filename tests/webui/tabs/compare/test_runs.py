import gc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ConfigurationError, ImageFormatError, PhraseError
from tests.webui.fakes import channel_mask, fake_comparison, three_colours
from webui.known_scenes import random_scene, suggested_phrases
from webui.tabs.compare import runs
from webui.tabs.compare.runs import ask_strategies
from workbench.pictures.shown_pictures import read_image

ALL = ["evf-sam", "clip-text", "point-query"]


@pytest.fixture
def upload(tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "picture.png"
    Image.fromarray(three_colours()).save(path)
    return {"path": str(path)}


def test_answers_come_one_by_one(upload: dict[str, object]) -> None:
    comparison, _ = fake_comparison()
    steps = [
        (len(step.results), step.running, step.is_done) for step in ask_strategies(comparison, upload, "a square", ALL)
    ]
    assert steps == [(0, "evf-sam", False), (1, "clip-text", False), (2, "point-query", False), (3, None, True)]


def test_each_strategy_segments_the_uploaded_pixels(upload: dict[str, object]) -> None:
    *_, last = ask_strategies(fake_comparison()[0], upload, "a square", ALL)
    for channel, result in enumerate(last.results):
        assert np.array_equal(result.segmentation.mask, channel_mask(three_colours(), channel))


def test_a_second_phrase_encodes_nothing(upload: dict[str, object]) -> None:
    comparison, backbone = fake_comparison()
    first = [*ask_strategies(comparison, upload, "a square", ALL)][-1]
    second = [*ask_strategies(comparison, upload, "another", ALL)][-1]
    assert backbone.encoded_count == 1
    assert [result.segmentation.embedding_was_cached for result in first.results] == [False, True, True]
    assert all(result.segmentation.embedding_was_cached for result in second.results)


def test_a_failing_strategy_does_not_stop_the_others(upload: dict[str, object]) -> None:
    *_, last = ask_strategies(fake_comparison()[0], upload, "explode", ALL)
    assert [result.segmentation.verdict.kind for result in last.results] == ["found", "failed", "found"]


@pytest.mark.parametrize("phrase", ["", "   ", None, 3])
def test_an_empty_phrase_is_refused(upload: dict[str, object], phrase: object) -> None:
    with pytest.raises(PhraseError, match="empty"):
        next(ask_strategies(fake_comparison()[0], upload, phrase, ALL))


def test_a_phrase_beyond_the_bound_is_refused(upload: dict[str, object]) -> None:
    with pytest.raises(PhraseError, match=r"at most 1,?000 characters, got 10,?000"):
        next(ask_strategies(fake_comparison()[0], upload, "x" * 10_000, ALL))


@pytest.mark.parametrize("strategies", [[], None, "evf-sam", 5])
def test_no_strategy_is_refused(upload: dict[str, object], strategies: object) -> None:
    with pytest.raises(ConfigurationError, match="Choose at least one"):
        next(ask_strategies(fake_comparison()[0], upload, "a square", strategies))


def test_an_unknown_strategy_is_refused_with_the_known_ones(upload: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="evf-sam, clip-text, point-query"):
        next(ask_strategies(fake_comparison()[0], upload, "a square", ["evf"]))


def test_no_image_is_refused() -> None:
    with pytest.raises(ImageFormatError, match="no image yet"):
        next(ask_strategies(fake_comparison()[0], None, "a square", ALL))


def test_on_a_known_scene_the_iou_is_measured(tmp_path: Path) -> None:
    drawn, known = random_scene()
    path = tmp_path / "scene.png"
    Image.fromarray(drawn.image).save(path)
    phrase = suggested_phrases(drawn)[0]
    *_, last = ask_strategies(fake_comparison()[0], {"path": str(path)}, phrase, ALL, known=known)
    truth = known.mask_of(last.view, phrase)
    mask = channel_mask(drawn.image, 0)
    assert truth is not None
    union = (mask | truth).sum()
    assert last.iou_of(last.results[0]) == pytest.approx((mask & truth).sum() / union if union else 1.0)


def test_on_an_unknown_picture_no_iou_is_claimed(upload: dict[str, object]) -> None:
    _, known = random_scene()
    *_, last = ask_strategies(fake_comparison()[0], upload, "the dog", ALL, known=known)
    assert [last.iou_of(result) for result in last.results] == [None, None, None]


def test_options_reach_the_strategy_they_are_filed_under(upload: dict[str, object]) -> None:
    *_, last = ask_strategies(fake_comparison()[0], upload, "a square", ALL, options={"point-query": {"grid_size": 3}})
    assert [len(result.segmentation.prompts[0].points) for result in last.results] == [0, 0, 9]


def test_several_phrases_are_answered_and_measured_one_by_one(tmp_path: Path) -> None:
    drawn, known = random_scene()
    path = tmp_path / "scene.png"
    Image.fromarray(drawn.image).save(path)
    first, second = suggested_phrases(drawn)[:2]
    *_, last = ask_strategies(
        fake_comparison()[0], {"path": str(path)}, f"{first}; absent;{second}", ["evf-sam"], known=known
    )
    assert last.phrases == (first, "absent", second)
    assert last.phrase == f"{first}; absent; {second}"
    (result,) = last.results
    assert [one.verdict.kind for one in result.by_phrase] == ["found", "absent", "found"]
    ious = last.ious_by_phrase(result)
    assert [iou is None for iou in ious] == [False, True, False]
    assert last.iou_of(result) is None
    masks = [mask for mask in last.known_masks if mask is not None]
    *_, whole = ask_strategies(
        fake_comparison()[0], {"path": str(path)}, f"{first}; {second}", ["evf-sam"], known=known
    )
    np.testing.assert_array_equal(whole.known_mask, masks[0] | masks[1])


def test_the_attention_of_several_phrases_is_the_first_ones_and_says_so(upload: dict[str, object]) -> None:
    *_, last = ask_strategies(fake_comparison()[0], upload, "a square; a circle", ["evf-sam"])
    *_, alone = ask_strategies(fake_comparison()[0], upload, "a square", ["evf-sam"])
    ours, expected = last.attention_of(last.results[0]), alone.attention_of(alone.results[0])
    assert ours is not None
    assert expected is not None
    np.testing.assert_array_equal(ours.maps, expected.maps)
    assert ours.title == "EVF-SAM, “a square”"


def test_a_picture_is_decoded_once_as_long_as_a_run_on_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "again.png"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    decoded: list[str] = []
    monkeypatch.setattr(runs, "read_image", lambda source: decoded.append(source) or read_image(source))
    comparison, upload = fake_comparison()[0], {"path": str(path)}
    first = [*ask_strategies(comparison, upload, "a square", ALL)][-1]
    second = [*ask_strategies(comparison, upload, "another", ALL)][-1]
    assert second.view is first.view
    assert len(decoded) == 1
    other = [*ask_strategies(fake_comparison()[0], upload, "a square", ALL)][-1]
    assert other.view is not first.view
    Image.new("RGB", (41, 30), (30, 200, 30)).save(path)
    changed = [*ask_strategies(comparison, upload, "a square", ALL)][-1]
    assert changed.view.size == (30, 41)
    del first, second, changed
    gc.collect()
    [*ask_strategies(comparison, upload, "a square", ALL)]
    assert len(decoded) == 4
