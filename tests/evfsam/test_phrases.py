import pytest

from evfsam.errors import PhraseError
from evfsam.phrases import check_phrase, in_words, split_phrases


def test_a_phrase_loses_its_surrounding_space() -> None:
    assert check_phrase("  the cup \n") == "the cup"


@pytest.mark.parametrize(
    ("phrase", "message"),
    [("", "got an empty one"), (" \t\n", "got an empty one"), ("x" * 1001, "at most 1000 characters, got 1001")],
)
def test_phrases_without_use_are_refused(phrase: str, message: str) -> None:
    with pytest.raises(PhraseError, match=message):
        check_phrase(phrase)


@pytest.mark.parametrize("phrase", ["cat \ud83d", "\udcff", "a\ude00b"])
def test_half_a_character_is_refused(phrase: str) -> None:
    with pytest.raises(PhraseError, match=r"got half of one \(a lone surrogate\); type it again"):
        check_phrase(phrase)
    assert check_phrase("cat 😀") == "cat 😀"


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(PhraseError, match="as text, got int"):
        check_phrase(7)  # type: ignore[arg-type]


def test_the_longest_phrase_is_accepted() -> None:
    assert len(check_phrase("x" * 1000)) == 1000


@pytest.mark.parametrize(
    ("request_text", "phrases"),
    [
        ("the dog", ("the dog",)),
        (" the dog ;the cat; ", ("the dog", "the cat")),
        ("the dog; the cat;the dog", ("the dog", "the cat")),
        (";;the dog;", ("the dog",)),
    ],
)
def test_a_request_is_split_at_semicolons(request_text: str, phrases: tuple[str, ...]) -> None:
    assert split_phrases(request_text) == phrases


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        (" ; ;", "expected a phrase, got an empty one"),
        ("a;" + "x" * 1001, "at most 1000 characters, got 1001"),
        (";".join(f"phrase {index}" for index in range(17)), "1 to 16 phrases in one request, got 17"),
        (None, "expected a phrase as text, got NoneType"),
    ],
)
def test_a_request_without_usable_phrases_is_refused(request_text: str, message: str) -> None:
    with pytest.raises(PhraseError, match=message):
        split_phrases(request_text)


def test_all_of_a_class_is_said_in_a_strategys_own_words() -> None:
    assert in_words("[semantic] bird wing") == "every bird wing"
    assert in_words("[semantic]sky", "{}") == "sky"
    for phrase in ("the cup", "a [semantic] cup", "[semantic]", "semantic cup"):
        assert in_words(phrase) == phrase
