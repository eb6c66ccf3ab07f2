"""One page in several languages: built once for each, served by what a request asks for.

Gradio can translate labels in the browser (`gr.I18n`), but neither text inside `gr.HTML` nor what a handler answers,
and it asks the browser alone. So the page is laid out once a language by the same code; the components' ids and events
are those of the English one, and only what is written on them differs. Gradio's own words follow the page. The switch
between the languages opens the page anew, and takes along what a link can hold of the run.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import gradio as gr
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webui.arrival import SCRIPT as ARRIVAL_SCRIPT
from webui.arrival import LaidIn
from webui.i18n.translate import (
    LANGUAGE_COOKIE,
    LANGUAGE_PARAMETER,
    LANGUAGE_TAGS,
    LANGUAGES,
    catalogue,
    current_language,
    in_language,
    preferred_language,
    translate,
)
from webui.streaming import StreamingBlocks

_HEAD: Final = b"<head>"
_SCRIPT: Final = Path(__file__).with_name("pages.js")
"""Tells Gradio, which asks the navigator, the language of the page; and says the words that Gradio has in English only.
"""
_ARRIVAL: Final = f"<script>{ARRIVAL_SCRIPT.read_text(encoding='utf-8')}</script>"
_GRADIO_WORDS: Final = "gradio"
"""File of a catalogue: words of Gradio's own controls."""

_ON_LOAD: Final = """
element.addEventListener('click', (event) => {
  const link = event.target.closest('.languages a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  document.cookie = `COOKIE=${link.dataset.language}; path=/; max-age=31536000; samesite=lax`;
  link.parentElement.dataset.chosen = link.dataset.language;
  trigger('select', {index: 0, value: link.dataset.language});
});
""".replace("COOKIE", LANGUAGE_COOKIE)
_GO: Final = """
(query) => {
  const here = new URL(location.href), next = new URL(query ? `?${query}` : here, here);
  const theme = here.searchParams.get('__theme');
  if (theme) next.searchParams.set('__theme', theme);
  next.searchParams.set('PARAMETER', document.querySelector('.languages').dataset.chosen);
  location.assign(next);
}
""".replace("PARAMETER", LANGUAGE_PARAMETER)
"""Open a link to the run, or else the address that the page has, in the language chosen."""


class SpokenBlocks(StreamingBlocks):
    """A page whose configuration is told in the language of the request that reads it."""

    _own: dict[str, Any]
    _told: Mapping[str, "SpokenBlocks"] = MappingProxyType({})
    _laid_in: LaidIn | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What Gradio sends to a browser."""
        other = self._told.get(current_language())
        return self._delivered() if other is None else _retold(self._own, other._delivered())

    @config.setter
    def config(self, config: dict[str, Any]) -> None:
        self._own = config

    def _delivered(self) -> dict[str, Any]:
        return self._own if self._laid_in is None else self._laid_in.into(self._own)

    def lay_in(self, laid_in: LaidIn) -> None:
        """Deliver the page with values in it."""
        self._laid_in = laid_in

    def draw_ahead(self) -> None:
        """Draw what is laid in before the first visitor asks for it."""
        if self._laid_in is not None:
            self._laid_in.drawn()

    def get_api_info(self, all_endpoints: bool = False, page: str | None = None) -> Any:
        """Describe the endpoints in English, also where Gradio keeps what the first visitor's request asked for."""
        with in_language("en"):
            return super().get_api_info(all_endpoints, page)

    def take_translations(self, told: Mapping[str, "SpokenBlocks"]) -> None:
        """Keep the same page in other languages, by language."""
        self._told = told


class LanguageMiddleware:
    """Answers each request in its language, and tells the document which one that is."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        is_document = "text/html" in request.headers.get("accept", "")
        headers = {name: value for name, value in request.headers.items() if not (is_document and name == "referer")}
        language = preferred_language(request.url.query, headers)
        with in_language(language):
            await self._app(scope, receive, _DocumentSender(send, language) if is_document else send)


class _DocumentSender:
    """Marks an HTML document with its language on the way out; whatever else passes as it is."""

    def __init__(self, send: Send, language: str) -> None:
        self._send = send
        self._language = language
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        tag = LANGUAGE_TAGS[self._language].encode()
        body = self._body.replace(b'lang="en"', b'lang="' + tag + b'"', 1)
        body = body.replace(_HEAD, _HEAD + (_script(self._language) + _ARRIVAL).encode(), 1)
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        added = [
            (b"content-length", str(len(body)).encode()),
            (b"content-language", tag),
            (b"vary", b"Accept-Language, Cookie"),
        ]
        await self._send({**start, "headers": [*kept, *added]})
        await self._send({"type": "http.response.body", "body": body})


def in_all_languages(build: Callable[[], SpokenBlocks]) -> SpokenBlocks:
    """Build a page once a language; the English one serves, and is written in the other languages on request.

    What is laid into a page is drawn ahead for the English one alone: a start waits for one drawing, not for each.
    """
    told = {}
    for language in LANGUAGES:
        if language != "en":
            with in_language(language):
                told[language] = build()
    with in_language("en"):
        page = build()
        page.draw_ahead()
    page.take_translations(told)
    return page


@cache
def _script(language: str) -> str:
    told = json.dumps({"tag": LANGUAGE_TAGS[language], "words": dict(catalogue(language, _GRADIO_WORDS))})
    return f"<script>{_SCRIPT.read_text(encoding='utf-8').replace('TOLD', told)}</script>"


def _is_html(start: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])


def _retold(english: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Write the other page's words on the English one; both were laid out by the same code, in the same order."""
    components = [
        {**component, "props": twin["props"]}
        for component, twin in zip(english["components"], other["components"], strict=True)
    ]
    dependencies = [
        {**dependency, "js": twin["js"]}
        for dependency, twin in zip(english["dependencies"], other["dependencies"], strict=True)
    ]
    return {**english, "title": other["title"], "components": components, "dependencies": dependencies}


def language_switch() -> str:
    """Write links to the page in each language; they work without scripts, which only remember the choice."""
    spoken = current_language()
    links = "".join(
        f'<a href="?{LANGUAGE_PARAMETER}={key}" data-language="{key}" lang="{LANGUAGE_TAGS[key]}" '
        f'hreflang="{LANGUAGE_TAGS[key]}" aria-current="{str(key == spoken).lower()}">{name}</a>'
        for key, name in LANGUAGES.items()
    )
    return f'<nav class="languages" aria-label="{escape(translate("Language"))}">{links}</nav>'


def build_head(value: str) -> gr.HTML:
    """Show the head of the page; its switch is wired by `wire_switch`, once there is a link to take along."""
    return gr.HTML(value, js_on_load=_ON_LOAD)


def wire_switch(head: gr.HTML, query: gr.Textbox) -> None:
    """Open the page in the language that was chosen, by a link to this visitor's run where there is one.

    Args:
        head: from `build_head`.
        query: its value is that of the link to the run asked last, or empty. The server is not asked.
    """
    head.select(None, query, None, js=_GO, api_visibility="private")
