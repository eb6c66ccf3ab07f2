"""How a function becomes an endpoint: its signature says what goes in, and mistakes leave it as one plain sentence."""

import inspect
import logging
import secrets
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_type_hints

import gradio as gr
from gradio.components.api_component import Api
from gradio.utils import get_upload_folder
from PIL import Image

from evfsam.errors import EvfSamError
from webui.api.images import IMAGE_WORDS, image_input
from webui.api.refusals import DISK_FULL, is_disk_full
from workbench.export.answer_types import About, json_schema

logger = logging.getLogger(__name__)

ImageArgument = Annotated[object, About(IMAGE_WORDS)]
"""An image in any of the ways in which a program can send one."""
_LONGEST_MESSAGE: Final = 800
OUR_FAULT: Final = "Something went wrong on our side; the server's log has the details."


def answers_plainly(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what a handler raises into `gr.Error` with one sentence, and list its arguments in its docstring.

    Gradio describes arguments by the lines under "Args:"; here they are written from the `About` of each annotation.
    """

    @wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return _with_file(handler(*args, **kwargs))
        except EvfSamError as error:
            raise gr.Error(_one_line(str(error)), print_exception=False) from error
        except Exception as error:
            logger.exception("an endpoint failed")
            raise gr.Error(DISK_FULL if is_disk_full(error) else OUR_FAULT, print_exception=False) from error

    lines = [f"    {name}: {about.words}" for name, about in _abouts(handler).items()]
    guarded.__doc__ = "\n".join([inspect.cleandoc(handler.__doc__ or ""), *(["", "Args:", *lines] if lines else [])])
    return guarded


def _with_file(answered: Any) -> Any:
    """Write the picture of an answer here, where what goes wrong is said; Gradio would write it without a word."""
    if not isinstance(answered, tuple):
        return answered
    picture, *others = answered
    file = Path(get_upload_folder()) / "answers" / secrets.token_hex(16) / "picture.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(picture).save(file)
    return str(file), *others


def add_endpoint(
    handler: Callable[..., Any],
    answer: type,
    *,
    picture: str | None = None,
    defaults: Mapping[str, object] | None = None,
    choices: Mapping[str, list[str]] | None = None,
    queue_name: str | None = None,
) -> None:
    """Serve a bound handler under its own name; call it inside `gr.Blocks`.

    Args:
        handler: made by `answers_plainly`; returns the answer, or the picture and then the answer.
        answer: TypedDict of the answer.
        picture: label of the picture it returns first, if it does.
        defaults: what stands in for an argument that is left out, where that is not known before.
        choices: the values that a text argument, or the items of a list, can take.
        queue_name: of the queue it waits in, which events of that name share; without a name it waits in none.
    """
    inputs = _inputs(handler, defaults or {}, choices or {})
    outputs: list[gr.components.Component] = [] if picture is None else [gr.Image(format="png", label=picture)]
    outputs.append(Api(None, json_schema(answer), "answer"))  # type: ignore[arg-type,unused-ignore]
    waits = {"concurrency_limit": 1, "concurrency_id": queue_name} if queue_name else {"queue": False}
    gr.Button(visible=False).click(
        handler,
        inputs,
        outputs,
        api_name=handler.__name__,
        preprocess=False,
        show_progress="hidden",
        **waits,
    )


def _inputs(
    handler: Callable[..., Any], defaults: Mapping[str, object], choices: Mapping[str, list[str]]
) -> list[gr.components.Component]:
    hints = get_type_hints(handler, include_extras=True)
    made: list[gr.components.Component] = []
    for name, parameter in inspect.signature(handler).parameters.items():
        if hints[name] is ImageArgument:
            made.append(image_input(name))
            continue
        schema = _narrowed(json_schema(hints[name]), choices.get(name))
        written = None if parameter.default is parameter.empty else parameter.default
        made.append(Api(defaults.get(name, written), schema, name))
    return made


def _narrowed(schema: dict[str, Any], choices: list[str] | None) -> dict[str, Any]:
    """Name the values that a text, or the items of a list, can take."""
    if choices is None:
        return schema
    if schema.get("type") == "string":
        return schema | {"enum": choices}
    if schema.get("type") == "array":
        return schema | {"items": _narrowed(schema["items"], choices)}
    if "anyOf" in schema:
        return schema | {"anyOf": [_narrowed(option, choices) for option in schema["anyOf"]]}
    return schema


def _abouts(handler: Callable[..., Any]) -> dict[str, About]:
    hints = get_type_hints(handler, include_extras=True)
    notes = {name: [note for note in get_args(hint)[1:] if isinstance(note, About)] for name, hint in hints.items()}
    return {name: found[0] for name, found in notes.items() if found and name != "return"}


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_MESSAGE else words[: _LONGEST_MESSAGE - 1] + "…"
