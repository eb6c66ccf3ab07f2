import copy
import pickle

from evfsam.errors import EvfSamError, PhraseError, Sentence


def test_a_sentence_reads_with_its_values_and_keeps_them_apart() -> None:
    sentence = Sentence("{share:.0%} of {name!r}", share=0.25, name="bus")
    assert sentence == "25% of 'bus'"
    assert (sentence.template, sentence.values) == ("{share:.0%} of {name!r}", {"share": 0.25, "name": "bus"})


def test_a_sentence_without_values_may_hold_braces() -> None:
    assert Sentence("write {name}") == "write {name}"


def test_an_error_hands_on_its_sentence_wherever_it_is_read_and_sent() -> None:
    error = PhraseError("expected at most {most}, got {got}", most=1, got=2)
    for copied in (error, pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        said = str(copied)
        assert said == "expected at most 1, got 2"
        assert isinstance(said, Sentence)
        assert said.values == {"most": 1, "got": 2}
    assert EvfSamError(error.message).message is error.message
