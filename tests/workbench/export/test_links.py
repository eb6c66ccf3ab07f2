"""A link restores a run exactly, and a link that anybody could have written does no harm."""

from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evfsam.errors import ConfigurationError, EvfSamError, PhraseError
from workbench.export.links import MAX_LENGTH, decode_link, encode_link, holds_recipe
from workbench.export.run_recipes import ExampleSource, GeneratedScene, OptionValue, RunRecipe, UploadSource

EXAMPLES = ("scene-colour.png", "photo-cat.jpg")
GOOD = {"v": "1", "example": "photo-cat.jpg", "phrase": "the cat", "suite": "mini", "strategy": "evf-sam"}

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20),
)
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\t\n\r")
PHRASES = st.text(LETTERS, min_size=1, max_size=20).filter(str.strip)


def decode(query: str) -> RunRecipe:
    return decode_link(query, examples=EXAMPLES)


@settings(deadline=None)
@given(
    source=st.one_of(
        st.sampled_from(EXAMPLES).map(ExampleSource),
        st.builds(GeneratedScene, seed=st.integers(0, 10**9), size=st.integers(64, 1024)),
    ),
    phrases=st.lists(PHRASES.map(str.strip), min_size=1, max_size=3).map(tuple),
    strategies=st.permutations(["evf-sam", "clip-text", "point-query"]).map(tuple),
    options=st.dictionaries(
        st.sampled_from(["clip-text", "point-query"]),
        st.dictionaries(st.sampled_from(["grid_size", "variant", "form"]), VALUES, min_size=1),
    ),
)
def test_every_recipe_comes_back_from_its_link(
    source: ExampleSource | GeneratedScene,
    phrases: tuple[str, ...],
    strategies: tuple[str, ...],
    options: Mapping[str, Mapping[str, OptionValue]],
) -> None:
    recipe = RunRecipe(source, phrases, "mini", strategies, options)
    assert decode(encode_link(recipe)) == recipe


def test_a_phrase_copied_from_a_table_comes_back_and_one_that_could_not_gets_no_link() -> None:
    tabbed, broken = (
        RunRecipe(ExampleSource("photo-cat.jpg"), (phrase,), "mini", ("evf-sam",), {})
        for phrase in ("the\tbus", "the\x1bbus")
    )
    assert decode(encode_link(tabbed)) == tabbed
    with pytest.raises(ConfigurationError, match="plain text as 'phrase' in the link, got control characters"):
        encode_link(broken)


def test_links_can_be_read_by_people_and_stay_as_they_are() -> None:
    options = {"point-query": {"grid_size": 7}}
    recipe = RunRecipe(ExampleSource("scene-colour.png"), ("the blue bus",), "mini", ("evf-sam",), options)
    assert encode_link(recipe) == (
        "v=1&example=scene-colour.png&phrase=the+blue+bus&suite=mini&strategy=evf-sam&option=point-query.grid_size%3D7"
    )


def test_a_link_says_whether_it_holds_a_recipe_and_gradios_settings_do_not_disturb() -> None:
    assert holds_recipe(f"?{urlencode(GOOD)}")
    assert not holds_recipe("?__theme=dark")
    assert not holds_recipe("")
    assert decode(f"?__theme=dark&{urlencode(GOOD)}").phrases == ("the cat",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"v": "2"}, "version 1, got '2'"),
        ({"example": "../../etc/passwd"}, "unknown example"),
        ({"example": "photo-cat.jpg", "scene": "1", "size": "512"}, "either an example or a scene"),
        ({"suite": "maxi"}, "unknown suite 'maxi'"),
        ({"strategy": "magic"}, "unknown strategy 'magic'"),
        ({"strategy": ["evf-sam", "evf-sam"]}, "each strategy once"),
        ({"strategy": []}, "each strategy once"),
        ({"phrase": "a\x00b"}, "control characters"),
        ({"option": "point-query.grid_size"}, "strategy.option=value"),
        ({"option": "point-query.__class__=1"}, "small letters"),
        ({"option": "point-query.grid_size=[1]"}, r"JSON text, number or truth value .* got '\[1\]'"),
        ({"option": "point-query.threshold=NaN"}, "JSON text, number or truth value"),
        ({"option": ["point-query.form=1", "point-query.form=2"]}, "once in the link"),
        ({"option": f'point-query.form="{"x" * 101}"'}, "at most 100 characters, got 101"),
        ({"option": [f"point-query.o{i}=1" for i in range(33)]}, "at most 32 options, got 33"),
        ({"colour": "red"}, "unknown part 'colour'"),
        ({"suite": ["mini", "mini"]}, "expected 'suite' once"),
    ],
)
def test_a_link_that_does_not_fit_is_refused_in_words(changes: dict[str, str | list[str]], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        decode(urlencode({**GOOD, **changes}, doseq=True))


@pytest.mark.parametrize(
    ("scene", "size", "words"),
    [("-1", "512", "whole number as 'scene'"), ("1", "63", "64 to 1024"), ("99999999999", "512", "whole number"),
     ("2000000000", "512", "seed from 0 to 1000000000"), ("1", "५१२", "whole number as 'size'")],
)  # fmt: skip
def test_scenes_out_of_range_are_refused(scene: str, size: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        decode(urlencode({**{k: v for k, v in GOOD.items() if k != "example"}, "scene": scene, "size": size}))


@pytest.mark.parametrize("name", ["v", "example", "suite"])
def test_a_link_with_a_part_missing_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected .*(version|example|suite)"):
        decode(urlencode({key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize("phrases", [[], [" "], ["x"] * 17])
def test_phrases_are_checked_as_everywhere(phrases: list[str]) -> None:
    with pytest.raises(PhraseError):
        decode(urlencode({**GOOD, "phrase": phrases}, doseq=True))


def test_links_are_bounded_in_both_directions() -> None:
    long = RunRecipe(ExampleSource("photo-cat.jpg"), ("x" * 900, "y" * 900, "z" * 900), "mini", ("evf-sam",))
    with pytest.raises(ConfigurationError, match=f"at most {MAX_LENGTH} characters"):
        encode_link(long)
    with pytest.raises(ConfigurationError, match=f"at most {MAX_LENGTH} characters, got {MAX_LENGTH + 1}"):
        decode("x" * (MAX_LENGTH + 1))


def test_an_uploaded_image_has_no_link() -> None:
    with pytest.raises(ConfigurationError, match="no link can restore"):
        encode_link(RunRecipe(UploadSource("mine.png"), ("a",), "mini", ("evf-sam",)))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=80) | st.lists(st.sampled_from([*GOOD, "&", "=", "%", "%ff", "1", "mini"])).map("".join))
def test_nothing_but_a_plain_error_comes_of_nonsense(query: str) -> None:
    try:
        decode(query)
    except EvfSamError:
        return
    pytest.fail("nonsense is no recipe")
