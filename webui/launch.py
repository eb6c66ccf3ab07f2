"""The page as a program: read settings, build it, launch it."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import gradio as gr
import torch

from evfsam.errors import EvfSamError
from webui.api.guard import server_names
from webui.blocks import build_demo
from webui.process import leave, serve_page, temporary_folder, until_told
from workbench.cli.arguments import suite_of
from workbench.cli.parser import add_page_options
from workbench.comparison import Comparison
from workbench.evaluation.merging import merged_runs
from workbench.names import DEVICE_NAMES, DTYPE_NAMES, SUITE_NAMES
from workbench.placement import (
    describe_machine,
    processes_beside,
    question_budget,
    resolve_device,
    resolve_dtype,
    runs_at_once,
)
from workbench.reporting.browsing import Browsing
from workbench.side_processes import SideBySideComparison
from workbench.suites.choice import usual_dtype
from workbench.zero_gpu import ZeroGpuComparison, zero_gpu_decorator

logger = logging.getLogger(__name__)


def read_settings(arguments: Sequence[str] | None = None, program: str | None = None) -> argparse.Namespace:
    """Read the command line; host and port come from Gradio's own environment variables where it is silent."""
    parser = argparse.ArgumentParser(program, description="Compare ways of telling SAM in words what to segment.")
    suite = "auto" if "SPACE_ID" in os.environ else "mini"
    parser.add_argument("--suite", choices=SUITE_NAMES, default=suite, help="which models (default: %(default)s)")
    add_page_options(parser)
    parser.add_argument("--device", choices=DEVICE_NAMES, default="auto", help="where they run (default: auto)")
    parser.add_argument("--dtype", choices=("auto", *DTYPE_NAMES), default="auto", help="number type (default: auto)")
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    parser.add_argument("--host", default=host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--name", action="append", default=[], help="another name of this server, as of a proxy's site")
    parser.add_argument("--port", type=int, default=None, help="port (default: GRADIO_SERVER_PORT, or the next free)")
    parser.add_argument(
        "--evaluation",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="what `evaluate` or `score` wrote, to browse its samples in a tab; may be repeated",
    )
    return parser.parse_args(arguments)


def create_demo(settings: argparse.Namespace) -> tuple[gr.Blocks, Comparison]:
    """Build the page over the chosen suite, without reading any weights.

    Raises:
        EvfSamError: an option means nothing, or a file of an evaluation cannot be read.
    """
    gpu = zero_gpu_decorator(os.environ)  # stands in for CUDA outside of calls, so it comes first
    device = resolve_device(settings.device)
    machine = describe_machine(device, os.environ)
    dtype = None if settings.dtype == "auto" else resolve_dtype(settings.dtype, device)
    suite = suite_of(settings, machine, dtype, is_rest_kept=False)
    evaluations = [Browsing(run) for run in merged_runs(settings.evaluation)]
    count = 1 if gpu is not None else runs_at_once(suite, device)
    bound = question_budget(count)
    make: Callable[..., Comparison] = Comparison
    if gpu is not None:
        make = partial(ZeroGpuComparison, gpu=gpu)
    elif count > 1:
        make = partial(SideBySideComparison, at_once=count, processes=processes_beside(count))
    comparison = make(suite, device, dtype or usual_dtype(suite, machine), question_bytes=bound)
    if count > 1:
        torch.set_num_threads(1)
    return build_demo(comparison, evaluations, count), comparison


def preload_weights(comparison: Comparison) -> None:
    """Read all weights, so that the first visitor need not wait; a strategy without any says so when it is asked."""
    for key in comparison.keys:
        try:
            comparison.strategy(key)
        except EvfSamError as error:
            logger.warning("%s: %s", key, error)


def serve(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Serve the page at once, and read weights that are at hand meanwhile; a lent GPU wants them read before.

    Args:
        arguments: by default those of the process.
        program: its name in messages; by default that of the process.

    Returns:
        The exit code 2, after one line on standard error, where it cannot be set up; a stopped server ends the process.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    with until_told(), temporary_folder(os.environ):
        try:
            settings = read_settings(arguments, program)
            demo, comparison = create_demo(settings)
        except EvfSamError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        reads = partial(preload_weights, comparison)
        if isinstance(comparison, ZeroGpuComparison):
            reads()
        hosts = server_names(settings.host, os.environ, settings.name)
        serve_page(demo, settings.host, settings.port, hosts, None if comparison.suite.load_status else reads)
    leave()
