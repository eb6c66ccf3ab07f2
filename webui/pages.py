"""One page in several languages: built once for each, served by what a request asks for.

Gradio can translate labels in the browser (`gr.I18n`), but neither text inside `gr.HTML` nor what a handler answers,
and it asks the browser alone. So the page is laid out once a language by the same code; the components' ids and events
are those of the English one, and only what is written on them differs. Gradio's own words follow the page.
"""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Final

import gradio as gr
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webui.language import (
    LANGUAGE_COOKIE,
    LANGUAGE_TAGS,
    LANGUAGES,
    preferred_language,
    say,
    speaking,
    spoken_language,
)

_HEAD: Final = b"<head>"
_IN_BROWSER: Final = """<script>
for (const [name, value] of [['language', 'TAG'], ['languages', ['TAG']]])
  Object.defineProperty(navigator, name, {get: () => value, configurable: true});
</script>"""
"""Gradio takes the language of its own words, and of the document, from the navigator."""
_ON_LOAD: Final = """
element.addEventListener('click', (event) => {
  const link = event.target.closest('.languages a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  document.cookie = `COOKIE=${link.dataset.language}; path=/; max-age=31536000; samesite=lax`;
  const address = new URL(location.href);
  address.searchParams.set('lang', link.dataset.language);
  location.assign(address);
});
""".replace("COOKIE", LANGUAGE_COOKIE)


class SpokenBlocks(gr.Blocks):
    """A page whose configuration is told in the language of the request that reads it."""

    _english: dict[str, Any]
    _told: Mapping[str, dict[str, Any]]

    @property
    def config(self) -> dict[str, Any]:
        """What Gradio sends to a browser."""
        language = spoken_language()
        other = self.__dict__.get("_told", {}).get(language)
        return _retold(self._english, other) if other else self._english

    @config.setter
    def config(self, config: dict[str, Any]) -> None:
        self._english = config

    def take_translations(self, told: Mapping[str, dict[str, Any]]) -> None:
        """Keep the same page's configuration in other languages, by language."""
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
        with speaking(language):
            await self._app(scope, receive, _DocumentSender(send, LANGUAGE_TAGS[language]) if is_document else send)


class _DocumentSender:
    """Marks an HTML document with its language on the way out; whatever else passes as it is."""

    def __init__(self, send: Send, tag: str) -> None:
        self._send = send
        self._tag = tag
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
        tag = self._tag.encode()
        script = _IN_BROWSER.replace("TAG", self._tag).encode()
        body = self._body.replace(b'lang="en"', b'lang="' + tag + b'"', 1).replace(_HEAD, _HEAD + script, 1)
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        added = [
            (b"content-length", str(len(body)).encode()),
            (b"content-language", tag),
            (b"vary", b"Accept-Language, Cookie"),
        ]
        await self._send({**start, "headers": [*kept, *added]})
        await self._send({"type": "http.response.body", "body": body})


def in_all_languages(build: Callable[[], SpokenBlocks]) -> SpokenBlocks:
    """Build a page once a language; the English one serves, and is written in the other languages on request."""
    told = {}
    for language in LANGUAGES:
        if language != "en":
            with speaking(language):
                told[language] = build()._english
    with speaking("en"):
        page = build()
    page.take_translations(told)
    return page


def language_switch() -> str:
    """Write links to the page in each language; works without scripts, which only remember the choice."""
    spoken = spoken_language()
    links = "".join(
        f'<a href="?lang={key}" data-language="{key}" lang="{LANGUAGE_TAGS[key]}" hreflang="{LANGUAGE_TAGS[key]}" '
        f'aria-current="{str(key == spoken).lower()}">{name}</a>'
        for key, name in LANGUAGES.items()
    )
    return f'<nav class="languages" aria-label="{escape(say("Language"))}">{links}</nav>'


def page_head(value: str) -> gr.HTML:
    """Show the head of the page, with the switch's behaviour."""
    return gr.HTML(value, js_on_load=_ON_LOAD)


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
