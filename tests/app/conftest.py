from collections.abc import Iterator

import pytest

from tests.webui.fakes import fake_comparison
from webui.blocks import build_demo, launch_arguments


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Serve the page over fake strategies on loopback."""
    demo = build_demo(fake_comparison(seconds=0.02)[0])
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **launch_arguments())
    yield url
    demo.close()
