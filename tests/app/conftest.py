from collections.abc import Iterator

import pytest

from tests.webui.fakes import fake_comparison
from webui.blocks import build_demo, launch_arguments


@pytest.fixture(scope="session", autouse=True)
def own_uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the files of these servers apart from those of others on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        yield


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Serve the page over fake strategies on loopback."""
    demo = build_demo(fake_comparison(seconds=0.02)[0])
    _, url, _ = demo.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, _frontend=False, **launch_arguments()
    )
    yield url
    demo.close()
