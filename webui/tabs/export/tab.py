"""Take away: files for other tools, code that makes the run again, and a link that brings it back."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import gradio as gr

from evfsam.errors import EvfSamError
from webui import wording
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.controls import choice_list
from webui.tabs.compare.tab import FILE_QUEUE, SAVE_FILE, STATE_SECONDS, WRITERS, ComparePage
from webui.tabs.export.restoring import UPLOAD, page_address, recipe_of
from workbench.export.code_snippets import client_snippet, curl_snippet, library_snippet
from workbench.export.exported_run import ExportedRun, exported_run
from workbench.export.file_writing import UnwritableError
from workbench.export.formats import FORMATS, write_bundle, write_format
from workbench.export.links import encode_link
from workbench.export.manifest import weight_digests
from workbench.export.results import result_dict
from workbench.export.run_recipes import RunRecipe

logger = logging.getLogger(__name__)

ALL: Final = "all"
LIBRARY, CLIENT, CURL = "library", "client", "curl"
_EMPTY: Final = "Once a comparison is finished, its files, its code and a link to it are here."
_OUR_FAULT: Final = "Something went wrong on our side. The run is still here: try once more."
_READY: Final = "Each button makes a file of the last comparison and downloads it."
_LINK: Final = "It brings back image, phrase, strategies and options, in any browser, also after a restart."
_NO_LINK: Final = "The image was uploaded and nobody else has it, so no link can bring it back. Take the files instead."
_WHERE: Final = "() => [location.origin + location.pathname]"


@dataclass(frozen=True, eq=False)
class TakeAwayTab:
    """The components of the tab, and the handlers of its events."""

    page: ComparePage
    empty: gr.HTML
    place: gr.Row
    status: gr.HTML
    files: gr.HTML
    file: gr.DownloadButton
    link: gr.Textbox
    link_note: gr.HTML
    language: gr.Radio
    code: gr.Code
    address: gr.State
    figures: gr.Accordion
    result: gr.JSON

    def open(self, key: str | None, language: object, address: object) -> Updates:
        """Show link and code of the visitor's latest run, or say what will be here."""
        if key is None:
            nothing = {self.file: None, self.link: gr.update(value=""), **self._folded()}
            return {self.empty: gr.update(visible=True), self.place: gr.update(visible=False), **nothing}
        try:
            recipe = self._recipe(self.page.runs.get(key))
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}
        return {
            self.empty: gr.update(visible=False),
            self.place: gr.update(visible=True),
            self.status: wording.hint(translate(_READY)),
            self.file: None,
            **self._folded(),
            **self._linked(recipe, page_address(address)),
            self.code: _code(recipe, language, page_address(address)),
        }

    def write_code(self, key: str | None, language: object, address: object) -> Updates:
        """Write the run's code in another language."""
        if key is None:
            return {self.status: gr.skip()}
        try:
            return {self.code: _code(self._recipe(self.page.runs.get(key)), language, page_address(address))}
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}

    def make_file(self, key: str | None, event: gr.SelectData) -> Iterator[Updates]:
        """Write the chosen format of the run."""
        if key is None:
            return
        try:
            with TemporaryDirectory(prefix="take-away-") as directory:
                written = self._write(self.page.runs.get(key), str(event.value), Path(directory))
                size = f"{written.stat().st_size / 1000:,.0f} kB".replace(",", " ")
                yield {
                    self.file: str(written),
                    self.status: wording.hint(
                        translate("{name}, {size}, is downloaded.", name=written.name, size=size)
                    ),
                }
        except Exception as error:
            told = str(error)
            if not isinstance(error, EvfSamError) or isinstance(error, UnwritableError):
                logger.exception("a file could not be made")
                told = translate(_OUR_FAULT)
            yield {self.file: None, self.status: wording.problem(told)}

    def read_figures(self, key: str | None) -> Updates:
        """Show result.json of the run."""
        if key is None:
            return {self.status: gr.skip()}
        try:
            progress = self.page.runs.get(key).progress
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}
        image, suite = progress.view.image, self.page.comparison.suite.key
        return {self.result: result_dict(image, progress.phrase, suite, progress.results, progress.known_mask)}

    def _folded(self) -> Updates:
        return {self.figures: gr.update(open=False), self.result: None}

    def _recipe(self, run: FinishedRun) -> RunRecipe:
        return recipe_of(run, self.page.examples, self.page.comparison.suite.key)

    def _linked(self, recipe: RunRecipe, address: str) -> Updates:
        try:
            link, note = f"{address}?{encode_link(recipe)}", translate(_LINK)
        except EvfSamError as error:
            link, note = "", translate(_NO_LINK) if recipe.source == UPLOAD else translate_message(str(error))
        return {
            self.link: gr.update(value=link, visible=bool(link)),
            self.link_note: f'<p class="caption">{escape(note)}</p>',
        }

    def _write(self, run: FinishedRun, chosen: str, directory: Path) -> Path:
        if chosen != ALL:
            return write_format(directory, self._exported(run, has_weights=False), chosen)
        return write_bundle(directory, self._exported(run, has_weights=True))

    def _exported(self, run: FinishedRun, *, has_weights: bool) -> ExportedRun:
        progress, suite = run.progress, self.page.comparison.suite
        return exported_run(
            progress.view.image,
            progress.phrase,
            suite.key,
            progress.results,
            image_title=progress.name,
            options=run.options,
            weights=weight_digests(suite, progress.chosen) if has_weights else None,
            reference=progress.known_mask,
        )


def build_take_away(page: ComparePage) -> None:
    """Lay out the tab and wire its events; it follows the visitor's latest run."""
    empty = gr.HTML(f'<p class="empty">{translate(_EMPTY)}</p>')
    with gr.Row(visible=False, elem_id="take-away") as place:
        with gr.Column(scale=4, min_width=300):
            status = gr.HTML(wording.hint(translate(_READY)), elem_id="take-status")
            files = choice_list(_file_buttons(), "formats")
            file = gr.DownloadButton(translate("File"), visible="hidden", elem_id="take-file")
        with gr.Column(scale=5, min_width=300):
            linked = translate("Link to this run")
            link = gr.Textbox(label=linked, interactive=False, buttons=["copy"], lines=2, elem_id="link")
            link_note = gr.HTML("", elem_id="link-note")
            languages = [
                (translate("Python, this library"), LIBRARY),
                (translate("Python, gradio_client"), CLIENT),
                ("curl", CURL),
            ]
            language = gr.Radio(languages, value=LIBRARY, label=translate("Copy as code"), elem_id="language")
            code = gr.Code(
                language="python",
                label=translate("Code that makes this run"),
                interactive=False,
                buttons=["copy", "download"],
                wrap_lines=True,
                visible=False,  # until there is code: its scripts are large
                elem_id="code",
            )
            with gr.Accordion(
                translate("All figures, as result.json has them"), open=False, elem_id="figures"
            ) as shown:
                result = gr.JSON(show_label=False, max_height=480, elem_id="result")
    address = gr.State("", time_to_live=STATE_SECONDS)
    _wire(TakeAwayTab(page, empty, place, status, files, file, link, link_note, language, code, address, shown, result))


def _wire(tab: TakeAwayTab) -> None:
    key = tab.page.last_run
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    asked = [key, tab.language, tab.address]
    opened = [tab.empty, tab.place, tab.status, tab.file, tab.link, tab.link_note, tab.code, tab.figures, tab.result]
    key.change(tab.open, asked, opened, queue=False, **quiet)
    tab.language.input(tab.write_code, asked, [tab.code, tab.status], queue=False, **quiet)
    tab.figures.expand(tab.read_figures, key, [tab.result, tab.status], **quiet)
    made = tab.files.select(
        tab.make_file, key, [tab.file, tab.status], concurrency_limit=WRITERS, concurrency_id=FILE_QUEUE, **quiet
    )
    made.success(None, tab.file, None, js=SAVE_FILE)
    place = gr.Textbox(visible=False)
    gr.on(None, page_address, place, tab.address, js=_WHERE, queue=False, **quiet)


def _code(recipe: RunRecipe, language: object, address: str) -> object:
    if language == CURL:
        return gr.update(value=curl_snippet(recipe, address), language="shell", visible=True)
    is_client = language == CLIENT
    text = client_snippet(recipe, address) if is_client else library_snippet(recipe)
    return gr.update(value=text, language="python", visible=True)


def _file_buttons() -> str:
    everything = translate("Everything in one zip"), translate("All the files below, and a manifest that lists them.")
    rows = [(ALL, *everything)]
    rows += [(each.key, translate_message(each.title), translate_message(each.summary)) for each in FORMATS.values()]
    items = "".join(
        f'<li><button type="button" data-index="{index}" data-value="{key}"><b>{escape(title)}</b>'
        f"<span>{escape(summary)}</span></button></li>"
        for index, (key, title, summary) in enumerate(rows)
    )
    title = f'<p class="section" id="formats-label">{translate("Download")}</p>'
    return f'{title}<ul class="formats" aria-labelledby="formats-label">{items}</ul>'
