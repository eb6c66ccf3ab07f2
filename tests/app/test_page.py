"""Handlers called as functions, over strategies that need no weights."""

import json
import zipfile
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from evfsam.types import RgbImage
from tests.webui.fakes import TOOL_NAMES, channel_mask, fake_comparison, three_colours
from webui.blocks import LAUNCH_LIMITS, build_demo, launch_arguments
from webui.known_scenes import read_examples
from webui.tabs.compare import runs as compare_runs
from webui.tabs.compare.tab import ComparePage, build_compare
from workbench.export.results import coco_rle, result_dict
from workbench.pictures.rendering import DIMMED

ALL = ["evf-sam", "clip-text", "point-query"]
EXAMPLES = read_examples()
Updates = dict[object, object]


@pytest.fixture(scope="module")
def demo() -> gr.Blocks:
    return build_demo(fake_comparison()[0])


@pytest.fixture
def page() -> ComparePage:
    return make_page()


def make_page() -> ComparePage:
    with gr.Blocks():
        return build_compare(fake_comparison()[0], EXAMPLES)


def upload(tmp_path: Path, image: RgbImage, name: str = "picture.png") -> dict[str, object]:
    Image.fromarray(image).save(tmp_path / name)
    return {"path": str(tmp_path / name)}


def ask(
    page: ComparePage, payload: object, phrase: object, strategies: object = ALL, **options: object
) -> Iterator[Updates]:
    values = [options.get(control.name, control.default) for control in page.controls.options]
    return page.ask(payload, phrase, strategies, None, 0, *values)


def value_of(update: object) -> object:
    return update["value"] if isinstance(update, dict) and "__type__" in update else update


def content_of(page: ComparePage, last: Updates) -> dict[str, Any]:
    progress = page.runs.get(str(last[page.last_run])).progress
    suite = page.comparison.suite.key
    return result_dict(progress.view.image, progress.phrase, suite, progress.results, progress.known_mask)


def test_three_answers_arrive_one_after_the_other(page: ComparePage, tmp_path: Path) -> None:
    arrived = []
    for updates in ask(page, upload(tmp_path, three_colours()), "a square"):
        arrived.append([column.key for column in page.columns if "Marked:" in str(updates.get(column.card))])
    assert arrived == [[], ["evf-sam"], ["clip-text"], ["point-query"], []]


def test_waiting_and_skipped_strategies_are_told_apart(page: ComparePage, tmp_path: Path) -> None:
    first = next(ask(page, upload(tmp_path, three_colours()), "a square", ["evf-sam", "point-query"]))
    states = [str(first[column.card]).split('data-state="')[1].split('"')[0] for column in page.columns]
    assert states == ["running", "skipped", "waiting"]


def test_the_overlay_tints_the_mask_and_dims_the_rest_alone(page: ComparePage, tmp_path: Path) -> None:
    image = three_colours((512, 640))
    steps = list(ask(page, upload(tmp_path, image), "a square"))
    shown = value_of(steps[1][page.columns[0].overlay])
    mask = channel_mask(image, 0)
    assert isinstance(shown, np.ndarray)
    assert (shown[mask] != image[mask]).any(axis=-1).mean() > 0.9
    assert np.array_equal(shown[300:], np.rint(image[300:] * np.float32(DIMMED)))


def test_each_picture_has_words_for_those_who_do_not_see_it(page: ComparePage, tmp_path: Path) -> None:
    steps = list(ask(page, upload(tmp_path, three_colours()), "a square"))
    overlay, evidence = steps[3][page.columns[2].overlay], steps[3][page.columns[2].evidence]
    assert "Marked:" in overlay["alt_text"]
    assert "“a square”" in overlay["alt_text"]
    assert "25 points" in evidence["alt_text"]


def test_an_answer_without_a_place_shows_how_sure_it_is_of_each_pixel_and_an_absent_one_nothing(
    page: ComparePage, tmp_path: Path
) -> None:
    column, given = page.columns[1], upload(tmp_path, three_colours())
    for phrase, is_shown in (("a square", True), ("absent", False)):
        evidence = list(ask(page, given, phrase))[2][column.evidence]
        assert (evidence["visible"], evidence["value"] is not None) == (is_shown, is_shown)


def test_no_answer_waits_for_a_file(page: ComparePage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.tabs.compare.tab.write_results_zip", lambda *_: pytest.fail("nobody asked for a zip"))
    run = ask(page, upload(tmp_path, three_colours()), "a square", ["evf-sam"])
    next(run)
    assert "Marked:" in str(next(run)[page.columns[0].card])


def test_the_zip_is_made_when_it_is_asked_for_and_gone_after(page: ComparePage, tmp_path: Path) -> None:
    *_, last = ask(page, upload(tmp_path, three_colours()), "a square")
    assert last[page.download]["interactive"]
    making = page.make_archive(last[page.last_run])
    archive = Path(str(next(making)[page.archive]))
    with zipfile.ZipFile(archive) as opened:
        assert {f"{key}-mask.png" for key in ALL} <= set(opened.namelist())
        assert json.loads(opened.read("result.json")) == content_of(page, last)
    assert list(making) == []
    assert not archive.parent.exists()


def test_the_zip_is_removed_too_when_the_visitor_leaves(page: ComparePage, tmp_path: Path) -> None:
    *_, last = ask(page, upload(tmp_path, three_colours()), "a square", ["evf-sam"])
    making = page.make_archive(last[page.last_run])
    archive = Path(str(next(making)[page.archive]))
    assert archive.is_file()
    making.close()
    assert not archive.parent.exists()


def test_a_zip_of_a_run_that_is_gone_is_a_message(page: ComparePage) -> None:
    assert list(page.make_archive(None)) == []
    (updates,) = page.make_archive("gone")
    assert updates[page.archive] is None
    assert "no longer kept" in str(updates[page.status])


def test_a_zip_that_cannot_be_made_is_said_without_its_details(
    page: ComparePage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    *_, last = ask(page, upload(tmp_path, three_colours()), "a square")
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    (updates,) = page.make_archive(last[page.last_run])
    assert "Something went wrong on our side" in str(updates[page.status])
    assert "No space left on device" in caplog.text


def test_a_long_name_in_any_letters_is_cut_to_what_a_file_may_have(page: ComparePage, tmp_path: Path) -> None:
    payload = {**upload(tmp_path, three_colours()), "orig_name": f"{'图' * 80}.png"}
    *_, last = ask(page, payload, "红" * 80)
    archive = Path(str(next(page.make_archive(last[page.last_run]))[page.archive]))
    assert archive.name == f"{'图' * 30}-{'红' * 30}.zip"


@pytest.mark.parametrize(
    ("phrase", "strategies", "words"),
    [
        ("", ALL, "The phrase is empty"),
        ("x" * 10_000, ALL, "characters"),
        ("a square", [], "Choose at least one"),
        ("a square", ["nothing"], "nothing"),
    ],
)
def test_a_mistake_is_said_in_the_page_and_loses_nothing(
    page: ComparePage, tmp_path: Path, phrase: str, strategies: list[str], words: str
) -> None:
    (updates,) = ask(page, upload(tmp_path, three_colours()), phrase, strategies)
    assert set(updates) == {page.status, page.unanswered, page.controls.stop}
    assert words in str(updates[page.status])
    assert 'role="alert"' in str(updates[page.status])


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_a_broken_file_is_said_at_once_and_when_asked(page: ComparePage, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    payload = {"path": str(tmp_path / "broken.png")}
    (asked,) = ask(page, payload, "a square")
    taken = page.take_upload(payload)
    for updates in (asked, taken):
        assert 'role="alert"' in str(updates[page.status])
        assert page.controls.image not in updates
        assert page.controls.phrase not in updates
        assert "Traceback" not in str(updates[page.status])


def test_an_unexpected_error_is_logged_and_said_without_its_details(
    page: ComparePage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("webui.tabs.compare.tab.with_key", lambda *_: 1 / 0)
    *_, last = ask(page, upload(tmp_path, three_colours()), "a square")
    assert "Something went wrong on our side" in str(last[page.status])
    assert "division" not in str(last[page.status])
    assert "ZeroDivisionError" in caplog.text


def test_a_failing_strategy_says_why_in_its_own_column(page: ComparePage, tmp_path: Path) -> None:
    steps = list(ask(page, upload(tmp_path, three_colours()), "explode"))
    assert "without explosives" in str(steps[2][page.columns[1].card])
    assert "Marked:" in str(steps[3][page.columns[2].card])


def test_an_option_of_the_page_reaches_its_strategy(page: ComparePage, tmp_path: Path) -> None:
    steps = list(ask(page, upload(tmp_path, three_colours()), "a square", grid_size=3))
    assert "9 points" in str(value_of(steps[3][page.columns[2].caption]))


def test_two_interleaved_visitors_see_their_own_answers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, asking = make_page(), [0]
    monkeypatch.setattr(compare_runs, "visitor", lambda: f"visitor {asking[0]}")
    images = [three_colours((240, 320), shift) for shift in (0, 25)]
    runs = [ask(page, upload(tmp_path, image, f"{index}.png"), f"phrase {index}") for index, image in enumerate(images)]
    last: list[Updates] = [{}, {}]
    for _ in range(len(ALL) + 2):
        for index, run in enumerate(runs):
            asking[0] = index
            last[index] = updates = next(run)
            assert f"phrase {1 - index}" not in str(updates)
    for index, image in enumerate(images):
        content = content_of(page, last[index])
        assert content["phrase"] == f"phrase {index}"
        for channel, key in enumerate(ALL):
            assert content["strategies"][key]["mask_rle"] == coco_rle(channel_mask(image, channel))


def test_a_random_scene_brings_phrases_that_can_be_measured(page: ComparePage, tmp_path: Path) -> None:
    updates = page.take_random_scene()
    phrase, known = updates[page.controls.phrase], updates[page.known]
    payload = upload(tmp_path, updates[page.controls.image])
    defaults = [control.default for control in page.controls.options]
    *_, answer, last = page.ask(payload, phrase, ALL, known, updates[page.image_number], *defaults)
    assert str(phrase) in str(updates[page.controls.chips])
    assert "Measured IoU" in str(answer[page.columns[2].card])
    assert "iou_with_reference" in content_of(page, last)["strategies"]["evf-sam"]


def test_a_scene_among_the_examples_can_be_measured(page: ComparePage, tmp_path: Path) -> None:
    index = next(index for index, example in enumerate(page.examples) if example.scene_seed is not None)
    updates = page.take_example(SimpleNamespace(index=index))
    payload = upload(tmp_path, updates[page.controls.image])
    defaults = [control.default for control in page.controls.options]
    *_, answer, _ = page.ask(
        payload, page.examples[index].phrases[0], ALL, updates[page.known], updates[page.image_number], *defaults
    )
    assert "Measured IoU" in str(answer[page.columns[2].card])


@pytest.mark.parametrize("index", [-1, 10_000, None, "0"])
def test_an_example_that_is_not_there_is_a_message(page: ComparePage, index: object) -> None:
    assert 'role="alert"' in str(page.take_example(SimpleNamespace(index=index))[page.status])


def test_a_run_on_the_picture_before_writes_nothing(page: ComparePage, tmp_path: Path) -> None:
    asked = ask(page, upload(tmp_path, three_colours()), "the red square")
    assert page.status in next(asked)

    page.take_random_scene()

    assert [list(updates) for updates in asked] == [[page.status]]


def test_of_two_questions_at_a_time_the_one_asked_last_has_the_page(page: ComparePage, tmp_path: Path) -> None:
    picture = upload(tmp_path, three_colours())
    earlier = ask(page, picture, "; ".join(f"square {number}" for number in range(16)))
    for _ in range(2):
        assert page.columns[0].card in next(earlier)
    (refused,) = ask(page, picture, "")
    assert "The phrase is empty" in str(refused[page.status])
    assert page.columns[1].card in next(earlier), "a question that was refused takes nothing away"
    later = ask(page, picture, "the red square")
    next(later)

    assert [list(updates) for updates in earlier] == [[page.status]]
    *_, last = later
    assert content_of(page, last)["phrase"] == "the red square"


def test_a_new_picture_removes_the_answers_of_the_old_one(page: ComparePage, tmp_path: Path) -> None:
    for updates in (page.take_random_scene(), page.take_upload(upload(tmp_path, three_colours())), page.clear()):
        assert updates[page.last_run] is None
        assert not updates[page.download]["interactive"]
        assert updates[page.archive] is None
        for column in page.columns:
            assert 'data-state="idle"' in str(updates[column.card])
            assert value_of(updates[column.overlay]) is None


def test_only_the_promised_endpoints_are_public(demo: gr.Blocks) -> None:
    public = {fn.api_name for fn in demo.fns.values() if fn.api_visibility == "public"}
    reachable = {fn.api_name for fn in demo.fns.values() if fn.api_visibility != "private"}
    assert public == reachable == {*TOOL_NAMES}


def test_every_run_of_a_model_waits_in_one_queue(demo: gr.Blocks) -> None:
    runs = [fn for fn in demo.fns.values() if fn.name in ("ask", "compare_strategies")]
    assert len(runs) == 4
    assert {(fn.concurrency_id, fn.concurrency_limit) for fn in runs} == {("models", 1)}


def test_where_runs_keep_to_a_thread_each_several_go_side_by_side() -> None:
    functions = build_demo(fake_comparison()[0], runs_at_once=3).fns.values()
    assert {fn.concurrency_limit for fn in functions if fn.concurrency_id == "models"} == {3}


def test_every_picture_on_the_page_is_lossless(demo: gr.Blocks) -> None:
    pictures = [block for block in demo.blocks.values() if isinstance(block, gr.Image)]
    assert len(pictures) >= 8
    assert {picture.format for picture in pictures} == {"png"}


def test_the_page_is_launched_within_bounds_and_fetches_no_fonts(demo: gr.Blocks) -> None:
    arguments = launch_arguments()
    assert arguments["max_file_size"] == "25mb"
    assert "allowed_paths" not in arguments
    assert not LAUNCH_LIMITS["share"]
    assert arguments["theme"]._stylesheets == []
    assert not demo.analytics_enabled
    assert demo.delete_cache is not None


def test_the_banner_says_which_suite_runs_and_what_it_knows(demo: gr.Blocks) -> None:
    suite = fake_comparison()[0].suite
    heads = [str(block.value) for block in demo.blocks.values() if isinstance(block, gr.HTML)]
    assert any(suite.title in head and suite.notice in head for head in heads)


def test_several_phrases_get_a_row_and_a_colour_each(page: ComparePage, tmp_path: Path) -> None:
    given = upload(tmp_path, three_colours())
    *_, answer, last = ask(page, given, "a square; absent", ["evf-sam"])
    column = page.columns[0]
    assert answer[column.card].count("<li>") == 2
    assert "For “a square”: " in answer[column.caption]["value"]
    content = content_of(page, last)
    assert [answer["phrase"] for answer in content["strategies"]["evf-sam"]["answers"]] == [
        "a square",
        "absent",
    ]


def test_a_script_that_waits_is_given_no_values_which_could_be_old_when_they_are_sent(demo: gr.Blocks) -> None:
    waiting = [
        each
        for each in demo.fns.values()
        if isinstance(each.js, str) and "await" in each.js and "setTimeout" in each.js
    ]
    assert len(waiting) > 5
    assert [each._id for each in waiting if each.inputs] == []
