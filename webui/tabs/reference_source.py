"""Where a reference mask comes from: the scene itself, a visitor's file, or a visitor's brush."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import gradio as gr
import numpy as np

from evfsam.errors import EvfSamError, GeometryError
from webui import wording
from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.runs import Progress
from webui.tabs.compare.tab import STATE_SECONDS
from webui.tabs.opened_run import ALL_PHRASES
from workbench.analysis.reference_masks import drawn_mask, read_reference
from workbench.metrics.masks import Mask, ReferenceMask
from workbench.pictures.mask_png import mask_png
from workbench.pictures.shown_pictures import shown_pair

SCENE, FILE, DRAWING = "scene", "file", "drawing"
_TITLES: Final = {SCENE: "This scene's own mask", FILE: "A file of yours", DRAWING: "Draw one"}
_BRUSH: Final = ("#d55e00", 0.6)
"""Vermilion, and clear enough to see what is under it."""
_BOARD_HEIGHT: Final = 440
_HOW_TO_DRAW: Final = (
    "Paint over the object, by mouse, pen or finger; the eraser and the arrows back and forth are beside the picture. "
    "A brush needs a pointer: from the keyboard, take a file."
)
_DRAW_FIRST: Final = "Draw the mask, then press “Measure against this”."
_TAKEN: Final = "The drawing is the reference now. Change it and press “Measure against this” again at any time."
_NOTHING_DRAWN: Final = "Nothing is painted yet. Paint over the object with the brush first."


@dataclass(frozen=True, eq=False)
class Reference:
    """A known mask of what was asked.

    Attributes:
        mask: (H, W), bool or labels.
        origin: one sentence: where it came from, and how it was read.
        is_own: whether a visitor brought or drew it.
    """

    mask: ReferenceMask
    origin: str
    is_own: bool


@dataclass(frozen=True)
class Drawing:
    """A drawn mask of one image.

    Attributes:
        content_hash: of the image; the drawing says nothing of another.
        file: the mask as a PNG of the image's size.
    """

    content_hash: str
    file: bytes


@dataclass(frozen=True, eq=False)
class DrawingBoard:
    """What drawing needs.

    Attributes:
        place: holds the rest.
        editor: the image to paint on.
        take, clear: use the drawing; begin anew.
        status: what became of the drawing.
    """

    place: gr.Column
    editor: gr.ImageEditor
    take: gr.Button
    clear: gr.Button
    status: gr.HTML


@dataclass(frozen=True, eq=False)
class ReferenceSource:
    """The components that say what the answers are measured against.

    Attributes:
        kind: scene, file or drawing.
        file, is_inverted: a file, and whether object and background are swapped in it.
        board: to draw on.
        drawing: this visitor's drawing, or None.
        canvas: content hash of the image on the editor, or None.
    """

    kind: gr.Radio
    file: gr.File
    is_inverted: gr.Checkbox
    board: DrawingBoard
    drawing: gr.State
    canvas: gr.State

    @property
    def controls(self) -> list[gr.components.Component]:
        """What `show` and `reference` need to know, in this order."""
        return [self.kind, self.file, self.is_inverted, self.drawing, self.canvas]

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `show` changes."""
        board = self.board
        choice = [self.kind, self.file, self.is_inverted, self.drawing, self.canvas]
        return [*choice, board.place, board.editor, board.status]

    def show(self, progress: Progress, phrase: int, kind: str, drawing: object, canvas: object) -> Updates:
        """Show the controls of the kind chosen; put the image on the editor where another one is there."""
        offered = offered_kinds(progress, phrase)
        shown: Updates = {
            self.kind: gr.update(
                choices=[(translate(_TITLES[each]), each) for each in offered], value=kind, visible=True
            ),
            self.file: gr.update(visible=kind == FILE),
            self.is_inverted: gr.update(visible=kind == FILE),
            self.board.place: gr.update(visible=kind == DRAWING),
        }
        content = progress.view.content_hash
        if kind != DRAWING or canvas == content:
            return shown
        kept = drawing if isinstance(drawing, Drawing) and drawing.content_hash == content else None
        return {**shown, **self.emptied_canvas(progress), self.drawing: kept}

    def emptied_canvas(self, progress: Progress) -> Updates:
        """Put the image alone on the editor."""
        image = progress.view.image
        picture, _ = shown_pair(image, np.zeros(image.shape[:2], dtype=np.bool_))
        return {
            self.board.editor: gr.update(value={"background": picture, "layers": [], "composite": None}, visible=True),
            self.canvas: progress.view.content_hash,
            self.board.status: wording.hint(translate(_DRAW_FIRST)),
        }

    def taken(self, progress: Progress, painted: object) -> Updates:
        """Make a mask of what is painted on the editor."""
        layers = painted.get("layers") if isinstance(painted, Mapping) else None
        if not isinstance(layers, list) or not layers:
            return {self.drawing: None, self.board.status: wording.problem(translate(_NOTHING_DRAWN))}
        try:
            mask = drawn_mask([np.asarray(layer) for layer in layers], progress.view.size)
        except GeometryError:
            return {self.drawing: None, self.board.status: wording.problem(translate(_NOTHING_DRAWN))}
        return {
            self.drawing: Drawing(progress.view.content_hash, mask_png(mask)),
            self.board.status: wording.hint(translate(_TAKEN)),
        }

    def hidden(self) -> Updates:
        """Hide everything: there is nothing to measure."""
        unseen = [self.kind, self.file, self.is_inverted, self.board.place]
        return {component: gr.update(visible=False) for component in unseen}


def build_reference_source(board: DrawingBoard) -> ReferenceSource:
    """Lay the choice of a reference out; hidden until there is a run."""
    kind = gr.Radio([], label=translate("Reference mask"), visible=False, elem_id="reference-kind")
    file = gr.File(
        label=translate("Reference mask of your own"),
        file_count="single",
        file_types=["image"],
        height=150,
        visible=False,
        elem_id="reference-file",
    )
    inverted = gr.Checkbox(label=translate("Swap object and background"), value=False, visible=False)
    drawing, canvas = gr.State(None, time_to_live=STATE_SECONDS), gr.State(None, time_to_live=STATE_SECONDS)
    return ReferenceSource(kind, file, inverted, board, drawing, canvas)


def build_drawing_board() -> DrawingBoard:
    """Lay out what drawing needs; hidden until a visitor wants to draw."""
    with gr.Column(visible=False, elem_id="reference-drawing") as place:
        gr.HTML(f'<p class="caption">{translate(_HOW_TO_DRAW)}</p>')
        editor = gr.ImageEditor(
            label=translate("Paint the object"),
            type="numpy",
            image_mode="RGBA",
            format="png",
            height=_BOARD_HEIGHT,
            sources=(),
            transforms=(),
            layers=False,
            brush=gr.Brush(default_size=24, colors=[_BRUSH], default_color=_BRUSH, color_mode="fixed"),
            eraser=gr.Eraser(default_size=24),
            buttons=["fullscreen"],
            interactive=True,
            visible=False,  # until it is needed: its scripts are as large as the rest of the page
            elem_id="reference-editor",
        )
        with gr.Row():
            take = gr.Button(
                translate("Measure against this"), variant="primary", min_width=120, elem_id="reference-take"
            )
            clear = gr.Button(translate("Clear"), min_width=80, elem_id="reference-clear")
        status = gr.HTML(wording.hint(translate(_DRAW_FIRST)), elem_id="reference-status")
    return DrawingBoard(place, editor, take, clear, status)


def offered_kinds(progress: Progress, phrase: int) -> tuple[str, ...]:
    """Return where a reference for a phrase can come from; the first is meant where nothing was chosen."""
    own = (FILE, DRAWING)
    return own if known_mask(progress, phrase) is None else (SCENE, *own)


def chosen_kind(progress: Progress, phrase: int, value: object) -> str:
    """Return the kind chosen, or the first that there is: a client may send anything."""
    offered = offered_kinds(progress, phrase)
    return value if isinstance(value, str) and value in offered else offered[0]


def known_mask(progress: Progress, phrase: int) -> Mask | None:
    """(H, W) bool: what a phrase, or all of them, means in the scene; None where nobody knows."""
    return progress.known_mask if phrase == ALL_PHRASES else progress.known_masks[phrase]


def reference_of(
    progress: Progress, phrase: int, kind: str, file: object, is_inverted: object, drawing: object
) -> Reference | None:
    """Return the reference of a phrase, or None as long as there is none of this kind.

    Raises:
        EvfSamError: the file is no mask of this image.
    """
    if kind == SCENE:
        known = known_mask(progress, phrase)
        return (
            None if known is None else Reference(known, translate("The scene's own mask of this phrase."), is_own=False)
        )
    if kind == DRAWING:
        if not isinstance(drawing, Drawing) or drawing.content_hash != progress.view.content_hash:
            return None
        read = read_reference(drawing.file, progress.view.size)
        return Reference(read.mask, translate("Your drawing."), is_own=True)
    path = file.get("path") if isinstance(file, Mapping) else None
    if not isinstance(path, str):
        return None
    read = read_reference(path, progress.view.size, is_inverted=is_inverted is True)
    return Reference(
        read.mask, translate("Your file: {said_reading}.", said_reading=translate_message(read.reading)), is_own=True
    )


def problem_of(error: EvfSamError) -> str:
    """Write an error for the page."""
    text = translate_message(str(error))
    return wording.problem(text[:1].upper() + text[1:])
