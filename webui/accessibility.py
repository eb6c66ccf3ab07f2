"""What the page owes to keyboards and screen readers on every tab: a way past the head, and panels with a name."""

from html import escape
from pathlib import Path
from typing import Final

import gradio as gr

from webui.i18n.translate import translate

SCRIPT: Final = Path(__file__).with_name("accessibility.js")


def build_accessibility() -> gr.HTML:
    """Build the link past the page's head, the first that the Tab key reaches; its script serves every tab."""
    link = f'<a class="skip" href="#tabs">{escape(translate("Skip to the open tab"))}</a>'
    return gr.HTML(link, js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="accessibility")


def name_tabs(demo: gr.Blocks) -> None:
    """Give every tab that has none an id on the page, so that tab and panel refer to each other."""
    for block in demo.blocks.values():
        if isinstance(block, gr.Tab) and block.elem_id is None:
            block.elem_id = f"{block.id}-tab"
