"""Strategies of several suites, weights and options stand side by side, each under a name of its own."""

from pathlib import Path

import pytest
import torch

from evfsam.errors import ConfigurationError
from tests.workbench.doubles import half_lit, suite_of
from workbench.comparison import Comparison
from workbench.suites import registry as suites
from workbench.suites.choice import Machine, usual_dtype
from workbench.suites.composition import composed_suite
from workbench.suites.hub_entries import HubEntry
from workbench.suites.memory_plan import GB, T4, Budget
from workbench.suites.registry import Suite
from workbench.suites.strategy_choices import StrategyChoice, read_choices, read_options
from workbench.video.clips import FRAME_LIMIT, SLOW_FRAME_LIMIT, frame_limit

CPU = Machine(torch.device("cpu"))


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    (tmp_path / "weights").mkdir()
    mini = suite_of(tmp_path / "weights", light="load_bright", other="load_bright", broken="load_refused")
    monkeypatch.setattr(suites, "SUITES", {"mini": mini})
    return mini


def composed(*texts: str, options: tuple[str, ...] = (), weights: tuple[str, ...] = ()) -> Suite:
    choices = [StrategyChoice.read(text) for text in texts] or None
    return composed_suite(choices, "mini", CPU, options=read_options(options), weights=weights)


@pytest.mark.parametrize(
    ("text", "choice", "name"),
    [
        ("evf-sam", StrategyChoice("evf-sam"), "evf-sam"),
        (" full:evf-sam ", StrategyChoice("evf-sam", "full"), "evf-sam-full"),
        ("a=evf-sam@runs/x=1", StrategyChoice("evf-sam", None, "runs/x=1", "a"), "a"),
        ("evf-sam@C:/weights", StrategyChoice("evf-sam", None, "C:/weights"), "evf-sam"),
        ("new.1=full:evf-sam@~/w", StrategyChoice("evf-sam", "full", "~/w", "new.1"), "new.1"),
    ],
)
def test_a_choice_has_label_suite_key_and_place(text: str, choice: StrategyChoice, name: str) -> None:
    assert StrategyChoice.read(text) == choice
    assert StrategyChoice.read(text).name == name


@pytest.mark.parametrize("text", ["", "a=", "=evf-sam", ":evf-sam", "mini:", "evf-sam@", "a b=evf-sam", "../x=evf-sam"])
def test_a_choice_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a strategy as \[LABEL=\]\[SUITE:\]KEY\[@DIR\]"):
        StrategyChoice.read(text)


def test_options_are_numbers_truths_or_text() -> None:
    texts = [
        "a.b.threshold=0.8",
        "a.b.count=3",
        "light.is_on=true",
        "light.name=1e",
        "light.text=a=b",
        "light.null=null",
    ]
    assert read_options(texts) == {
        "a.b": {"threshold": 0.8, "count": 3},
        "light": {"is_on": True, "name": "1e", "text": "a=b", "null": "null"},
    }


@pytest.mark.parametrize("text", ["threshold=0.8", "light.threshold", ".threshold=1", "light.=1"])
def test_an_option_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected an option as KEY\.NAME=VALUE"):
        read_options([text])


def test_plain_keys_leave_the_suite_as_it_is(mini: Suite) -> None:
    assert composed("light") == composed() == mini


def test_the_page_can_be_opened_on_some_strategies_alone(mini: Suite) -> None:
    suite = composed_suite(read_choices("other, light"), "mini", CPU, is_rest_kept=False)
    assert list(suite.strategies) == ["other", "light"]
    assert suite.strategies["light"].card.title == mini.strategies["light"].card.title
    assert read_choices(" , ") is None


@pytest.mark.usefixtures("mini")
def test_two_weights_of_one_strategy_answer_side_by_side(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
        (place / "model.safetensors").write_text(place.name)
    suite = composed(f"a=light@{places[0]}", f"b=light@{places[1]}", "other", options=("b.threshold=250",))
    assert list(suite.strategies) == ["a", "b", "other"]
    assert suite.key == "doubles"
    comparison = Comparison(suite)
    shares = {each.key: each.segmentation.area_share for each in comparison.run(half_lit(), "the light")}
    assert shares == {"a": 0.5, "b": 0.0, "other": 0.5}
    cards = comparison.cards
    assert {key: (card.key, card.title) for key, card in cards.items()} == {
        "a": ("a", "Title of light (a)"),
        "b": ("b", "Title of light (b)"),
        "other": ("other", "Bright (other)"),
    }
    assert len({entry.digest for entry in suite.strategies.values()}) == 3
    assert suite.strategies["b"].source == f"{tmp_path.name}/two, threshold=250"
    assert (places[0] / "loaded.txt").exists()


def test_options_change_the_digest_and_the_answers_of_one_strategy_alone(mini: Suite) -> None:
    bright = composed(options=("light.threshold=250",))
    assert bright.strategies["light"].digest != mini.strategies["light"].digest
    assert bright.strategies["other"].digest == mini.strategies["other"].digest
    assert list(bright.strategies) == list(mini.strategies)
    found = {
        each.key: each.segmentation.area_share for each in Comparison(bright).run(half_lit(), "x", ["light", "other"])
    }
    assert found == {"light": 0.0, "other": 0.5}


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        (("lihgt=lihgt",), (), "unknown strategy 'lihgt': expected one of light, other, broken; did you mean light"),
        (("lightt",), ("x.a=1",), "unknown strategy 'x'"),
        (("light@{0}", "light@{0}"), (), "two strategies are called light; give one a label, such as a=light"),
        (("medium:light",), (), "unknown suite 'medium'"),
        (("light@nowhere",), (), "there is no directory nowhere"),
        (("a=light",), ("light.threshold=1",), "unknown strategy 'light': expected one of a"),
    ],
)
@pytest.mark.usefixtures("mini")
def test_what_is_not_there_is_told_by_name(
    tmp_path: Path, texts: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        composed(*(text.format(tmp_path) for text in texts), options=options)


@pytest.mark.usefixtures("mini")
def test_an_option_that_a_strategy_lacks_is_its_failure() -> None:
    for key, option, said in (("light", "light.size=1", "no option"), ("broken", "broken.size=1", "has no options")):
        (result,) = Comparison(composed(options=(option,))).run(half_lit(), "x", [key])
        assert result.segmentation.verdict.kind == "failed"
        assert said in result.segmentation.verdict.reason


@pytest.mark.usefixtures("mini")
def test_two_suites_stand_side_by_side(tmp_path: Path) -> None:
    suite = composed("mini:light", f"full:evf-sam@{tmp_path}", "mine=full:grounded-sam")
    assert list(suite.strategies) == ["light-mini", "evf-sam-full", "mine"]
    assert (suite.key, suite.title) == ("doubles+full", "Doubles + Full: published models")
    evf_sam, mine = suite.strategies["evf-sam-full"], suite.strategies["mine"]
    assert isinstance(evf_sam, HubEntry)
    assert isinstance(mine, HubEntry)
    assert (evf_sam.key, evf_sam.card.title, evf_sam.weights["model"]) == ("evf-sam-full", "EVF-SAM (full)", tmp_path)
    assert mine.card.title == "Grounded-SAM (mine)"
    assert suite.load_status is evf_sam.load_status is mine.load_status
    assert evf_sam.sams is mine.sams


@pytest.mark.parametrize(
    ("text", "suite"),
    [("evf-sam, evf-sam2", "full"), ("full:evf-sam, light, full:evf-sam2", "mini"), ("a=evf-sam, b=evf-sam2", "full")],
)
@pytest.mark.usefixtures("mini")
def test_strategies_that_stand_side_by_side_are_planned_together(text: str, suite: str) -> None:
    either = Machine(torch.device("cuda"), Budget("a GPU with room for either", 6 * GB, torch.float16))
    together = composed_suite(read_choices(text), suite, either, is_rest_kept=False).strategies.values()
    first, second = (entry for entry in together if isinstance(entry, HubEntry))
    assert first.refusal is None
    assert second.refusal is not None
    assert "beside 2.6 GB of others" in second.refusal
    (alone,) = composed_suite(read_choices("full:evf-sam2"), suite, either).strategies.values()
    assert isinstance(alone, HubEntry)
    assert alone.refusal is None


@pytest.mark.usefixtures("mini")
def test_published_models_beside_others_run_as_they_do_alone() -> None:
    gpu = Machine(torch.device("cuda"), T4)
    mixed, small = composed("light", "full:evf-sam"), composed("a=light", "other")
    assert [usual_dtype(suite, gpu) for suite in (mixed, small)] == [torch.float16, torch.float32]
    assert [frame_limit(Comparison(suite, "cpu")) for suite in (mixed, small)] == [SLOW_FRAME_LIMIT, FRAME_LIMIT]
