"""The sessions of visitors: those whose page is open stay, and what is lost is said."""

from typing import Any

import gradio as gr
import pytest

from webui.visits import Visit, Visits


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    with gr.Blocks() as blocks:
        gr.State("")
        gr.HTML("")
    return blocks


@pytest.fixture
def visits(page: gr.Blocks) -> Visits:
    made = Visits()
    made.set_blocks(page)
    made.capacity = 10
    return made


def state_of(page: gr.Blocks) -> int:
    return next(number for number, block in page.blocks.items() if isinstance(block, gr.State))


def test_a_visitor_with_an_open_page_keeps_everything_while_strangers_come(visits: Visits, page: gr.Blocks) -> None:
    state = state_of(page)
    with visits.page_open("me"):
        visits["me"][state] = "my run"
        for number in range(100):
            visits[f"stranger {number}"][state] = "a run"
        assert visits["me"][state] == "my run"
    assert len(visits.session_data) == 10
    assert visits.was_given_up("stranger 3")
    visits.begin_anew("stranger 3")
    assert not visits.was_given_up("stranger 3")


def test_where_all_pages_are_open_the_oldest_visit_goes(visits: Visits) -> None:
    managers: list[Any] = [visits.page_open(str(number)) for number in range(11)]
    for number, manager in enumerate(managers):
        manager.__enter__()
        assert visits[str(number)]
    assert visits.was_given_up("0")
    for manager in managers:
        manager.__exit__(None, None, None)


def test_a_page_that_is_opened_again_counts_as_open(visits: Visits) -> None:
    assert visits["me"]
    visits.session_data["me"].is_closed = True
    with visits.page_open("me"), visits.page_open("me"):
        assert not visits["me"].is_closed


def test_a_visit_keeps_no_copy_of_the_page_nor_of_what_it_shows(page: gr.Blocks) -> None:
    visit = Visit(page)
    html = next(number for number, block in page.blocks.items() if isinstance(block, gr.HTML))
    visit[html] = page.blocks[html]
    visit._update_value_in_config(html, "x" * 1000)
    assert visit.config_values == {}
    assert visit[html] is page.blocks[html]
