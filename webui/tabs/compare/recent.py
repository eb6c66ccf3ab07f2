"""The last runs of this visit, each a picture and a phrase, to go back to without asking again."""

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import Final

import gradio as gr
from PIL import Image

from evfsam.errors import EvfSamError
from webui import wording
from webui.i18n.translate import retold, say
from webui.run_cache import FinishedRun
from webui.tabs.compare.choices import choice_list
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.tab import STATE_SECONDS, ComparePage
from workbench.pictures.shown_pictures import shrunk

MOST: Final = 8
_SIDE: Final = 64

Remembered = tuple[tuple[str, str], ...]
"""Keys of kept runs, the latest first, each with its button."""


def build_recent(page: ComparePage) -> None:
    """Lay out the strip; it grows with each run of the visit."""
    runs = gr.State((), time_to_live=STATE_SECONDS)
    strip = choice_list("", "recent")

    def remember(key: str | None, before: Remembered) -> tuple[object, object]:
        if key is None or any(key == each for each, _ in before):
            return gr.skip(), gr.skip()
        try:
            now = ((key, _face(page.runs.get(key))), *before)[:MOST]
        except EvfSamError:
            return gr.skip(), gr.skip()
        return now, _strip(now)

    def return_to(before: Remembered, event: gr.SelectData) -> Updates:
        if not isinstance(event.index, int) or not 0 <= event.index < len(before):
            return {page.status: gr.skip()}
        key = before[event.index][0]
        try:
            return page.show_again(page.runs.get(key), key, say("The answers are those of before."))
        except EvfSamError as error:
            return {page.status: wording.problem(retold(str(error)))}

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    page.last_run.change(remember, [page.last_run, runs], [runs, strip], queue=False, **quiet)
    strip.select(return_to, runs, page.everything, **quiet)  # queued, or Gradio would not tell the panels of the run


def _face(run: FinishedRun) -> str:
    buffer = BytesIO()
    Image.fromarray(shrunk(run.progress.view.image, _SIDE)).save(buffer, "JPEG", quality=80)
    picture = b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{picture}" alt=""><span lang="en">{escape(run.progress.phrase)}</span>'


def _strip(runs: Remembered) -> str:
    if len(runs) < 2:
        return ""
    items = "".join(
        f'<li><button type="button" data-index="{index}" data-value="">{face}</button></li>'
        for index, (_, face) in enumerate(runs)
    )
    title = f'<p class="section" id="recent-label">{say("Your last runs")}</p>'
    return f'{title}<ul class="recent" aria-labelledby="recent-label">{items}</ul>'
