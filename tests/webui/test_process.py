"""A serving process starts also on a machine that is busy, and looks after its memory."""

import signal
from threading import Event

import gradio as gr
import pytest

from webui import process
from webui.api.guard import Hosts


class _Ended:
    """An event that nobody waits for."""

    def wait(self) -> None:
        raise KeyboardInterrupt

    def set(self) -> None:
        pass


def test_a_server_that_is_too_busy_to_answer_itself_serves_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradio.networking.url_ok", lambda _: False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(process, "trim_until", lambda _: None)
    monkeypatch.setattr(process, "Event", _Ended)
    with gr.Blocks() as demo:
        gr.Markdown("a page")
    with pytest.raises(KeyboardInterrupt):  # it was served, and waited to be told to end
        process.serve_page(demo, "127.0.0.1", None, Hosts())


def test_a_page_is_served_with_few_arenas_and_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    called, trimmed = [], Event()
    monkeypatch.setattr(process, "bound_arenas", lambda: called.append("bound"))
    monkeypatch.setattr(process, "trim_until", lambda _: trimmed.set())

    class Page:
        def launch(self, **_: object) -> None:
            called.append("launched")
            assert trimmed.wait(60)
            raise KeyboardInterrupt

        def close(self, **_: object) -> None:
            called.append("closed")

    monkeypatch.setattr(process.signal, "signal", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        process.serve_page(Page(), "127.0.0.1", None, Hosts())
    assert called == ["bound", "launched", "closed"]
