"""The right questions in a fixed order, each image encoded once, and figures that can be recomputed by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.types import ImageView, Segmentation
from tests.workbench import doubles
from tests.workbench.doubles import BrightStrategy, half_lit, suite_of
from workbench.comparison import Comparison
from workbench.datasets.contract import ABSENT, Sample, SampleError, SampleQuestion
from workbench.datasets.scenes import scene, split_seeds
from workbench.evaluation.evaluation import PHRASES_AT_ONCE, ChangedDataError, Shard, evaluate, load_dataset, measure
from workbench.evaluation.measured_answers import Scores
from workbench.metrics.masks import AbsentTally, Tally
from workbench.reporting.scores import scores_dict, scores_table

LIT = half_lit()[..., 0] > 128


def refuse() -> None:
    raise SampleError("cannot read the file")


def asked(samples: Iterator[Sample]) -> list[tuple[str, str, int]]:
    return [(each.phrase, each.kind, int(each.reference.sum())) for sample in samples for each in sample.questions]


def sample() -> Sample:
    quarter = LIT.copy()
    quarter[:20] = False
    nowhere = np.zeros_like(LIT)
    return Sample(
        half_lit(),
        (
            SampleQuestion("the light", "category", LIT),
            SampleQuestion("the lower light", "position", quarter),
            SampleQuestion("the moon", ABSENT, nowhere),
            SampleQuestion("nothing", ABSENT, nowhere),
        ),
    )


@pytest.mark.parametrize("limit", [1, 7, 30])
def test_the_limit_counts_expressions_that_name_something(limit: int) -> None:
    kinds = [kind for _, kind, _ in asked(load_dataset("scenes:test", limit))]
    assert sum(kind != ABSENT for kind in kinds) == limit


def test_questions_come_in_the_order_of_seeds_and_of_each_scene() -> None:
    seeds = split_seeds("val")
    drawn = [scene(seeds[0]), scene(seeds[1])]
    expected = [
        (each.text, each.kind, int(one.mask(each).sum()))
        for one in drawn
        for each in sorted(one.expressions, key=lambda each: each.kind == ABSENT)
    ]
    present = sum(kind != ABSENT for _, kind, _ in expected)
    assert asked(load_dataset("scenes:val", present)) == expected


def test_a_smaller_limit_asks_the_beginning_of_a_larger_one() -> None:
    small, large = ([q for q in asked(load_dataset("scenes:test", n)) if q[1] != ABSENT] for n in (9, 20))
    assert large[:9] == small


@pytest.mark.parametrize("name", ["scenes", "scenes:tset", "scenes:", "refcocoo:val", "scenes/umd:test", ""])
def test_an_unknown_data_set_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown data set .*scenes:train, scenes:val, scenes:test"):
        load_dataset(name, 1)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ConfigurationError, match=f"at least 1 expression, got {limit}"):
        load_dataset("scenes:test", limit)


def test_scores_are_those_of_the_masks(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    scores = evaluate(comparison, [sample()])["light"]
    assert scores.kinds == {"category": Tally.of_counts(1200, 1200), "position": Tally.of_counts(600, 1200)}
    assert scores.total.ciou == pytest.approx(1800 / 2400)
    assert scores.total.giou == pytest.approx(0.75)
    assert [scores.total.precisions[least] for least in (0.5, 0.6)] == [1.0, 0.5]
    assert scores.absent == AbsentTally(1, 2, marked=1200)
    assert scores.failed_count == 0


def test_a_failure_counts_as_an_empty_mask_and_never_as_right(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, broken="load_refused", light="load_bright"))
    scores = evaluate(comparison, [sample()])
    assert scores["broken"].total == Tally.of_counts(0, 1200) + Tally.of_counts(0, 600)
    assert scores["broken"].absent == AbsentTally(0, 2)
    assert scores["broken"].failed_count == 4
    assert scores["light"].total.count == 2


def test_each_image_is_encoded_once(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, one="load_bright", two="load_bright"))
    before = doubles.BACKBONE.encoded_count
    evaluate(comparison, load_dataset("scenes:val", 20))
    scene_count = sum(1 for _ in load_dataset("scenes:val", 20))
    assert doubles.BACKBONE.encoded_count - before == scene_count > 1


def test_missing_weights_stop_an_evaluation_before_it_starts(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright", lost="load_missing"))
    seen: list[SampleQuestion] = []
    with pytest.raises(CheckpointError, match=r"expected weights in .*lost"):
        evaluate(comparison, [sample()], on_question=seen.append)
    assert seen == []


def test_only_the_strategies_chosen_are_measured(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright", lost="load_missing"))
    assert list(evaluate(comparison, [sample()], ["light"])) == ["light"]


def test_progress_is_reported_question_by_question(tmp_path: Path) -> None:
    seen: list[SampleQuestion] = []
    evaluate(Comparison(suite_of(tmp_path, light="load_bright")), [sample()], on_question=seen.append)
    assert [each.phrase for each in seen] == ["the light", "the lower light", "the moon", "nothing"]


def scores() -> dict[str, Scores]:
    kinds = {"size": Tally.of_counts(1, 4), "colour": Tally.of_counts(3, 4)}
    return {"evf-sam": Scores(kinds, AbsentTally(1, 3, 4), 2), "clip-text": Scores()}


def test_parts_of_a_run_merge() -> None:
    whole = scores()["evf-sam"] + Scores({"size": Tally.of_counts(1, 1)}, AbsentTally(1, 1), 1, 5, 6)
    kinds = {"size": Tally(2, 5, Fraction(5, 4), (1, 1, 1, 1, 1), 2), "colour": Tally.of_counts(3, 4)}
    assert whole == Scores(kinds, AbsentTally(2, 4, 4), 3, 5, 6)


def test_the_figures_file_keeps_absent_apart() -> None:
    content = scores_dict("scenes:test", "mini", scores())
    assert content["strategies"]["evf-sam"] == {
        "cIoU": 0.5,
        "gIoU": 0.5,
        "Pr@0.5": 0.5,
        "Pr@0.6": 0.5,
        "Pr@0.7": 0.5,
        "Pr@0.8": 0.0,
        "Pr@0.9": 0.0,
        "count": 2,
        "boundary F": None,
        "box accuracy": None,
        "T-acc": None,
        "attention mass": None,
        "attention gain": None,
        "cIoU of targets": 0.5,
        "gIoU of targets": 0.5,
        "cIoU with absent": pytest.approx(4 / 12),
        "gIoU with absent": pytest.approx(2 / 5),
        "kinds": {
            "colour": {"cIoU": 0.75, "gIoU": 0.75, "Pr@0.5": 1.0, "count": 1},
            "size": {"cIoU": 0.25, "gIoU": 0.25, "Pr@0.5": 0.0, "count": 1},
        },
        "wordings": {},
        "absent": {"N-acc": pytest.approx(1 / 3), "count": 3},
        "failed_count": 2,
        "unread_count": 0,
        "untargeted_count": 0,
    }
    assert content["strategies"]["clip-text"]["cIoU"] is None


def test_seen_and_unseen_wordings_are_told_apart_where_the_data_set_knows(tmp_path: Path) -> None:
    questions = (
        SampleQuestion("the light", "category", LIT, "seen"),
        SampleQuestion("light", "category", LIT, "seen"),
        SampleQuestion("the light thing", "category", ~LIT, "unseen"),
        SampleQuestion("nothing", ABSENT, np.zeros_like(LIT), "unseen"),
    )
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    asked = evaluate(comparison, [sample(), Sample(half_lit(), questions)])
    right, wrong = Tally.of_counts(1200, 1200), Tally.of_counts(0, 2400)
    assert asked["light"].wordings == {"seen": right + right, "unseen": wrong}
    lines = [line.split() for line in scores_table("scenes:test", asked).splitlines()]
    assert ["seen", "wordings", "100.0", "100.0", "100.0", "2"] in lines
    assert ["unseen", "wordings", "0.0", "0.0", "0.0", "1"] in lines
    content = scores_dict("scenes:test", "doubles", asked)["strategies"]["light"]["wordings"]
    assert (content["seen"]["count"], content["unseen"]["Pr@0.5"]) == (2, 0.0)


def test_figures_of_grefcoco_are_those_of_its_authors_with_the_others_by_name() -> None:
    content = scores_dict("grefcoco:val", "mini", scores())["strategies"]["evf-sam"]
    # One of three absent ones is right, the others mark 4 pixels: (0.25 + 0.75 + 1) / 5, and 4 / (8 + 4).
    assert (content["gIoU"], content["cIoU"]) == (pytest.approx(2 / 5), pytest.approx(4 / 12))
    assert (content["gIoU of targets"], content["cIoU of targets"]) == (0.5, 0.5)
    table = scores_table("grefcoco:val", scores()).splitlines()
    assert table[1].split() == ["with", "absent", "33.3", "40.0", "50.0", "5"]
    assert table[2].split() == ["all", "but", "absent", "50.0", "50.0", "50.0", "2"]


def test_the_table_has_a_line_a_kind_in_percent() -> None:
    table = scores_table("scenes:test", scores()).splitlines()
    assert [line.split() for line in table[:7]] == [
        ["evf-sam", "cIoU", "gIoU", "Pr@0.5", "count"],
        ["all", "but", "absent", "50.0", "50.0", "50.0", "2"],
        ["with", "absent", "33.3", "40.0", "50.0", "5"],
        ["colour", "75.0", "75.0", "100.0", "1"],
        ["size", "25.0", "25.0", "0.0", "1"],
        ["absent", "33.3", "N-acc", "3"],
        ["failed", "on", "2", "expressions,", "counted", "as", "empty", "masks"],
    ]
    assert table[-2].split() == ["all", "but", "absent", "-", "-", "-", "0"]


@dataclass(frozen=True)
class TogetherStrategy(BrightStrategy):
    """Answers several phrases together, unless one of them is "odd"; remembers what it was asked."""

    calls: list[tuple[str, ...]] = field(default_factory=list)

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        self.calls.append((phrase,))
        if phrase == "odd":
            raise ConfigurationError("expected an even phrase, got an odd one")
        return super().segment(view, phrase)

    def segment_many(self, view: ImageView, phrases: Sequence[str]) -> list[Segmentation]:
        self.calls.append(tuple(phrases))
        if "odd" in phrases:
            raise ConfigurationError("expected even phrases, got an odd one")
        return [super(TogetherStrategy, self).segment(view, phrase) for phrase in phrases]


def asked_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, phrases: Sequence[str]) -> TogetherStrategy:
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    strategy = TogetherStrategy("light")
    monkeypatch.setattr(comparison, "strategy", lambda _: strategy)
    questions = tuple(SampleQuestion(phrase, "category", LIT) for phrase in phrases)
    scores = evaluate(comparison, [Sample(half_lit(), questions)])["light"]
    assert scores.total.count == len(phrases)
    assert scores.failed_count == phrases.count("odd")
    assert scores.total.hit_counts[0] == len(phrases) - phrases.count("odd")
    return strategy


def test_phrases_are_asked_together_where_a_strategy_can(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = doubles.BACKBONE.encoded_count
    phrases = [f"light {number}" for number in range(PHRASES_AT_ONCE + 2)]
    strategy = asked_together(monkeypatch, tmp_path, phrases)
    assert strategy.calls == [tuple(phrases[:PHRASES_AT_ONCE]), tuple(phrases[PHRASES_AT_ONCE:])]
    assert doubles.BACKBONE.encoded_count - before == 1


def test_one_phrase_that_fails_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    strategy = asked_together(monkeypatch, tmp_path, ["one", "odd", "two"])
    assert strategy.calls == [("one", "odd", "two"), ("one",), ("odd",), ("two",)]


def test_answers_at_hand_are_not_asked_for(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright", other="load_bright"))
    (all_answers,) = measure(comparison, [sample()])
    kept = {("light", position) for position in range(4)} | {("other", 1)}
    done = {
        (0, each.place.question_index, each.place.strategy): each.data
        for each in all_answers
        if (each.place.strategy, each.place.question_index) in kept
    }
    (answers,) = measure(comparison, [sample()], done=done)
    assert [(each.place.strategy, each.place.question_index) for each in answers] == [
        ("other", 0),
        ("other", 2),
        ("other", 3),
    ]
    done |= {(0, each.place.question_index, "other"): each.data for each in answers}
    before = doubles.BACKBONE.encoded_count
    assert list(measure(comparison, [sample()], done=done)) == []
    assert doubles.BACKBONE.encoded_count == before


def test_answers_about_an_image_or_a_mask_that_has_changed_are_not_gone_on_with(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    (answers,) = measure(comparison, [sample()])
    done = {(0, each.place.question_index, "light"): each.data for each in answers}
    darker = replace(sample(), image_source=half_lit() // 2)
    torn = replace(sample(), image_source=refuse)
    first, *others = sample().questions
    moved = replace(sample(), questions=(replace(first, reference_source=~LIT), *others))
    as_labels = replace(sample(), questions=(replace(first, reference_source=LIT.astype(np.uint8)), *others))
    for changed in (darker, moved, as_labels, torn):
        with pytest.raises(ChangedDataError, match="the known mask of 'the light' has changed since it was answered"):
            list(measure(comparison, [changed], done=done))


def test_an_unreadable_image_or_mask_costs_its_own_questions_alone(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    torn = replace(sample(), image_source=refuse)
    masked = Sample(
        half_lit(), (SampleQuestion("the light", "category", refuse), SampleQuestion("the light", "category", LIT))
    )
    scores = evaluate(comparison, [torn, masked])["light"]
    assert (scores.unread_count, scores.total.count, scores.absent.count) == (5, 1, 0)
    assert not scores.is_sound


def test_an_empty_known_mask_counts_as_absent_and_is_named(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    question = SampleQuestion("the moon", "category", np.zeros_like(LIT))
    scores = evaluate(comparison, [Sample(half_lit(), (question,))])["light"]
    assert (scores.total.count, scores.absent, scores.untargeted_count) == (0, AbsentTally(0, 1, 1200), 1)
    assert "1 expressions have an empty known mask and are counted as absent" in scores_table(
        "scenes:test", {"light": scores}
    )


def test_attention_and_outlines_are_measured_where_something_is_to_be_found(tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    details = evaluate(comparison, [sample()])["light"].details
    assert (details.boundary_f.count, details.box_hit.count, details.answered.count) == (2, 2, 2)
    assert details.attention_mass.mean == pytest.approx((0.5 + 0.25) / 2), "attention of the double is even"
    assert details.attention_gain.mean == pytest.approx(1.0)
    assert details.box_hit.mean == 1.0, "a box IoU of exactly one half is a hit"
    assert details.answered.mean == 1.0


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_the_images_out_without_rest(count: int, tmp_path: Path) -> None:
    comparison = Comparison(suite_of(tmp_path, light="load_bright"))
    samples = [sample() for _ in range(5)]
    shares = [
        {answers[0].place.sample_index for answers in measure(comparison, samples, shard=Shard(number, count))}
        for number in range(1, count + 1)
    ]
    assert sorted(index for share in shares for index in share) == [0, 1, 2, 3, 4]
