import gradio as gr
import pytest

from tests.webui.fakes import fake_comparison
from webui.tabs.compare.controls import Remembered, build_controls, build_question, remember


@pytest.fixture
def remembered() -> Remembered:
    with gr.Blocks() as demo:
        return remember(demo, build_controls(build_question(), fake_comparison()[0].cards, ()))


def restored(remembered: Remembered, stored: object) -> dict[str, object]:
    values = remembered.restore(stored)
    pairs = zip(remembered.names, values, strict=True)
    return {name: value for name, value in pairs if not isinstance(value, dict)}


def test_what_was_stored_is_set_again(remembered: Remembered) -> None:
    stored = {"strategies": ["clip-text"], "point-query.form": "ppg", "point-query.threshold": 0.75}
    assert restored(remembered, stored) == stored


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {"strategies": []},
        {"strategies": ["gone"]},
        {"strategies": "evf-sam"},
        {"point-query.form": "gone"},
        {"point-query.threshold": 7},
        {"point-query.threshold": True},
        {"point-query.grid_size": "5"},
    ],
)
def test_what_does_not_fit_leaves_the_field_alone(remembered: Remembered, stored: object) -> None:
    assert restored(remembered, stored) == {}
