"""What a visitor chose is remembered in their own browser: strategies and options; nothing is kept on the server."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import gradio as gr

from webui.tabs.compare.controls import Controls

STORAGE_KEY: Final = "phrase-workbench-settings"
_NO_SECRET: Final = "settings"
"""Gradio enciphers what it stores; a fixed word, because a drawn one would forget the settings at each restart."""

_UNLESS_LINKED: Final = "(stored) => [/[?&](v|run)=/.test(location.search) ? {} : stored]"
"""A link to a run brings its own settings, which win."""


@dataclass(frozen=True, eq=False)
class Remembered:
    """The fields that are remembered, by name.

    Attributes:
        names: one a field.
        fields: the components.
    """

    names: tuple[str, ...]
    fields: tuple[gr.components.Component, ...]

    def restore(self, stored: object) -> list[object]:
        """Return what to set each field to; what is missing, or no longer fits its field, leaves the field alone."""
        values = stored if isinstance(stored, dict) else {}
        return [_fitting(field, values.get(name)) for name, field in zip(self.names, self.fields, strict=True)]


def remember(demo: gr.Blocks, controls: Controls) -> Remembered:
    """Store strategies and options whenever a visitor changes them, and set them again at the next visit."""
    remembered = Remembered(
        ("strategies", *(f"{option.strategy}.{option.name}" for option in controls.options)),
        (controls.strategies, *(option.component for option in controls.options)),
    )
    stored = gr.BrowserState({}, storage_key=STORAGE_KEY, secret=_NO_SECRET)
    named = f"(...values) => Object.fromEntries({json.dumps(remembered.names)}.map((name, i) => [name, values[i]]))"
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    fields = list(remembered.fields)
    gr.on([field.input for field in fields], None, fields, stored, js=named, **quiet)
    demo.load(remembered.restore, stored, fields, js=_UNLESS_LINKED, **quiet)
    return remembered


def _fitting(field: gr.components.Component, value: object) -> object:
    fits = False
    if isinstance(field, gr.CheckboxGroup):
        fits = isinstance(value, list) and bool(value) and _all_choices(field.choices, value)
    elif isinstance(field, gr.Radio):
        fits = _all_choices(field.choices, [value])
    elif isinstance(field, gr.Slider):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = is_number and field.minimum <= value <= field.maximum
    return value if fits else gr.skip()


def _all_choices(choices: Sequence[tuple[str, object]], values: Sequence[object]) -> bool:
    known = [choice for _, choice in choices]
    return all(value in known for value in values)
