"""What the page opens with: the run in its address, or one that was kept; and an address that follows the runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import gradio as gr
from gradio.events import Dependency
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from evfsam.errors import EvfSamError
from evfsam.types import ImageView, RgbImage
from webui import wording
from webui.arrival import arriving
from webui.bounded_store import GoneError, NoRoomError
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import KnownScene
from webui.run_cache import FinishedRun
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.controls import phrase_buttons
from webui.tabs.compare.runs import kept_progress, read_upload
from webui.tabs.compare.tab import ASK_AT_ONCE, ComparePage
from webui.tabs.export.restoring import control_value, key_in, restored
from workbench.bundled import EXAMPLES
from workbench.export.links import holds_recipe
from workbench.kept_run import read_kept_run

SCRIPT: Final = Path(__file__).with_name("address.js")
HABITS: Final = Path(__file__).with_name("habits.js")
CONNECTION: Final = Path(__file__).with_name("connection.js")
FIRST_KEY: Final = "first"
"""Key of the run that everybody sees who opens the page without a link."""
_ARRIVED: Final = "An example, answered beforehand. Type your own words and press Enter, or take another picture."
_BACK: Final = "The answers are those of before."
_GONE: Final = (
    "The run in this address is no longer kept. Its picture was uploaded, so nobody else has it: upload it again."
)
_LOST: Final = (
    "The server does not answer. What you see stays here; the page goes on by itself when the server is back."
)
_BACK_AGAIN: Final = {
    "restarted": "The server was started anew and has your picture again. The answers stay; press Compare to look into "
    "them further.",
    "reloaded": "The connection to the server was lost, so the page was loaded anew.",
}
_GIVE_AGAIN: Final = """
async (query, image) => {
  const shown = document.querySelector('#image img'), {root, api_prefix: prefix} = window.gradio_config;
  try {
    await shown.decode();
    const canvas = document.createElement('canvas'), form = new FormData();
    [canvas.width, canvas.height] = [shown.naturalWidth, shown.naturalHeight];
    canvas.getContext('2d').drawImage(shown, 0, 0);
    form.append('files', await new Promise((done) => canvas.toBlob(done, 'image/png')), 'image.png');
    const [path] = await (await fetch(`${root}${prefix}/upload`, {method: 'POST', body: form})).json();
    return [query, {path, orig_name: image?.orig_name, meta: {_type: 'gradio.FileData'}}];
  } catch {
    return [query, null];
  }
}
"""
"""Upload the picture on the page once more, as the browser shows it."""
_READ_ADDRESS: Final = """
() => {
  const arrived = document.querySelector('#status [data-arrived]') ? 'arrived' : '';
  return [location.search, 'taken' in document.documentElement.dataset ? 'taken' : arrived];
}
"""
"""The address, and what is on the page by now: a picture that its visitor took, or what it was delivered with."""
_TAKE: Final = "() => { document.documentElement.dataset.taken = ''; }"
_IS_RESTORED: Final = "document.querySelector('#status [data-restored]')"
_ASK_IF_RESTORED: Final = f"() => setTimeout(() => {{ if ({_IS_RESTORED}) ({ASK_AT_ONCE.strip()})(); }}, 60)"
"""Once the status line is written."""


@dataclass(frozen=True, eq=False)
class Opening:
    """Fills the page.

    Attributes:
        page: what is filled.
        first: what is shown where the address holds no run; None where nothing fitting was kept.
    """

    page: ComparePage
    first: FinishedRun | None

    def open(self, query: object, seen: object = "") -> Updates:
        """Show the run of an address, unless the visitor took a picture before it could be shown.

        The picture gets no number: were it to arrive after one that was taken meanwhile, its number would take that
        one's place, and no run asked there would ever be answered.

        Args:
            query: of the address.
            seen: what is on the page: a picture "taken" by its visitor, or what it "arrived" with.
        """
        versions = self.page.versions
        if seen == "taken" or not versions.is_untouched():
            return {self.page.status: gr.skip()}
        shown = self._told_elsewhere() if seen == "arrived" else self._shown(query, 0)
        shown.pop(self.page.image_number, None)
        return shown if versions.is_untouched() else {self.page.status: gr.skip()}

    def delivered(self) -> Updates:
        """Return what the page is delivered with where its address holds no run; nothing where none was kept."""
        if self.first is None:
            return {}
        shown = self.page.show_again(self.first, FIRST_KEY, translate(_ARRIVED), 0)
        shown[self.page.status] = str(shown[self.page.status]).replace("<div ", "<div data-arrived ", 1)
        left_out = {*self.page.controls.settings, self.page.image_number}
        return {component: value for component, value in shown.items() if component not in left_out}

    def _told_elsewhere(self) -> Updates:
        """Tell the panels and tabs beside of the run that the page was delivered with."""
        if self.first is None:
            return {self.page.status: gr.skip()}
        return {self.page.known: self.first.known, self.page.last_run: self._first_key(self.first)}

    def _first_key(self, first: FinishedRun) -> str:
        try:
            return self.page.runs.keep_for_all(first, FIRST_KEY)
        except NoRoomError as error:  # the tabs beside say so
            return error.key

    def reopen(self, event: gr.SelectData) -> Updates:
        """Follow the browser's Back and Forward."""
        image_number = self.page.versions.begin()
        return {**self._shown(event.value, image_number), self.page.image_number: image_number}

    def resume(self, query: object, payload: object) -> Updates:
        """Take the picture on a page whose server was started anew, and what is known of it; its answers stay there.

        Args:
            query: of a link to the run that the page shows.
            payload: the picture, uploaded once more; None where there is none.
        """
        page = self.page
        forgotten: Updates = {page.last_run: None, page.download: gr.update(interactive=False)}
        if payload is None:
            return forgotten
        try:
            image = read_upload(payload)
        except EvfSamError as error:
            return {**forgotten, page.status: wording.problem(translate_message(str(error)))}
        return {**forgotten, page.controls.image: image, page.known: self._known_in(query, image)}

    def _known_in(self, query: object, image: RgbImage) -> KnownScene | None:
        content, page = ImageView(image).content_hash, self.page
        example = next((each for each in page.examples if each.content_hash == content), None)
        if example is not None:
            return example.known_scene(image)
        try:
            known = restored(query if isinstance(query, str) else "", page.examples, page.comparison.suite).known
        except EvfSamError:
            return None
        return known if known is not None and known.content_hash == content else None

    def _shown(self, query: object, image_number: int) -> Updates:
        """Show kept answers at once, and ask others anew."""
        text = query if isinstance(query, str) else ""
        key = key_in(text)
        try:
            return self.page.show_again(self.page.runs.get(key), key, translate(_BACK), image_number)
        except GoneError:
            pass
        if holds_recipe(text):
            return self._restore(text, image_number)
        if key:
            return {**self.page.introduce(), self.page.status: wording.problem(translate(_GONE))}
        if self.first is None:
            return self.page.introduce()
        shown = self.page.show_again(self.first, self._first_key(self.first), translate(_ARRIVED), image_number)
        remembered = self.page.controls.settings
        return {component: value for component, value in shown.items() if component not in remembered}

    def _restore(self, query: str, image_number: int) -> Updates:
        page, controls = self.page, self.page.controls
        try:
            found = restored(query, page.examples, page.comparison.suite)
            recipe = found.recipe
            options = {each.component: control_value(recipe.options, each) for each in controls.options}
        except EvfSamError as error:
            reason = translate_message(str(error))
            told = wording.problem(translate("This link cannot be restored: {reason}", reason=reason))
            return {**page.introduce(), page.status: told}
        words = escape(translate("Restored from the link."))
        return {
            **page.start_with(image_number),
            **options,
            controls.image: found.image,
            page.known: found.known,
            controls.phrase: recipe.request,
            controls.chips: phrase_buttons(found.phrases),
            controls.strategies: list(recipe.strategies),
            page.status: f'<div class="status hint" role="status" data-restored><span>{words}</span></div>',
        }


class ArrivalMiddleware:
    """Tells requests for a page without a run in its address, which is delivered with the first, from all others."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        with arriving(scope["type"] == "http" and _opens_anew(Request(scope))):
            await self._app(scope, receive, send)


def _opens_anew(request: Request) -> bool:
    query = request.url.query
    return "text/html" in request.headers.get("accept", "") and not key_in(query) and not holds_recipe(query)


def build_opening(page: ComparePage, elsewhere: Sequence[Callable[..., Dependency]] = ()) -> Opening:
    """Wire what happens when the page opens, and when its visitor goes back or forward.

    Args:
        page: what is filled.
        elsewhere: further events that put a picture on the page, so that the opening's must not follow.
    """
    opening = Opening(page, _first_run(page))
    address = gr.HTML("", js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="address")
    gr.HTML("", js_on_load=HABITS.read_text(encoding="utf-8"), elem_id="habits")
    connection = gr.HTML(_connection(), js_on_load=CONNECTION.read_text(encoding="utf-8"), elem_id="connection")
    search, seen = gr.Textbox(visible=False), gr.Textbox(visible=False)
    # Queued, or Gradio would not tell the panels and tabs beside of the run.
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    opened = gr.on(None, opening.open, [search, seen], page.everything, js=_READ_ADDRESS, **quiet)
    returned = address.select(opening.reopen, None, page.everything, **quiet)
    controls = page.controls
    given = [page.last_run, page.download, page.status, controls.image, page.known]
    again = [page.query, controls.image]
    connection.select(opening.resume, again, given, js=_GIVE_AGAIN, preprocess=False, **quiet)
    here = (controls.new_scene.click, controls.examples.select, controls.image.input, controls.address.submit)
    gr.on([*here, *elsewhere], None, None, None, js=_TAKE, cancels=opened, api_visibility="private")
    for filled in (opened, returned):
        filled.success(None, None, None, js=_ASK_IF_RESTORED)
    followed = "(query) => document.dispatchEvent(new CustomEvent('run-address', {detail: query}))"
    page.query.change(None, page.query, None, js=followed)
    return opening


def _connection() -> str:
    """Write what is said when the server is gone or back, and a place to say it in."""
    told = {name: wording.hint(translate(_BACK_AGAIN[name])) for name in _BACK_AGAIN}
    told["lost"] = wording.problem(translate(_LOST)).replace("<div ", "<div data-lost ", 1)
    held = "".join(f'<template data-words="{name}">{words}</template>' for name, words in told.items())
    return f'<div class="back" role="status"></div>{held}'


def _first_run(page: ComparePage) -> FinishedRun | None:
    kept = read_kept_run(page.comparison, EXAMPLES)
    example = next((each for each in page.examples if kept and each.file.name == kept.example), None)
    if kept is None or example is None:
        return None
    view = page.comparison.view(example.image())
    known = example.known_scene(view.image)
    return FinishedRun(kept_progress(view, kept, known), {}, known)
