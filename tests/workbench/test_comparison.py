"""Several strategies, one image: shared work, kept apart in failure."""

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.errors import ConfigurationError, GeometryError, ImageFormatError, MemoryBudgetError, PhraseError
from evfsam.types import ImageView, PromptPoint, SamPrompt
from tests.workbench import doubles
from tests.workbench.doubles import half_lit, suite_of
from workbench.comparison import Comparison


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return Comparison(suite_of(tmp_path, first="load_bright", second="load_bright"))


def loads_of(comparison: Comparison, key: str) -> list[str]:
    log = comparison.suite.strategies[key].directory / "loaded.txt"
    return log.read_text().splitlines() if log.exists() else []


def test_every_strategy_answers_in_the_order_of_the_suite(comparison: Comparison) -> None:
    results = list(comparison.run(half_lit(), "the light"))
    assert [result.key for result in results] == ["first", "second"]
    assert [result.card.title for result in results] == ["Bright (first)", "Bright (second)"]
    for result in results:
        assert result.segmentation.verdict.kind == "found"
        np.testing.assert_array_equal(result.segmentation.mask, half_lit()[..., 0] > 128)


def test_one_image_is_encoded_once_for_all_strategies_and_phrases(comparison: Comparison) -> None:
    before = doubles.BACKBONE.encoded_count
    image = half_lit(11, 17)
    results = [*comparison.run(image, "the light"), *comparison.run(image.copy(), "the lamp")]
    assert doubles.BACKBONE.encoded_count - before == 1
    assert [result.segmentation.embedding_was_cached for result in results] == [False, True, True, True]


def test_the_first_answer_does_not_wait_for_the_weights_of_the_second(comparison: Comparison) -> None:
    results = comparison.run(half_lit(), "the light")
    assert next(results).key == "first"
    assert (loads_of(comparison, "first"), loads_of(comparison, "second")) == (["cpu torch.float32"], [])


def test_several_visitors_at_once_read_the_weights_once(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, first="load_slowly", second="load_slowly"))
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: list(comparison.run(half_lit(), "the light")), range(8)))
    assert all(len(run) == 2 for run in runs)
    assert [len(loads_of(comparison, key)) for key in comparison.keys] == [1, 1]


def test_one_strategy_is_read_at_a_time_whoever_asks(tmp_path: Path) -> None:
    """Two threads that have transformers import its modules at once may find one half imported."""
    loaders = {f"strategy-{number}": "load_alone" for number in range(6)}
    comparison = Comparison(suite_of(tmp_path, **loaders), at_once=6)
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda key: list(comparison.run(half_lit(), "the light", [key])), loaders))
    assert [run[0].segmentation.verdict.reason for run in runs] == [""] * 6


def test_visitors_get_the_masks_of_their_own_images(comparison: Comparison) -> None:
    images = [half_lit(20, 4 + 2 * step) for step in range(8)]
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda image: list(comparison.run(image, "the light")), images))
    for image, run in zip(images, runs, strict=True):
        for result in run:
            np.testing.assert_array_equal(result.segmentation.mask, image[..., 0] > 128)


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        ("load_refused", "^expected daylight, got night; wait$"),
        ("load_buggy", r"^an unexpected error \(ZeroDivisionError\) stopped this strategy; the log has the details$"),
        ("load_missing", "expected weights in .*second, found no such directory"),
        ("load_wrong_size", "RuntimeError"),
        ("no_such_function", "AttributeError"),
    ],
)
def test_a_failing_strategy_says_why_and_stops_no_other(tmp_path: Path, loader: str, reason: str) -> None:
    suite = suite_of(tmp_path, first="load_bright", second=loader, third="load_bright")
    results = list(Comparison(suite).run(half_lit(), "the light"))
    assert [result.segmentation.verdict.kind for result in results] == ["found", "failed", "found"]
    failed = results[1].segmentation
    assert re.search(reason, failed.verdict.reason)
    assert failed.mask.shape == (40, 60)
    assert not failed.mask.any()


def test_an_unexpected_error_is_logged_with_its_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    suite = suite_of(tmp_path, only="load_buggy")
    with caplog.at_level(logging.ERROR, logger="workbench.comparison"):
        list(Comparison(suite).run(half_lit(), "the light"))
    assert "strategy only failed" in caplog.text
    assert "a secret detail" in caplog.text


def test_a_strategy_that_could_not_be_loaded_is_tried_again(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, only="load_bright"))
    directory = comparison.suite.strategies["only"].directory
    directory.rmdir()
    (missing,) = comparison.run(half_lit(), "the light")
    directory.mkdir()
    (there,) = comparison.run(half_lit(), "the light")
    assert [missing.segmentation.verdict.kind, there.segmentation.verdict.kind] == ["failed", "found"]


def test_gradients_stay_on_for_the_caller_between_answers(comparison: Comparison) -> None:
    for _ in comparison.run(half_lit(), "the light"):
        assert not torch.is_inference_mode_enabled()


def test_options_reach_their_strategy_alone(comparison: Comparison) -> None:
    results = comparison.run(half_lit(), "the light", options={"second": {"threshold": 250.0}})
    assert [result.segmentation.area_share for result in results] == [0.5, 0.0]
    (again,) = comparison.run(half_lit(), "the light", ["second"])
    assert again.segmentation.area_share == 0.5


def test_an_unknown_option_fails_its_strategy_alone(comparison: Comparison) -> None:
    first, second = comparison.run(half_lit(), "the light", options={"first": {"colour": 1}})
    assert first.segmentation.verdict.kind == "failed"
    assert "no option ['colour']" in first.segmentation.verdict.reason
    assert second.segmentation.verdict.kind == "found"


def test_options_for_a_strategy_without_any_are_refused(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, only="load_refused"))
    (result,) = comparison.run(half_lit(), "the light", options={"only": {"threshold": 1}})
    assert result.segmentation.verdict.reason == "strategy only has no options, got threshold; leave them out"


def test_the_choice_of_strategies_is_kept_in_its_order_each_once(comparison: Comparison) -> None:
    assert comparison.choose(["second", "first", "second"]) == ("second", "first")
    assert comparison.choose(None) == ("first", "second")


@pytest.mark.parametrize("arguments", [{"strategies": ["frist"]}, {"options": {"frist": {}}}])
def test_an_unknown_strategy_is_refused_before_anything_runs(
    comparison: Comparison, arguments: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown strategy 'frist': .* did you mean first\?"):
        comparison.run(half_lit(), "the light", **arguments)
    assert loads_of(comparison, "first") == []


def test_an_empty_choice_is_refused(comparison: Comparison) -> None:
    with pytest.raises(ConfigurationError, match="at least one strategy out of first, second, got none"):
        comparison.run(half_lit(), "the light", [])


def test_a_bad_phrase_or_image_is_refused_at_once(comparison: Comparison) -> None:
    with pytest.raises(PhraseError):
        comparison.run(half_lit(), "  ")
    with pytest.raises(ImageFormatError):
        comparison.run(half_lit()[..., 0], "the light")


def test_strategies_are_asked_the_phrase_without_surrounding_space(comparison: Comparison) -> None:
    (result,) = comparison.run(half_lit(), "  nothing ", ["first"])
    assert result.segmentation.verdict.kind == "absent"


def test_a_view_made_before_is_used_as_it_is(comparison: Comparison) -> None:
    view = comparison.view(half_lit())
    assert isinstance(view, ImageView)
    list(comparison.run(view, "the light"))
    assert view.embedding(doubles.BACKBONE)[1]


def test_cards_are_provisional_until_the_weights_are_there(comparison: Comparison) -> None:
    assert {key: card.title for key, card in comparison.cards.items()} == {
        "first": "Title of first",
        "second": "Title of second",
    }
    comparison.strategy("second")
    assert [card.title for card in comparison.cards.values()] == ["Title of first", "Bright (second)"]


def test_each_of_several_phrases_gets_an_answer(comparison: Comparison) -> None:
    (result,) = comparison.run(half_lit(), "the light; nothing ;the lamp", ["first"])
    assert [answer.phrase for answer in result.answers] == ["the light", "nothing", "the lamp"]
    assert [one.verdict.kind for one in result.by_phrase] == ["found", "absent", "found"]
    lit = half_lit()[..., 0] > 128
    for one, expected in zip(result.by_phrase, (lit, np.zeros_like(lit), lit), strict=True):
        np.testing.assert_array_equal(one.mask, expected)


def test_joined_answers_unite_the_masks_and_keep_every_prompt(comparison: Comparison) -> None:
    (result,) = comparison.run(half_lit(), ["nothing", "the light", "the lamp"], ["first"])
    joined = result.segmentation
    assert joined.verdict.kind == "found"
    np.testing.assert_array_equal(joined.mask, half_lit()[..., 0] > 128)
    assert (len(joined.prompts), len(joined.trace), joined.attention) == (2, 2, None)
    assert joined.pred_iou == 0.75
    assert joined.seconds == {"look": 0.002}


def test_a_single_phrase_is_answered_as_ever(comparison: Comparison) -> None:
    (result,) = comparison.run(half_lit(), "the light;", ["first"])
    assert result.answers == ()
    assert result.by_phrase == (result.segmentation,)
    assert result.segmentation.attention is not None


def test_phrases_in_a_list_are_taken_as_they_are(comparison: Comparison) -> None:
    (result,) = comparison.run(half_lit(), ["the light; the lamp"], ["first"])
    assert result.answers == ()


def test_phrases_are_asked_together_where_the_strategy_can(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, only="load_batching"))
    (result,) = comparison.run(half_lit(), "the light; the lamp")
    assert [one.trace[0].asked for one in result.by_phrase] == ["one of 2", "one of 2"]


def test_a_phrase_that_is_refused_takes_no_other_along(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, only="load_batching"))
    (result,) = comparison.run(half_lit(), "the light; unspeakable")
    assert [one.verdict.kind for one in result.by_phrase] == ["found", "failed"]
    assert result.by_phrase[1].verdict.reason == "expected words, got something unspeakable"
    assert result.segmentation.verdict.kind == "found"


def test_points_and_a_box_reach_the_strategies_that_take_them(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, refined="load_batching", plain="load_bright"))
    given = SamPrompt((1.0, 2.0, 30.0, 20.0), (PromptPoint(5.0, 6.0, 1),))
    refined, plain = comparison.run(half_lit(), "the light", refinement=given)
    (prompt,) = refined.segmentation.prompts
    assert (prompt.box, prompt.points) == (given.box, given.points)
    assert plain.segmentation.verdict.kind == "failed"
    assert "plain takes no points and no box" in plain.segmentation.verdict.reason


def test_points_outside_the_image_are_refused_before_anything_runs(comparison: Comparison) -> None:
    with pytest.raises(GeometryError, match="inside the 60 x 40 image"):
        comparison.run(half_lit(), "the light", refinement=SamPrompt(points=(PromptPoint(61.0, 5.0, 1),)))
    with pytest.raises(GeometryError, match="x1 < x2"):
        comparison.run(half_lit(), "the light", refinement=SamPrompt(box=(9.0, 5.0, 8.0, 6.0)))
    assert loads_of(comparison, "first") == []


def test_a_question_that_takes_too_much_memory_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, first="load_bright", second="load_bright")
    bounded = Comparison(suite, question_bytes=60_000_000)
    image = np.zeros((1000, 2000, 3), np.uint8)
    with pytest.raises(MemoryBudgetError, match=r"phrases: 16, strategies: 2\); ask at most \d+ phrases"):
        bounded.run(image, [f"phrase {number}" for number in range(16)])
    assert loads_of(bounded, "first") == []
    assert len(list(bounded.run(image, "the light"))) == 2
