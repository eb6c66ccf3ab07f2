"""Batch: many phrases about many images, in slices between which other visitors get their turn."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from time import monotonic
from typing import Final

import gradio as gr

from evfsam.errors import EvfSamError
from webui import wording
from webui.i18n.translate import translate, translate_message
from webui.tabs.batch import wording as batch_wording
from webui.tabs.batch.store import BatchRequest, BatchStore, VisitorBatch, open_visitor_batch
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.option_controls import chosen_options, only_of
from webui.tabs.compare.tab import MODEL_QUEUE, STATE_SECONDS, ComparePage
from workbench.batch.batch_files import PAGE_LIMITS
from workbench.batch.batch_folder import BatchAnswer
from workbench.batch.own_results import ARCHIVE_NAME
from workbench.export.file_writing import UnwritableError

logger = logging.getLogger(__name__)

SLICE_SECONDS: Final = 6.0
"""After this long a batch lets others in, then goes on."""
PAGE_SIZE: Final = 12
_NEWEST_ROWS: Final = 60
_REDRAW_SECONDS: Final = 1.5
_START: Final = "Add images, type phrases, and press Ask all. Answers appear here as they come."
_WAITING: Final = "Asked. The answers come as soon as the models are free."
_STOPPING: Final = "Stops after the answer that is being made."
_OUR_FAULT: Final = "Something went wrong on our side. What is done is kept: press Go on."
_ASK_ALL: Final = "Ask all"
_GO_ON: Final = "Go on"
_ON_ASK: Final = """
() => {
  if (window.matchMedia('(max-width: 900px)').matches) {
    document.getElementById('batch-status').scrollIntoView({behavior: 'smooth', block: 'start'});
  }
}
"""
"""On a phone, go to the answers, below the controls."""


@dataclass(frozen=True, eq=False)
class BatchTab:
    """The components of the tab, and the handlers of its events.

    Attributes:
        turn: the visitor's batch and the number of its next slice, "key:number"; "" without a batch.
        batches: those of all visitors.
    """

    page: ComparePage
    batches: BatchStore
    files: gr.File
    phrases: gr.Textbox
    strategies: gr.CheckboxGroup
    ask: gr.Button
    stop_button: gr.Button
    plan: gr.HTML
    status: gr.HTML
    download: gr.DownloadButton
    faults: gr.HTML
    pager: gr.Row
    back: gr.Button
    where: gr.HTML
    further: gr.Button
    pictures: gr.HTML
    table: gr.HTML
    turn: gr.State

    def look(self, files: object, phrases: object, strategies: object, turn: str, *options: object) -> Updates:
        """Say beforehand what will be asked, and what cannot be used."""
        request = self._request(files, phrases, strategies, options)
        batch = self._batch(turn)
        goes_on = batch is not None and batch.request == request and not batch.run.progress.is_done
        button = {self.ask: gr.update(value=translate(_GO_ON) if goes_on else translate(_ASK_ALL))}
        if not request.files:
            return {self.plan: "", **button}
        try:
            return {self.plan: batch_wording.plan_in_words(request.plan(), len(request.strategies)), **button}
        except EvfSamError as error:
            return {self.plan: f'<p class="plan">{escape(_sentence(error))}</p>', **button}

    def start(self, files: object, phrases: object, strategies: object, turn: str, *options: object) -> Updates:
        """Begin a batch, or go on with the same one; its slices follow by themselves."""
        try:
            request = self._request(files, phrases, strategies, options)
            chosen = self.page.comparison.choose(request.strategies)
            batch, key = self._batch(turn), _key(turn)
            if batch is None or batch.request != request or batch.run.progress.is_done:
                filed = only_of(chosen_options(self.page.controls.options, options), chosen)
                fresh = open_visitor_batch(self.page.comparison, request, chosen, filed)
                self.batches.drop(key)
                batch, key = fresh, self.batches.put(fresh)
        except EvfSamError as error:
            return {self.status: wording.problem(_sentence(error))}
        except Exception:
            logger.exception("a batch could not be begun")
            return {self.status: wording.problem(translate(_OUR_FAULT))}
        batch.problem = ""
        batch.run.go_on()
        shown = self._shown(batch)
        return {**shown, self.status: wording.hint(translate(_WAITING)), self.turn: f"{key}:{_number(turn) + 1}"}

    def work(self, turn: str) -> Iterator[Updates]:
        """Make answers for a while; the next slice is asked for by the new value of `turn`."""
        batch = self._batch(turn)
        if batch is None and _key(turn):
            yield self._gone(turn)
        if batch is None or batch.run.is_stopped or batch.run.is_over:
            return
        with batch.at_work:
            try:
                yield from self._slice(batch)
            except EvfSamError as error:
                batch.problem = _sentence(error)
                batch.run.stop()
            except Exception:
                logger.exception("a batch failed")
                batch.problem = translate(_OUR_FAULT)
                batch.run.stop()
            if not (batch.run.is_stopped or batch.run.is_over):
                yield {**self._shown(batch), self.turn: f"{_key(turn)}:{_number(turn) + 1}"}
                return
            yield self._rest(batch)

    def stop(self, turn: str) -> Updates:
        """Stop the batch; what is done is kept and can be downloaded."""
        batch = self._batch(turn)
        if batch is None:
            return self._gone(turn)
        batch.run.stop()
        if batch.at_work.acquire(blocking=False):  # between two slices nobody else would say so
            try:
                return self._rest(batch)
            finally:
                batch.at_work.release()
        return {self.status: wording.hint(translate(_STOPPING)), self.stop_button: gr.update(interactive=False)}

    def turn_back(self, turn: str) -> Updates:
        """Show the answers before."""
        return self._turn_pages(turn, -1)

    def turn_further(self, turn: str) -> Updates:
        """Show the answers after."""
        return self._turn_pages(turn, 1)

    def _turn_pages(self, turn: str, step: int) -> Updates:
        batch = self._batch(turn)
        if batch is None:
            return self._gone(turn)
        pages = -(-len(batch.run.folder.answers) // PAGE_SIZE)
        batch.page = max(0, min(batch.page + step, pages - 1))
        return self._pictures(batch)

    def _slice(self, batch: VisitorBatch) -> Iterator[Updates]:
        drawn = float("-inf")
        for progress in batch.run.work(SLICE_SECONDS):
            yield {self.status: batch_wording.batch_progress_line(progress)}
            if monotonic() - drawn >= _REDRAW_SECONDS:
                drawn = monotonic()
                yield self._shown(batch)

    def _rest(self, batch: VisitorBatch) -> Updates:
        """Show a batch that is stopped or done, with everything in one zip."""
        update: object = gr.update(value=None, interactive=False)
        try:
            batch.run.finish()
            if batch.run.folder.answers:
                archive = batch.run.folder.write_zip(Path(batch.place.name) / ARCHIVE_NAME)
                update = gr.update(value=str(archive), interactive=True)
        except EvfSamError as error:
            batch.problem = _sentence(error)
        return {**self._shown(batch), self.download: update}

    def _shown(self, batch: VisitorBatch) -> Updates:
        is_resting = batch.run.is_stopped or batch.run.is_over
        progress = batch.run.progress
        updates: Updates = {
            self.status: self._status(batch),
            self.plan: "",
            self.faults: batch_wording.fault_list(batch.run.faults),
            self.ask: gr.update(
                value=translate(_GO_ON) if is_resting and not batch.run.is_over else translate(_ASK_ALL),
                interactive=is_resting,
            ),
            self.stop_button: gr.update(interactive=not is_resting),
            **self._pictures(batch),
        }
        if not is_resting:
            updates[self.download] = gr.update(value=None, interactive=False)
        answers = self._ordered(batch)
        caption = translate("All {count} answers", count=progress.done_count)
        if not is_resting and len(answers) > _NEWEST_ROWS:
            answers, caption = answers[:_NEWEST_ROWS], translate("The newest {count} answers", count=_NEWEST_ROWS)
        updates[self.table] = batch_wording.answer_table(answers, self.page.comparison.cards, caption)
        return updates

    def _pictures(self, batch: VisitorBatch) -> Updates:
        answers = self._ordered(batch)
        first = batch.page * PAGE_SIZE
        shown = answers[first : first + PAGE_SIZE]
        where = translate(
            "Answers {first} to {last} of {count}", first=first + 1, last=first + len(shown), count=len(answers)
        )
        if not (batch.run.is_stopped or batch.run.is_over):
            where = translate("{where}, the newest first", where=where)
        folder, is_whole = batch.run.folder, batch.run.is_over
        across = len(batch.run.strategies) if is_whole and PAGE_SIZE % len(batch.run.strategies) == 0 else 0
        drawn = batch_wording.gallery(shown, self.page.comparison.cards, folder.directory, batch.thumbnails, across)
        return {
            self.pager: gr.update(visible=len(answers) > 0),
            self.back: gr.update(interactive=first > 0),
            self.further: gr.update(interactive=first + PAGE_SIZE < len(answers)),
            self.where: f'<p class="caption" role="status">{escape(where)}</p>',
            self.pictures: drawn,
        }

    def _ordered(self, batch: VisitorBatch) -> list[BatchAnswer]:
        """Return the answers: the newest first at work, else by image, phrase and strategy."""
        answers = list(batch.run.folder.answers)
        if not (batch.run.is_stopped or batch.run.is_over):
            return answers[::-1]
        places = {
            (asked.image.name, phrase): (index, number)
            for index, asked in enumerate(batch.run.plan.images)
            for number, phrase in enumerate(asked.phrases)
        }
        order = {key: index for index, key in enumerate(batch.run.strategies)}
        return sorted(answers, key=lambda one: (places[one.image, one.phrase], order[one.strategy]))

    def _status(self, batch: VisitorBatch) -> str:
        progress = batch.run.progress
        done, total = progress.done_count, progress.total_count - progress.skipped_count
        if batch.problem:
            kept = translate("{done} of {total} answers are kept.", done=done, total=total)
            return wording.problem(f"{batch.problem} {kept}")
        if batch.run.is_over:
            return wording.hint(translate("Done: all {done} answers are there. Download them in one zip.", done=done))
        if batch.run.is_stopped:
            return wording.hint(
                translate(
                    "Stopped: {done} of {total} answers are kept. Press Go on for the others.", done=done, total=total
                )
            )
        return batch_wording.batch_progress_line(progress)

    def _gone(self, turn: object) -> Updates:
        """Say that the batch is gone, and why; it can be asked again."""
        words = wording.problem(translate_message(self.batches.gone(_key(turn))))
        return {
            self.status: words,
            self.ask: gr.update(value=translate(_ASK_ALL), interactive=True),
            self.stop_button: gr.update(interactive=False),
        }

    def _batch(self, turn: object) -> VisitorBatch | None:
        return self.batches.find(_key(turn))

    def _request(self, files: object, phrases: object, strategies: object, options: object) -> BatchRequest:
        named = tuple(
            (str(each.get("orig_name") or Path(each["path"]).name), str(each["path"]))
            for each in (files if isinstance(files, list) else [])
            if isinstance(each, Mapping) and each.get("path")
        )
        keys = tuple(str(key) for key in strategies) if isinstance(strategies, list) else ()
        return BatchRequest(named, phrases if isinstance(phrases, str) else "", keys, json.dumps(options, default=str))


def build_batch(page: ComparePage) -> BatchTab:
    """Lay out the tab and wire its events."""
    batches = BatchStore()
    with gr.Row(elem_id="batch", elem_classes=["deeper"]):
        with gr.Column(elem_classes=["deeper-controls"]):
            files = gr.File(
                label=translate("Images, zips, CSV files"),
                file_count="multiple",
                height=170,
                elem_id="batch-files",
            )
            gr.HTML(batch_wording.limits_in_words(PAGE_LIMITS))
            phrases = gr.Textbox(
                label=translate("Phrases asked of every image, one a line"),
                placeholder=translate("the dog on the left"),
                lines=4,
                max_lines=12,
                elem_id="batch-phrases",
            )
            cards = page.comparison.cards
            strategies = gr.CheckboxGroup(
                [(translate_message(card.title), key) for key, card in cards.items()],
                value=list(cards),
                label=translate("Strategies"),
                info=translate("With the options that are set under Compare."),
                elem_id="batch-strategies",
            )
            with gr.Row(elem_classes=["batch-buttons"]):
                ask = gr.Button(translate(_ASK_ALL), variant="primary", elem_id="batch-ask", scale=3, min_width=120)
                stop = gr.Button(translate("Stop"), interactive=False, elem_id="batch-stop", scale=1, min_width=80)
            plan = gr.HTML("", elem_id="batch-plan")
        with gr.Column(elem_classes=["deeper-answer"]):
            with gr.Row(elem_classes=["batch-status-row"]):
                status = gr.HTML(wording.hint(translate(_START)), elem_id="batch-status")
                download = gr.DownloadButton(
                    translate("Download all"), interactive=False, elem_id="batch-download", scale=0, min_width=150
                )
            faults = gr.HTML("", elem_id="batch-faults")
            with gr.Row(visible=False, elem_classes=["batch-pager"]) as pager:
                back = gr.Button(translate("Previous answers"), elem_id="batch-back", scale=0, min_width=140)
                where = gr.HTML("", elem_id="batch-where")
                further = gr.Button(translate("Next answers"), elem_id="batch-further", scale=0, min_width=140)
            pictures = gr.HTML("", elem_id="batch-pictures")
            table = gr.HTML("", elem_id="batch-table")
    turn = gr.State("", time_to_live=STATE_SECONDS, delete_callback=lambda value: batches.drop(_key(value)))
    tab = BatchTab(
        page,
        batches,
        files,
        phrases,
        strategies,
        ask,
        stop,
        plan,
        status,
        download,
        faults,
        pager,
        back,
        where,
        further,
        pictures,
        table,
        turn,
    )
    _wire(tab)
    return tab


def _wire(tab: BatchTab) -> None:
    asked = [tab.files, tab.phrases, tab.strategies, tab.turn]
    asked += [option.component for option in tab.page.controls.options]
    seen = [tab.pager, tab.back, tab.where, tab.further, tab.pictures]
    shown = [tab.status, tab.plan, tab.faults, tab.ask, tab.stop_button, tab.download, tab.table, *seen]
    quiet = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    gr.on(
        [tab.files.change, tab.phrases.change, tab.strategies.change],
        tab.look,
        asked,
        [tab.plan, tab.ask],
        trigger_mode="always_last",
        **quiet,
    )
    tab.ask.click(None, None, None, js=_ON_ASK)
    tab.ask.click(tab.start, asked, [*shown, tab.turn], **quiet)
    tab.turn.change(
        tab.work,
        tab.turn,
        [*shown, tab.turn],
        trigger_mode="multiple",
        concurrency_limit=1,
        concurrency_id=MODEL_QUEUE,
        **quiet,
    )
    tab.stop_button.click(tab.stop, tab.turn, shown, queue=False, **quiet)
    turned = [*seen, tab.status, tab.ask, tab.stop_button]
    tab.back.click(tab.turn_back, tab.turn, turned, queue=False, **quiet)
    tab.further.click(tab.turn_further, tab.turn, turned, queue=False, **quiet)


def _key(turn: object) -> str:
    return str(turn).partition(":")[0]


def _number(turn: object) -> int:
    number = str(turn).partition(":")[2]
    return int(number) if number.isdecimal() else 0


def _sentence(error: EvfSamError) -> str:
    if isinstance(error, UnwritableError):  # names a path of the server
        logger.error("a batch could not be written", exc_info=error)
        return translate(_OUR_FAULT)
    said = translate_message(str(error))
    return said[:1].upper() + said[1:]
