import gradio as gr

from baselines.point_query.options import PointQueryOptions
from webui.tabs.compare.option_controls import OptionControl, build_options, chosen_options, only_of


def controls(*keys: str) -> tuple[OptionControl, ...]:
    with gr.Blocks():
        return build_options(keys)


def test_untouched_controls_pass_no_options() -> None:
    built = controls("evf-sam", "clip-text", "point-query")
    assert chosen_options(built, [control.component.value for control in built]) == {}


def test_a_changed_control_is_filed_under_its_strategy() -> None:
    built = controls("point-query")
    values = [7 if control.name == "grid_size" else control.component.value for control in built]
    assert chosen_options(built, values) == {"point-query": {"grid_size": 7}}


def test_a_suite_shows_only_the_options_of_its_strategies() -> None:
    assert {control.strategy for control in controls("clip-text")} == {"clip-text"}
    assert controls("evf-sam") == ()


def test_options_of_strategies_that_are_not_asked_are_left_out() -> None:
    options = {"point-query": {"grid_size": 7}, "clip-text": {"variant": "late-concat"}}
    assert only_of(options, ["evf-sam", "clip-text"]) == {"clip-text": {"variant": "late-concat"}}


def test_the_defaults_shown_are_the_point_querys_own() -> None:
    own = PointQueryOptions()
    shown = {control.name: control.default for control in controls("point-query")}
    assert shown == {name: getattr(own, name) for name in shown}


def test_every_choice_offered_is_one_that_the_point_query_takes() -> None:
    for control in controls("point-query"):
        if isinstance(control.component, gr.Radio):
            for _, value in control.component.choices:
                PointQueryOptions(**{control.name: value})
        else:
            assert isinstance(control.component, gr.Slider)
            for value in (control.component.minimum, control.component.maximum):
                PointQueryOptions(**{control.name: value})
