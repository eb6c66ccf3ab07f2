"""The switch between the page's languages. It opens the page anew, and takes along what a link can hold of the run."""

from html import escape
from typing import Final

import gradio as gr

from webui.i18n.translate import LANGUAGE_COOKIE, LANGUAGE_PARAMETER, LANGUAGE_TAGS, LANGUAGES, say, spoken_language

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
(run) => {
  const here = new URL(location.href), next = new URL(run || here, here);
  const theme = here.searchParams.get('__theme');
  if (theme) next.searchParams.set('__theme', theme);
  next.searchParams.set('PARAMETER', document.querySelector('.languages').dataset.chosen);
  location.assign(next);
}
""".replace("PARAMETER", LANGUAGE_PARAMETER)
"""Open the run's link, or else the address that the page has, in the language chosen."""


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
    """Show the head of the page; its switch is wired by `wire_switch`, once there is a link to take along."""
    return gr.HTML(value, js_on_load=_ON_LOAD)


def wire_switch(head: gr.HTML, link: gr.Textbox) -> None:
    """Open the page in the language that was chosen, by the link to this visitor's run where there is one.

    Args:
        head: from `build_head`.
        link: its value is the link to the latest run, or empty. The server is not asked.
    """
    head.select(None, link, None, js=_GO, api_visibility="private")
