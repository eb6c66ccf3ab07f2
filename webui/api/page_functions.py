"""What programs may call: `/compare`, `/random_scene`, `/attention`. Names, arguments and outputs stay as they are.

These keep what a client did last in its session; the endpoints of `webui.api.functions` need none.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
import numpy as np

from evfsam.errors import EvfSamError
from evfsam.types import RgbImage
from webui.known_scenes import KnownScene, random_scene, suggested_phrases
from webui.tabs.compare.details import checked_choice
from webui.tabs.compare.runs import Progress, run
from webui.tabs.compare.tab import MODEL_QUEUE, ComparePage, archive_of, first_attention
from workbench.analysis.attention_view import AttentionView
from workbench.comparison import Comparison
from workbench.export.results import result_dict

logger = logging.getLogger(__name__)

ApiAnswer = tuple[str | None, AttentionView | None, dict[str, object]]


@dataclass(frozen=True)
class Api:
    """Handlers of the public endpoints; they answer mistakes with `gr.Error`, which clients get as an exception."""

    comparison: Comparison

    def compare(
        self, image: object, phrase: object, strategies: object, known: KnownScene | None
    ) -> Iterator[ApiAnswer]:
        """Ask strategies to segment what a phrase names; answers with a zip of the results, then result.json.

        Args:
            image: an image file.
            phrase: what to segment.
            strategies: keys of the strategies to ask.
            known: the scene this client got last.
        """
        try:
            for progress in run(self.comparison, image, phrase, strategies, known=known):
                if not progress.is_done:
                    yield None, None, self._content(progress)
            with TemporaryDirectory(prefix="comparison-") as directory:
                archive = archive_of(progress, self.comparison.suite.key, Path(directory))
                yield str(archive), first_attention(progress), self._content(progress)
        except EvfSamError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def random_scene(self) -> tuple[RgbImage, KnownScene, dict[str, object]]:
        """Draw a scene; answers with its image, then its seed and phrases that mean something in it.

        A later `/compare` of the same client on this image and one of these phrases measures the IoU.
        """
        drawn, known = random_scene()
        return drawn.image, known, {"seed": drawn.seed, "phrases": list(suggested_phrases(drawn))}

    def attention(
        self, layer: object, head: object, attention: AttentionView | None
    ) -> tuple[RgbImage, dict[str, object]]:
        """Draw an attention map of this client's last comparison; answers with a picture, then figures.

        Args:
            layer: 1 is the first; 0 follows the attention through all layers.
            head: 1 is the first; 0 sums all heads.
            attention: kept from the comparison.
        """
        if attention is None:
            raise gr.Error("There is no attention yet: call /compare with evf-sam first.", print_exception=False)
        try:
            chosen = checked_choice(layer, "layer"), checked_choice(head, "head")
            share = attention.mass_inside(*chosen)
            grid = np.round(attention.map_of(*chosen), 6).tolist()
            picture = attention.heat_map(*chosen)
        except EvfSamError as error:
            raise gr.Error(str(error), print_exception=False) from error
        figures = {"layer": chosen[0], "head": chosen[1], "attention_share_in_mask": share, "map": grid}
        return picture, figures

    def _content(self, progress: Progress) -> dict[str, object]:
        suite_key = self.comparison.suite.key
        return result_dict(progress.view.image, progress.phrase, suite_key, progress.results, progress.known_mask)


def add_api(page: ComparePage) -> None:
    """Add the endpoints beside the page's own events, on components that the page does not show."""
    api = Api(page.comparison)
    controls = page.controls
    with gr.Row(visible=False):
        trigger = gr.Button()
        picture = gr.Image(format="png", label="image")
        figures = gr.JSON(label="figures")
        archive = gr.File(label="zip")
        content = gr.JSON(label="result.json")
        layer, head = gr.Number(0, precision=0, label="layer"), gr.Number(0, precision=0, label="head")
    trigger.click(
        api.compare,
        [controls.image, controls.phrase, controls.strategies, page.known],
        [archive, page.attention, content],
        preprocess=False,
        api_name="compare",
        concurrency_limit=1,
        concurrency_id=MODEL_QUEUE,
    )
    trigger.click(api.random_scene, None, [picture, page.known, figures], api_name="random_scene")
    asked = [layer, head, page.attention]
    trigger.click(api.attention, asked, [picture, figures], api_name="attention", preprocess=False)
