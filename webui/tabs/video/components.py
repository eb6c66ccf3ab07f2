"""The components of the Video tab, and how they are laid out."""

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr

from evfsam.types import StrategyCard
from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.tab import STATE_SECONDS
from webui.tabs.video import wording as video_wording
from workbench.video.clip_run import ClipAsker, chosen_strategy
from workbench.video.clips import CLIP_ENDINGS, frame_limit


@dataclass(frozen=True, eq=False)
class ClipResult:
    """Where one strategy's result is.

    Attributes:
        whole: all of it; hidden until there is one.
        downloads: the video, the PNG masks and the run lengths.
    """

    whole: gr.Column
    video: gr.Video
    downloads: tuple[gr.DownloadButton, ...]


@dataclass(frozen=True, eq=False)
class VideoParts:
    """What a visitor sees and sets.

    Attributes:
        place: says what will be where the results are.
        results: by the strategy's key.
        clip: the visitor's `Clip`, or None.
        flag: the `StopFlag` of the work under way, or None.
    """

    file: gr.File
    example: gr.Button
    phrase: gr.Textbox
    strategies: gr.CheckboxGroup
    memory: gr.HTML
    start: gr.Slider
    frame: gr.Slider
    ask: gr.Button
    stop: gr.Button
    status: gr.HTML
    picture: gr.HTML
    place: gr.HTML
    results: Mapping[str, ClipResult]
    clip: gr.State
    flag: gr.State


def build_parts(asker: ClipAsker) -> VideoParts:
    """Lay out the tab."""
    comparison = asker.comparison
    cards, chosen = comparison.cards, chosen_strategy(comparison)
    with gr.Row(elem_id="video", elem_classes=["deeper"]):
        with gr.Column(elem_classes=["deeper-controls"]):
            file = gr.File(label=translate("Clip"), file_types=list(CLIP_ENDINGS), height=130, elem_id="video-file")
            example = gr.Button(translate("Take the example clip"), elem_id="video-example")
            gr.HTML(video_wording.limits(frame_limit(comparison)))
            phrase = gr.Textbox(
                label=translate("Phrase"), placeholder=translate("the dog on the left"), lines=1, elem_id="video-phrase"
            )
            choices = [(translate_message(card.title), key) for key, card in cards.items()]
            strategies = gr.CheckboxGroup(
                choices,
                value=[chosen],
                label=translate("Strategies"),
                info=translate("Each takes its turn with the whole clip."),
                elem_id="video-strategies",
            )
            memory = gr.HTML(
                video_wording.memory_notes({cards[chosen].title: asker.carries_memory(chosen)}), elem_id="video-memory"
            )
            start = gr.Slider(
                0, 1, value=0, step=0.1, visible=False, label=translate("Start, in seconds"), elem_id="video-start"
            )
            frame = gr.Slider(
                0,
                1,
                value=0,
                step=1,
                visible=False,
                label=translate("Frame that the phrase is about"),
                info=translate("Counted from 0, as in the files."),
                elem_id="video-frame",
            )
            with gr.Row(elem_classes=["batch-buttons"]):
                ask = gr.Button(translate("Segment"), variant="primary", elem_id="video-ask", scale=3, min_width=120)
                stop = gr.Button(translate("Stop"), interactive=False, elem_id="video-stop", scale=1, min_width=80)
        with gr.Column(elem_classes=["deeper-answer"]):
            status = gr.HTML(video_wording.beginning(), elem_id="video-status")
            with gr.Row(elem_classes=["clip-pictures"]):
                picture = gr.HTML(video_wording.no_picture(), elem_id="video-picture")
                with gr.Column(elem_classes=["clip-result"]):
                    place = gr.HTML(video_wording.no_result(), elem_id="video-place")
                    results = {key: _build_result(key, card) for key, card in cards.items()}
    clip, flag = (gr.State(None, time_to_live=STATE_SECONDS) for _ in range(2))
    controls = (file, example, phrase, strategies, memory, start, frame, ask, stop)
    return VideoParts(*controls, status, picture, place, results, clip, flag)


def _build_result(key: str, card: StrategyCard) -> ClipResult:
    with gr.Column(visible=False, elem_classes=["clip-result"]) as whole:
        video = gr.Video(
            label=translate("{title}: segmented clip", title=translate_message(card.title)),
            interactive=False,
            buttons=[],
            elem_id=f"video-result-{key}",
        )
        with gr.Row(elem_classes=["clip-files"]):
            downloads = tuple(
                gr.DownloadButton(label, interactive=False, elem_id=f"video-{name}-{key}", min_width=130)
                for name, label in (
                    ("mp4", translate("Video (MP4)")),
                    ("masks", translate("PNG masks")),
                    ("rle", translate("COCO RLE")),
                )
            )
    return ClipResult(whole, video, downloads)
