"""A run belongs to the picture that its visitor was at when it was asked for."""

from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

from webui.tabs.compare.runs import ImageVersions


@pytest.fixture
def versions() -> ImageVersions:
    return ImageVersions()


def test_a_run_on_the_picture_before_is_not_current(versions: ImageVersions) -> None:
    first, second = versions.begin(), versions.begin()

    assert versions.is_current(second)
    assert not versions.is_current(first)


def test_a_run_on_an_upload_is_current_before_the_page_has_its_number(versions: ImageVersions) -> None:
    before = versions.begin()
    versions.begin("/uploads/cat.png")

    assert versions.is_current(before, "/uploads/cat.png")
    assert not versions.is_current(before, "/uploads/dog.png")


def test_the_picture_that_the_page_opens_with_has_no_number_and_is_current_until_another_is_taken(
    versions: ImageVersions,
) -> None:
    assert versions.is_untouched()
    assert versions.is_current(0)
    taken = versions.begin()
    assert not versions.is_untouched()
    assert versions.is_current(taken)
    assert not versions.is_current(0)


def test_a_visitor_from_before_a_restart_is_heard(versions: ImageVersions) -> None:
    assert versions.is_current(7)


def test_visitors_are_kept_apart(versions: ImageVersions) -> None:
    mine = versions.begin()
    token = LocalContext.request.set(SimpleNamespace(session_hash="somebody else"))
    try:
        versions.begin()
        versions.begin()
    finally:
        LocalContext.request.reset(token)

    assert versions.is_current(mine)
