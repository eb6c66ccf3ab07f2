"""SAM4MLLM: a language model that sees the image says where to point, and SAM draws.

Two forms. Proactive query (PQPP) asks for the box, lays a grid of points in it and asks of each point whether it lies
on the object; only confident answers reach SAM. Prompt-point generation (PPG) asks for points in one answer.

Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 and 4.1. Departures: points are asked one by one unless
`turns="joint"`, P(yes) is taken over yes and no alone, models that box absent objects are asked about presence first,
and what a person marks goes before what the model says. Checkpoint layout: `mllm/` (model and processor) and `sam/`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch

from baselines.point_query import dialects
from baselines.point_query.dialects import (
    CoordinateGrid,
    Dialect,
    ParsedBoxes,
    ParsedPromptPoints,
    SpokenBox,
    SpokenPoint,
)
from baselines.point_query.dialects.known_dialects import SAM4MLLM
from baselines.point_query.dialogue import Chat, ChatModel, ChatOfMany, Message, YesNo
from baselines.point_query.inquiry import Inquiry, timed, unfinished
from baselines.point_query.language_model import LanguageModel
from baselines.point_query.options import PointQueryOptions, check_options
from baselines.strategy_cards import POINT_QUERY
from baselines.strategy_options import changed
from evfsam.errors import Sentence, joined_sentences
from evfsam.phrases import check_phrases, in_words
from evfsam.sam.closer_look import decode_marked, seen_closer
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import (
    BoxXyxy,
    ImageView,
    MaskBackbone,
    MaskPrediction,
    PromptPoint,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)

MAX_OBJECTS: Final = 8
"""Boxes used of one answer; a model that repeats itself would otherwise be asked for minutes."""

_SHOWN_CHARACTERS: Final = 120

_NOT_FINITE: Final = Verdict("failed", "The language model's probabilities are not finite numbers; load it as float32.")


@dataclass(frozen=True, eq=False)
class _PointAnswers:
    """What was asked about the points of one box, and answered."""

    questions: Sequence[str]
    spoken: str
    answers: YesNo


@dataclass(frozen=True)
class PointQueryStrategy:
    """Points from a language model, masks from SAM.

    Args:
        language: the model that is asked.
        backbone: the SAM that draws; its decoder should know points and boxes.
        options: see `PointQueryOptions`.
        card: what the page shows.
        dialect: how the model's family is asked and understood.
        given: a person's box and clicks; see `with_prompt`.

    Raises:
        ConfigurationError: the family cannot follow the options.
    """

    language: ChatModel
    backbone: MaskBackbone
    options: PointQueryOptions = field(default_factory=PointQueryOptions)
    card: StrategyCard = POINT_QUERY
    dialect: Dialect = SAM4MLLM
    given: SamPrompt = field(default_factory=SamPrompt)

    def __post_init__(self) -> None:
        check_options(self.options, self.dialect)

    def with_options(self, /, **options: object) -> "PointQueryStrategy":
        """Return a copy with other options and the same weights.

        Raises:
            ConfigurationError: an option is unknown, out of range, or beyond the model's family.
        """
        return replace(self, options=changed(self.options, options, "point query"))

    def with_prompt(self, points: Sequence[PromptPoint] = (), box: BoxXyxy | None = None) -> "PointQueryStrategy":
        """Return a copy with the same weights that gives SAM what a person marks, in original pixels.

        A box takes the place of the language model's, which is not asked then. Clicks are added to what it says, and
        take its place where one that is on the object lies in none of its boxes.
        """
        return replace(self, given=SamPrompt(box, tuple(points)))

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Ask the language model, then let SAM draw one mask an object and join them.

        Raises:
            PhraseError: the phrase is empty, too long, or spells a control token of the language model.
        """
        return self.segment_many(view, (phrase,))[0]

    def segment_many(self, view: ImageView, phrases: Sequence[str]) -> list[Segmentation]:
        """Do as `segment` for several phrases, each step for all of them at once.

        Args:
            view: the image; its embedding is shared with other strategies.
            phrases: 16 at most.

        Returns:
            One answer a phrase, in their order; the time of joint steps is shared out evenly.

        Raises:
            PhraseError: as in `segment`, or there are none or too many.
        """
        inquiries = [Inquiry(in_words(phrase)) for phrase in check_phrases(phrases)]
        for each in inquiries:
            self.language.check_words(each.phrase)
        if self.given.box is None:
            self._ask(view, inquiries)
        for each in inquiries:
            self._take_marks(each)
        return self._draw(view, inquiries)

    def _ask(self, view: ImageView, inquiries: Sequence[Inquiry]) -> None:
        """Ask the language model; every inquiry has its outcome then."""
        with self.language.conversation(view.image, view.seen) as chat:
            needs_size = self.dialect.convention.unit == "pixels"
            grid = self.dialect.convention.grid(view.size, chat.resized_size() if needs_size else None)
            self._ask_presence(chat, inquiries)
            if self.options.form == "pqpp":
                self._ask_boxes(chat, grid, unfinished(inquiries))
                self._ask_points(chat, grid, unfinished(inquiries))
            else:
                for each in unfinished(inquiries):
                    self._generate(chat, grid, each)

    def _take_marks(self, inquiry: Inquiry) -> None:
        """Put what a person marked beside what the language model said, or in its place."""
        if self.given.box is not None:
            inquiry.outcome = (self.given,)
            said = Sentence("The given box and points; the language model was not asked.")
        elif not self.given.points:
            return
        else:
            prompts = inquiry.outcome if isinstance(inquiry.outcome, tuple) else ()
            on_it = [point for point in self.given.points if point.label]
            is_known = all(any(_holds(prompt, point) for prompt in prompts) for point in on_it)
            if prompts and is_known:
                inquiry.outcome = tuple(
                    replace(prompt, points=(*prompt.points, *(p for p in self.given.points if _holds(prompt, p))))
                    for prompt in prompts
                )
                said = Sentence("The given points as well.")
            elif on_it:
                inquiry.outcome = (self.given,)
                said = Sentence("The given points alone: the language model named no box that holds them.")
            else:
                return
        values = {
            "box": self.given.box and list(self.given.box),
            "points": [[point.x, point.y, point.label] for point in self.given.points],
        }
        inquiry.steps.append(TraceEntry("add the given box and points", "", said, values))

    def _ask_presence(self, chat: Chat, inquiries: Sequence[Inquiry]) -> None:
        """Ask whether each object is there; the inquiry ends if it is not.

        Source: most multimodal models box absent objects too, so the question comes before the box.
        """
        ask = self.dialect.presence_question
        if ask is None or self.options.presence == "skip":
            return
        questions = [ask(each.phrase) for each in inquiries]
        with timed(inquiries, "ask whether it is there"):
            answers = chat.ask_each([[dialects.user_turn(question, with_image=True)] for question in questions])
        for each, question, p_yes, mass in zip(
            inquiries, questions, answers.p_yes.tolist(), answers.mass.tolist(), strict=True
        ):
            if not 0 <= p_yes <= 1:
                each.outcome = _NOT_FINITE
                continue
            values = {"p_yes": p_yes, "answer_mass": mass, "threshold": self.options.presence_threshold}
            spoken = dialects.YES if p_yes > 0.5 else dialects.NO
            each.steps.append(TraceEntry("ask whether it is there", question, spoken, values))
            if p_yes < self.options.presence_threshold:
                each.outcome = Verdict(
                    "absent",
                    Sentence(
                        "Asked whether the image shows it, the language model was {sure:.0%} sure of Yes; "
                        "{asked:.0%} are asked for.",
                        sure=p_yes,
                        asked=self.options.presence_threshold,
                    ),
                )

    def _ask_boxes(self, chat: Chat, grid: CoordinateGrid, inquiries: Sequence[Inquiry]) -> None:
        """Ask for the boxes of each phrase; an inquiry without any ends."""
        ask = self.dialect.box_question
        assert ask is not None
        questions = [ask(each.phrase, self.options.count) for each in inquiries]
        dialogues = [[dialects.user_turn(question, with_image=True)] for question in questions]
        with timed(inquiries, "ask for the box"):
            answers = self._spoken(chat, dialogues)
        for each, question, dialogue, (answer, p_absent) in zip(inquiries, questions, dialogues, answers, strict=True):
            each.dialogue = [*dialogue, dialects.assistant_turn(answer)]
            self._take_boxes(each, question, answer, p_absent, grid)

    def _spoken(self, chat: Chat, dialogues: Sequence[Sequence[Message]]) -> list[tuple[str, float]]:
        """Return the answer to each dialogue, and how likely it was to begin as that for absent objects does."""
        bound, rival = self.options.max_new_tokens, self.dialect.absent_answer
        if len(dialogues) > 1 and isinstance(chat, ChatOfMany) and chat.can_ask_together():
            return chat.ask_together(dialogues, max_new_tokens=bound, rival=rival)
        if rival is None:
            return [(chat.ask(dialogue, max_new_tokens=bound), 0.0) for dialogue in dialogues]
        return [chat.ask_weighing(dialogue, max_new_tokens=bound, rival=rival) for dialogue in dialogues]

    def _take_boxes(self, inquiry: Inquiry, question: str, answer: str, p_absent: float, grid: CoordinateGrid) -> None:
        parsed = self.dialect.parse_boxes(answer, grid)
        boxes = tuple(dict.fromkeys(parsed.boxes))[:MAX_OBJECTS]
        values = self._values(boxes, parsed, len(parsed.boxes) - len(boxes), grid)
        rival = self.dialect.absent_answer
        if rival is not None:
            values |= {"p_absent": p_absent, "absence_threshold": self.options.absence_threshold}
        inquiry.steps.append(TraceEntry("ask for the box", question, answer, values))
        inquiry.boxes = boxes
        if not boxes:
            inquiry.outcome = _nothing_usable(answer, parsed, "box")
        elif p_absent >= self.options.absence_threshold < 1:
            inquiry.outcome = Verdict(
                "absent",
                Sentence(
                    'The language model named a box, but "{rival}" had a probability of {probability:.0%}; from '
                    "{limit:.0%} on its box is not believed.",
                    rival=rival,
                    probability=p_absent,
                    limit=self.options.absence_threshold,
                ),
            )

    def _ask_points(self, chat: Chat, grid: CoordinateGrid, inquiries: Sequence[Inquiry]) -> None:
        """Ask of a grid of points in each box whether they lie on the object; every inquiry has its outcome then."""
        if self.options.prompt == "box":
            for each in inquiries:
                each.outcome = tuple(self._prompt(box, (), grid, each) for box in each.boxes)
            return
        ask = self._ask_independently if self.options.turns == "independent" else self._ask_jointly
        answers = iter(ask(chat, grid, inquiries))
        for each in inquiries:
            prompts = []
            for box in each.boxes:
                points = self._take_points(each, box, next(answers), grid)
                prompts.append(self._prompt(box, points, grid, each))
            is_finite = all(0 <= (point.p_yes or 0) <= 1 for prompt in prompts for point in prompt.points)
            each.outcome = tuple(prompts) if is_finite else _NOT_FINITE

    def _ask_independently(
        self, chat: Chat, grid: CoordinateGrid, inquiries: Sequence[Inquiry]
    ) -> Iterator[_PointAnswers]:
        """Ask each point by itself, all of all boxes at once; yields the answers box by box."""
        ask = self.dialect.points_question
        assert ask is not None
        boxes = [(each, box) for each in inquiries for box in each.boxes]
        questions = [
            [ask(each.phrase, box, [point], grid) for point in self._points_to_ask(box)] for each, box in boxes
        ]
        dialogues = [
            [*each.dialogue, dialects.user_turn(question)]
            for (each, _), asked in zip(boxes, questions, strict=True)
            for question in asked
        ]
        if not dialogues:
            return
        with timed(inquiries, "ask for the points"):
            answers = chat.ask_each(dialogues)
        ends = np.cumsum([len(asked) for asked in questions])
        for asked, end in zip(questions, ends.tolist(), strict=True):
            part = slice(end - len(asked), end)
            spoken = dialects.points_answer(p > 0.5 for p in answers.p_yes[part].tolist())
            yield _PointAnswers(asked, spoken, YesNo(answers.p_yes[part], answers.mass[part]))

    def _ask_jointly(self, chat: Chat, grid: CoordinateGrid, inquiries: Sequence[Inquiry]) -> Iterator[_PointAnswers]:
        """Ask all points of a box in one list, box by box."""
        ask = self.dialect.points_question
        assert ask is not None
        for each in inquiries:
            for box in each.boxes:
                asked = self._points_to_ask(box)
                question = ask(each.phrase, box, asked, grid)
                with timed([each], "ask for the points"):
                    spoken, answers = chat.ask_list([*each.dialogue, dialects.user_turn(question)], count=len(asked))
                yield _PointAnswers([question], spoken, answers)

    def _take_points(
        self, inquiry: Inquiry, box: SpokenBox, told: _PointAnswers, grid: CoordinateGrid
    ) -> tuple[PromptPoint, ...]:
        """Judge a box's points; those that got no answer are left out."""
        asked = self._points_to_ask(box)
        points = self._judge(asked, told.answers, grid)
        values = {
            "turns": self.options.turns,
            "questions": told.questions,
            "unanswered": len(asked) - len(points),
            "points": [
                {"spoken": list(at), "p_yes": point.p_yes, "is_kept": point.is_kept, "answer_mass": float(mass)}
                for at, point, mass in zip(asked, points, told.answers.mass, strict=False)
            ],
        }
        inquiry.steps.append(TraceEntry("ask which points lie on the object", told.questions[0], told.spoken, values))
        return points

    def _points_to_ask(self, box: SpokenBox) -> tuple[SpokenPoint, ...]:
        if self.options.sampling == "random":
            return random_points(box, self.options.grid_size**2, self.options.sampling_seed)
        return grid_points(box, self.options.grid_size)

    def _judge(self, asked: Sequence[SpokenPoint], answers: YesNo, grid: CoordinateGrid) -> tuple[PromptPoint, ...]:
        """Label each point by its likelier answer and keep the confident ones."""
        points = []
        for at, p_yes in zip(asked, answers.p_yes.tolist(), strict=False):
            confidence = max(p_yes, 1 - p_yes)
            x, y = grid.pixel_point(at)
            is_kept = confidence >= self.options.threshold and (p_yes > 0.5 or self.options.prompt != "positives")
            points.append(PromptPoint(x, y, 1 if p_yes > 0.5 else 0, confidence, is_kept, p_yes))
        return tuple(points)

    def _generate(self, chat: Chat, grid: CoordinateGrid, inquiry: Inquiry) -> None:
        """Ask for points, and boxes where the family has them, in one answer (PPG)."""
        assert self.dialect.prompt_points_question is not None
        question = self.dialect.prompt_points_question(inquiry.phrase, self.options.count)
        with timed([inquiry], "ask for the prompt"):
            messages = [dialects.user_turn(question, with_image=True)]
            answer = chat.ask(messages, max_new_tokens=self.options.max_new_tokens)
        parsed = self.dialect.parse_prompt_points(answer, grid)
        groups = tuple(dict.fromkeys(parsed.groups))[:MAX_OBJECTS]
        boxes = tuple(group.box for group in groups if group.box is not None)
        values = self._values(boxes, parsed, len(parsed.groups) - len(groups), grid)
        inquiry.steps.append(TraceEntry("ask for the prompt", question, answer, values))
        if not groups:
            inquiry.outcome = _nothing_usable(
                answer, parsed, "box" if self.dialect.box_question is not None else "point"
            )
            return
        inquiry.outcome = tuple(
            self._prompt(group.box, self._spoken_points(group, grid), grid, inquiry) for group in groups
        )

    def _values(
        self, boxes: Sequence[SpokenBox], parsed: ParsedBoxes | ParsedPromptPoints, left_out: int, grid: CoordinateGrid
    ) -> dict[str, object]:
        """Return what the trace keeps of an answer."""
        return {
            "dialect": self.dialect.key,
            "convention": grid.range_words,
            "spoken_boxes": [list(box) for box in boxes],
            "boxes": [list(grid.pixel_box(box)) for box in boxes],
            "problems": list(parsed.problems),
            "boxes_left_out": left_out,
        }

    def _spoken_points(self, group: dialects.PromptGroup, grid: CoordinateGrid) -> tuple[PromptPoint, ...]:
        """Return the points of a generated group, none with a probability."""
        inside = [PromptPoint(*grid.pixel_point(at), 1) for at in group.positives]
        keeps_negatives = self.options.prompt != "positives"
        outside = [PromptPoint(*grid.pixel_point(at), 0, is_kept=keeps_negatives) for at in group.negatives]
        return (*inside, *outside)

    def _prompt(
        self, box: SpokenBox | None, points: tuple[PromptPoint, ...], grid: CoordinateGrid, inquiry: Inquiry
    ) -> SamPrompt:
        """Put together what SAM gets of one object, and say so."""
        kept = [point for point in points if point.is_kept]
        on_object = sum(point.label for point in kept)
        pixels = None if box is None else grid.pixel_box(box)
        said = Sentence(
            "{on} points on the object, {off} off it, {dropped} dropped.",
            on=on_object,
            off=len(kept) - on_object,
            dropped=len(points) - len(kept),
        )
        points_alone = self.options.prompt in ("points", "positives")
        if pixels is None:
            prompt = SamPrompt(points=points)
        elif self.options.prompt == "box":
            prompt, said = SamPrompt(box=pixels), Sentence("The box alone, as the options say.")
        elif not kept:
            prompt, said = SamPrompt(box=pixels, points=points), Sentence("The box alone: no point was kept.")
            inquiry.remark = Sentence(
                "No point got an answer that was at least {sure:.0%} sure; the box alone prompted SAM.",
                sure=self.options.threshold,
            )
        elif points_alone and on_object:
            prompt = SamPrompt(points=points)
        elif points_alone:
            prompt = SamPrompt(box=pixels, points=points)
            said = Sentence("{points} The box as well: no kept point is on the object.", points=said)
        else:
            prompt, said = SamPrompt(box=pixels, points=points), Sentence("The box, and {points}", points=said)
        values = {"box": pixels and list(pixels), "kept": len(kept), "dropped": len(points) - len(kept)}
        inquiry.steps.append(TraceEntry("prompt SAM", "", said, values))
        return prompt

    def _draw(self, view: ImageView, inquiries: Sequence[Inquiry]) -> list[Segmentation]:
        """Decode one mask a prompt, all in as few passes as their lengths allow, and join those of a phrase."""
        prompts = [prompt for each in inquiries if isinstance(each.outcome, tuple) for prompt in each.outcome]
        if not prompts:
            return [self._answer(view, each, (), was_cached=False) for each in inquiries]
        drawn = [each for each in inquiries if isinstance(each.outcome, tuple)]
        with timed(drawn[:1], "encode image"):
            embedding, was_cached = view.embedding(self.backbone)
        with timed(drawn, "decode"), torch.no_grad():
            # A person's box is clear: one mask is better than the best of three, as SAM's authors say of such prompts.
            multimask = self.given.box is None
            made, region = decode_marked(self.backbone, view.image, embedding, prompts, self.given, multimask=multimask)
        if region is not None:
            for each in drawn:
                each.steps.append(seen_closer(region))
        predictions, answers = iter(made), []
        for each in inquiries:
            count = len(each.outcome) if isinstance(each.outcome, tuple) else 0
            own = tuple(islice(predictions, count))
            answers.append(self._answer(view, each, own, was_cached=was_cached or each is not drawn[0]))
        return answers

    def _answer(
        self, view: ImageView, inquiry: Inquiry, predictions: tuple[MaskPrediction, ...], *, was_cached: bool
    ) -> Segmentation:
        outcome, trace = inquiry.outcome, tuple(inquiry.steps)
        assert outcome is not None
        if isinstance(outcome, Verdict):
            return Segmentation.undrawn(outcome, view.size, trace=trace, seconds=inquiry.seconds)
        return Segmentation.drawn(
            outcome,
            predictions,
            Verdict("failed", "SAM drew no pixel for the box and points it was given."),
            remark=inquiry.remark,
            trace=trace,
            seconds=inquiry.seconds,
            embedding_was_cached=was_cached,
        )


def _holds(prompt: SamPrompt, point: PromptPoint) -> bool:
    """Whether a click can be about a prompt's object; one beside the object is about any."""
    if prompt.box is None or not point.label:
        return True
    x1, y1, x2, y2 = prompt.box
    return x1 <= point.x <= x2 and y1 <= point.y <= y2


def grid_points(box: SpokenBox, grid_size: int) -> tuple[SpokenPoint, ...]:
    """Return the centres of grid_size x grid_size equal cells of the box, row by row, rounded to whole numbers."""
    x1, y1, x2, y2 = box
    shares = [(index + 0.5) / grid_size for index in range(grid_size)]
    return tuple((round(x1 + u * (x2 - x1)), round(y1 + v * (y2 - y1))) for v in shares for u in shares)


def random_points(box: SpokenBox, count: int, seed: int) -> tuple[SpokenPoint, ...]:
    """Return `count` points drawn evenly in the box, rounded to whole numbers; the same for the same box and seed."""
    x1, y1, x2, y2 = box
    draws = np.random.default_rng((seed, *(round(abs(side)) for side in box))).random((count, 2))
    return tuple((round(x1 + u * (x2 - x1)), round(y1 + v * (y2 - y1))) for u, v in draws.tolist())


def load_strategy(directory: Path, *, device: str | torch.device, dtype: torch.dtype) -> PointQueryStrategy:
    """Load a checkpoint with the folders `mllm` and `sam`.

    Raises:
        CheckpointError: a folder is missing, incomplete, or does not fit its configuration.
    """
    language = LanguageModel.from_pretrained(directory / "mllm", device=device, dtype=dtype)
    backbone = SamMaskBackbone.from_pretrained(directory / "sam", device=device, dtype=dtype)
    return PointQueryStrategy(language, backbone)


def _nothing_usable(answer: str, parsed: ParsedBoxes | ParsedPromptPoints, wanted: str) -> Verdict:
    """Say why there is nothing to draw."""
    shown = answer if len(answer) <= _SHOWN_CHARACTERS else f"{answer[:_SHOWN_CHARACTERS]}…"
    if parsed.says_no_object:
        return Verdict("absent", Sentence('The language model answered "{answer}"', answer=shown))
    if parsed.problems:
        problems = joined_sentences(parsed.problems[:3])
        return Verdict(
            "failed",
            Sentence(
                "The language model's answer holds no usable {wanted}: {problems}.", wanted=wanted, problems=problems
            ),
        )
    return Verdict(
        "failed", Sentence('The language model answered without a {wanted}: "{answer}"', wanted=wanted, answer=shown)
    )
