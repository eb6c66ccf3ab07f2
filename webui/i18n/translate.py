"""The words of the page in the visitor's language: English as it is written in the code, Chinese from a catalogue.

How to put a string through it:

* Translate it where it is shown, with the English sentence as the key and what varies as named values:
  `translate("Compare")`, `translate("Layer {layer} of {count}", layer=3, count=12)`. Placeholders are plain names;
  format the value beforehand (`translate("{share} of the image", share=percent(0.3))`). Escape what `translate`
  returns, not what goes in.
* Translate whole sentences, not pieces that are put together: the order of words differs. For one and many, write two
  sentences. Keep a module's constants in English and write `translate(_START)` inside the function: what is
  translated at import time is English for everybody.
* Nothing else is needed. In a function that lays out components (labels, `info`, `placeholder`, choices, `gr.HTML`,
  `js` of an event) `translate` takes each language in turn, because `webui/i18n/pages.py` builds the page once a
  language. In a handler it takes the language of the request, found through Gradio; no argument is passed on.
* What a library says (`str(error)`, `verdict.reason`, a card's title) goes through `translate_message(message)`.
  Where it has values, the library made it as a `Sentence` (`evfsam/errors.py`), whose template is the key in the
  catalogue.
* Put the Chinese into `webui/i18n/languages/zh/`: a file for each part of the page, `{"English": "中文"}`, with the
  same placeholders on both sides. `tests/webui/i18n/test_translate.py` fails for a sentence without Chinese.

What models read (phrases, prompts) and what programs get (the endpoints, result.json) stays English.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qs, urlsplit

from gradio.context import LocalContext

from evfsam.errors import EvfSamError, Sentence

LANGUAGES: Final[Mapping[str, str]] = MappingProxyType({"en": "English", "zh": "中文"})
"""Key to name in that language. The first is what the code is written in."""
LANGUAGE_TAGS: Final[Mapping[str, str]] = MappingProxyType({"en": "en", "zh": "zh-CN"})
"""Key to what a browser calls it."""
LANGUAGE_PARAMETER: Final = "lang"
"""Of the page's address."""
LANGUAGE_COOKIE: Final = "language"
CATALOGUES: Final = Path(__file__).resolve().parent / "languages"

_language: ContextVar[str] = ContextVar("language", default="en")


def translate(sentence: str, **values: object) -> str:
    """Return a sentence of the page in the visitor's language, with the values in place of its `{names}`.

    A sentence that the catalogue lacks stays English.
    """
    told = catalogue(current_language()).get(sentence, sentence)
    return told.format(**values) if values else told


def translate_message(message: str) -> str:
    """Return what a library said in the visitor's language; what the catalogue lacks stays English.

    A `Sentence` is looked up by its template, and the sentences among its values are put into the language too; any
    other text is looked up as it is.
    """
    known = catalogue(current_language())
    if not isinstance(message, Sentence) or not message.values:
        return known.get(message, message)
    told = known.get(message.template)
    return (
        message
        if told is None
        else told.format(**{name: _translated_value(value) for name, value in message.values.items()})
    )


def _translated_value(value: object) -> object:
    message = value.message if isinstance(value, EvfSamError) else value
    return translate_message(message) if isinstance(message, Sentence) else message


def current_language() -> str:
    """Return the key of the language of the request at work, or the one set with `in_language`."""
    request = LocalContext.request.get(None)
    return _language.get() if request is None else preferred_language("", request.headers)


@contextmanager
def in_language(language: str) -> Iterator[None]:
    """Say everything in a language, where no request tells another."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def preferred_language(query: str, headers: Mapping[str, str]) -> str:
    """Return the language for a request: its link's, the page's it came from, the remembered one, the browser's.

    Args:
        query: of the request's own address.
        headers: of the request, with names in lower case.
    """
    page = urlsplit(headers.get("referer", ""))
    own_page = page.query if page.netloc == headers.get("host") else ""
    asked = (*_asked(query), *_asked(own_page), _remembered(headers))
    wanted = (*asked, *_accepted(headers.get("accept-language", "")))
    return next((key for key in map(_language_of, wanted) if key), "en")


@cache
def catalogue(language: str, part: str = "*") -> Mapping[str, str]:
    """Read what is said in a language, or one file of it: English sentence to translation; nothing for English."""
    files = sorted((CATALOGUES / language).glob(f"{part}.json"))
    return MappingProxyType({key: told for file in files for key, told in _read(file).items()})


def _read(file: Path) -> dict[str, str]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _asked(query: str) -> list[str]:
    return parse_qs(query).get(LANGUAGE_PARAMETER, [])


def _remembered(headers: Mapping[str, str]) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(LANGUAGE_COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _accepted(header: str) -> list[str]:
    """Return the languages of an `Accept-Language` header, the most welcome first."""
    weighted = []
    for entry in header.split(",")[:20]:
        tag, _, weight = entry.partition(";q=")
        try:
            weighted.append((-float(weight or 1), tag.strip()))
        except ValueError:
            continue
    return [tag for _, tag in sorted(weighted, key=lambda pair: pair[0])]


def _language_of(tag: str) -> str | None:
    key = tag.lower().partition("-")[0]
    return key if key in LANGUAGES else None
