"""How the page looks: a theme with system fonts, so that nothing is fetched from elsewhere, and the style sheet."""

from pathlib import Path
from typing import Final

import gradio as gr

STYLE_SHEET: Final = Path(__file__).with_name("page.css")
_SANS: Final = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "sans-serif")
_MONO: Final = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

_ACCENT: Final = gr.themes.Color(
    name="pine",
    c50="#eef7f5",
    c100="#d8ece8",
    c200="#b2d9d2",
    c300="#84c2b8",
    c400="#5cc4b8",
    c500="#17756c",
    c600="#0f5e57",
    c700="#0b4a44",
    c800="#0a3b37",
    c900="#08302c",
    c950="#041b19",
)


def page_theme() -> gr.themes.Base:
    """Build the theme: quiet neutrals, one accent, borders instead of shadows; light and dark."""
    theme = gr.themes.Base(
        primary_hue=_ACCENT,
        neutral_hue=gr.themes.colors.stone,
        text_size=gr.themes.sizes.text_md,
        radius_size=gr.themes.sizes.radius_md,
        font=_SANS,
        font_mono=_MONO,
    )
    return theme.set(
        body_background_fill="#f6f5f2",
        body_background_fill_dark="#141615",
        body_text_color="#1f2321",
        body_text_color_dark="#e8eae6",
        body_text_color_subdued="#585f5b",
        body_text_color_subdued_dark="#a9b0ab",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1c1f1d",
        background_fill_secondary="#faf9f7",
        background_fill_secondary_dark="#232725",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1c1f1d",
        border_color_primary="#deded8",
        border_color_primary_dark="#343a36",
        block_border_color="#deded8",
        block_border_color_dark="#343a36",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*body_text_color_subdued",
        block_label_text_color_dark="#a9b0ab",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="#e8eae6",
        block_title_text_weight="600",
        block_info_text_color="*body_text_color_subdued",
        block_info_text_color_dark="#a9b0ab",
        input_background_fill="#ffffff",
        input_background_fill_dark="#141615",
        input_border_width="1px",
        input_border_color="#828984",
        input_border_color_dark="#6d756f",
        input_placeholder_color="#656c67",
        input_placeholder_color_dark="#949b96",
        color_accent="#0f5e57",
        color_accent_soft="#d8ece8",
        color_accent_soft_dark="#0a3b37",
        checkbox_border_color="#828984",
        checkbox_border_color_dark="#6d756f",
        button_border_width="1px",
        button_primary_background_fill="#0f5e57",
        button_primary_background_fill_hover="#0b4a44",
        button_primary_background_fill_dark="#5cc4b8",
        button_primary_background_fill_hover_dark="#7fd6cc",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#0c1f1d",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#eeede8",
        button_secondary_background_fill_dark="#232725",
        button_secondary_background_fill_hover_dark="#2d3330",
        button_secondary_border_color="#828984",
        button_secondary_border_color_dark="#6d756f",
        button_secondary_text_color="*body_text_color",
        button_secondary_text_color_dark="#e8eae6",
        link_text_color="#0f5e57",
        link_text_color_dark="#7fd6cc",
    )
