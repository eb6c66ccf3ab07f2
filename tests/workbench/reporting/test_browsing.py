"""The samples of a run are found in every order, and drawn over the very images that were measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workbench.doubles import half_lit, suite_of
from tests.workbench.evaluation.test_merging import answer, written
from workbench.cli.evaluate import Order, run_evaluation
from workbench.comparison import Comparison
from workbench.datasets.contract import ABSENT
from workbench.evaluation.evaluation import Shard
from workbench.evaluation.merging import merged_runs
from workbench.reporting.browsing import Browsing


@pytest.fixture
def browsing(tmp_path: Path) -> Browsing:
    """Four questions to two strategies: IoUs of light 0.2, 0.8, none (absent, 40 pixels marked), unread."""
    answers = [
        answer(0, 0, intersection=10),
        answer(0, 0, "dark", intersection=50),
        answer(0, 1, kind="colour", intersection=40),
        answer(0, 1, "dark", kind="colour", intersection=5),
        answer(1, 0, kind=ABSENT, intersection=0, wanted=0),
        answer(1, 0, "dark", kind=ABSENT, intersection=0, wanted=0, marked=0),
        answer(2, 0, outcome="unread"),
        answer(2, 0, "dark", outcome="unread"),
    ]
    (run,) = merged_runs([written(tmp_path / "a.jsonl", answers)])
    return Browsing(run)


def test_questions_are_ordered_by_data_and_by_the_iou_of_the_strategy_chosen(browsing: Browsing) -> None:
    assert browsing.spots("data", "light") == [(0, 0), (0, 1), (1, 0), (2, 0)]
    assert browsing.spots("worst", "light") == browsing.spots("best", "dark") == [(0, 0), (0, 1)]
    assert browsing.spots("best", "light") == browsing.spots("worst", "dark") == [(0, 1), (0, 0)]
    assert [[each.place.strategy for each in browsing.answers(spot)] for spot in [(0, 0)]] == [["light", "dark"]]


def test_what_is_marked_though_absent_is_listed_by_strategy(browsing: Browsing) -> None:
    assert browsing.spots("absent", "light") == [(1, 0)]
    assert browsing.spots("absent", "dark") == []


def test_a_kind_leaves_the_others_out(browsing: Browsing) -> None:
    assert browsing.kinds == (ABSENT, "category", "colour")
    assert browsing.spots("worst", "light", "colour") == [(0, 1)]
    assert browsing.spots("data", "light", "no such kind") == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image, whose known mask is its lit half."""
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.fromarray(half_lit()).save(folder / "one.png")
    Image.fromarray(half_lit()[..., 0] // 100 * 255).save(folder / "one.mask.png")
    (folder / "one.txt").write_text("the light")
    return folder


def evaluated(folder: Path, out: Path) -> Browsing:
    (out.parent / "weights").mkdir()
    comparison = Comparison(suite_of(out.parent / "weights", light="load_bright", refused="load_refused"))
    run_evaluation(Order(f"folder:{folder}", None, None, ("light", "refused"), Shard(), out), comparison)
    (run,) = merged_runs([out])
    return Browsing(run)


def test_a_question_is_drawn_with_its_known_mask_and_every_answer(folder: Path, tmp_path: Path) -> None:
    shown = evaluated(folder, tmp_path / "results.jsonl").exhibit((0, 0))
    assert (shown.phrase, shown.sample_id, shown.ious) == ("the light", "one", {"light": 1.0, "refused": 0.0})
    assert list(shown.pictures) == ["known mask", "light", "refused"]
    assert not np.array_equal(shown.pictures["light"][20:, 5:15], half_lit()[20:, 5:15])
    assert np.array_equal(shown.pictures["light"][20:, 35:], half_lit()[20:, 35:])


def test_masks_are_not_drawn_over_an_image_that_was_replaced(folder: Path, tmp_path: Path) -> None:
    browsing = evaluated(folder, tmp_path / "results.jsonl")
    Image.fromarray(255 - half_lit()).save(folder / "one.png")
    shown = browsing.exhibit((0, 0))
    assert (shown.pictures, shown.ious) == ({}, {"light": 1.0, "refused": 0.0})


def test_figures_are_shown_where_the_data_are_not_at_hand(browsing: Browsing) -> None:
    shown = browsing.exhibit((0, 1))
    assert (shown.pictures, shown.ious) == ({}, {"light": 0.8, "dark": 0.1})


def test_a_question_that_a_limit_moved_is_found_by_its_words(folder: Path, tmp_path: Path) -> None:
    whole = evaluated(folder, tmp_path / "results.jsonl").run
    moved = [replace(each, place=replace(each.place, question_index=3)) for each in whole.answers]
    assert "known mask" in Browsing(replace(whole, answers=tuple(moved))).exhibit((0, 3)).pictures
