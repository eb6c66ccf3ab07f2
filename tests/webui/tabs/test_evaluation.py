"""An evaluation is browsed sample by sample; the page has the tab where one was opened, and nowhere else."""

from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from tests.webui.fakes import fake_comparison
from tests.workbench.evaluation.test_merging import answer, written
from webui.blocks import build_demo
from webui.i18n.translate import in_language
from webui.launch import create_demo, read_settings, serve
from webui.tabs.compare.columns import Updates
from webui.tabs.evaluation import EvaluationTab, _plate, build_evaluation
from workbench.evaluation.merging import merged_runs
from workbench.reporting.browsing import Browsing
from workbench.reporting.showcase import REFERENCE_LABEL, Exhibit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    answers = [
        answer(0, 0, phrase="the <b>first</b>", intersection=10),
        answer(0, 0, "dark", phrase="the <b>first</b>", intersection=50),
        answer(0, 1, phrase="the second", intersection=40, kind="colour"),
        answer(0, 1, "dark", phrase="the second", outcome="failed", reason="no memory", kind="colour", intersection=0),
    ]
    return written(tmp_path / "a.jsonl", answers)


@pytest.fixture
def tab(file: Path) -> EvaluationTab:
    with gr.Blocks():
        run, strategy, kind = gr.Dropdown(), gr.Dropdown(), gr.Dropdown()
        return EvaluationTab([Browsing(*merged_runs([file]))], run, gr.Radio(), strategy, kind, gr.Number(), gr.HTML())


def shown(tab: EvaluationTab, updates: Updates) -> tuple[object, str]:
    return updates[tab.number].get("value"), str(updates[tab.answer])


def test_the_first_question_is_shown_with_every_answer_and_no_markup_of_its_phrase(tab: EvaluationTab) -> None:
    updates = tab.show(0, "data", None, None, 1)
    page = shown(tab, updates)[1]
    assert "the &lt;b&gt;first&lt;/b&gt;" in page
    assert "1 of 2 · category · 0" in page
    assert page.count("<td>0.200</td>") == page.count("<td>1.000</td>") == 1
    assert "The images are not where they were" in page
    assert updates[tab.strategy]["choices"] == [("light", "light"), ("dark", "dark")]
    assert updates[tab.kind]["choices"] == [("All kinds", ""), ("category", "category"), ("colour", "colour")]


def test_beyond_an_end_of_the_order_is_that_end(tab: EvaluationTab) -> None:
    for asked, place in ((3, 2), (0, 1)):
        told, page = shown(tab, tab.show(0, "data", "light", "", asked))
        assert (told, f"{place} of 2" in page) == (place, True)
    failed = shown(tab, tab.show(0, "worst", "dark", "", 1))[1]
    assert "the second" in failed
    assert "no memory" in failed


def test_what_was_asked_is_not_set_again_for_the_visitor_may_have_gone_on(tab: EvaluationTab) -> None:
    updates = tab.show(0, "best", "light", "colour", 1)
    assert "the second" in updates[tab.answer]
    assert all("value" not in updates[each] for each in (tab.strategy, tab.kind, tab.number))
    assert tab.show(0, "best", "no strategy", "no kind", 1)[tab.kind]["value"] == ""


def test_the_browser_sets_the_place_before_it_asks(file: Path) -> None:
    """In one event for whatever was set, which has one question under way and asks last for what was set last."""
    with gr.Blocks() as demo, in_language("en"):
        build_evaluation([Browsing(*merged_runs([file]))])
    *places, asked = demo.fns.values()
    assert [len(each.targets) for each in places] == [4, 1, 1]
    assert all(each.js and each.fn is None for each in places)
    assert asked.trigger_mode == "always_last"
    assert {target for each in places for target in each.targets} < set(asked.targets)


@pytest.mark.parametrize("number", [None, "x", -5, float("inf"), float("nan"), 1e300, [1]])
def test_what_a_client_sends_instead_of_a_choice_is_the_first(tab: EvaluationTab, number: object) -> None:
    place, page = shown(tab, tab.show("no run", ["order"], {"a": 1}, 7, number))
    assert (place, "1 of 2" in page) == (1, True)


def test_a_picture_bears_the_iou_of_its_mask_where_there_is_one() -> None:
    pictures = dict.fromkeys((REFERENCE_LABEL, "light", "dark"), np.zeros((4, 6, 3), dtype=np.uint8))
    exhibit = Exhibit("worst", "the bus", "category", "7", pictures, {REFERENCE_LABEL: 1.0, "light": 0.256})
    plates = {label: _plate(exhibit, label) for label in pictures}
    assert "light, IoU 0.26" in plates["light"]
    assert all("IoU" not in plates[label] for label in (REFERENCE_LABEL, "dark"))


def test_an_order_without_questions_says_so(tab: EvaluationTab) -> None:
    assert "Choose another order or kind" in shown(tab, tab.show(0, "absent", "light", "", 1))[1]
    with in_language("zh"):
        assert "请选择其他顺序或类别" in shown(tab, tab.show(0, "absent", "light", "", 1))[1]


def tabs_of(demo: gr.Blocks) -> list[object]:
    return [block["props"].get("id") for block in demo.get_config_file()["components"] if block["type"] == "tabitem"]


def test_the_page_has_the_tab_where_an_evaluation_was_opened(file: Path) -> None:
    assert "evaluation" not in tabs_of(build_demo(fake_comparison()[0]))
    demo, _ = create_demo(read_settings(["--device", "cpu", "--evaluation", str(file)]))
    assert "evaluation" in tabs_of(demo)


def test_a_file_that_is_no_evaluation_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(["--device", "cpu", "--evaluation", str(tmp_path / "none.jsonl")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "none.jsonl" in said
    assert said.count("\n") == 1
