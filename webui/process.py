"""What a serving process owns: a folder for everything temporary, its memory, and an end when it is told to."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO, Final, NoReturn

import gradio as gr

from webui.api.guard import Hosts
from webui.blocks import launch_arguments
from workbench.heap import bound_arenas, trim_until

try:
    import fcntl
except ImportError:  # Windows: folders of processes that were killed stay
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_PREFIX: Final = "sam-workbench-"
_LOCK: Final = "in-use"
_UPLOADS: Final = "uploads"
_CLOSING_SECONDS: Final = 2


@contextmanager
def temporary_folder(environment: MutableMapping[str, str]) -> Iterator[Path]:
    """Keep uploads, results and whatever else is temporary in a folder of this process, and delete it at the end.

    Gradio's own folder is shared by all processes of a machine, keeps equal files at equal paths, and each process
    deletes at its end what it served, also where another serves it still. `GRADIO_TEMP_DIR` says where the folder is
    made. Folders of processes that were killed are deleted here: the system lets go of their locks.

    Args:
        environment: of the process, in which Gradio looks its folder up.
    """
    parent = Path(environment.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    _delete_left_behind(parent)
    folder, owner, before = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)), os.getpid(), dict(environment)
    (folder / _UPLOADS).mkdir()
    with _locked(folder):
        environment["GRADIO_TEMP_DIR"] = str(folder / _UPLOADS)
        tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            if os.getpid() == owner:  # a fork of it, as on a lent GPU, is not its end
                tempfile.tempdir = None
                environment.pop("GRADIO_TEMP_DIR", None)
                environment.update(before)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def until_told() -> Iterator[None]:
    """Let SIGTERM end what is done within as Ctrl+C does, and end it without a word.

    The first process of a container ignores it otherwise.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        logger.info("ended as told")


def serve_page(
    demo: gr.Blocks, host: str, port: int | None, hosts: Hosts, beside: Callable[[], None] | None = None
) -> None:
    """Serve a page until the process is told to end; answers under way get a moment then.

    Args:
        demo: the page.
        host: address to listen on.
        port: to listen on; the next free one for None.
        hosts: the names under which the server may be asked.
        beside: done in a thread of its own once the page is served.
    """
    # Gradio warns before webui.api.serving takes those endpoints out of its list of tools.
    warnings.filterwarnings("ignore", message="This MCP server includes a tool that has a gr.State input")
    bound_arenas()
    arguments, ended = launch_arguments(hosts), Event()
    Thread(target=trim_until, args=(ended,), daemon=True).start()
    try:
        # Unless told that there is no frontend, Gradio asks itself for the page, and ends a server that is too busy to
        # answer within three seconds.
        demo.launch(server_name=host, server_port=port, prevent_thread_lock=True, _frontend=False, **arguments)
        if beside is not None:
            Thread(target=beside, daemon=True).start()
        ended.wait()
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one word is enough
        if server := getattr(demo, "server", None):
            server.config.timeout_graceful_shutdown = _CLOSING_SECONDS
        demo.close(verbose=False)


def leave() -> NoReturn:
    """End the process without waiting for models that still work on what nobody will get."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("w") as lock:
        _try_lock(lock)
        yield


def _try_lock(lock: IO[str]) -> bool:
    """Lock a file; returns whether no other process has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _delete_left_behind(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open("r+") as lock:
            if _try_lock(lock):
                shutil.rmtree(folder, ignore_errors=True)
