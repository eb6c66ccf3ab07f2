"""The switch between the page's languages. It opens the page anew, and takes along what a link can hold of the run."""

from html import escape
from typing import Final

import gradio as gr

from evfsam.errors import EvfSamError
from webui.language import LANGUAGE_COOKIE, LANGUAGE_PARAMETER, LANGUAGE_TAGS, LANGUAGES, say, spoken_language
from webui.restoring import recipe_of
from webui.tabs.compare import ComparePage
from workbench.share_links import encode_link

_PATIENCE_MS: Final = 4000
_ON_LOAD: Final = (
    """
element.addEventListener('click', (event) => {
  const link = event.target.closest('.languages a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const language = link.dataset.language;
  document.cookie = `COOKIE=${language}; path=/; max-age=31536000; samesite=lax`;
  trigger('select', {index: 0, value: language});
  const address = new URL(location.href);
  address.searchParams.set('PARAMETER', language);
  setTimeout(() => location.assign(address), PATIENCE);
});
""".replace("COOKIE", LANGUAGE_COOKIE)
    .replace("PARAMETER", LANGUAGE_PARAMETER)
    .replace("PATIENCE", str(_PATIENCE_MS))
)
"""Remember the choice, and ask the server for the run's link; where it does not answer, go without."""
_GO: Final = """
(query) => {
  const theme = new URLSearchParams(location.search).get('__theme');
  location.search = query + (theme ? `&__theme=${theme}` : '');
}
"""


def language_switch() -> str:
    """Write links to the page in each language; they work without scripts, which only remember the choice."""
    spoken = spoken_language()
    links = "".join(
        f'<a href="?{LANGUAGE_PARAMETER}={key}" data-language="{key}" lang="{LANGUAGE_TAGS[key]}" '
        f'hreflang="{LANGUAGE_TAGS[key]}" aria-current="{str(key == spoken).lower()}">{name}</a>'
        for key, name in LANGUAGES.items()
    )
    return f'<nav class="languages" aria-label="{escape(say("Language"))}">{links}</nav>'


def build_head(value: str) -> gr.HTML:
    """Show the head of the page; its switch is wired by `wire_switch`, once there is a page to take along."""
    return gr.HTML(value, js_on_load=_ON_LOAD)


def wire_switch(head: gr.HTML, page: ComparePage) -> None:
    """Open the page in the language that was chosen, with this visitor's run where a link can hold it."""
    query = gr.Textbox(visible=False)

    def address_of(key: str | None, event: gr.SelectData) -> str:
        return linked(page, key, str(event.value))

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    told = head.select(address_of, page.last_run, query, **quiet)
    told.success(None, query, None, js=_GO)


def linked(page: ComparePage, key: str | None, language: str) -> str:
    """Return the query of the page in a language; with the run under `key`, unless its image was uploaded."""
    spoken = f"{LANGUAGE_PARAMETER}={language if language in LANGUAGES else 'en'}"
    if key is None:
        return spoken
    try:
        recipe = recipe_of(page.shelf.get(key), page.examples, page.comparison.suite.key)
        return f"{encode_link(recipe)}&{spoken}"
    except EvfSamError:
        return spoken
