"""SAM4MLLM: a language model that sees the image says where to point, and SAM draws.

Two forms. Proactive query (PQPP) asks for the box, lays a grid of points in it and asks of each point whether it lies
on the object; only confident answers reach SAM. Prompt-point generation (PPG) asks for box and points in one answer.

Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 and 4.1. Departures: points are asked one by one unless
`turns="joint"`, and P(yes) is taken over yes and no alone. Checkpoint layout: `mllm/` (model and processor) and `sam/`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final, Literal, get_args

import torch

from baselines import dialects
from baselines.dialects import ObjectCount, RelativeBox, RelativePoint
from baselines.language_model import Conversation, LanguageModel, Message, YesNo
from evfsam.errors import ConfigurationError
from evfsam.mask_backbones import SamMaskBackbone
from evfsam.preprocess import check_phrase
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

Form = Literal["pqpp", "ppg"]
PromptUse = Literal["box", "points", "both"]
Turns = Literal["independent", "joint"]

MAX_OBJECTS: Final = 8
"""Boxes used of one answer; a model that repeats itself would otherwise be asked for minutes."""

_LARGEST_GRID: Final = 20
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


@dataclass(frozen=True)
class PointQueryOptions:
    """How the question is put.

    Attributes:
        form: "pqpp" asks for a box, then of points; "ppg" asks for both in one answer.
        prompt: what SAM gets: "box", "points" or "both".
        grid_size: points along each side of the box, 1..20.
        threshold: answers at least this confident are kept, in [0.5, 1].
        count: how many boxes the question says it expects.
        turns: "independent" asks each point in its own turn, "joint" all points in one list.
        max_new_tokens: bound of a spoken answer, 8..1024.

    Raises:
        ConfigurationError: a value is out of range or of the wrong kind.
    """

    form: Form = "pqpp"
    prompt: PromptUse = "both"
    grid_size: int = 5
    threshold: float = 0.9
    count: ObjectCount = "0+"
    turns: Turns = "independent"
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        choices = {"form": Form, "prompt": PromptUse, "count": ObjectCount, "turns": Turns}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ConfigurationError(f"expected {name} of {get_args(allowed)}, got {getattr(self, name)!r}")
        for name, least, most in (("grid_size", 1, _LARGEST_GRID), ("max_new_tokens", 8, 1024), ("threshold", 0.5, 1)):
            value = getattr(self, name)
            kinds = (int, float) if name == "threshold" else int
            if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
                raise ConfigurationError(f"expected {name} between {least} and {most}, got {value!r}")


@dataclass
class _Log:
    """What happened so far: steps and seconds of one call."""

    steps: list[TraceEntry] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

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
    """

    language: LanguageModel
    backbone: MaskBackbone
    options: PointQueryOptions = PointQueryOptions()
    card: StrategyCard = CARD

    def with_options(self, **options: object) -> "PointQueryStrategy":
        """Return a copy with other options and the same weights.

        Raises:
            ConfigurationError: an option is unknown or out of range.
        """
        known = [entry.name for entry in fields(PointQueryOptions)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ConfigurationError(f"point query has no option {', '.join(unknown)}; it has {', '.join(known)}")
        return replace(self, options=replace(self.options, **options))  # type: ignore[arg-type]

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Ask the language model, then let SAM draw one mask an object and join them.

        Raises:
            PhraseError: the phrase is empty, too long, or spells a control token of the language model.
        """
        phrase = check_phrase(phrase)
        self.language.check_words(phrase)
        log = _Log()
        with self.language.conversation(view.image) as conversation:
            ask = self._query if self.options.form == "pqpp" else self._generate
            prompts = ask(conversation, view.size, phrase, log)
        if isinstance(prompts, Verdict):
            nothing = torch.full(view.size, -torch.inf)
            return Segmentation(prompts, nothing, trace=tuple(log.steps), seconds=log.seconds)
        return self._draw(view, prompts, log)

    def _query(
        self, conversation: Conversation, size: tuple[int, int], phrase: str, log: _Log
    ) -> tuple[SamPrompt, ...] | Verdict:
        """Ask for boxes, then of a grid of points in each (PQPP)."""
        question = dialects.box_question(phrase, self.options.count)
        first: list[Message] = [dialects.user_turn(question, with_image=True)]
        with log.timed("ask for the box"):
            answer = conversation.ask(first, max_new_tokens=self.options.max_new_tokens)
        parsed = dialects.parse_boxes(answer)
        boxes = tuple(dict.fromkeys(parsed.boxes))[:MAX_OBJECTS]
        values = {
            "relative_boxes": [list(box) for box in boxes],
            "boxes": [list(dialects.pixel_box(box, size)) for box in boxes],
            "problems": list(parsed.problems),
            "boxes_left_out": len(parsed.boxes) - len(boxes),
        }
        log.steps.append(TraceEntry("ask for the box", question, answer, values))
        if not boxes:
            return _no_box(answer, parsed.problems, parsed.says_no_object)
        first.append(dialects.assistant_turn(answer))
        prompts = []
        for box in boxes:
            points = () if self.options.prompt == "box" else self._ask_points(conversation, first, box, size, log)
            if any(point.p_yes is not None and not 0 <= point.p_yes <= 1 for point in points):
                return Verdict(
                    "failed", "The language model's probabilities are not finite numbers; load it as float32."
                )
            prompts.append(self._prompt(box, points, size, log))
        return tuple(prompts)

    def _ask_points(
        self, conversation: Conversation, first: Sequence[Message], box: RelativeBox, size: tuple[int, int], log: _Log
    ) -> tuple[PromptPoint, ...]:
        """Ask which points of the box's grid lie on the object; points that got no answer are left out."""
        grid = grid_points(box, self.options.grid_size)
        with log.timed("ask for the points"):
            if self.options.turns == "independent":
                questions = [dialects.points_question(box, [point]) for point in grid]
                answers = conversation.ask_each([[*first, dialects.user_turn(question)] for question in questions])
                spoken = dialects.points_answer(bool(p > 0.5) for p in answers.p_yes)
            else:
                questions = [dialects.points_question(box, grid)]
                spoken, answers = conversation.ask_list([*first, dialects.user_turn(questions[0])], count=len(grid))
        points = self._judge(grid, answers, size)
        values = {
            "turns": self.options.turns,
            "questions": questions,
            "unanswered": len(grid) - len(points),
            "points": [
                {"relative": list(at), "p_yes": point.p_yes, "is_kept": point.is_kept, "answer_mass": float(mass)}
                for at, point, mass in zip(grid, points, answers.mass, strict=False)
            ],
        }
        log.steps.append(TraceEntry("ask which points lie on the object", questions[0], spoken, values))
        return points

    def _judge(self, grid: Sequence[RelativePoint], answers: YesNo, size: tuple[int, int]) -> tuple[PromptPoint, ...]:
        """Label each point by its likelier answer and keep the confident ones."""
        points = []
        for at, p_yes in zip(grid, answers.p_yes.tolist(), strict=False):
            confidence = max(p_yes, 1 - p_yes)
            x, y = dialects.pixel_point(at, size)
            is_kept = confidence >= self.options.threshold
            points.append(PromptPoint(x, y, 1 if p_yes > 0.5 else 0, confidence, is_kept, p_yes))
        return tuple(points)

    def _generate(
        self, conversation: Conversation, size: tuple[int, int], phrase: str, log: _Log
    ) -> tuple[SamPrompt, ...] | Verdict:
        """Ask for boxes and points in one answer (PPG)."""
        question = dialects.prompt_points_question(phrase, self.options.count)
        with log.timed("ask for box and points"):
            answer = conversation.ask(
                [dialects.user_turn(question, with_image=True)], max_new_tokens=self.options.max_new_tokens
            )
        parsed = dialects.parse_prompt_points(answer)
        groups = tuple(dict.fromkeys(parsed.groups))[:MAX_OBJECTS]
        values = {
            "relative_boxes": [list(group.box) for group in groups],
            "boxes": [list(dialects.pixel_box(group.box, size)) for group in groups],
            "problems": list(parsed.problems),
            "boxes_left_out": len(parsed.groups) - len(groups),
        }
        log.steps.append(TraceEntry("ask for box and points", question, answer, values))
        if not groups:
            return _no_box(answer, parsed.problems, parsed.says_no_object)
        return tuple(self._prompt(group.box, _spoken_points(group, size), size, log) for group in groups)

    def _prompt(self, box: RelativeBox, points: tuple[PromptPoint, ...], size: tuple[int, int], log: _Log) -> SamPrompt:
        """Put together what SAM gets of one object, and say so."""
        kept = [point for point in points if point.is_kept]
        on_object = sum(point.label for point in kept)
        pixels = dialects.pixel_box(box, size)
        said = f"{on_object} points on the object, {len(kept) - on_object} off it, {len(points) - len(kept)} dropped."
        if self.options.prompt == "box":
            prompt, said = SamPrompt(box=pixels), "The box alone, as the options say."
        elif not kept:
            prompt, said = SamPrompt(box=pixels, points=points), "The box alone: no point was kept."
        elif self.options.prompt == "points" and on_object:
            prompt = SamPrompt(points=points)
        elif self.options.prompt == "points":
            prompt, said = (
                SamPrompt(box=pixels, points=points),
                f"{said} The box as well: no kept point is on the object.",
            )
        else:
            prompt, said = SamPrompt(box=pixels, points=points), f"The box, and {said}"
        values = {"box": list(pixels), "kept": len(kept), "dropped": len(points) - len(kept)}
        log.steps.append(TraceEntry("prompt SAM", "", said, values))
        return prompt

    def _draw(self, view: ImageView, prompts: tuple[SamPrompt, ...], log: _Log) -> Segmentation:
        """Decode one mask a prompt and join them."""
        with log.timed("encode image"):
            embedding, was_cached = view.embedding(self.backbone)
        with log.timed("decode"), torch.no_grad():
            predictions = tuple(self.backbone.decode(embedding, prompt, multimask=True) for prompt in prompts)
            mask_logits = torch.stack([prediction.mask_logits for prediction in predictions]).amax(dim=0)
        is_found = bool((mask_logits > 0).any())
        return Segmentation(
            Verdict("found")
            if is_found
            else Verdict("failed", "SAM drew no pixel for the box and points it was given."),
            mask_logits if is_found else torch.full_like(mask_logits, -torch.inf),
            pred_iou=min(prediction.pred_iou for prediction in predictions),
            prompts=prompts,
            predictions=predictions,
            trace=tuple(log.steps),
            seconds=log.seconds,
            embedding_was_cached=was_cached,
        )


def grid_points(box: RelativeBox, grid_size: int) -> tuple[RelativePoint, ...]:
    """Return the centres of grid_size x grid_size equal cells of the box, row by row, rounded to whole numbers."""
    x1, y1, x2, y2 = box
    shares = [(index + 0.5) / grid_size for index in range(grid_size)]
    return tuple((round(x1 + u * (x2 - x1)), round(y1 + v * (y2 - y1))) for v in shares for u in shares)


def load_strategy(directory: Path, *, device: str | torch.device, dtype: torch.dtype) -> PointQueryStrategy:
    """Load a checkpoint with the folders `mllm` and `sam`.

    Raises:
        CheckpointError: a folder is missing, incomplete, or does not fit its configuration.
    """
    language = LanguageModel.from_pretrained(directory / "mllm", device=device, dtype=dtype)
    backbone = SamMaskBackbone.from_pretrained(directory / "sam", device=device, dtype=dtype)
    return PointQueryStrategy(language, backbone)


def _no_box(answer: str, problems: Sequence[str], says_no_object: bool) -> Verdict:
    """Say why there is nothing to draw."""
    if says_no_object:
        return Verdict("absent", f'The language model answered "{dialects.NO_OBJECT}"')
    if problems:
        return Verdict("failed", f"The language model's answer holds no usable box: {'; '.join(problems[:3])}.")
    shown = answer if len(answer) <= _SHOWN_CHARACTERS else f"{answer[:_SHOWN_CHARACTERS]}…"
    return Verdict("failed", f'The language model answered without a box: "{shown}"')


def _spoken_points(group: dialects.PromptGroup, size: tuple[int, int]) -> tuple[PromptPoint, ...]:
    """Return the points of a generated group: all kept, none with a probability."""
    inside = [PromptPoint(*dialects.pixel_point(at, size), 1) for at in group.positives]
    outside = [PromptPoint(*dialects.pixel_point(at, size), 0) for at in group.negatives]
    return (*inside, *outside)
