"""Do the words of expressions mean what is said to be meant? Read by `phrase_reader`, over layouts without pictures."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest

from evfsam.errors import ConfigurationError
from tests.workbench.datasets.phrase_reader import Thing, meant_by
from workbench.datasets.expressions import KINDS, Expression, ExpressionKind, describe, draw
from workbench.datasets.grammar import Wording, read_grammar
from workbench.datasets.naming import covers_nothing, known_words
from workbench.datasets.typos import could_be, with_typo
from workbench.datasets.vocabulary import COLOURS, NOUNS

SCENES = 400
PER_KIND = 5
MOST_OBJECTS = 8


@dataclass(frozen=True)
class Placed:
    """An object without a picture."""

    category: str
    colour: str | None
    centre: tuple[float, float]
    height: float
    area: float


Described = list[tuple[list[Placed], tuple[Expression, ...]]]


def layout(seed: int) -> list[Placed]:
    """One to eight objects of few nouns; half of them of one group, so that names and groups have something to tell."""
    rng = np.random.default_rng(seed)
    names = list(NOUNS)
    group = NOUNS[names[int(rng.integers(len(names)))]].groups
    kin = [name for name, noun in NOUNS.items() if set(noun.groups) & set(group)] or names
    placed: list[Placed] = []
    count = int(rng.integers(1, MOST_OBJECTS + 1))
    while len(placed) < count:
        pool = kin if rng.random() < 0.5 else names
        name, is_coloured = pool[int(rng.integers(len(pool)))], rng.random() < 0.6
        colours = rng.choice(list(COLOURS), 2)
        for _ in range(int(rng.choice([1, 2, 3, 4, 5], p=[0.45, 0.25, 0.15, 0.1, 0.05]))):
            height = float(rng.uniform(0.08, 0.7))
            x, y = (float(value) for value in rng.random(2))
            colour = str(colours[int(rng.integers(2))]) if is_coloured else None
            placed.append(Placed(name, colour, (x, y), height, height**2 * float(rng.uniform(0.6, 1.5))))
    return placed[:count]


def things_of(placed: list[Placed]) -> list[Thing]:
    return [Thing(i, o.category, o.colour, *o.centre, o.height, o.area) for i, o in enumerate(placed)]


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 1])


@pytest.fixture(scope="module")
def described() -> Described:
    layouts = [layout(seed) for seed in range(SCENES)]
    return [(placed, describe(placed, rng_of(seed), per_kind=PER_KIND)) for seed, placed in enumerate(layouts)]


def all_wordings() -> dict[str, Wording]:
    grammar = read_grammar()
    sections = {f"{s.key}: {w.text}": w for s in grammar.sections.values() for w in s.wordings}
    return sections | {f"frame: {frame.text}": frame for frames in grammar.frames for frame in frames}


def test_expressions_mean_exactly_what_their_words_say(described: Described) -> None:
    for seed, (placed, expressions) in enumerate(described):
        for expression in expressions:
            meant = meant_by(expression.text, things_of(placed))
            assert meant == set(expression.object_indices), f"layout {seed}, {expression}"
            assert (expression.kind == "absent") == (not meant), f"layout {seed}, {expression}"


def test_every_wording_and_every_sentence_was_read(described: Described) -> None:
    written = {expression.wording for _, expressions in described for expression in expressions}
    frames = {frame.text for frames in read_grammar().frames for frame in frames}
    inner = written | {_inside(text, frame) for text in written for frame in frames}
    templates = {wording.text for section in read_grammar().sections.values() for wording in section.wordings}
    assert templates - inner == set()
    assert {frame for frame in frames if not any(_inside(text, frame) in templates for text in written)} == set()


def _inside(text: str, frame: str) -> str:
    before, after = frame.split("{x}")
    fits = text.startswith(before) and text.endswith(after)
    return text[len(before) : len(text) - len(after)] if fits else ""


def test_every_kind_occurs_in_many_layouts(described: Described) -> None:
    counts = Counter(kind for _, expressions in described for kind in {e.kind for e in expressions})
    assert {kind: counts[kind] for kind in KINDS if counts[kind] < SCENES / 8} == {}


def test_about_one_wording_in_five_is_held_out() -> None:
    wordings = all_wordings().values()
    assert 0.18 <= sum(wording.is_held_out for wording in wordings) / len(wordings) <= 0.25


@pytest.mark.parametrize("wordings", ["seen", "unseen"])
def test_wordings_held_out_are_never_written_for_training_and_always_when_asked_for(wordings: str) -> None:
    held_out = {key.partition(": ")[2] for key, wording in all_wordings().items() if wording.is_held_out}
    frames = {text for text in held_out if "{x}" in text}
    for seed in range(60):
        placed, rng = layout(seed), rng_of(seed)
        weights = dict.fromkeys(KINDS, 1.0)
        found = [
            *describe(placed, rng, per_kind=3, wordings=wordings),  # type: ignore[arg-type]
            *draw(placed, rng, 10, weights, wordings=wordings),  # type: ignore[arg-type]
        ]
        for each in found:
            is_unseen = each.wording in held_out or any(
                _inside(each.wording, frame) for frame in frames
            ) or any(each.wording.endswith(text) for text in held_out - frames)  # fmt: skip
            assert each.is_unseen_wording == (wordings == "unseen"), each
            assert each.is_unseen_wording or not is_unseen, each


def test_plain_expressions_are_bare_wordings() -> None:
    templates = {wording.text for section in read_grammar().sections.values() for wording in section.wordings}
    for seed in range(60):
        for each in describe(layout(seed), rng_of(seed), per_kind=3, wordings="seen", is_plain=True):
            assert each.wording in templates, each
            assert each.text == each.text.lower(), each
            literals = set(each.wording.replace("{", " {").split()) - {"a"}
            assert {word for word in literals if "{" not in word and "}" not in word} <= set(each.text.split()), each


def test_fewer_expressions_of_a_kind_are_the_first_of_more() -> None:
    for seed in range(40):
        few, many = (describe(layout(seed), rng_of(seed), per_kind=count) for count in (2, 6))
        for kind in KINDS:
            first = [each for each in few if each.kind == kind]
            assert len(first) <= 2
            assert first == [each for each in many if each.kind == kind][: len(first)]


def test_drawing_keeps_to_the_kinds_that_have_a_weight() -> None:
    for seed in range(40):
        drawn = draw(layout(seed), rng_of(seed), 12, {"category": 1.0, "absent": 3.0, "size": 0.0})
        assert len(drawn) == 12
        assert {each.kind for each in drawn} <= {"category", "absent"}
    weights: dict[ExpressionKind, float] = {"semantic": 1.0, "absent": 3.0}
    counts = Counter(each.kind for seed in range(200) for each in draw(layout(seed), rng_of(seed), 8, weights))
    assert 2.5 < counts["absent"] / counts["semantic"] < 3.6


def test_meanings_of_a_kind_are_drawn_by_their_weights() -> None:
    lonely = [Placed("dog", None, (0.5, 0.5), 0.3, 0.1)]
    drawn = draw(lonely, rng_of(0), 2000, {"category": 1.0})
    asked = {wording.text for wording in read_grammar().sections["category.there"].wordings}
    weight = read_grammar().sections["category.there"].weight
    assert weight == 0.3
    assert sum(each.wording in asked for each in drawn) / 2000 == pytest.approx(weight / (1 + weight), abs=0.03)


def test_nothing_is_drawn_where_the_objects_allow_no_kind_that_is_wanted() -> None:
    lonely = [Placed("dog", None, (0.5, 0.5), 0.3, 0.1)]
    assert draw(lonely, rng_of(0), 5, {"size": 1.0, "ordinal": 1.0}) == []


def test_drawing_ends_where_no_wording_is_left_to_say_it() -> None:
    scissors = [Placed("scissors", None, (0.2 + 0.3 * step, 0.5), 0.3, 0.1) for step in range(3)]
    weights: dict[ExpressionKind, float] = {"semantic": 1.0, "ordinal": 1.0}
    assert draw(scissors, rng_of(0), 5, weights, wordings="unseen", is_plain=True) == []
    assert len(draw(scissors, rng_of(0), 5, weights)) == 5


def test_of_an_empty_scene_only_absent_things_are_said() -> None:
    found = describe([], rng_of(0), per_kind=3)
    assert len(found) == 3
    assert {(each.kind, each.object_indices) for each in found} == {("absent", ())}


def test_what_is_not_there_is_nothing_that_anybody_would_find() -> None:
    for seed in range(100):
        placed = layout(seed)
        words = [word for text, word in known_words().items() if covers_nothing(word, {o.category for o in placed})]
        assert words
        for word in words:
            for thing in placed:
                assert thing.category not in (*word.nouns, *word.doubtful)
                assert not thing.category.endswith(f" {word.text}")


def test_a_slip_is_never_another_word() -> None:
    rng = Random(5)
    slipped = 0
    for word in known_words():
        for _ in range(20):
            written = with_typo(word, rng)
            if written != word:
                slipped += 1
                wrong = [part for part in written.split(" ") if part not in word.split(" ")]
                assert all(could_be(part) <= set(word.split(" ")) for part in wrong), (word, written)
    assert slipped > 2000


def test_doubtful_words_and_things_are_known() -> None:
    grammar, words = read_grammar(), known_words()
    for text, names in grammar.doubtful.items():
        assert text in words, f"{text!r} is no word of the vocabulary"
        assert set(names) <= set(NOUNS), f"{text!r}: {set(names) - set(NOUNS)} are no nouns"
        assert not set(names) & words[text].nouns, f"{text!r} covers {set(names) & words[text].nouns} in the vocabulary"
    assert {colour for pair in grammar.doubtful_colours for colour in pair} <= set(COLOURS)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('[a.b]\nmeans = "x"\nseen = ["the {wrong}"]', r"got wrong; add a table"),
        ('[a.b]\nmeans = "x"\nseen = []', r"expected wordings and `means` in the section a\.b"),
    ],
)
def test_a_grammar_with_a_mistake_is_refused(section: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "grammar.toml"
    frames = "[frames]\nseen = []\n[frames.single]\nseen = []\n[frames.many]\nseen = []\n"
    doubtful = "[doubtful]\npairs_of_colours = []\nuncounted = []\n[doubtful.words]\n"
    path.write_text(f'{frames}[words]\n[things]\none = "ones"\n{doubtful}{section}\n')
    with pytest.raises(ConfigurationError, match=message):
        read_grammar(path)
