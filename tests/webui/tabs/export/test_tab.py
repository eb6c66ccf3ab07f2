"""What the tab says where a file cannot be made."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.webui.fakes import fake_comparison, three_colours
from webui.blocks import build_demo
from webui.i18n.translate import in_language, translate
from webui.run_cache import FinishedRun
from webui.tabs.compare.runs import Progress
from webui.tabs.export.tab import _OUR_FAULT, TakeAwayTab


@pytest.fixture(scope="module")
def tab() -> TakeAwayTab:
    handlers = build_demo(fake_comparison()[0]).fns.values()
    bound = (getattr(handler.fn, "__self__", None) for handler in handlers)
    return next(each for each in bound if isinstance(each, TakeAwayTab))


def told_of(tab: TakeAwayTab, wanted: str) -> str:
    """What the status line says where a format of a run without answers is asked for."""
    progress = Progress(tab.page.comparison.view(three_colours()), ("a dog",), ("evf-sam",), (), 0.0, (None,))
    key = tab.page.runs.put(FinishedRun(progress, {}, None))
    (updates,) = tab.make_file(key, SimpleNamespace(value=wanted))  # type: ignore[arg-type]
    assert updates[tab.file] is None
    return str(updates[tab.status])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_file_that_cannot_be_written_shows_no_path_of_the_server(
    language: str, tab: TakeAwayTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_folder := tmp_path / "file").touch()
    monkeypatch.setattr("webui.tabs.export.tab.TemporaryDirectory", lambda **_: nullcontext(str(no_folder)))
    with in_language(language):
        told = told_of(tab, "image")
        assert str(tmp_path) not in told
        assert translate(_OUR_FAULT) in told


def test_what_a_visitor_can_mend_is_said_in_the_pages_language(tab: TakeAwayTab) -> None:
    assert "There is nothing to write as COCO RLE: no strategy answered" in told_of(tab, "coco")
    with in_language("zh"):
        assert "没有方法作答" in told_of(tab, "coco")
