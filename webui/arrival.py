"""What the page is delivered with: values laid into its configuration, which are seen as soon as the page is.

Gradio would ask for them once it has mounted, two seconds after the document came, and fetch their pictures after that.
They are laid in for a browser that opens the page without a run in its address; a link's run would come in their place.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any, Final

import gradio as gr
from gradio.data_classes import GradioModel, GradioRootModel
from gradio.processing_utils import move_files_to_cache

from webui.file_quota import mark_used

SCRIPT: Final = Path(__file__).with_name("arrival.js")
"""Draws them until Gradio has mounted."""
Values = Mapping[gr.components.Component, object]
_IS_ARRIVING: Final[ContextVar[bool]] = ContextVar("arriving", default=False)


@contextmanager
def arriving(is_arriving: bool) -> Iterator[None]:
    """Say of the request at hand whether it opens the page without a run in its address."""
    token = _IS_ARRIVING.set(is_arriving)
    try:
        yield
    finally:
        _IS_ARRIVING.reset(token)


class LaidIn:
    """Values of components as they stand in a page's configuration; safe to share between threads.

    They are drawn when they are first asked for: a page in a language that nobody speaks costs nothing. Their pictures
    lie in Gradio's folder, where the least used go first; they are written again once they are gone.

    Args:
        values: returns the values, or updates, by component; states, which no browser holds, are left out. It is called
            in the language of the request.
    """

    def __init__(self, values: Callable[[], Values]) -> None:
        self._values = values
        self._props: dict[int, dict[str, Any]] | None = None
        self._lock = Lock()

    def drawn(self) -> dict[int, dict[str, Any]]:
        """Return what is laid in, by component; draw it where it is not there, or no longer."""
        with self._lock:
            if self._props is None or not all(path.is_file() for path in _files_in(self._props)):
                self._props = _props_of(self._values())
            return self._props

    def into(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return a configuration with the values in it, for a request that arrives; any other gets it as it is."""
        if not _IS_ARRIVING.get():
            return config
        drawn = self.drawn()
        for path in _files_in(drawn):
            mark_used(path)
        components = [
            {**component, "props": {**component["props"], **drawn.get(component["id"], {})}}
            for component in config["components"]
        ]
        return {**config, "components": components}


def _props_of(values: Values) -> dict[int, dict[str, Any]]:
    return {
        component._id: _written(component, value)
        for component, value in values.items()
        if not isinstance(component, gr.State)
    }


def _written(component: gr.components.Component, value: object) -> dict[str, Any]:
    """Write a value as Gradio writes those that a component is built with."""
    props = dict(value) if isinstance(value, dict) and "__type__" in value else {"value": value}
    if "value" in props:
        data = component.postprocess(props["value"])
        plain = data.model_dump() if isinstance(data, GradioModel | GradioRootModel) else data
        props["value"] = move_files_to_cache(plain, component, postprocess=True, keep_in_cache=True)
    return {name: each for name, each in props.items() if name != "__type__" and each is not None}


def _files_in(props: Mapping[int, Mapping[str, Any]]) -> Iterator[Path]:
    values = (each.get("value") for each in props.values())
    return (Path(value["path"]) for value in values if isinstance(value, dict) and "path" in value)
