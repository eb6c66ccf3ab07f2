"""Video: a clip and a phrase; the masks as a video to play, and as files."""

import json
import logging
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

import gradio as gr

from evfsam.errors import EmptyPhraseError, EvfSamError
from webui import wording
from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.tab import ComparePage
from webui.tabs.video import wording as video_wording
from webui.tabs.video.components import VideoParts, build_parts
from webui.tabs.video.wording import Finished, Turn
from workbench.bundled import EXAMPLES
from workbench.export.file_writing import UnwritableError
from workbench.pictures.shown_pictures import shrunk
from workbench.video.clip_run import (
    PREVIEW_SIDE,
    ClipAsker,
    ClipOrder,
    ClipProgress,
    StopFlag,
    clip_files,
    run_clip,
    write_clip,
)
from workbench.video.clips import Clip, frame_limit, open_part, read_clip
from workbench.video.decoding import VideoFileError
from workbench.zero_gpu import clip_asker

logger = logging.getLogger(__name__)

EXAMPLE_CLIP: Final = EXAMPLES / "clip-moving.mp4"
EXAMPLE_PHRASE: Final = "the yellow penguin"
_ASKED: Final = "Asked. The frames come as soon as the models are free."
_BEGUN: Final = "Reading the clip and, the first time, the weights."
_STOPPING: Final = "Stopping after this frame; what is done is kept."
_NO_CLIP: Final = "There is no clip yet. Choose one, or take the example."
_NO_PHRASE: Final = "The phrase is empty. Type what to segment, such as “the dog on the left”."
_OUR_FAULT: Final = "Something went wrong on our side. Your clip and phrase are still here: try once more."
_REDRAW_SECONDS: Final = 0.4
_CLIP_QUEUE: Final = "clips"
"""One clip at a time; others get in between two of its frames, see `workbench.turns`."""


@dataclass(frozen=True, eq=False)
class VideoTab:
    """The handlers of the tab's events.

    Attributes:
        page: whose strategies are asked.
        asker: asks them.
        ui: the tab's components.
    """

    page: ComparePage
    asker: ClipAsker
    ui: VideoParts

    @property
    def limit(self) -> int:
        """Frames that are segmented at one time."""
        return frame_limit(self.page.comparison)

    def take_upload(self, payload: object) -> Updates:
        """Look at a clip as soon as it is there, so that what cannot be used is known before anything is typed."""
        path = payload.get("path") if isinstance(payload, Mapping) else None
        try:
            if not isinstance(path, str) or not path:
                raise VideoFileError(translate(_NO_CLIP))
            return self._taken(read_clip(Path(path)))
        except EvfSamError as error:
            return {**self.emptied(), self.ui.status: wording.problem(_sentence(error))}

    def take_example(self) -> Iterator[Updates]:
        """Take the moving scene of this project."""
        taken = {**self._taken(read_clip(EXAMPLE_CLIP)), self.ui.phrase: EXAMPLE_PHRASE}
        with TemporaryDirectory(prefix="example-") as folder:  # Gradio hands out no file of where this is installed
            yield {**taken, self.ui.file: str(shutil.copy(EXAMPLE_CLIP, folder))}

    def emptied(self) -> Updates:
        """Forget the clip; a result stays until another is made."""
        hidden = gr.update(visible=False)
        nothing = {
            self.ui.clip: None,
            self.ui.picture: video_wording.no_picture(),
            self.ui.start: hidden,
            self.ui.frame: hidden,
        }
        return {**nothing, self.ui.status: video_wording.beginning()}

    def look(self, clip: Clip | None, start: object, frame: object) -> Updates:
        """Show the frame that the phrase is about, and keep it within the part that is segmented."""
        if clip is None:
            return {self.ui.status: wording.problem(translate(_NO_CLIP))}
        first, count = self._part(clip, start)
        chosen = min(max(_whole(frame), first), first + count - 1)
        try:
            with open_part(clip.path, chosen, 1) as part:
                picture = shrunk(part[0], PREVIEW_SIDE)
                shown = video_wording.frame_picture(picture, chosen, float(part.clip_seconds(0)))
        except EvfSamError as error:
            return {self.ui.status: wording.problem(_sentence(error))}
        return {
            self.ui.picture: shown,
            self.ui.status: video_wording.plan_line(clip, first, count),
            self.ui.frame: gr.update(minimum=first, maximum=first + count - 1, value=chosen, visible=count > 1),
        }

    def take_strategies(self, keys: object) -> str:
        """Say whether memory is at work."""
        cards = self.page.comparison.cards
        chosen = [key for key in cards if isinstance(keys, list) and key in keys]
        return video_wording.memory_notes({cards[key].title: self.asker.carries_memory(key) for key in chosen})

    def segment(
        self, clip: Clip | None, phrase: object, strategies: object, start: object, frame: object
    ) -> Iterator[Updates]:
        """Let each strategy segment the part of the clip, one after the other.

        What a visitor can mend is said in the status line, and nothing is lost.
        """
        if clip is None:
            yield {self.ui.status: wording.problem(translate(_NO_CLIP)), **self._at_rest()}
            return
        first, count = self._part(clip, start)
        with TemporaryDirectory(prefix="clip-") as folder:
            flag = StopFlag(Path(folder) / "stop")
            words, about = phrase if isinstance(phrase, str) else "", _whole(frame) - first
            try:
                keys = self.page.comparison.choose(strategies if isinstance(strategies, list) else [])
                orders = [ClipOrder(clip.path, key, words, first, count, about, flag) for key in keys]
                yield from self._work_all(orders, Path(folder))
            except EvfSamError as error:
                yield {self.ui.status: wording.problem(_sentence(error)), **self._at_rest()}
            except Exception:
                logger.exception("a clip could not be segmented")
                yield {self.ui.status: wording.problem(translate(_OUR_FAULT)), **self._at_rest()}

    def stop(self, flag: StopFlag | None) -> Updates:
        """Ask for an end after the frame under way."""
        if flag is None:
            return self._at_rest()
        flag.set()
        return {self.ui.status: wording.hint(translate(_STOPPING)), self.ui.stop: gr.update(interactive=False)}

    def _work_all(self, orders: Sequence[ClipOrder], folder: Path) -> Iterator[Updates]:
        finished: list[Finished] = []
        for number, order in enumerate(orders):
            if order.stop.is_set:
                break
            title = translate_message(self.page.comparison.cards[order.strategy].title)
            turn = Turn(title, number, len(orders))
            latest, fault = yield from self._work(order, turn, is_first=number == 0)
            finished.append(Finished(title, latest, fault))
            if latest.found_count:
                written = folder / order.strategy
                yield from self._written(written, latest, turn)
                yield {self.ui.status: video_wording.clip_progress_line(latest, turn), **self._result(latest, written)}
        yield {self.ui.status: video_wording.finished_line(finished), **self._at_rest()}

    def _work(
        self, order: ClipOrder, turn: Turn, *, is_first: bool
    ) -> Generator[Updates, None, tuple[ClipProgress, str]]:
        """Segment with one strategy; returns how far it came, and what ended it early, in words."""
        progresses = run_clip(self.asker, order)
        if is_first:
            running = {self.ui.flag: order.stop, self.ui.stop: gr.update(interactive=True)}
            yield {self.ui.status: wording.hint(translate(_BEGUN)), **running, **self._no_result()}
        latest, drawn, fault = None, float("-inf"), ""
        try:
            for latest in progresses:
                if monotonic() - drawn >= _REDRAW_SECONDS or latest.is_done:
                    drawn = monotonic()
                    shown = {self.ui.picture: video_wording.latest_picture(latest, turn.title)}
                    yield {self.ui.status: video_wording.clip_progress_line(latest, turn), **shown}
        except EvfSamError as error:
            if latest is None:
                raise
            fault = _sentence(error)  # what is done is kept
        assert latest is not None, "a clip has frames"
        return latest, fault

    def _written(self, folder: Path, latest: ClipProgress, turn: Turn) -> Iterator[Updates]:
        drawn = float("-inf")
        for done in write_clip(folder, latest):
            if monotonic() - drawn >= _REDRAW_SECONDS:
                drawn = monotonic()
                yield {self.ui.status: video_wording.writing_line(done, len(latest.masks), turn)}

    def _result(self, progress: ClipProgress, folder: Path) -> Updates:
        files, result = clip_files(folder), self.ui.results[progress.order.strategy]
        named = zip(result.downloads, (files.video, files.masks, files.run_lengths), strict=True)
        return {
            self.ui.place: gr.update(visible=False),
            result.whole: gr.update(visible=True),
            result.video: gr.update(value=str(files.video)),
            **{button: gr.update(value=str(path), interactive=True) for button, path in named},
        }

    def _taken(self, clip: Clip) -> Updates:
        latest_start = clip.seconds_of(clip.frame_count - clip.part_count(self.limit))
        start = gr.update(value=0, maximum=max(0.1, round(latest_start, 1)), visible=latest_start > 0)
        return {self.ui.clip: clip, self.ui.start: start, **self.look(clip, 0, 0)}

    def _part(self, clip: Clip, start: object) -> tuple[int, int]:
        """Return first frame and number of frames of the part that begins at a second."""
        seconds = start if isinstance(start, int | float) and not isinstance(start, bool) else 0.0
        count = clip.part_count(self.limit)
        first = round(seconds * clip.frame_count / clip.seconds)
        return min(max(first, 0), clip.frame_count - count), count

    def _at_rest(self) -> Updates:
        return {self.ui.flag: None, self.ui.stop: gr.update(interactive=False)}

    def _no_result(self) -> Updates:
        updates: Updates = {self.ui.place: gr.update(visible=True)}
        for result in self.ui.results.values():
            updates |= {result.whole: gr.update(visible=False), result.video: None}
            updates |= {button: gr.update(value=None, interactive=False) for button in result.downloads}
        return updates


def build_video(page: ComparePage) -> None:
    """Lay out the tab and wire its events."""
    asker = clip_asker(page.comparison)
    _wire(VideoTab(page, asker, build_parts(asker)))


def _wire(tab: VideoTab) -> None:
    ui = tab.ui
    quiet = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    seen = [ui.clip, ui.status, ui.picture, ui.start, ui.frame]
    ui.file.upload(tab.take_upload, ui.file, seen, **quiet)
    ui.file.clear(tab.emptied, None, seen, **quiet)
    ui.example.click(tab.take_example, None, [*seen, ui.file, ui.phrase], **quiet)
    for slider in (ui.start, ui.frame):
        looked = [ui.picture, ui.status, ui.frame]
        slider.input(tab.look, [ui.clip, ui.start, ui.frame], looked, trigger_mode="always_last", **quiet)
    ui.strategies.input(tab.take_strategies, ui.strategies, ui.memory, **quiet)
    inputs = [ui.clip, ui.phrase, ui.strategies, ui.start, ui.frame]
    results = [part for each in ui.results.values() for part in (each.whole, each.video, *each.downloads)]
    done = [ui.status, ui.picture, ui.place, *results, ui.flag, ui.stop]
    at_once = f"() => {json.dumps(wording.hint(translate(_ASKED)))}"
    for listen in (ui.ask.click, ui.phrase.submit):
        listen(None, None, ui.status, js=at_once)
        listen(tab.segment, inputs, done, concurrency_limit=1, concurrency_id=_CLIP_QUEUE, **quiet)
    ui.stop.click(tab.stop, ui.flag, [ui.status, ui.flag, ui.stop], queue=False, **quiet)


def _whole(value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
        return round(value)
    return 0


def _sentence(error: EvfSamError) -> str:
    if isinstance(error, EmptyPhraseError):
        return translate(_NO_PHRASE)
    if isinstance(error, UnwritableError):  # names a path of the server
        logger.error("a clip's files could not be written", exc_info=error)
        return translate(_OUR_FAULT)
    told = translate_message(str(error))
    return told[:1].upper() + told[1:]
