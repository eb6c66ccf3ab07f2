"""Between a finished run and its recipe: what a link holds, and what it brings back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import parse_qs

import gradio as gr

from evfsam.errors import ConfigurationError, EvfSamError
from evfsam.types import ImageView, RgbImage
from webui.i18n.translate import LANGUAGE_PARAMETER
from webui.known_scenes import Example, KnownScene, suggested_phrases
from webui.run_cache import FinishedRun
from webui.tabs.compare.option_controls import OptionControl
from workbench.datasets.scenes import scene
from workbench.export.code_snippets import DEFAULT_ADDRESS
from workbench.export.links import decode_link, encode_link
from workbench.export.run_recipes import (
    ExampleSource,
    GeneratedScene,
    ImageSource,
    RecipeOptions,
    RunRecipe,
    UploadSource,
)
from workbench.pictures.shown_pictures import read_image
from workbench.suites.registry import Suite

KEY_PARAMETER: Final = "run"
"""Of the page's address: a run whose answers the server keeps for a while."""
_LONGEST_QUERY: Final = 4_000
UPLOAD: Final = UploadSource("an uploaded image")
_ADDRESS: Final = re.compile(r"https?://[\w.\-\[\]:/~%]{1,200}")


@dataclass(frozen=True, eq=False)
class Restored:
    """What a link brings back to the page.

    Attributes:
        recipe: of the run.
        image: (H, W, 3) uint8.
        known: the scene behind it, if there is one.
        phrases: to try on it.
    """

    recipe: RunRecipe
    image: RgbImage
    known: KnownScene | None
    phrases: tuple[str, ...]


def recipe_of(run: FinishedRun, examples: Sequence[Example], suite_key: str) -> RunRecipe:
    """Return what makes this run again."""
    progress = run.progress
    options = cast(RecipeOptions, run.options)
    return RunRecipe(_source_of(run, examples), progress.phrases, suite_key, progress.chosen, options)


def query_of(run: FinishedRun, examples: Sequence[Example], suite_key: str) -> str:
    """Return the query of a link to this run, finished or not; empty where no link can bring it back."""
    try:
        return encode_link(recipe_of(run, examples, suite_key))
    except EvfSamError:
        return ""


def with_key(query: str, key: str) -> str:
    """Add to a run's query the key under which the server still keeps its answers."""
    return "&".join(part for part in (query, f"{KEY_PARAMETER}={key}") if part)


def key_in(query: str) -> str:
    """Return the key of a kept run in a query that anybody may have written; empty where there is none."""
    found = parse_qs(query.removeprefix("?")[:_LONGEST_QUERY]).get(KEY_PARAMETER, [""])
    return found[0]


def restored(query: str, examples: Sequence[Example], suite: Suite) -> Restored:
    """Read a link's query and make its picture.

    Raises:
        ConfigurationError: the link is broken, or made for another suite.
        PhraseError: a phrase is empty or too long, or there are too many.
    """
    by_name = {example.file.name: example for example in examples}
    recipe = decode_link(_recipe_alone(query), examples=tuple(by_name), suites={suite.key: suite})
    source = recipe.source
    if isinstance(source, ExampleSource):
        example = by_name[source.file]
        image = read_image(example.file)
        return Restored(recipe, image, example.known_scene(image), example.phrases)
    if isinstance(source, GeneratedScene):
        drawn = scene(source.seed, source.size)
        known = KnownScene(ImageView(drawn.image).content_hash, source.seed, source.size)
        return Restored(recipe, drawn.image, known, suggested_phrases(drawn))
    raise ConfigurationError("the image was uploaded, and only its owner has it; upload it again")


def control_value(options: RecipeOptions, control: OptionControl) -> object:
    """Return what a control shall show for a recipe's options: its default where they are silent.

    Raises:
        ConfigurationError: the control cannot take the value.
    """
    value = options.get(control.strategy, {}).get(control.name, control.default)
    component = control.component
    if isinstance(component, gr.Slider):
        is_fit = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_fit or not component.minimum <= value <= component.maximum:
            expected = f"{component.minimum} to {component.maximum}"
            raise ConfigurationError(
                "expected {what} as {name}, got {value!r}", what=expected, name=control.name, value=value
            )
    elif value not in [each for _, each in getattr(component, "choices", [("", value)])]:
        raise ConfigurationError("{value!r} is none of the choices of {name}", value=value, name=control.name)
    return value


def page_address(text: object) -> str:
    """Return the page's address as the browser told it; the usual one where it told none that can be quoted."""
    return text if isinstance(text, str) and _ADDRESS.fullmatch(text) else DEFAULT_ADDRESS + "/"


def _recipe_alone(query: str) -> str:
    parts = query.removeprefix("?").split("&")
    return "&".join(part for part in parts if part.partition("=")[0] not in (LANGUAGE_PARAMETER, KEY_PARAMETER))


def _source_of(run: FinishedRun, examples: Sequence[Example]) -> ImageSource:
    content = run.progress.view.content_hash
    example = next((example for example in examples if example.content_hash == content), None)
    if example is not None:
        return ExampleSource(example.file.name)
    known = run.known
    is_scene = known is not None and known.content_hash == content
    return GeneratedScene(known.seed, known.size) if known is not None and is_scene else UPLOAD
