"""A page stays open while its server is stopped, and another is started on the same port with an empty folder."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import gradio as gr
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.conftest import PATIENCE_MS
from tests.browser.test_page import PHRASE, ask, expect_three_answers, upload
from tests.webui.fakes import fake_comparison
from webui.blocks import build_demo, launch_arguments

pytestmark = pytest.mark.browser

COUNT_WHAT_IS_SAID: Final = """
() => {
  window.said = [];
  new MutationObserver((changes) => changes.forEach(({addedNodes}) => addedNodes.forEach((one) =>
    window.said.push(one.textContent)))).observe(document.querySelector('#connection .back'), {childList: true});
}
"""

GRADIO_SAYS_SO: Final = """
() => document.body.insertAdjacentHTML('beforeend', `<div class="toast-body error">
  Connection to the server was lost. Attempting reconnection...</div>`)
"""


class Servers:
    """One server after the other on one port, each with a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self._folder, self._monkeypatch, self._seconds = folder, monkeypatch, seconds
        self._running: list[gr.Blocks] = []
        with socket.create_server(("127.0.0.1", 0)) as free:  # far from those that Gradio gives other tests meanwhile
            self._port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        folder = self._folder / str(len(self._running))
        folder.mkdir()
        self._monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
        demo = build_demo(fake_comparison(self._seconds)[0])
        self._running.append(demo)
        quiet = {"prevent_thread_lock": True, "quiet": True, "_frontend": False, **launch_arguments()}
        ends = monotonic() + PATIENCE_MS / 1000
        while True:
            try:
                demo.launch(server_name="127.0.0.1", server_port=self._port, **quiet)
            except OSError:  # the one before still holds the port
                if monotonic() > ends:
                    raise
                sleep(0.5)
            else:
                return

    def stop(self) -> None:
        self._running[-1].close()


@contextmanager
def visited(browser: Browser, servers: Servers) -> Iterator[tuple[Page, set[Request]]]:
    """Open the page; yields it and its streams of answers that are open. Errors of fetches are its lot here."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    streams: set[Request] = set()
    page.on("request", lambda request: streams.add(request) if "queue/data" in request.url else None)
    for ended in ("requestfinished", "requestfailed"):
        page.on(ended, lambda request: streams.discard(request))
    page.goto(servers.url)
    page.wait_for_selector("#compare")
    yield page, streams
    context.close()
    servers.stop()


def wait_until_idle(page: Page, streams: set[Request]) -> None:
    """Wait until Gradio listens for no more answers: it loads a page anew that waits for one when the server goes."""
    ends = monotonic() + PATIENCE_MS / 1000
    while streams and monotonic() < ends:
        page.wait_for_timeout(100)
    assert not streams


def take_an_upload(page: Page, picture: Path) -> str:
    upload(page, picture)
    ask(page, "the red square")
    return "the second question"


def take_a_scene(page: Page, _: Path) -> str:
    page.click("#new-scene")
    expect(page.locator("#chips button").nth(1)).to_be_visible()
    return page.locator("#chips button").nth(1).inner_text()


@pytest.mark.parametrize("take", [take_an_upload, take_a_scene])
def test_a_server_started_anew_is_told_of_once_the_answers_stay_and_the_next_question_is_answered(
    browser: Browser,
    tmp_path: Path,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
    take: Callable[[Page, Path], str],
) -> None:
    servers = Servers(tmp_path, monkeypatch, 0.1)
    servers.start()
    with visited(browser, servers) as (page, streams):
        following = take(page, picture)
        expect_three_answers(page)
        expect(page.locator("#differences-table tbody tr")).to_have_count(3)
        asked = page.locator(PHRASE).input_value()
        page.evaluate(COUNT_WHAT_IS_SAID)
        wait_until_idle(page, streams)
        servers.stop()
        expect(page.locator("#status [role=alert]")).to_contain_text("The server does not answer")
        expect(page.locator("#overlay-evf-sam img")).to_be_visible()
        servers.start()
        expect(page.locator("#connection .back [role=status]")).to_contain_text("The server was started anew")
        expect_three_answers(page)
        expect(page.locator("#status [role=alert]")).to_have_count(0)
        expect(page.locator("#overlay-evf-sam img")).to_have_attribute("alt", re.compile(re.escape(asked)))
        expect(page.locator(PHRASE)).to_have_value(asked)
        expect(page.locator("#download")).to_be_disabled()  # it knows the picture again, not the answers
        ask(page, following)
        expect(page.locator("#overlay-evf-sam img")).to_have_attribute("alt", re.compile(re.escape(following)))
        expect_three_answers(page)
        expect(page.locator("#download")).to_be_enabled()
        if take is take_a_scene:
            expect(page.locator("#card-evf-sam")).to_contain_text("Measured IoU")
        assert len(page.evaluate("window.said")) == 1


def test_a_question_that_was_under_way_is_asked_again_and_why_is_told_once(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Servers(tmp_path, monkeypatch, 3.0)
    servers.start()
    with visited(browser, servers) as (page, _):
        page.locator("#examples button").first.click()
        expect(page.locator("#status")).to_contain_text("1 of 3 answered")
        servers.stop()
        expect(page.locator("#status [role=alert]")).to_contain_text("The server does not answer")
        servers.start()
        expect(page.locator("#connection .back [role=status]")).to_contain_text("the page was loaded anew")
        expect_three_answers(page)
        expect(page.locator("#overlay-point-query img")).to_be_visible()


def test_what_gradio_says_of_a_lost_connection_is_said_in_the_status_line_instead_and_once_more_when_it_reloads(
    page: Page,
) -> None:
    page.evaluate(GRADIO_SAYS_SO)
    expect(page.locator("#status [role=alert]")).to_contain_text("The server does not answer")
    expect(page.locator(".toast-body")).to_be_hidden()
    page.reload()
    expect(page.locator("#connection .back")).to_contain_text("the page was loaded anew")
    page.reload()
    expect(page.locator("#compare")).to_be_visible()
    expect(page.locator("#connection .back")).to_have_text("")
