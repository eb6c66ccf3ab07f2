"""Keeps what a visitor enters into a tab or a fold in the moment it opens, which Gradio 6.31 would set back."""

from pathlib import Path
from typing import Final

import gradio as gr

SCRIPT: Final = Path(__file__).with_name("kept_entries.js")


def build_kept_entries() -> gr.HTML:
    """Build the component, never seen, whose script watches the whole page."""
    return gr.HTML("", js_on_load=SCRIPT.read_text(encoding="utf-8"), visible="hidden")
