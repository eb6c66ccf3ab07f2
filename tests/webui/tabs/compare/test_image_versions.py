"""A run belongs to the picture that its visitor was at when it was asked for."""

from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

from webui.tabs.compare.runs import ImageVersions


@pytest.fixture
def turns() -> ImageVersions:
    return ImageVersions()


def test_a_run_on_the_picture_before_is_not_current(turns: ImageVersions) -> None:
    first, second = turns.begin(), turns.begin()

    assert turns.is_current(second)
    assert not turns.is_current(first)


def test_a_run_on_an_upload_is_current_before_the_page_has_its_number(turns: ImageVersions) -> None:
    before = turns.begin()
    turns.begin("/uploads/cat.png")

    assert turns.is_current(before, "/uploads/cat.png")
    assert not turns.is_current(before, "/uploads/dog.png")


def test_the_picture_that_the_page_opens_with_has_no_number_and_is_current_until_another_is_taken(
    turns: ImageVersions,
) -> None:
    assert turns.is_untouched()
    assert turns.is_current(0)
    taken = turns.begin()
    assert not turns.is_untouched()
    assert turns.is_current(taken)
    assert not turns.is_current(0)


def test_a_visitor_from_before_a_restart_is_heard(turns: ImageVersions) -> None:
    assert turns.is_current(7)


def test_visitors_are_kept_apart(turns: ImageVersions) -> None:
    mine = turns.begin()
    token = LocalContext.request.set(SimpleNamespace(session_hash="somebody else"))
    try:
        turns.begin()
        turns.begin()
    finally:
        LocalContext.request.reset(token)

    assert turns.is_current(mine)
