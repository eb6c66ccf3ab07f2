"""The comparison: what happens when a visitor asks, or takes another picture."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from evfsam.errors import EmptyPhraseError, EvfSamError, ImageFormatError
from evfsam.types import ImageView
from webui import wording
from webui.bounded_store import GoneError, NoRoomError
from webui.fetching import Fetcher
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import Example, KnownScene, random_scene, suggested_phrases
from webui.run_cache import FinishedRun, RunStore
from webui.tabs.compare import columns as answer_columns
from webui.tabs.compare.columns import AnswerColumn, Updates, build_columns
from webui.tabs.compare.controls import Controls, build_controls, build_question, phrase_buttons
from webui.tabs.compare.notes import makes_notes, note_on
from webui.tabs.compare.option_controls import chosen_options, only_of
from webui.tabs.compare.runs import ImageVersions, Progress, StopMarks, ask_strategies, read_upload
from webui.tabs.compare.viewer import build_viewer
from webui.tabs.export.restoring import control_value, query_of, recipe_of, with_key
from webui.visits import begin_visit_anew
from workbench.comparison import Comparison
from workbench.datasets.scenes import scene
from workbench.export.results import write_results_zip
from workbench.pictures.shown_pictures import read_image

logger = logging.getLogger(__name__)

MODEL_QUEUE: Final = "models"
"""Every event that runs a model shares this queue: one at a time where each takes all the cores there are, else as many
as `webui.blocks.build_demo` is told."""
FILE_QUEUE: Final = "files"
WRITERS: Final = 2
"""Files that are written at one time, of all visitors: beside the models, which do not wait for them."""
STATE_SECONDS: Final = 3600
SAVE_FILE: Final = """
(file) => {
  if (!file || !file.url) return;
  const anchor = document.createElement('a');
  anchor.href = file.url;
  anchor.download = file.orig_name || '';
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
}
"""
"""Hand a file that was just made to the browser's downloads."""
_OUR_FAULT: Final = "Something went wrong on our side. Your image and phrase are still here: try once more."
_ASKED: Final = "Asked. The answers come as soon as the models are free."
_ON_ASK: Final = """
() => {
  document.dispatchEvent(new Event('asked'));
  if (window.matchMedia('(max-width: 900px)').matches) {
    document.getElementById('status-row').scrollIntoView({behavior: 'smooth', block: 'start'});
  }
  return [WORDS, {__type__: 'update', interactive: true}];
}
"""
"""Answer a visitor at once, even where others are ahead; on a phone, go to the answers, below the controls."""
ASK_AT_ONCE: Final = """
() => {
  document.querySelector('button#compare, #compare button').click();
  if (!window.matchMedia('(pointer: coarse)').matches) {
    document.querySelector('#phrase textarea, #phrase input').focus({preventScroll: true});
  }
}
"""
"""Ask what was just put on the page; then the field has the focus, but where that would raise a keyboard on screen."""
_FETCHING: Final = "Fetching the picture from its address."
_NOT_TAKEN: Final = "The server could not take the question. Your image and phrase are still here: try again soon."
_STOPPED: Final = "Stopped. Your image and phrase are still here."
FIRST_ANSWER: Final[tuple[str | None, int]] = (None, 0)
"""Strategy and number of the phrase that are looked into before anybody has chosen: whichever come first."""
_START: Final = "Take an example, a random scene or an image of your own, say what to mark, and press Enter."


@dataclass(frozen=True, eq=False)
class ComparePage:
    """The components of the comparison, and the handlers of its events.

    Attributes:
        known: the scene on this visitor's page, or None.
        last_run: its key among the runs, or None; tabs that build on a run listen to its changes.
        runs: those that are finished.
        unanswered: keys of the strategies that a run under way still has to ask.
        image_number: number of the picture on the page, which runs are asked with.
        versions: which picture each visitor is at.
        note: what of the question is foreign to the models.
        chosen: the answer that is looked into, under Compare and Inspect alike.
        fetcher: of pictures whose address a visitor gives.
        stops: which runs visitors stopped.
        query: of a link to the run asked last, from its start on; empty where no link can bring it back.
    """

    comparison: Comparison
    examples: tuple[Example, ...]
    controls: Controls
    columns: tuple[AnswerColumn, ...]
    status: gr.HTML
    download: gr.Button
    archive: gr.DownloadButton
    known: gr.State
    last_run: gr.State
    runs: RunStore
    unanswered: gr.State
    image_number: gr.Number
    versions: ImageVersions
    query: gr.Textbox
    note: gr.HTML
    chosen: gr.State
    fetcher: Fetcher = field(default_factory=Fetcher)
    stops: StopMarks = field(default_factory=StopMarks)

    @property
    def everything(self) -> list[Block]:
        """All components that another run on the page changes."""
        controls = self.controls
        question = [controls.image, self.known, controls.phrase, controls.chips, *controls.settings]
        return [*question, self.status, *_answers_of(self)]

    def ask(
        self,
        payload: object,
        phrase: object,
        strategies: object,
        known: KnownScene | None,
        image_number: object,
        *option_values: object,
    ) -> Iterator[Updates]:
        """Run the strategies; what a visitor can mend is said in the status line, and nothing they gave is lost.

        A run ends without a word once the page belongs to another picture or to a question asked later, and a stopped
        one with that word.
        """
        options = chosen_options(self.controls.options, option_values)
        number, shown = self.stops.begin(), 0
        try:
            for asked in ask_strategies(self.comparison, payload, phrase, strategies, options, known):
                progress = replace(asked, name=self._picture_name(asked.view, payload, known))
                for updates in self._show(FinishedRun(progress, only_of(options, progress.chosen), known)):
                    is_current = self.versions.is_current(image_number, _file_of(payload))
                    if not is_current or not self.stops.has_page(number):
                        yield {self.status: gr.skip()}  # without any answer, Gradio would empty every output
                        return
                    if self.stops.is_stopped(number) and shown < len(progress.chosen):
                        yield self._stopped(progress.chosen[shown:])
                        return
                    yield updates
                    shown = len(progress.results)
        except EvfSamError as error:
            yield {self.status: wording.problem(_for_the_page(error)), **self._at_rest()}
        except Exception:
            logger.exception("a run failed")
            yield {self.status: wording.problem(translate(_OUR_FAULT)), **self._at_rest()}
        finally:
            self.stops.end()

    def _picture_name(self, view: ImageView, payload: object, known: KnownScene | None) -> str:
        """Return a name for the files of a picture: the example's, the scene's, or that of the file that was given."""
        example = next((each for each in self.examples if each.content_hash == view.content_hash), None)
        if example is not None:
            return example.file.stem
        if known is not None and known.content_hash == view.content_hash:
            return f"scene-{known.seed}"
        given = payload.get("orig_name") if isinstance(payload, dict) else None
        return Path(str(given or "image")).stem

    def stop(self, unanswered: Sequence[str]) -> Updates:
        """Stop the visitor's run, which says so once more when it ends; answers that came stay.

        Args:
            unanswered: keys of the strategies whose answers will not be shown.
        """
        self.stops.stop()
        return self._stopped(unanswered)

    def lose_question(self) -> Updates:
        """Say that the server did not take a question, as where too many wait; a stop that was meant for it is void."""
        self.stops.forget_next()
        return {self.status: wording.problem(translate(_NOT_TAKEN)), **self._at_rest()}

    def _stopped(self, unanswered: Sequence[str]) -> Updates:
        cards = self.comparison.cards
        stopped = [column for column in self.columns if column.key in unanswered]
        words: Updates = {column.card: wording.pending_card(cards[column.key], "stopped") for column in stopped}
        return {self.status: wording.hint(translate(_STOPPED)), **words, **self._at_rest()}

    def _show(self, so_far: FinishedRun) -> Iterator[Updates]:
        progress = so_far.progress
        cards = self.comparison.cards
        running = cards[progress.running].title if progress.running else None
        status = wording.status_line(progress.results, len(progress.chosen), progress.seconds, running)
        updates: Updates = {self.status: status, **self._at_rest(progress.chosen[len(progress.results) :])}
        if not progress.results:
            begin_visit_anew()
            updates |= answer_columns.announced(self.columns, cards, progress)
            query = query_of(so_far, self.examples, self.comparison.suite.key)
            note = {self.note: self._note_on(so_far)}
            yield updates | note | {**self._no_download(), self.last_run: None, self.query: query}
            return
        attention = progress.attention_of(progress.results[-1])
        updates |= answer_columns.advanced(self.columns, cards, progress, attention, self.comparison.suite.key)
        if not progress.is_done:
            yield updates
            return
        told = {self.status: updates.pop(self.status)}  # once the last picture is there
        yield updates
        yield told | self._finish(so_far)

    def _finish(self, finished: FinishedRun) -> Updates:
        refused: Updates = {}
        try:
            key = self.runs.put(finished)
        except NoRoomError as error:  # the answers stay; the tabs beside say why they have nothing to show
            key = error.key
            refused = {
                self.status: wording.problem(translate_message(str(error))),
                self.download: gr.update(interactive=False),
            }
        recipe = query_of(finished, self.examples, self.comparison.suite.key)
        offered = {self.download: gr.update(interactive=True)}
        return {self.last_run: key, self.query: with_key(recipe, key), **offered, **refused}

    def _note_on(self, run: FinishedRun) -> str:
        is_scene = run.known is not None and run.known.content_hash == run.progress.view.content_hash
        return note_on(run.progress, self.comparison.suite.key, is_scene=is_scene)

    def make_archive(self, key: str | None) -> Iterator[Updates]:
        """Write the zip of the visitor's latest run; it is there until the browser has it."""
        if key is None:
            return
        try:
            progress = self.runs.get(key).progress
            with TemporaryDirectory(prefix="comparison-") as directory:
                yield {self.archive: str(archive_of(progress, self.comparison.suite.key, Path(directory)))}
        except GoneError as error:
            yield {self.archive: None, self.status: wording.problem(_for_the_page(error))}
        except Exception:  # one about a file names its path on the server
            logger.exception("a zip could not be made")
            yield {self.archive: None, self.status: wording.problem(translate(_OUR_FAULT))}

    def take_random_scene(self) -> Updates:
        """Put a new scene on the page, with phrases that mean something in it."""
        drawn, known = random_scene()
        phrases = suggested_phrases(drawn)
        ready = translate("A new scene, which no model was trained on.")
        return {self.controls.image: drawn.image, self.known: known, **self._fresh(phrases, ready)}

    def take_example(self, event: gr.SelectData) -> Updates:
        """Put an example on the page."""
        if not isinstance(event.index, int) or not 0 <= event.index < len(self.examples):
            return {self.status: wording.problem(translate("There is no such example."))}
        example = self.examples[event.index]
        image = example.image()
        fresh = self._fresh(example.phrases, translate_message(example.title))
        return {self.controls.image: image, self.known: example.known_scene(image), **fresh}

    def take_upload(self, payload: object) -> Updates:
        """Check an image as soon as it is there, so that a broken one is known before anything is typed."""
        try:
            height, width = read_upload(payload).shape[:2]
        except EvfSamError as error:
            return {self.status: wording.problem(_for_the_page(error)), **self._emptied(payload)}
        ready = "Your image, {width} × {height} pixels. Say what to mark and press Enter."
        words = translate(ready, width=width, height=height)
        return {self.controls.chips: phrase_buttons(()), self.status: wording.hint(words), **self._emptied(payload)}

    def take_address(self, address: object) -> Updates:
        """Fetch a picture from the address that a visitor gives; the answers so far go once it is there.

        A visitor who takes another picture meanwhile keeps that one.
        """
        before, text = self.versions.number(), address.strip() if isinstance(address, str) else ""
        try:
            if not text.startswith(("http://", "https://")):
                raise ImageFormatError("expected an address that begins with http:// or https://")
            image = read_image(self.fetcher.fetch(text))
        except EvfSamError as error:
            told = translate("No picture came from this address: {reason}", reason=translate_message(str(error)))
            return {self.status: wording.problem(told) if self.versions.number() == before else gr.skip()}
        if self.versions.number() != before:
            return {self.status: gr.skip()}
        height, width = image.shape[:2]
        words = translate(
            "Your image, {width} × {height} pixels. Say what to mark and press Enter.", width=width, height=height
        )
        fresh = {self.controls.chips: phrase_buttons(()), self.status: wording.hint(words), **self._emptied()}
        return {self.controls.image: image, self.known: None, self.controls.address: "", **fresh}

    def clear(self) -> Updates:
        """Forget answers that belonged to a removed image."""
        return self.start_with(None)

    def start_with(self, image_number: int | None) -> Updates:
        """Begin without answers on the picture of that number; on a new one where there is none."""
        return {
            self.controls.chips: phrase_buttons(()),
            self.status: wording.hint(translate(_START)),
            **self._emptied(image_number=image_number),
        }

    def take_phrase(self, event: gr.SelectData) -> str:
        """Put a suggested phrase into the phrase field."""
        return str(event.value)

    def show_again(self, run: FinishedRun, key: str, words: str, image_number: int | None = None) -> Updates:
        """Put a finished run on the page as it was: picture, question, settings and answers.

        Args:
            run: one that is kept.
            key: its key.
            words: for the status line.
            image_number: number of the picture; a new one where there is none.
        """
        progress, controls = run.progress, self.controls
        recipe = recipe_of(run, self.examples, self.comparison.suite.key)
        return {
            **self._fresh(self._phrases_for(run), words, image_number),
            **{each.component: control_value(recipe.options, each) for each in controls.options},
            controls.image: progress.view.image,
            controls.phrase: progress.phrase,
            controls.strategies: list(progress.chosen),
            self.known: run.known,
            **answer_columns.finished(self.columns, self.comparison.cards, progress, self.comparison.suite.key),
            self.download: gr.update(interactive=True),
            self.note: self._note_on(run),
            self.last_run: key,
        }

    def _phrases_for(self, run: FinishedRun) -> tuple[str, ...]:
        content = run.progress.view.content_hash
        example = next((each for each in self.examples if each.content_hash == content), None)
        if example is not None:
            return example.phrases
        return suggested_phrases(scene(run.known.seed, run.known.size)) if run.known else ()

    def introduce(self) -> Updates:
        """Say of each strategy what is known by now: its card is full once its weights are read."""
        return answer_columns.idle(self.columns, self.comparison.cards)

    def _at_rest(self, unanswered: Sequence[str] = ()) -> Updates:
        """Offer to stop as long as a strategy has not answered."""
        return {self.unanswered: tuple(unanswered), self.controls.stop: gr.update(interactive=bool(unanswered))}

    def _no_download(self) -> Updates:
        return {self.download: gr.update(interactive=False), self.archive: None}

    def _fresh(self, phrases: Sequence[str], words: str, image_number: int | None = None) -> Updates:
        return {
            self.controls.phrase: phrases[0] if phrases else "",
            self.controls.chips: phrase_buttons(phrases),
            self.status: wording.hint(words),
            **self._emptied(image_number=image_number),
        }

    def _emptied(self, payload: object = None, image_number: int | None = None) -> Updates:
        """Begin with another picture: an uploaded one where there is a payload, or that of a number."""
        image_number = self.versions.begin(_file_of(payload)) if image_number is None else image_number
        nothing = {self.last_run: None, self.image_number: image_number, self.query: "", self.note: ""}
        return {**nothing, **self._no_download(), **self._at_rest(), **self.introduce()}


def build_compare(
    comparison: Comparison,
    examples: tuple[Example, ...],
    canvas: Callable[[ComparePage], None] | None = None,
    panels: Callable[[ComparePage], None] | None = None,
) -> ComparePage:
    """Lay out the comparison and wire its events.

    Args:
        comparison: what is asked.
        examples: pictures to begin with.
        canvas: lays out the large picture beside the answers.
        panels: lays out what stands below them.
    """
    known, last_run = (gr.State(None, time_to_live=STATE_SECONDS) for _ in range(2))
    unanswered = gr.State((), time_to_live=STATE_SECONDS)
    chosen = gr.State(FIRST_ANSWER, time_to_live=STATE_SECONDS)
    image_number = gr.Number(0, visible=False)
    query = gr.Textbox(label="query", visible="hidden", elem_id="query")
    question = build_question()
    with gr.Row(elem_id="workplace"):
        with gr.Column(elem_id="answers") as answers:
            with gr.Row(elem_id="status-row"):
                status = gr.HTML(wording.hint(translate(_START)), elem_id="status")
                download = gr.Button(
                    translate("Download all"), interactive=False, elem_id="download", scale=0, min_width=150
                )
                archive = gr.DownloadButton(translate("File"), visible="hidden", elem_id="archive")
            note = gr.HTML("", elem_id="note", elem_classes=["noting"] if makes_notes(comparison.suite.key) else [])
            gr.HTML(f'<h2 id="results">{translate("Results")}</h2>', elem_classes=["unseen"])
            build_viewer()
            with gr.Row(elem_id="views") as views:
                columns = build_columns(comparison.cards)
        controls = build_controls(question, comparison.cards, examples)
        page = ComparePage(
            comparison,
            examples,
            controls,
            columns,
            status,
            download,
            archive,
            known,
            last_run,
            RunStore(),
            unanswered,
            image_number,
            ImageVersions(),
            query,
            note,
            chosen,
        )
        if canvas is not None:
            with views:
                canvas(page)
        if panels is not None:
            with answers:
                panels(page)
    _wire_runs(page)
    _wire_pictures(page)
    _wire_stop(page)
    _wire_download(page)
    return page


def archive_of(progress: Progress, suite_key: str, directory: Path) -> Path:
    """Write the zip of a run into a directory."""
    path, image = directory / f"{progress.file_stem}.zip", progress.view.image
    return write_results_zip(path, image, progress.phrase, suite_key, progress.results, progress.known_mask)


def _wire_runs(page: ComparePage) -> None:
    controls = page.controls
    inputs = [controls.image, controls.phrase, controls.strategies, page.known, page.image_number]
    inputs += [control.component for control in controls.options]
    outputs = [page.status, *_answers_of(page)]
    at_rest = [page.status, page.unanswered, controls.stop]
    quiet = {"show_progress": "hidden", "api_visibility": "private"}

    def wire(listen: Callable[..., Dependency]) -> None:
        listen(
            None,
            None,
            [page.status, controls.stop],
            js=_ON_ASK.replace("WORDS", json.dumps(wording.hint(translate(_ASKED)))),
        )
        asked = listen(
            page.ask,
            inputs,
            outputs,
            preprocess=False,
            trigger_mode="always_last",
            concurrency_limit=1,
            concurrency_id=MODEL_QUEUE,
            **quiet,
        )
        asked.failure(page.lose_question, None, at_rest, queue=False, **quiet)

    chosen = controls.chips.select(page.take_phrase, None, controls.phrase, queue=False, api_visibility="private")
    for listen in (controls.phrase.submit, controls.compare.click, chosen.success):
        wire(listen)


def _wire_pictures(page: ComparePage) -> None:
    controls = page.controls
    emptied = _answers_of(page)
    fresh = [controls.image, page.known, controls.phrase, controls.chips, page.status, *emptied]
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    drawn = controls.new_scene.click(page.take_random_scene, None, fresh, **quiet)
    taken = controls.examples.select(page.take_example, None, fresh, **quiet)
    for put in (drawn, taken):
        put.success(None, None, None, js=ASK_AT_ONCE)
    fetched = [controls.image, page.known, controls.address, controls.chips, page.status, *emptied]
    told = json.dumps(wording.hint(translate(_FETCHING)))
    controls.address.submit(None, None, page.status, js=f"() => {told}")
    controls.address.submit(
        page.take_address,
        controls.address,
        fetched,
        trigger_mode="always_last",
        concurrency_limit=WRITERS,
        concurrency_id=FILE_QUEUE,
        **quiet,
    )
    uploaded = [controls.chips, page.status, *emptied]
    controls.image.input(page.take_upload, controls.image, uploaded, preprocess=False, **quiet)
    controls.image.clear(page.clear, None, uploaded, **quiet)


def _wire_stop(page: ComparePage) -> None:
    stop = page.controls.stop
    stopped = [page.status, page.unanswered, stop, *(column.card for column in page.columns)]
    quiet = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    stop.click(page.stop, page.unanswered, stopped, **quiet)


def _wire_download(page: ComparePage) -> None:
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    writers = {"concurrency_limit": WRITERS, "concurrency_id": FILE_QUEUE}
    made = page.download.click(page.make_archive, page.last_run, [page.archive, page.status], **writers, **quiet)
    made.success(None, page.archive, None, js=SAVE_FILE)


def _answers_of(page: ComparePage) -> list[Block]:
    answers = [component for column in page.columns for component in column.components]
    return [
        page.last_run,
        page.unanswered,
        page.image_number,
        page.query,
        page.note,
        page.controls.stop,
        page.download,
        page.archive,
        *answers,
    ]


def _file_of(payload: object) -> str | None:
    path = payload.get("path") if isinstance(payload, dict) else None
    return path if isinstance(path, str) else None


def _for_the_page(error: EvfSamError) -> str:
    if isinstance(error, EmptyPhraseError):
        return translate("The phrase is empty. Type what to segment, such as “the dog on the left”.")
    told = translate_message(str(error))
    return told[:1].upper() + told[1:]
