import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.webui.fakes import fake_comparison, three_colours
from webui.blocks import build_demo, launch_arguments

PATIENCE_MS = 90_000
"""No test is about speed: a busy machine may be slow."""
expect.set_options(timeout=PATIENCE_MS)

PLACES = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests last: Playwright's loop stays in the thread, where no test after it could call `asyncio.run`."""
    items.sort(key=lambda item: item.path.is_relative_to(Path(__file__).parent))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the browser of CHROMIUM or of a usual place; skip without one, but fail where REQUIRE_BROWSER=1."""
    wanted = os.environ.get("CHROMIUM")
    executable = next((place for place in (wanted, *PLACES) if place and Path(place).exists()), None)
    if executable is None:
        reason = f"no browser at {', '.join(place for place in (wanted, *PLACES) if place)}; set CHROMIUM to one"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"], headless=True)
        yield started
        started.close()


def serve(demo: gr.Blocks) -> str:
    _, url, _ = demo.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, _frontend=False, **launch_arguments()
    )
    return url


@pytest.fixture(scope="session")
def fake_page() -> Iterator[str]:
    """Serve the page over fake strategies, slow enough to be seen at work."""
    demo = build_demo(fake_comparison(seconds=0.3)[0])
    yield serve(demo)
    demo.close()


@pytest.fixture
def page(browser: Browser, fake_page: str) -> Iterator[Page]:
    with opened(browser, fake_page) as new_page:
        yield new_page


@contextmanager
def opened(
    browser: Browser, url: str, width: int = 1440, height: int = 1000, *, has_touch: bool = False
) -> Iterator[Page]:
    """Open the page in a context of its own, and hold that it fetched nothing from elsewhere and raised no error."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, accept_downloads=True, has_touch=has_touch
    )
    context.set_default_timeout(PATIENCE_MS)
    new_page = context.new_page()
    elsewhere: list[str] = []
    raised: list[Error] = []
    new_page.on("request", lambda request: elsewhere.append(request.url))
    new_page.on("pageerror", lambda error: raised.append(error))
    new_page.goto(url)
    new_page.wait_for_selector("#compare")
    yield new_page
    context.close()
    host = url.split("?")[0].rstrip("/")
    assert [asked for asked in elsewhere if not asked.startswith((host, "data:", "blob:"))] == []
    assert raised == []


def open_tab(page: Page, *names: str) -> None:
    """Open a tab, and the one within it."""
    for name in names:
        page.get_by_role("tab", name=name, exact=True).click()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "squares.png"
    Image.fromarray(three_colours((480, 640))).save(path)
    return path
