import dataclasses

import pytest
import torch

from evfsam.errors import Sentence
from evfsam.types import PromptPoint, SamPrompt, Segmentation, StrategyCard, TraceEntry, Verdict
from webui import wording
from webui.tabs.steps import stages_of, steps_of
from workbench.analysis.absence import AbsenceJudgement, Outcome
from workbench.comparison import PhraseResult, StrategyResult

CARD = StrategyCard("evf-sam", "EVF-SAM", "Reads both.", "", "", "Finds <things>.", "")


def answer(share: float = 0.12, kind: str = "found", reason: str = "", **fields: object) -> StrategyResult:
    logits = torch.full((10, 10), -1.0)
    logits.view(-1)[: round(share * 100)] = 1.0
    return StrategyResult("evf-sam", CARD, Segmentation(Verdict(kind, reason), logits, **fields), 0.416)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.001, "under 1 %"), (0.12, "12 %"), (0.996, "over 99 %"), (1.0, "100 %")],
)
def test_a_share_never_rounds_to_nothing_or_all_silently(share: float, words: str) -> None:
    assert wording.percent(share) == words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (answer(), "Marked: 12 % of the image"),
        (answer(reason="No point was sure."), "Marked: 12 % of the image. No point was sure."),
        (answer(share=0), "Marked nothing: the mask is empty"),
        (answer(0, "absent", "No object found."), "Not in the image: No object found."),
        (answer(0, "failed", "no weights"), "Failed: no weights"),
    ],
)
def test_the_verdict_is_said_in_words(result: StrategyResult, words: str) -> None:
    assert wording.verdict_in_words(result.segmentation) == words


def test_a_card_shows_measured_iou_beside_the_guess_only_where_the_truth_is_known() -> None:
    result = answer(pred_iou=0.914, seconds={"decode": 0.25})
    known, unknown = wording.result_card(result, 0.871), wording.result_card(result, None)
    assert "Measured IoU</dt><dd>0.87" in known
    assert "Measured IoU" not in unknown
    for card in (known, unknown):
        assert "pred_iou</dt><dd>0.91" in card
        assert "Time</dt><dd>0.42 s" in card


def test_the_trace_tells_the_seconds_of_each_stage() -> None:
    page = stages_of(answer(seconds={"encode image": 0.25, "decode": 0.01}).segmentation)
    assert "encode image 0.25, decode 0.01" in page


def test_a_card_says_when_the_embedding_was_reused() -> None:
    encoding = {"encode image": 0.1}
    assert "image reused" in wording.result_card(answer(seconds=encoding, embedding_was_cached=True), None)
    assert "image encoded" in wording.result_card(answer(seconds=encoding), None)
    assert "SAM not asked" in wording.result_card(answer(0, "absent", "No object found."), None)
    assert "image encoded" not in wording.result_card(answer(0, "failed", "no weights"), None)


def test_an_empty_mask_does_not_carry_the_mark_of_success() -> None:
    assert 'data-state="absent"' in wording.result_card(answer(share=0), None)
    assert 'data-state="found"' in wording.result_card(answer(), None)


@pytest.mark.parametrize(
    ("outcome", "sign", "words"),
    [
        ("match", "right", "Right: matches"),
        ("partly", "partly", "Partly right"),
        ("wrong", "wrong", "marks something else"),
        ("missed", "wrong", "Missed"),
    ],
)
def test_a_card_says_apart_what_is_marked_how_sure_and_whether_it_is_right(
    outcome: Outcome, sign: str, words: str
) -> None:
    why = Sentence("pred_iou {value:.2f} is below {least}", value=0.29, least=0.6)
    judgement = AbsenceJudgement(None, "unsure", Sentence("Doubtful: {why}.", why=why), 0.29, 0.41, 1.0)
    card = wording.result_card(answer(pred_iou=0.29), 0.2, judgement=judgement, outcome=outcome)
    assert "Marked: 12 % of the image" in card
    assert "Unsure: pred_iou 0.29 is below 0.6." in card
    assert "Stability</dt><dd>0.41" in card
    assert f'data-sign="{sign}"' in card
    assert words in card
    unknown = wording.result_card(answer(pred_iou=0.29), None, judgement=judgement)
    assert 'data-sign="unsure"' in unknown
    assert "✓" not in unknown


def test_a_card_shows_how_probable_the_strategy_itself_held_it_that_there_is_nothing() -> None:
    judgement = AbsenceJudgement(None, "unjudged", "No rule.", 0.29, 0.41, 1.0)
    asked = TraceEntry("ask for the box", "Where?", "[1,2,3,4]", {"p_absent": 0.12})
    card = wording.result_card(answer(trace=(asked,)), None, judgement=judgement)
    assert "No rule tells how sure it is. P(no object): 12 %." in card
    assert "P(no object)" not in wording.result_card(answer(trace=(asked, asked)), None, judgement=judgement)
    assert "P(no object)" not in wording.result_card(answer(), None, judgement=judgement)


def test_each_state_has_a_mark_of_its_own_besides_its_colour() -> None:
    marks = [wording._MARKS[state] for state in ("found", "absent", "failed", "waiting", "running", "skipped")]
    assert len(set(marks)) == len(marks)
    assert all(marks)


def test_texts_of_visitors_and_models_are_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    entry = TraceEntry(evil, asked=evil, answered=evil, values={evil: [evil, 0.5]})
    result = answer(0, "failed", evil, trace=(entry,))
    pages = [
        steps_of(result.segmentation),
        wording.result_card(result, None),
        wording.idle_card(dataclasses.replace(CARD, summary=evil, can=evil)),
        wording.problem(evil),
        wording.hint(evil),
        wording.agreement_table({"a": {"a": 1, "b": 0}, "b": {"a": 0, "b": 1}}, {"a": evil, "b": evil}),
        wording.status_line([], 2, 0, evil),
    ]
    assert all("<img" not in page for page in pages)


def test_a_long_model_answer_is_cut_in_the_trace() -> None:
    page = steps_of(answer(trace=(TraceEntry("ask", answered="x" * 100_000),)).segmentation)
    assert len(page) < 10_000
    assert "shortened" in page


def test_the_evidence_of_points_says_how_many_reached_sam_and_how_to_read_them() -> None:
    points = tuple(PromptPoint(1, 1, 1, 0.95, is_kept, 0.95) for is_kept in (True, True, False))
    words = wording.evidence_caption(answer(prompts=(SamPrompt((0, 0, 5, 5), points),)).segmentation, None)
    assert "1 box and 3 points" in words
    assert "2 ringed" in words
    assert "Blue" in words


def test_a_strategy_without_a_place_says_so_and_what_is_drawn_instead() -> None:
    prompt = SamPrompt(text_prompt_embeddings=torch.ones(1, 4))
    assert "Bright: where SAM held the object probable" in wording.evidence_caption(
        answer(prompts=(prompt,)).segmentation, None
    )


@pytest.mark.parametrize(
    ("cached", "words"),
    [
        ((False, True), "encoded once and shared"),
        ((True, True), "reused"),
        ((False,), "encoded once."),
        ((False, True, False), "2 times"),
    ],
)
def test_the_status_says_whether_the_image_was_encoded(cached: tuple[bool, ...], words: str) -> None:
    results = [answer(embedding_was_cached=was) for was in cached]
    assert words in wording.status_line(results, len(results), 1.5, None)


def test_the_status_of_a_run_under_way_says_how_far_it_is() -> None:
    page = wording.status_line([answer()], 3, 0.4, "CLIP text")
    assert "1 of 3 answered" in page
    assert "CLIP text is working" in page
    assert '<progress max="3" value="1"' in page


def test_a_finished_run_with_a_failure_does_not_sound_like_a_success() -> None:
    page = wording.status_line([answer(), answer(0, "failed", "no weights")], 2, 0.4, None)
    assert "1 of them with a failure" in page


def test_a_run_in_which_all_fail_says_so() -> None:
    assert "One strategy failed" in wording.status_line([answer(0, "failed", "no weights")], 1, 0.4, None)


def test_a_failed_card_gives_the_reason_and_no_figures() -> None:
    page = wording.result_card(answer(0, "failed", "no weights"), None)
    assert "no weights" in page
    assert "<dl" not in page


def test_a_card_shows_the_remark_beside_what_was_found() -> None:
    assert "No point was sure." in wording.result_card(answer(reason="No point was sure."), None)


def test_agreement_is_a_table_with_headed_rows_and_columns() -> None:
    iou = {"a": {"a": 1.0, "b": 0.256}, "b": {"a": 0.256, "b": 1.0}}
    page = wording.agreement_table(iou, {"a": "EVF-SAM", "b": "CLIP text"})
    assert page.count('scope="col"') == page.count('scope="row"') == 2
    assert page.count(">0.26<") == 2


def test_agreement_of_one_strategy_says_what_is_missing() -> None:
    assert "two strategies" in wording.agreement_table({"a": {"a": 1.0}}, {"a": "EVF-SAM"})


def test_several_phrases_have_a_row_each_with_number_colour_and_words() -> None:
    found, absent = answer(), answer(0, "absent", "nobody <saw> it")
    answers = (PhraseResult("a <b>dog</b>", found.segmentation), PhraseResult("a cat", absent.segmentation))
    page = wording.result_card(dataclasses.replace(found, answers=answers), None, (0.5, None))
    assert page.count("<li>") == 2
    assert 'style="--colour:rgb(230, 159, 0)">1</span>' in page
    assert 'style="--colour:rgb(86, 180, 233)">2</span>' in page
    assert "<b>a &lt;b&gt;dog&lt;/b&gt;</b>" in page
    assert "IoU 0.50" in page
    assert "Not in the image: nobody &lt;saw&gt; it" in page
    assert "<li>" not in wording.result_card(found, None)
