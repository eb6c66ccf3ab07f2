"""The words of the pictures: one meaning a word, and enough of them."""

from collections import Counter
from pathlib import Path

from workbench.datasets import vocabulary
from workbench.datasets.vocabulary import CATEGORIES, COLOURS, GROUPS, HUES, NOUNS


def test_no_word_has_two_meanings() -> None:
    words: list[str] = []
    for noun in NOUNS.values():
        words += {noun.name, noun.plural, *noun.synonyms}
    words += [*GROUPS, *GROUPS.values(), *COLOURS, *(s for colour in COLOURS.values() for s in colour.synonyms)]
    twice = [word for word, count in Counter(words).items() if count > 1]
    assert not twice, twice
    assert all(word == word.lower().strip() and word for word in words)


def test_there_are_names_people_groups_and_colours_enough() -> None:
    assert len(NOUNS) >= 250
    assert len(GROUPS) >= 12
    assert len(COLOURS) >= 10
    assert {"man", "woman", "boy", "girl", "baby"} <= {n.name for n in NOUNS.values() if "person" in n.groups}


def test_every_group_word_means_more_than_one_name_and_every_group_is_known() -> None:
    members = Counter(group for noun in NOUNS.values() for group in noun.groups)
    assert set(members) == set(GROUPS)
    assert min(members.values()) >= 2


def test_what_the_scenes_draw_is_in_the_vocabulary() -> None:
    assert all(NOUNS[name].plural == plural for name, plural in CATEGORIES.items())
    assert all(COLOURS[name].hue == hue for name, hue in HUES.items())


def test_painting_rules_stay_in_range() -> None:
    for colour in COLOURS.values():
        assert colour.hue is None or 0 <= colour.hue < 1
        for base, gain in (colour.saturation, colour.value):
            assert base >= 0
            assert gain >= 0
            assert base + gain <= 1


def test_nearly_every_noun_has_a_small_sprite_and_every_sprite_a_noun() -> None:
    sprites = {file.stem: file for file in (Path(vocabulary.__file__).parent / "sprites").glob("*.webp")}
    slugs = {noun.slug for noun in NOUNS.values()}
    assert set(sprites) <= slugs
    assert len(sprites) >= 315
    assert set(CATEGORIES) <= set(sprites)
    assert max(file.stat().st_size for file in sprites.values()) < 20_000
