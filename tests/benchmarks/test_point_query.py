from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import point_query as benchmark
from benchmarks.point_query import QueryFigures


@pytest.fixture(scope="module")
def measured() -> QueryFigures:
    language = benchmark.build_language(benchmark.SIZES["tiny"], torch.device("cpu"), torch.float32)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return benchmark.measure(language, image, rounds=1)


def test_both_ways_answer_25_questions_alike(measured: QueryFigures) -> None:
    assert measured.question_count == 25
    assert measured.spread > 1e-4
    assert measured.largest_difference < measured.spread / 100


def test_each_dialogue_holds_the_image_and_the_whole_first_turn() -> None:
    dialogues = benchmark.point_dialogues()
    assert len({str(dialogue[-1]) for dialogue in dialogues}) == 25
    for dialogue in dialogues:
        assert [message["role"] for message in dialogue] == ["user", "assistant", "user"]
        assert dialogue[0]["content"][0] == {"type": "image"}  # type: ignore[index]


def test_the_report_says_whether_bounds_are_kept(measured: QueryFigures) -> None:
    good = "\n".join(benchmark.report(replace(measured, ratio=7.5), "tiny", "cpu", 1e-3))
    assert "7.5    bound 5    within" in good
    assert "equal" in good
    bad = "\n".join(benchmark.report(replace(measured, ratio=2.0, largest_difference=0.5), "tiny", "cpu", 1e-3))
    assert "2.0    bound 5    UNDER" in bad
    assert "DIFFERENT" in bad
