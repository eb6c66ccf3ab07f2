"""What the page is delivered with, and what its opening sends after that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.context import LocalContext
from starlette.testclient import TestClient

from webui.arrival import arriving
from webui.blocks import build_demo, launch_arguments
from webui.i18n.translate import current_language, in_language
from webui.tabs.compare.opening import FIRST_KEY, Opening
from workbench.comparison import Comparison
from workbench.kept_run import ARRIVAL_PHRASE
from workbench.suites.registry import MINI


@pytest.fixture(scope="module")
def demo() -> gr.Blocks:
    """Build the page over the mini suite, whose first answers are kept; no weights are read."""
    return build_demo(Comparison(MINI))


@pytest.fixture
def opening(demo: gr.Blocks) -> Iterator[Opening]:
    bound = (getattr(function.fn, "__self__", None) for function in demo.fns.values())
    token = LocalContext.request.set(None)
    found = next(each for each in bound if isinstance(each, Opening))
    found.page.versions._versions.clear()
    yield found
    LocalContext.request.reset(token)


def props(demo: gr.Blocks, component: gr.components.Component) -> dict[str, Any]:
    found = next(each for each in demo.config["components"] if each["id"] == component._id)
    return dict(found["props"])


def test_a_page_without_a_run_in_its_address_is_delivered_with_the_first_one(demo: gr.Blocks, opening: Opening) -> None:
    column, controls = opening.page.columns[0], opening.page.controls
    assert "value" not in props(demo, column.overlay)
    with arriving(True):
        picture = props(demo, column.overlay)
        assert picture["visible"]
        assert ARRIVAL_PHRASE in picture["alt_text"]
        assert Path(picture["value"]["path"]).is_file()
        assert props(demo, controls.phrase)["value"] == ARRIVAL_PHRASE
        with in_language("zh"):
            assert "EVF-SAM" in props(demo, column.overlay)["alt_text"] != picture["alt_text"]
            assert props(demo, column.overlay)["value"]["path"] == picture["value"]["path"]


def test_a_start_draws_the_first_answers_for_one_language_and_others_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []
    deliver = Opening.delivered

    def counted(self: Opening) -> dict[Any, Any]:
        drawn.append(current_language())
        return deliver(self)

    monkeypatch.setattr(Opening, "delivered", counted)
    page = build_demo(Comparison(MINI))
    assert drawn == ["en"]
    with arriving(True):
        for language in ("zh", "en", "zh"):
            with in_language(language):
                assert page.config["components"]
    assert drawn == ["en", "zh"]


def test_pictures_that_gave_way_to_others_are_written_again(demo: gr.Blocks, opening: Opening) -> None:
    overlay = opening.page.columns[0].overlay
    with arriving(True):
        lost = Path(props(demo, overlay)["value"]["path"])
        lost.unlink()
        assert Path(props(demo, overlay)["value"]["path"]) == lost
        assert lost.is_file()


@pytest.mark.parametrize(
    ("query", "is_delivered"), [("", True), ("?lang=en", True), ("?run=nobody", False), ("?v=1&p=a", False)]
)
def test_only_a_document_without_a_run_in_its_address_holds_the_first_answers(
    demo: gr.Blocks, query: str, is_delivered: bool
) -> None:
    app, _, _ = demo.launch(prevent_thread_lock=True, quiet=True, _frontend=False, **launch_arguments())
    client = TestClient(app, base_url="http://127.0.0.1")
    document = client.get(f"/{query}", headers={"accept": "text/html"}).text
    demo.close()
    assert ("data-arrived class" in document) == is_delivered


def test_the_opening_never_numbers_a_picture(opening: Opening) -> None:
    """Its number could come after that of one that was taken meanwhile, and runs asked there would be dropped."""
    for seen in ("", "arrived"):
        for query in ("", "?run=nobody", "?v=1&broken"):
            assert opening.page.image_number not in opening.open(query, seen)
    assert opening.page.versions.is_untouched()


def test_what_the_page_was_delivered_with_is_not_sent_again(opening: Opening) -> None:
    sent = opening.open("", "arrived")
    assert sent[opening.page.last_run] == FIRST_KEY
    assert all(isinstance(component, gr.State) for component in sent)


def test_nothing_is_sent_over_a_picture_that_its_visitor_took(opening: Opening) -> None:
    told = {opening.page.status: gr.skip()}
    assert opening.open("", "taken") == told
    opening.page.versions.begin()
    assert opening.open("", "") == told
