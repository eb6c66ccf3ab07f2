"""Calls of Gradio's own protocol, checked before Gradio reads them: it has no words for what does not fit."""

from collections.abc import Mapping
from typing import Any, Final

from gradio.block_function import BlockFunction
from starlette.types import Scope

from webui.api.door import check_room
from webui.api.images import GivenImages, file_paths, in_uploads, no_such_file
from webui.api.refusals import RequestError
from webui.api.schemas import EndpointSchemas

_CALL: Final = "/gradio_api/call/"
_JOIN: Final = "/gradio_api/queue/join"
_DIRECT: Final = ("/gradio_api/run/", "/gradio_api/api/")
_LONGEST_SESSION: Final = 100


class CallChecks:
    """Refuses calls whose arguments do not fit, and makes files of the images in those that do.

    Args:
        app: Gradio's application.
        endpoints: all public ones, by name.
        images: makes files.
    """

    def __init__(self, app: Any, endpoints: Mapping[str, EndpointSchemas], images: GivenImages) -> None:
        self._app = app
        self._endpoints = endpoints
        self._images = images

    async def prepare(self, path: str, sent: object, _: Scope) -> object:
        """Return what Gradio is to read in place of what was sent.

        Args:
            path: that was asked.
            sent: body as it was read.

        Raises:
            RequestError: it does not fit, or there is no room.
        """
        path = path.rstrip("/")
        is_call, is_join, is_direct = path.startswith(_CALL), path == _JOIN, path.startswith(_DIRECT)
        if not (is_call or is_join or is_direct):
            return sent
        if not isinstance(sent, dict):
            raise RequestError(400, f"expected a JSON object, got {type(sent).__name__}")
        self._check_session(sent)
        if is_call:
            return await self._prepared_call(path.removeprefix(_CALL), sent)
        function = self._function(sent.get("fn_index"), "" if is_join else path.rpartition("/")[2])
        if is_direct and function.queue:
            raise RequestError(404, "this event waits in the queue: post it to /gradio_api/queue/join")
        if is_join:
            check_room(self._app.get_blocks(), function)
        return await self._prepared_event(function, sent)

    async def _prepared_call(self, name: str, sent: dict[str, Any]) -> object:
        is_by_name = name.startswith("v2/")
        name = name.removeprefix("v2/")
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise RequestError(404, f"unknown endpoint {name!r}: expected one of {', '.join(self._endpoints)}")
        if is_by_name:
            endpoint.check_names(sent)
            arguments = dict(sent)
        else:
            arguments = endpoint.named(sent.get("data"))
        check_room(self._app.get_blocks(), self._named_function(name))
        await self._images.put_down(arguments)
        return arguments if is_by_name else {**sent, "data": list(arguments.values())}

    async def _prepared_event(self, function: BlockFunction, sent: dict[str, Any]) -> object:
        data = sent.get("data")
        if not isinstance(data, list):
            raise RequestError(422, f"expected data as a list of {len(function.inputs)} values, one an input")
        name = str(function.api_name)
        if name in self._endpoints:
            arguments = self._endpoints[name].named(data)
            await self._images.put_down(arguments)
            data = list(arguments.values())
        else:
            _check_files(data)
        return {**sent, "data": data, "batched": False}

    def _check_session(self, sent: Mapping[str, object]) -> None:
        session = sent.get("session_hash")
        if session is not None and not (isinstance(session, str) and 0 < len(session) <= _LONGEST_SESSION):
            raise RequestError(422, f"expected session_hash as text of 1 to {_LONGEST_SESSION} characters")

    def _function(self, index: object, name: str) -> BlockFunction:
        functions = self._app.get_blocks().fns
        if index is None and name:
            return self._named_function(name)
        found = functions.get(index) if isinstance(index, int) and not isinstance(index, bool) else None
        if found is None:
            raise RequestError(
                404, f"unknown event {str(index)[:20]}: expected the number of one of this page's as fn_index"
            )
        return found

    def _named_function(self, name: str) -> BlockFunction:
        for function in self._app.get_blocks().fns.values():
            if function.api_name == name:
                return function
        raise RequestError(404, f"unknown endpoint {name[:60]!r}: expected one of {', '.join(self._endpoints)}")


def _check_files(value: object) -> None:
    """Refuse files that nobody uploaded here, and addresses: Gradio would fetch those inside its queue.

    The status is 400: the page shows the words of any mistake but 422.
    """
    for path in file_paths(value):
        if in_uploads(path) is None:
            raise RequestError(400, no_such_file(path))
