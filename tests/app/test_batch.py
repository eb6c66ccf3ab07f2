"""The handlers of the tab Batch called as functions, over strategies that need no weights."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from tests.webui.fakes import fake_comparison, three_colours
from webui.blocks import LAUNCH_LIMITS
from webui.tabs.batch import tab as batch_tab
from webui.tabs.batch.tab import BatchTab, build_batch
from webui.tabs.compare.tab import build_compare
from workbench.batch.batch_files import PAGE_LIMITS

ALL = ["evf-sam", "clip-text", "point-query"]
Updates = dict[object, object]


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes have none, and their folder is the current one."""
    monkeypatch.setattr("workbench.batch.batch_run.weight_digests", lambda _, keys: {key: {} for key in keys})


@pytest.fixture(scope="module")
def built() -> tuple[gr.Blocks, BatchTab]:
    with gr.Blocks() as demo:
        return demo, build_batch(build_compare(fake_comparison()[0], ()))


@pytest.fixture
def tab(built: tuple[gr.Blocks, BatchTab], monkeypatch: pytest.MonkeyPatch) -> BatchTab:
    """A tab whose slices hold one call each."""
    monkeypatch.setattr(batch_tab, "SLICE_SECONDS", 0.0)
    return built[1]


def upload(tmp_path: Path, name: str, *, count: int = 2, shift: int = 0) -> list[dict[str, str]]:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for index in range(count):
            buffer = io.BytesIO()
            Image.fromarray(three_colours((60, 80), shift=shift + index)).save(buffer, "PNG")
            archive.writestr(f"{name}-{index}.png", buffer.getvalue())
    return [{"path": str(tmp_path / name), "orig_name": name}]


def asked(tab: BatchTab, files: object, phrases: object = "a square", strategies: object = ALL) -> tuple[object, ...]:
    return files, phrases, strategies, *[option.default for option in tab.page.controls.options]


def start(tab: BatchTab, files: object, turn: str = "", phrases: object = "a square") -> Updates:
    files, phrases, strategies, *options = asked(tab, files, phrases)
    return tab.start(files, phrases, strategies, turn, *options)


def one_slice(tab: BatchTab, turn: str) -> Updates:
    together: Updates = {}
    for updates in tab.work(turn):
        together |= updates
    return together


def to_the_end(tab: BatchTab, turn: str) -> Iterator[Updates]:
    while turn:
        updates = one_slice(tab, turn)
        yield updates
        turn = str(updates.get(tab.turn, ""))


def test_a_batch_works_in_slices_and_ends_with_everything_in_a_zip(tab: BatchTab, tmp_path: Path) -> None:
    begun = start(tab, upload(tmp_path, "a.zip"))
    *slices, last = to_the_end(tab, str(begun[tab.turn]))
    assert slices, "others get their turn in between"
    assert "Done: all 6 answers are there" in str(last[tab.status])
    assert [(each[tab.ask]["value"], each[tab.ask]["interactive"]) for each in (slices[0], last)] == [
        ("Ask all", False),
        ("Ask all", True),
    ]
    assert str(last[tab.table]).count("<tr>") == 1 + 2
    assert str(last[tab.table]).count("<td data-verdict=") == 6
    assert str(last[tab.pictures]).count("<img") == 6
    with zipfile.ZipFile(last[tab.download]["value"]) as archive:
        assert len(archive.read("masks.jsonl").splitlines()) == 6


def test_what_is_done_stays_when_it_is_stopped_and_is_not_asked_again(tab: BatchTab, tmp_path: Path) -> None:
    files = upload(tmp_path, "a.zip", count=3)
    turn = str(start(tab, files)[tab.turn])
    turn = str(one_slice(tab, turn)[tab.turn])
    stopped = tab.stop(turn)
    assert "Stopped: 3 of 9 answers are kept. Press Go on" in str(stopped[tab.status])
    assert stopped[tab.ask]["value"] == "Go on"
    assert zipfile.ZipFile(stopped[tab.download]["value"]).testzip() is None
    assert one_slice(tab, turn) == {}, "a slice that waited in the queue does nothing"
    again = start(tab, files, turn)
    *_, last = to_the_end(tab, str(again[tab.turn]))
    assert "Done: all 9 answers" in str(last[tab.status])


def test_another_request_begins_anew_and_deletes_the_files_of_the_one_before(tab: BatchTab, tmp_path: Path) -> None:
    files = upload(tmp_path, "a.zip")
    turn = str(start(tab, files)[tab.turn])
    place = Path(tab.batches.find(turn.split(":")[0]).place.name)
    assert place.exists()
    other = str(start(tab, files, turn, "a circle")[tab.turn])
    assert other.split(":")[0] != turn.split(":")[0]
    assert not place.exists()


def test_two_visitors_at_once_see_their_own_images_alone(tab: BatchTab, tmp_path: Path) -> None:
    turns = {
        name: str(start(tab, upload(tmp_path, name, shift=index * 5))[tab.turn])
        for index, name in enumerate(("a.zip", "b.zip"))
    }
    shown = dict.fromkeys(turns, "")
    while any(turns.values()):
        for name, turn in turns.items():
            if turn:
                updates = one_slice(tab, turn)
                shown[name] += str(updates.get(tab.table)) + str(updates.get(tab.status))
                turns[name] = str(updates.get(tab.turn, ""))
    assert "a.zip-0.png" in shown["a.zip"]
    assert "b.zip" not in shown["a.zip"]
    assert "b.zip-1.png" in shown["b.zip"]
    assert "a.zip" not in shown["b.zip"]


def test_a_key_that_nobody_got_shows_nothing(tab: BatchTab) -> None:
    for updates in (*tab.work("guess:1"), tab.turn_back("guess:1")):
        assert "no longer kept: the server does not know it" in str(updates[tab.status])
    assert list(tab.work("")) == []
    assert "no longer kept" in str(tab.stop("guess:1")[tab.status])


def test_uploads_swept_away_meanwhile_are_still_there_for_the_batch(tab: BatchTab, tmp_path: Path) -> None:
    files = upload(tmp_path, "a.zip")
    turn = str(start(tab, files)[tab.turn])
    Path(files[0]["path"]).unlink()
    *_, last = to_the_end(tab, turn)
    assert "Done: all 6 answers" in str(last[tab.status])


def test_limits_and_faults_are_told_before_the_work_begins(tab: BatchTab, tmp_path: Path) -> None:
    files, phrases, strategies, *options = asked(tab, upload(tmp_path, "a.zip", count=51))
    looked = tab.look(files, phrases, strategies, "", *options)
    assert "Expected at most 50 images in one batch, got 51" in str(looked[tab.plan])
    refused = start(tab, files)
    assert "Expected at most 50 images" in str(refused[tab.status])
    assert tab.turn not in refused


@pytest.mark.parametrize(
    ("files", "phrases", "strategies", "words"),
    [
        (None, "a", ALL, "There is no image yet"),
        ([{"path": None}, 3], "a", ALL, "There is no image yet"),
        ([], 5, ALL, "There is no image yet"),
        ([], "a", [], "No strategy is chosen"),
        ([], "a", "evf-sam", "No strategy is chosen"),
        ([], "a", ["nobody"], "nobody"),
    ],
)
def test_what_cannot_be_asked_is_said_and_nothing_is_begun(
    tab: BatchTab, files: object, phrases: object, strategies: object, words: str
) -> None:
    values = asked(tab, files, phrases, strategies)
    refused = tab.start(*values[:3], "", *values[3:])
    assert list(refused) == [tab.status]
    assert words in str(refused[tab.status])


def test_an_error_that_nobody_expected_keeps_what_is_done(
    tab: BatchTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turn = str(one_slice(tab, str(start(tab, upload(tmp_path, "a.zip"))[tab.turn]))[tab.turn])

    def explode(*_: object) -> object:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(tab.page.comparison, "run", explode)
    updates = one_slice(tab, turn)
    assert "Something went wrong on our side. What is done is kept: press Go on. 3 of 6" in str(updates[tab.status])
    assert "secret detail" not in str(updates)
    assert "secret detail" in caplog.text
    assert updates[tab.download]["interactive"]


def test_pages_of_answers_turn_and_stop_at_their_ends(
    tab: BatchTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_tab, "PAGE_SIZE", 4)
    turn = str(start(tab, upload(tmp_path, "a.zip"))[tab.turn])
    *_, last = to_the_end(tab, turn)
    assert "Answers 1 to 4 of 6" in str(last[tab.where])
    for _ in range(2):
        further = tab.turn_further(turn)
    assert "Answers 5 to 6 of 6" in str(further[tab.where])
    assert further[tab.further]["interactive"] is False
    assert "Answers 1 to 4 of 6" in str(tab.turn_back(turn)[tab.where])


def test_slices_wait_in_the_queue_of_all_models_and_the_page_takes_files_as_large_as_it_says(
    built: tuple[gr.Blocks, BatchTab],
) -> None:
    (work,) = [fn for fn in built[0].fns.values() if fn.name == "work"]
    assert (work.concurrency_id, work.concurrency_limit) == ("models", 1)
    assert LAUNCH_LIMITS["max_file_size"] == f"{PAGE_LIMITS.file_megabytes}mb"
