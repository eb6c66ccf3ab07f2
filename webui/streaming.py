"""How the answers of a run travel to the browser one by one, so that none is lost on a busy machine."""

from typing import Any

import gradio as gr


class StreamingBlocks(gr.Blocks):  # type: ignore[misc]
    """A page that streams changed values whole.

    Gradio sends what changed inside a value, and its browser side carries that out on the very object that it may not
    have shown yet: where two answers arrive before the first is drawn, the second takes the first one's picture away.
    """

    def handle_streaming_diffs(
        self,
        block_fn: Any,
        data: list[Any],
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list[Any]:
        """Return the edits that bring each output to its next value: none, or one that replaces it."""
        is_first = run not in self.pending_diff_streams.get(session_hash, {})
        sent: list[Any] = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format)
        if session_hash is None or run is None or is_first or final or simple_format:
            return sent
        values = self.pending_diff_streams[session_hash][run]
        return [[["replace", [], value]] if edits else [] for edits, value in zip(sent, values, strict=False)]
