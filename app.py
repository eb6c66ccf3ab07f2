"""Entry point of the page: read settings, build it, launch it."""

import argparse
import logging
import os
from collections.abc import Sequence
from threading import Thread

import gradio as gr

from evfsam.errors import EvfSamError
from webui.blocks import build_demo, launch_arguments
from workbench.comparison import Comparison
from workbench.placement import DEVICE_NAMES, resolve_device
from workbench.suites import SUITES, find_suite

logger = logging.getLogger(__name__)


def read_settings(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; host and port come from Gradio's own environment variables where it is silent."""
    parser = argparse.ArgumentParser(description="Compare ways of telling SAM in words what to segment.")
    parser.add_argument("--suite", choices=list(SUITES), default="mini", help="which models (default: mini)")
    parser.add_argument("--device", choices=DEVICE_NAMES, default="auto", help="where they run (default: auto)")
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    parser.add_argument("--host", default=host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=None, help="port (default: GRADIO_SERVER_PORT, or the next free)")
    return parser.parse_args(arguments)


def create_demo(settings: argparse.Namespace) -> tuple[gr.Blocks, Comparison]:
    """Build the page over the chosen suite, without reading any weights."""
    comparison = Comparison(find_suite(settings.suite), resolve_device(settings.device))
    return build_demo(comparison), comparison


def read_weights(comparison: Comparison) -> None:
    """Read all weights, so that the first visitor need not wait; a strategy without any says so when it is asked."""
    for key in comparison.keys:
        try:
            comparison.strategy(key)
        except EvfSamError as error:
            logger.warning("%s: %s", key, error)


def main() -> None:
    """Serve the page at once, and read the weights meanwhile."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    settings = read_settings()
    demo, comparison = create_demo(settings)
    demo.launch(server_name=settings.host, server_port=settings.port, prevent_thread_lock=True, **launch_arguments())
    Thread(target=read_weights, args=(comparison,), daemon=True).start()
    demo.block_thread()


if __name__ == "__main__":
    main()
