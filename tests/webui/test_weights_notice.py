from dataclasses import replace

import gradio as gr

from tests.webui.fakes import fake_comparison
from webui.blocks import build_demo, weights_in_words
from workbench.comparison import Comparison
from workbench.suites.load_status import LoadingState, LoadStatus

TITLES = {"evf-sam": "EVF-SAM", "sam3": "SAM 3"}


def page_over(**changes: object) -> str:
    suite = replace(fake_comparison()[0].suite, **changes)
    return str(build_demo(Comparison(suite)).get_config_file())


def test_a_download_shows_whose_model_how_much_and_a_bar() -> None:
    state = LoadingState("fetching", "owner/model", 1_300_000_000, 2_600_000_000)
    words = weights_in_words(TITLES, {"evf-sam": state})
    assert "<strong>EVF-SAM</strong> fetches owner/model: 1.3 of 2.6 GB" in words
    assert 'value="0.50">50%</progress>' in words


def test_a_failure_is_shown_in_its_words_and_escaped() -> None:
    words = weights_in_words(TITLES, {"sam3": LoadingState("failed", reason="the disk is full <b>.")})
    assert "SAM 3</strong> is not there: the disk is full &lt;b&gt;. The next comparison tries again." in words


def test_what_is_ready_or_was_never_needed_is_not_mentioned() -> None:
    assert weights_in_words(TITLES, {"evf-sam": LoadingState("ready")}) == ""


def test_only_a_page_whose_weights_are_fetched_asks_for_news() -> None:
    assert "'type': 'timer'" not in page_over()
    assert "'type': 'timer'" in page_over(load_status=LoadStatus())


def test_news_are_sent_only_where_something_has_changed() -> None:
    load_status = LoadStatus()
    demo = build_demo(Comparison(replace(fake_comparison()[0].suite, load_status=load_status)))
    (renew,) = [fn.fn for fn in demo.fns.values() if any(event == "tick" for _, event in fn.targets)]
    load_status.put("evf-sam", LoadingState("loading"))
    words = renew("")
    assert "EVF-SAM</strong> reads its weights" in words
    assert renew(words) == gr.skip()


def test_the_banner_says_why_the_suite_was_chosen_and_what_is_missing() -> None:
    page = page_over(reason="chosen because of <rain>", left_out={"SAM 3": "facebook/sam3 is gated"})
    assert "This suite was chosen because of &lt;rain&gt;." in page
    assert "Not here: SAM 3, facebook/sam3 is gated." in page
