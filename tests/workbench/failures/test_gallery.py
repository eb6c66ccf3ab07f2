"""The gallery of failures: what is meant is what is said, outcomes are told apart, and what is kept is up to date."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from evfsam.errors import ConfigurationError, Sentence
from evfsam.types import Segmentation, Verdict
from tests.webui.fakes import fake_comparison
from workbench.comparison import Comparison
from workbench.datasets.known_phrases import known_expression
from workbench.datasets.scenes import scene, split_seeds
from workbench.export.manifest import weight_digests
from workbench.failures.cases import FAILURE_CASES, FailureCase, FailureKind
from workbench.failures.gallery import (
    FAILURES,
    LISTING,
    REFRESH_COMMAND,
    WANTED,
    ask,
    case_outcome,
    make_failures,
    measured_answer,
    read_failures,
)
from workbench.metrics.masks import Mask
from workbench.suites.registry import MINI

BY_KEY = {case.key: case for case in FAILURE_CASES}
LARGEST_TOTAL = 1_500_000
OUT_OF_DATE = f"the gallery of failures was made with other weights; run `{REFRESH_COMMAND}`"


def objects_mask(case: FailureCase, *indices: int) -> Mask:
    masks = [case.scene.objects[index].mask for index in indices]
    return np.logical_or.reduce([np.zeros_like(case.wanted_mask), *masks])


def test_every_kind_has_a_case_and_none_is_of_the_test_split() -> None:
    assert {case.kind for case in FAILURE_CASES} == set(get_args(FailureKind))
    assert not any(case.seed in split_seeds("test") for case in FAILURE_CASES)


@pytest.mark.parametrize("key", ["position", "count", "crowded"])
def test_what_a_phrase_of_the_scene_means_is_what_the_scene_says(key: str) -> None:
    case = BY_KEY[key]
    known = known_expression(scene(case.seed, 64).objects, case.phrase)
    assert known is not None
    assert known.object_indices == case.wanted


@pytest.mark.parametrize(
    ("key", "taken", "outcome"),
    [
        ("count", (1,), "right"),
        ("count", (0,), "wrong"),
        ("count", (0, 1), "more"),
        ("count", (), "denied"),
        ("absent", (), "refused"),
        ("absent", (0,), "invented"),
        ("parts", (4,), "whole"),
        ("parts", (0,), "wrong"),
    ],
)
def test_an_outcome_tells_what_was_taken(key: str, taken: tuple[int, ...], outcome: str) -> None:
    case = BY_KEY[key]
    assert case_outcome(case, objects_mask(case, *taken)) == outcome


def test_a_ragged_mask_of_the_right_object_is_rough_and_specks_are_scattered() -> None:
    case = BY_KEY["count"]
    ragged, specks = case.wanted_mask.copy(), case.wanted_mask.copy()
    ragged[::3] = False
    ragged[1::9] = False
    specks[np.arange(len(specks)) % 5 > 0] = False
    assert case_outcome(case, ragged) == "rough"
    assert case_outcome(case, specks) == "scattered"
    assert case_outcome(case, specks, is_failed=True) == "failed"


def test_an_answer_names_the_objects_that_were_not_meant() -> None:
    case = BY_KEY["count"]
    mask = objects_mask(case, 0, 1)
    answer = measured_answer(case, "x", Segmentation(Verdict("found"), torch.from_numpy(mask.astype(np.float32) - 0.5)))
    assert answer.others == ("the purple hat",)
    assert 0 < answer.iou < 1


def test_what_is_made_can_be_read_again_and_a_missing_case_is_told(tmp_path: Path) -> None:
    cases = FAILURE_CASES[:1]
    written = make_failures(fake_comparison()[0], tmp_path, cases)
    kept = read_failures(tmp_path, cases)
    assert kept is not None
    assert [answer.strategy for answer in kept.failures[0].answers] == ["evf-sam", "clip-text", "point-query"]
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    assert kept.picture(cases[0], WANTED).is_file()
    with pytest.raises(ConfigurationError, match=r"got position; run python -m examples\.make_failures"):
        read_failures(tmp_path)
    assert read_failures(tmp_path / "nowhere") is None


def test_the_kept_pictures_are_there_and_small() -> None:
    kept = read_failures()
    assert kept is not None
    for failure in kept.failures:
        for key in (WANTED, *MINI.strategies):
            with Image.open(kept.picture(failure.case, key)) as picture:
                assert picture.size == (384, 384)
    assert sum(path.stat().st_size for path in FAILURES.iterdir()) <= LARGEST_TOTAL
    assert (FAILURES / LISTING).is_file()


@pytest.mark.weights
def test_the_kept_answers_are_those_of_the_shipped_weights() -> None:
    kept = read_failures()
    assert kept is not None
    assert kept.weights == weight_digests(MINI, MINI.strategies), OUT_OF_DATE
    comparison = Comparison(MINI)
    for key in ("negation", "chinese"):
        failure = next(each for each in kept.failures if each.case.key == key)
        for (_, asked), answer in zip(ask(comparison, failure.case), failure.answers, strict=True):
            assert (asked.strategy, asked.verdict, asked.outcome) == (answer.strategy, answer.verdict, answer.outcome)
            assert asked.iou == pytest.approx(answer.iou, abs=0.05), OUT_OF_DATE


def test_a_reason_is_kept_with_its_values_apart() -> None:
    kept = read_failures()
    assert kept is not None
    reasons = [answer.reason for failure in kept.failures for answer in failure.answers]
    said = [(reason.template, reason.values) for reason in reasons if isinstance(reason, Sentence)]
    assert ('The language model answered "{answer}"', {"answer": "No object found."}) in said
