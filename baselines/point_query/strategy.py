"""SAM4MLLM: a language model that sees the image says where to point, and SAM draws.

Two forms. Proactive query (PQPP) asks for the box, lays a grid of points in it and asks of each point whether it lies
on the object; only confident answers reach SAM. Prompt-point generation (PPG) asks for points in one answer.

Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 and 4.1. Departures: points are asked one by one unless
`turns="joint"`, P(yes) is taken over yes and no alone, and models that box absent objects are asked about presence
first. Checkpoint layout: `mllm/` (model and processor) and `sam/`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from baselines.point_query.dialects.registry import SAM4MLLM
from baselines.point_query.dialogue import Chat, ChatModel, Message, YesNo
from baselines.point_query.language_model import LanguageModel
from baselines.point_query.options import PointQueryOptions, check_options
from baselines.strategy_options import changed
from evfsam.phrases import check_phrase, in_words
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import (
    ImageView,
    MaskBackbone,
    PromptPoint,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)

__all__ = ["PointQueryOptions", "PointQueryStrategy", "grid_points", "load_strategy", "random_points"]

MAX_OBJECTS: Final = 8
"""Boxes used of one answer; a model that repeats itself would otherwise be asked for minutes."""

_SHOWN_CHARACTERS: Final = 120

CARD: Final = StrategyCard(
    key="point-query",
    title="Point query",
    summary="A language model that sees the image names a box and says of points in it whether they lie on the object; "
    "box and confident points prompt SAM.",
    paper="SAM4MLLM, Chen et al., ECCV 2024, https://arxiv.org/abs/2409.10542",
    licence="Apache-2.0",
    can="Says when the object is absent, finds several objects, and shows the box and points it acted on.",
    cannot="Draws nothing better than its box: a wrong box is never corrected by the points inside it.",
)


_NOT_FINITE: Final = Verdict("failed", "The language model's probabilities are not finite numbers; load it as float32.")


@dataclass
class _Log:
    """What happened so far: steps and seconds of one call, and what a person should know of the result."""

    steps: list[TraceEntry] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    remark: str = ""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class PointQueryStrategy:
    """Points from a language model, masks from SAM.

    Args:
        language: the model that is asked.
        backbone: the SAM that draws; its decoder should know points and boxes.
        options: see `PointQueryOptions`.
        card: what the page shows.
        dialect: how the model's family is asked and understood.

    Raises:
        ConfigurationError: the family cannot follow the options.
    """

    language: ChatModel
    backbone: MaskBackbone
    options: PointQueryOptions = field(default_factory=PointQueryOptions)
    card: StrategyCard = CARD
    dialect: Dialect = SAM4MLLM

    def __post_init__(self) -> None:
        check_options(self.options, self.dialect)

    def with_options(self, /, **options: object) -> "PointQueryStrategy":
        """Return a copy with other options and the same weights.

        Raises:
            ConfigurationError: an option is unknown, out of range, or beyond the model's family.
        """
        return replace(self, options=changed(self.options, options, "point query"))

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Ask the language model, then let SAM draw one mask an object and join them.

        Raises:
            PhraseError: the phrase is empty, too long, or spells a control token of the language model.
        """
        phrase = in_words(check_phrase(phrase))
        self.language.check_words(phrase)
        log = _Log()
        with self.language.conversation(view.image) as chat:
            needs_size = self.dialect.convention.unit == "pixels"
            grid = self.dialect.convention.grid(view.size, chat.resized_size() if needs_size else None)
            verdict = self._ask_presence(chat, phrase, log)
            ask = self._query if self.options.form == "pqpp" else self._generate
            prompts = verdict if verdict is not None else ask(chat, grid, phrase, log)
        if isinstance(prompts, Verdict):
            return Segmentation.undrawn(prompts, view.size, trace=tuple(log.steps), seconds=log.seconds)
        return self._draw(view, prompts, log)

    def _ask_presence(self, chat: Chat, phrase: str, log: _Log) -> Verdict | None:
        """Ask whether the object is there; a verdict if it is not.

        Source: most multimodal models box absent objects too, so the question comes before the box.
        """
        ask = self.dialect.presence_question
        if ask is None or self.options.presence == "skip":
            return None
        question = ask(phrase)
        with log.timed("ask whether it is there"):
            answer = chat.ask_each([[dialects.user_turn(question, with_image=True)]])
        p_yes, mass = float(answer.p_yes[0]), float(answer.mass[0])
        if not 0 <= p_yes <= 1:
            return _NOT_FINITE
        is_there = p_yes >= self.options.presence_threshold
        values = {"p_yes": p_yes, "answer_mass": mass, "threshold": self.options.presence_threshold}
        spoken = dialects.YES if p_yes > 0.5 else dialects.NO
        log.steps.append(TraceEntry("ask whether it is there", question, spoken, values))
        if is_there:
            return None
        return Verdict(
            "absent",
            f"Asked whether the image shows it, the language model was {p_yes:.0%} sure of Yes; "
            f"{self.options.presence_threshold:.0%} are asked for.",
        )

    def _query(self, chat: Chat, grid: CoordinateGrid, phrase: str, log: _Log) -> tuple[SamPrompt, ...] | Verdict:
        """Ask for boxes, then of a grid of points in each (PQPP)."""
        assert self.dialect.box_question is not None
        question = self.dialect.box_question(phrase, self.options.count)
        first: list[Message] = [dialects.user_turn(question, with_image=True)]
        bound, rival, p_absent = self.options.max_new_tokens, self.dialect.absent_answer, 0.0
        with log.timed("ask for the box"):
            if rival is None:
                answer = chat.ask(first, max_new_tokens=bound)
            else:
                answer, p_absent = chat.ask_weighing(first, max_new_tokens=bound, rival=rival)
        parsed = self.dialect.parse_boxes(answer, grid)
        boxes = tuple(dict.fromkeys(parsed.boxes))[:MAX_OBJECTS]
        values = self._values(boxes, parsed, len(parsed.boxes) - len(boxes), grid)
        if rival is not None:
            values |= {"p_absent": p_absent, "absence_threshold": self.options.absence_threshold}
        log.steps.append(TraceEntry("ask for the box", question, answer, values))
        if not boxes:
            return _nothing_usable(answer, parsed, "box")
        if p_absent >= self.options.absence_threshold < 1:
            return Verdict(
                "absent",
                f'The language model named a box, but "{rival}" had a probability of {p_absent:.0%}; from '
                f"{self.options.absence_threshold:.0%} on its box is not believed.",
            )
        first.append(dialects.assistant_turn(answer))
        prompts = []
        for box in boxes:
            points = () if self.options.prompt == "box" else self._ask_points(chat, first, phrase, box, grid, log)
            if any(point.p_yes is not None and not 0 <= point.p_yes <= 1 for point in points):
                return _NOT_FINITE
            prompts.append(self._prompt(box, points, grid, log))
        return tuple(prompts)

    def _ask_points(
        self, chat: Chat, first: Sequence[Message], phrase: str, box: SpokenBox, grid: CoordinateGrid, log: _Log
    ) -> tuple[PromptPoint, ...]:
        """Ask which points of the box's grid lie on the object; points that got no answer are left out."""
        ask = self.dialect.points_question
        assert ask is not None
        asked = self._points_to_ask(box)
        with log.timed("ask for the points"):
            if self.options.turns == "independent":
                questions = [ask(phrase, box, [point], grid) for point in asked]
                answers = chat.ask_each([[*first, dialects.user_turn(question)] for question in questions])
                spoken = dialects.points_answer(bool(p > 0.5) for p in answers.p_yes)
            else:
                questions = [ask(phrase, box, asked, grid)]
                spoken, answers = chat.ask_list([*first, dialects.user_turn(questions[0])], count=len(asked))
        points = self._judge(asked, answers, grid)
        values = {
            "turns": self.options.turns,
            "questions": questions,
            "unanswered": len(asked) - len(points),
            "points": [
                {"spoken": list(at), "p_yes": point.p_yes, "is_kept": point.is_kept, "answer_mass": float(mass)}
                for at, point, mass in zip(asked, points, answers.mass, strict=False)
            ],
        }
        log.steps.append(TraceEntry("ask which points lie on the object", questions[0], spoken, values))
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

    def _generate(self, chat: Chat, grid: CoordinateGrid, phrase: str, log: _Log) -> tuple[SamPrompt, ...] | Verdict:
        """Ask for points, and boxes where the family has them, in one answer (PPG)."""
        assert self.dialect.prompt_points_question is not None
        question = self.dialect.prompt_points_question(phrase, self.options.count)
        with log.timed("ask for the prompt"):
            messages = [dialects.user_turn(question, with_image=True)]
            answer = chat.ask(messages, max_new_tokens=self.options.max_new_tokens)
        parsed = self.dialect.parse_prompt_points(answer, grid)
        groups = tuple(dict.fromkeys(parsed.groups))[:MAX_OBJECTS]
        boxes = tuple(group.box for group in groups if group.box is not None)
        values = self._values(boxes, parsed, len(parsed.groups) - len(groups), grid)
        log.steps.append(TraceEntry("ask for the prompt", question, answer, values))
        if not groups:
            return _nothing_usable(answer, parsed, "box" if self.dialect.box_question is not None else "point")
        return tuple(self._prompt(group.box, self._spoken_points(group, grid), grid, log) for group in groups)

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
        self, box: SpokenBox | None, points: tuple[PromptPoint, ...], grid: CoordinateGrid, log: _Log
    ) -> SamPrompt:
        """Put together what SAM gets of one object, and say so."""
        kept = [point for point in points if point.is_kept]
        on_object = sum(point.label for point in kept)
        pixels = None if box is None else grid.pixel_box(box)
        said = f"{on_object} points on the object, {len(kept) - on_object} off it, {len(points) - len(kept)} dropped."
        points_alone = self.options.prompt in ("points", "positives")
        if pixels is None:
            prompt = SamPrompt(points=points)
        elif self.options.prompt == "box":
            prompt, said = SamPrompt(box=pixels), "The box alone, as the options say."
        elif not kept:
            prompt, said = SamPrompt(box=pixels, points=points), "The box alone: no point was kept."
            sure = f"No point got an answer that was at least {self.options.threshold:.0%} sure"
            log.remark = f"{sure}; the box alone prompted SAM."
        elif points_alone and on_object:
            prompt = SamPrompt(points=points)
        elif points_alone:
            prompt = SamPrompt(box=pixels, points=points)
            said = f"{said} The box as well: no kept point is on the object."
        else:
            prompt, said = SamPrompt(box=pixels, points=points), f"The box, and {said}"
        values = {"box": pixels and list(pixels), "kept": len(kept), "dropped": len(points) - len(kept)}
        log.steps.append(TraceEntry("prompt SAM", "", said, values))
        return prompt

    def _draw(self, view: ImageView, prompts: tuple[SamPrompt, ...], log: _Log) -> Segmentation:
        """Decode one mask a prompt and join them."""
        with log.timed("encode image"):
            embedding, was_cached = view.embedding(self.backbone)
        with log.timed("decode"), torch.no_grad():
            predictions = tuple(self.backbone.decode(embedding, prompt, multimask=True) for prompt in prompts)
        return Segmentation.drawn(
            prompts,
            predictions,
            Verdict("failed", "SAM drew no pixel for the box and points it was given."),
            remark=log.remark,
            trace=tuple(log.steps),
            seconds=log.seconds,
            embedding_was_cached=was_cached,
        )


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
        return Verdict("absent", f'The language model answered "{shown}"')
    if parsed.problems:
        problems = "; ".join(parsed.problems[:3])
        return Verdict("failed", f"The language model's answer holds no usable {wanted}: {problems}.")
    return Verdict("failed", f'The language model answered without a {wanted}: "{shown}"')
