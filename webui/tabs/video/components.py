"""The components of the Video tab, and how they are laid out."""

from dataclasses import dataclass

import gradio as gr

from webui.i18n.translate import retold, say
from webui.tabs.compare.tab import STATE_SECONDS
from webui.tabs.video import wording as video_wording
from workbench.video.clip_run import ClipAsker, chosen_strategy
from workbench.video.clips import CLIP_ENDINGS, frame_limit


@dataclass(frozen=True, eq=False)
class VideoParts:
    """What a visitor sees and sets.

    Attributes:
        place: says what will be where `result` is.
        downloads: the video, the PNG masks and the run lengths.
        clip: the visitor's `Clip`, or None.
        flag: the `StopFlag` of the work under way, or None.
    """

    file: gr.File
    example: gr.Button
    phrase: gr.Textbox
    strategy: gr.Dropdown
    memory: gr.HTML
    start: gr.Slider
    frame: gr.Slider
    ask: gr.Button
    stop: gr.Button
    status: gr.HTML
    picture: gr.HTML
    place: gr.HTML
    result: gr.Video
    downloads: tuple[gr.DownloadButton, ...]
    clip: gr.State
    flag: gr.State


def build_parts(asker: ClipAsker) -> VideoParts:
    """Lay out the tab."""
    comparison = asker.comparison
    cards, chosen = comparison.cards, chosen_strategy(comparison)
    with gr.Row(elem_id="video", elem_classes=["deeper"]):
        with gr.Column(elem_classes=["deeper-controls"]):
            file = gr.File(label=say("Clip"), file_types=list(CLIP_ENDINGS), height=130, elem_id="video-file")
            example = gr.Button(say("Take the example clip"), elem_id="video-example")
            gr.HTML(video_wording.limits(frame_limit(comparison)))
            phrase = gr.Textbox(
                label=say("Phrase"), placeholder=say("the dog on the left"), lines=1, elem_id="video-phrase"
            )
            choices = [(retold(card.title), key) for key, card in cards.items()]
            strategy = gr.Dropdown(
                choices, value=chosen, label=say("Strategy"), filterable=False, elem_id="video-strategy"
            )
            memory = gr.HTML(video_wording.memory_note(asker.carries_memory(chosen)), elem_id="video-memory")
            start = gr.Slider(
                0, 1, value=0, step=0.1, visible=False, label=say("Start, in seconds"), elem_id="video-start"
            )
            frame = gr.Slider(
                0,
                1,
                value=0,
                step=1,
                visible=False,
                label=say("Frame that the phrase is about"),
                info=say("Counted from 0, as in the files."),
                elem_id="video-frame",
            )
            with gr.Row(elem_classes=["batch-buttons"]):
                ask = gr.Button(say("Segment"), variant="primary", elem_id="video-ask", scale=3, min_width=120)
                stop = gr.Button(say("Stop"), interactive=False, elem_id="video-stop", scale=1, min_width=80)
        with gr.Column(elem_classes=["deeper-answer"]):
            status = gr.HTML(video_wording.beginning(), elem_id="video-status")
            with gr.Row(elem_classes=["clip-pictures"]):
                picture = gr.HTML(video_wording.no_picture(), elem_id="video-picture")
                with gr.Column(elem_classes=["clip-result"]):
                    place = gr.HTML(video_wording.no_result(), elem_id="video-place")
                    result = gr.Video(
                        label=say("Segmented clip"),
                        visible=False,
                        interactive=False,
                        buttons=[],
                        elem_id="video-result",
                    )
                    with gr.Row(elem_classes=["clip-files"]):
                        downloads = tuple(
                            gr.DownloadButton(label, interactive=False, elem_id=f"video-{name}", min_width=130)
                            for name, label in (
                                ("mp4", say("Video (MP4)")),
                                ("masks", say("PNG masks")),
                                ("rle", say("COCO RLE")),
                            )
                        )
    clip, flag = (gr.State(None, time_to_live=STATE_SECONDS) for _ in range(2))
    controls = (file, example, phrase, strategy, memory, start, frame, ask, stop)
    return VideoParts(*controls, status, picture, place, result, downloads, clip, flag)
