"""Endpoints for programs: stateless, each argument and answer of a declared type. The page does not use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import choice
from typing import Annotated, Any, Final

import gradio as gr

from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import BoxXyxy, PromptPoint, RgbImage, SamPrompt
from webui.api.endpoints import ImageArgument, add_endpoint, answers_plainly
from webui.api.images import read_image_argument
from webui.api.json_bodies import parse_json
from webui.api.refusals import RequestError, shown
from webui.known_scenes import SCENE_SIZE
from webui.tabs.compare.controls import checked_choice
from workbench.analysis.attention_view import attention_view
from workbench.comparison import MOST_POINTS, Comparison
from workbench.datasets.scenes import scene, split_seeds
from workbench.export.answer_json import attention_answer, compare_answer, scene_answer, segment_answer, strategy_list
from workbench.export.answer_types import (
    About,
    AttentionAnswer,
    CompareAnswer,
    SceneAnswer,
    SegmentAnswer,
    StrategyList,
)

_LARGEST_SEED: Final = 2**31 - 1
_MOST_OPTIONS: Final = 20

PhraseText = Annotated[
    str,
    About("what to segment, 1 to 1000 characters; up to 16 phrases with ';' between them", shortest=1),
]
OnePhrase = Annotated[str, About("what to segment, 1 to 1000 characters", shortest=1)]
Key = Annotated[str, About("key of the strategy to ask; list_strategies names them")]
OptionValues = Annotated[
    dict[str, object],
    About(
        "options of the strategy by name, such as {'grid_size': 7, 'threshold': 0.8} for point-query or "
        "{'variant': 'late-concat'} for clip-text; a wrong name is answered with the right ones"
    ),
]
Points = Annotated[
    list[tuple[float, float, float]] | None,
    About(
        f"up to {MOST_POINTS} clicks [x, y, label] in pixels, given to SAM beside the phrase: "
        "label 1 on the object, 0 off it",
        longest=MOST_POINTS,
    ),
]
GivenBox = Annotated[
    tuple[float, float, float, float] | None,
    About("a box [x1, y1, x2, y2] in pixels around the object, given to SAM beside the phrase"),
]


@dataclass(frozen=True)
class Programs:
    """The handlers; each says with `gr.Error` what it cannot use."""

    comparison: Comparison

    @answers_plainly
    def list_strategies(self) -> StrategyList:
        """List the ways of telling SAM in words what to segment that can be asked here."""
        return strategy_list(self.comparison)

    @answers_plainly
    def segment(
        self,
        image: ImageArgument,
        phrase: PhraseText,
        strategy: Key = "evf-sam",
        options: OptionValues = {},  # noqa: B006
        points: Points = None,
        box: GivenBox = None,
    ) -> SegmentAnswer:
        """Segment what a phrase names in an image, by one strategy.

        Answers with a verdict (found, absent or failed), the mask as COCO RLE of the image's size, its box and share of
        the image, SAM's guess of its IoU, the seconds it took, and a short trace of how it came about.
        """
        refinement, filed = SamPrompt(_box(box), _points(points)), {_key(strategy): _options(options)}
        run = self.comparison.run(read_image_argument(image), phrase, [strategy], filed, refinement)
        self.comparison.check_options(filed)
        (result,) = run
        return segment_answer(result, run.view, run.question.phrases, self.comparison.suite.key)

    @answers_plainly
    def compare_strategies(
        self,
        image: ImageArgument,
        phrase: PhraseText,
        strategies: Annotated[
            list[str] | None, About("keys of the strategies to ask; all where it is null or left out")
        ] = None,
        options: Annotated[
            dict[str, dict[str, object]],
            About("options by strategy key, such as {'point-query': {'threshold': 0.8}}"),
        ] = {},  # noqa: B006
    ) -> CompareAnswer:
        """Segment what a phrase names by several strategies over one embedding of the image, and compare their masks.

        Answers with each strategy's verdict, mask as COCO RLE, box, seconds and trace, and with the IoU of every two.
        """
        filed = {key: _options(chosen) for key, chosen in _options(options).items()}
        run = self.comparison.run(read_image_argument(image), phrase, strategies, filed)
        self.comparison.check_options(filed)
        return compare_answer(list(run), run.view, run.question.phrases, self.comparison.suite.key)

    @answers_plainly
    def explain_attention(
        self,
        image: ImageArgument,
        phrase: OnePhrase,
        strategy: Key = "evf-sam",
        layer: Annotated[int, About("layer from 1; 0 follows the attention through all layers", least=0)] = 0,
        head: Annotated[int, About("head from 1; 0 sums all heads of the layer", least=0)] = 0,
    ) -> tuple[RgbImage, AttentionAnswer]:
        """Segment what a phrase names, and show where the token that prompts SAM looked.

        Answers with a picture (the map over the image, the mask outlined), then the map's figures: each patch's share,
        how much of it lies on the mask, and how much the token read of each piece of the phrase. Needs a strategy
        that reads image and phrase together, such as evf-sam.
        """
        chosen = checked_choice(layer, "layer"), checked_choice(head, "head")
        run = self.comparison.run(read_image_argument(image), [phrase], [strategy])
        (result,) = run
        attention = attention_view(result, run.view.image, run.question.phrase)
        if attention is None:
            reason = result.segmentation.verdict.reason if result.segmentation.verdict.kind == "failed" else ""
            raise ConfigurationError(
                reason or f"expected a strategy with attention between image and phrase, got {result.key}; ask evf-sam"
            )
        return attention.heat_map(*chosen), attention_answer(result, attention, *chosen)

    @answers_plainly
    def draw_scene(
        self,
        seed: Annotated[
            int | None,
            About("the same seed draws the same scene, 0 to 2147483647; left out or null: one no model was trained on"),
        ] = None,
    ) -> tuple[RgbImage, SceneAnswer]:
        """Draw a scene of known objects, 512 pixels a side, with phrases and the true mask of each.

        Answers with the picture, then the seed and the phrases with their masks as COCO RLE, to measure answers by.
        """
        drawn = scene(choice(split_seeds("test")) if seed is None else _seed(seed), SCENE_SIZE, is_plain=True)
        return drawn.image, scene_answer(drawn)


def add_programs(comparison: Comparison, queue_name: str) -> None:
    """Serve the endpoints inside `gr.Blocks`, before other handlers that may bear their names.

    Args:
        comparison: the strategies.
        queue_name: of the queue that all events that run a model share.
    """
    programs = Programs(comparison)
    keys = list(comparison.keys)
    default: dict[str, object] = {"strategy": "evf-sam" if "evf-sam" in keys else keys[0]}
    asked: dict[str, Any] = {"choices": {"strategy": keys, "strategies": keys}, "queue_name": queue_name}
    with gr.Row(visible=False):
        add_endpoint(programs.list_strategies, StrategyList)
        add_endpoint(programs.segment, SegmentAnswer, defaults=default, **asked)
        add_endpoint(programs.compare_strategies, CompareAnswer, **asked)
        add_endpoint(programs.explain_attention, AttentionAnswer, picture="heat map", defaults=default, **asked)
        add_endpoint(programs.draw_scene, SceneAnswer, picture="scene")


def _key(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(
            f"expected the key of a strategy as text, got {shown(value)}; list_strategies names them"
        )
    return value


def _options(value: object) -> Mapping[str, object]:
    given = value
    if isinstance(value, str) and value:
        try:
            given = parse_json(value.encode(errors="surrogatepass"))
        except RequestError as error:
            raise ConfigurationError(f"expected options as a JSON object, got {value[:60]!r}: {error}") from error
    if given is None or given == "":
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"expected options as a JSON object of names and values, got {shown(value)}")
    chosen: dict[str, object] = dict(given)
    if len(chosen) > _MOST_OPTIONS:
        raise ConfigurationError(f"expected at most {_MOST_OPTIONS} options, got {len(chosen)}; leave some out")
    return chosen


def _seed(value: object) -> int:
    seed = checked_choice(value, "seed")
    if not 0 <= seed <= _LARGEST_SEED:
        raise ConfigurationError(f"expected a seed from 0 to {_LARGEST_SEED}, got {seed}; choose another")
    return seed


def _box(value: object) -> BoxXyxy | None:
    if value is None:
        return None
    x1, y1, x2, y2 = _numbers(value, 4, "a box [x1, y1, x2, y2] in pixels")
    return x1, y1, x2, y2


def _points(value: object) -> tuple[PromptPoint, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise GeometryError(f"expected a list of points [x, y, label], got {shown(value)}")
    return tuple(_point(item) for item in value)


def _point(value: object) -> PromptPoint:
    x, y, label = _numbers(value, 3, "a point [x, y, label] in pixels")
    if label not in (0, 1):
        raise GeometryError(f"expected a point's label 1 (on the object) or 0 (off it), got {label:g}")
    return PromptPoint(x, y, 1 if label == 1 else 0)


def _numbers(value: object, count: int, what: str) -> tuple[float, ...]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count
    if not is_list or any(isinstance(item, bool) or not isinstance(item, int | float) for item in value):  # type: ignore[attr-defined]
        raise GeometryError(f"expected {what} as {count} numbers, got {shown(value)}")
    return tuple(float(item) for item in value)  # type: ignore[attr-defined]
