import re

import pytest

from baselines.point_query.dialects.answer_parsing import parse_brackets
from baselines.point_query.dialects.conventions import CoordinateConvention
from evfsam.types import TraceEntry
from webui.i18n.translate import in_language
from webui.tabs.steps import steps_of
from webui.tabs.steps_story import step_told
from workbench.bundled import EXAMPLES
from workbench.comparison import Comparison
from workbench.kept_run import read_kept_run
from workbench.suites.registry import MINI


def in_sight(page: str) -> str:
    """Return the words that are not folded."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<details.*?</details>", " ", page, flags=re.DOTALL))


def ranked(similarity: float, *, is_chosen: bool) -> dict[str, object]:
    return {
        "similarity": similarity,
        "share": 0.25,
        "box": [1.0, 2.0, 30.4, 40.0],
        "pred_iou": 0.91,
        "stability": 0.97,
        "is_chosen": is_chosen,
    }


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_steps_of_the_mini_suite_are_sentences_and_what_is_raw_is_folded(language: str) -> None:
    kept = read_kept_run(Comparison(MINI), EXAMPLES)
    assert kept is not None
    with in_language(language):
        page = "".join(steps_of(result.segmentation) for result in kept.results)
    told = in_sight(page)
    answers = [entry.answered for result in kept.results for entry in result.segmentation.trace]
    (box,) = [answer for answer in answers if re.fullmatch(r"\[\d+,\d+,\d+,\d+\]", answer)]
    assert box in page
    assert not re.search(
        r"[\[\]{}_]|\(0|\(\)|None|problems|convention|dialect",
        told.replace("[CLS]", "").replace(box, ""),
    )
    assert page.count("located on the object with coordinates") > 25
    assert "located on the object" not in told


def test_a_step_tells_in_sentences_what_was_read_asked_and_found() -> None:
    read = step_told(TraceEntry("fuse", "the bus", values={"tokens": ["<s>", "▁the", "▁bus", "</s>"], "patches": 64}))
    assert "cut into 2 pieces" in read
    assert "<li>the</li><li>bus</li>" in read
    assert "cut into 64 patches" in in_sight(read)
    values = {"spoken_boxes": [[1, 2, 3, 4]], "boxes": [[7.6, 8, 9, 10]], "problems": [], "boxes_left_out": 2}
    boxed = in_sight(
        step_told(TraceEntry("ask", "Where?", "[1,2,3,4]", {**values, "p_absent": 0.1, "absence_threshold": 0.25}))
    )
    assert "Given: “Where?”. " in boxed
    assert "from (8, 8) to (9, 10)" in boxed
    assert "2 further boxes were left out" in boxed
    assert "probability of 10 %; from 25 % on" in boxed
    assert "could not be used" not in boxed
    points = [{"spoken": [1, 2], "p_yes": share, "is_kept": share > 0.8} for share in (0.9, 0.6, 0.1)]
    asked = step_told(
        TraceEntry("ask", "q1\nq2", "YesYesNo", {"turns": "independent", "questions": ["q"] * 3, "points": points})
    )
    assert "3 points were asked about, each in a question of its own: 2 times Yes, 1 times No." in in_sight(asked)
    assert "1 of these answers" in in_sight(asked)
    assert "YesYesNo" not in in_sight(asked)


def test_several_boxes_and_what_a_detector_found_are_tables() -> None:
    several = {
        "spoken_boxes": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "problems": ["cut short"],
    }
    told = step_told(TraceEntry("ask for the box", values=several))
    assert told.count('<th scope="row">') == 2
    assert "<td>5, 6, 7, 8</td><td>(5, 6)</td><td>(7, 8)</td>" in told
    assert "could not be used: cut short." in told
    found = step_told(
        TraceEntry(
            "detect", values={"boxes": [{"box": [1, 2, 3, 4], "score": 0.5, "label": "cat"}], "box_threshold": 0.3}
        )
    )
    assert "<td>cat</td><td>0.50</td><td>(1, 2)</td><td>(3, 4)</td>" in found
    assert "at least 0.30 counts" in found


def test_a_ranking_is_written_as_a_table_with_the_chosen_one_named() -> None:
    ranking = [ranked(0.31, is_chosen=True), ranked(0.2, is_chosen=False)]
    written = step_told(TraceEntry("rank", values={"ranking": ranking}))
    assert written.count('<th scope="row">') == 2
    assert '<th scope="row">1, chosen</th><td>0.310</td><td>25 %</td><td>0.91</td><td>0.97</td>' in written
    assert "<td>1, 2, 30, 40</td>" in written


def test_values_that_nobody_has_words_for_are_folded_as_they_are() -> None:
    written = step_told(
        TraceEntry("look", "q", values={"tokens": "not a list", "boxes": 3, "odd": {"a": (1, 0.123456)}})
    )
    assert "&quot;odd&quot;" in written
    assert "0.1235" in written
    assert "odd" not in in_sight(written)


def test_what_could_not_be_used_of_an_answer_is_said_in_chinese_too() -> None:
    grid = CoordinateConvention().grid((480, 640))
    problems = parse_brackets("[1, 2, 3] and [900, 10, 20, 30] and [1, 2, 3, 4000]", grid).problems
    with in_language("zh"):
        told = step_told(TraceEntry("ask for the box", values={"problems": list(problems)}))
    assert all(words in told for words in ("不是 4 个整数", "应为左、上、右、下", "超出范围 0..1000 的相对坐标"))
