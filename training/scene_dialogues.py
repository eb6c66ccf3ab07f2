"""Dialogues of SAM4MLLM about scenes, several packed into one sequence.

Dialogues about one image share it; each continues it independently, and each question about a point continues its own
box. A token sees its own line of descent only, so every dialogue stands exactly as it will at inference.
Beside the dialogues of SAM4MLLM there is one that names the object at a point and how it compares with its equals: it
teaches what digits mean in the image, which the box alone taught hardly at all in 1,300 steps.
Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 to 3.4. Departures: one point a turn instead of a list; prompt points
are drawn on and off the mask without asking SAM which group serves it best.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from baselines.point_query import dialects
from evfsam.preprocess import clip_pixels
from training.batches import KIND_WEIGHTS
from training.clip import IMAGE_SIZE, PATCH_SIZE
from training.ranks import RANKS, object_ranks
from training.scene_stream import (
    SceneSource,
    SceneTensors,
    Tensors,
    TrainingScene,
    bits_of,
    scene_tensors,
    tight_box,
)
from workbench.datasets.expressions import KINDS, Expression, ExpressionKind

AIMED_TOKENS: Final = 2
"""Answer tokens that point: the digits of a box say where it is, and pointing after them teaches a phrase nothing."""
NAMING_QUESTION: Final = "Please name the object at the point "
BACKGROUND: Final = "background"
SceneView = Callable[[TrainingScene], torch.Tensor]
"""A scene as a vision tower is given it, float16."""
Typed = Callable[[str, np.random.Generator], str]
"""A phrase as somebody types it."""


def clip_look(scene: TrainingScene, side: int = IMAGE_SIZE) -> torch.Tensor:
    """(3, side, side): the scene as CLIP sees it."""
    return clip_pixels(scene.image, side).half()


def as_it_is(text: str, rng: np.random.Generator) -> str:  # noqa: ARG001
    """Return the phrase."""
    return text


@dataclass
class PackedSequence:
    """Token segments of one image, each the continuation of an earlier one.

    Attributes:
        ids, positions, labels: one entry a token; a label of -100 is not trained, and belongs to the token it predicts.
        aims: for an answer's first tokens, what it speaks of, object i as bit i; 0 for nothing and elsewhere.
        owner: segment of each token.
        lineage: for each segment, itself and the segments before it in its dialogue.
        ends: position after each segment's last token.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    aims: list[int] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    lineage: list[set[int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, given: list[int], answer: list[int], parent: int | None, aim: int = 0) -> int:
        """Append a segment after `parent`; only `answer`, which speaks of `aim`, is trained. Returns its number."""
        segment = len(self.lineage)
        self.lineage.append({segment} if parent is None else self.lineage[parent] | {segment})
        start = 0 if parent is None else self.ends[parent]
        tokens = given + answer
        self.ids += tokens
        self.positions += range(start, start + len(tokens))
        self.labels += [-100] * len(given) + answer
        self.aims += [0] * len(given) + [aim if k < AIMED_TOKENS else 0 for k in range(len(answer))]
        self.owner += [segment] * len(tokens)
        self.ends.append(start + len(tokens))
        return segment

    def sees(self) -> NDArray[np.bool_]:
        """(n, n) bool: whether the row's segment sees the column's."""
        return np.array([[other in line for other in range(len(self.lineage))] for line in self.lineage])


@dataclass(frozen=True, eq=False)
class DialogueBatch(Tensors):
    """B scenes with packed dialogues of up to L tokens in up to n segments, A of them answers' tokens.

    Attributes:
        scenes: the scenes.
        pixels: (B, 3, e, e) float16, as the vision tower sees them; features where its convolutions are frozen.
        ids, positions, owner: (B, L) token, place in its dialogue, and segment; padding belongs to the last segment.
        sees: (B, n, n) which segments a segment sees.
        rows, columns, before: (A,) scene of each answer token, its place, and the place that predicts it.
        labels: (A,) the tokens.
        aims: (A,) what each speaks of, object i as bit i.
    """

    scenes: SceneTensors
    pixels: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    sees: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    before: torch.Tensor
    labels: torch.Tensor
    aims: torch.Tensor

    def visible(self) -> torch.Tensor:
        """(B, L, L) bool: whether the row's token sees the column's; each sees itself."""
        length = self.ids.shape[1]
        scene = torch.arange(len(self.ids), device=self.ids.device)[:, None, None]
        lineage = self.sees[scene, self.owner[:, :, None], self.owner[:, None]]
        seen = lineage & torch.ones(length, length, dtype=torch.bool, device=self.ids.device).tril()
        return seen | torch.eye(length, dtype=torch.bool, device=self.ids.device)


@dataclass(frozen=True)
class DialogueDraw:
    """Draws batches of packed dialogues; see `training.loop.Stage`.

    Attributes:
        source: of scenes.
        tokenizer: of the dialogues.
        scene_count, per_scene: of a batch, and phrases of each.
        weights: of the kinds of phrases.
        image_tokens: that the vision tower makes of an image.
        look: scene to what the vision tower is given.
        points_a_box: how many points of each box are asked about.
        named_points: how many points of a scene are to be named.
        groups: share of phrases that are answered with box and points, too.
        longest: tokens of a pack; a longer one is drawn anew.
        typed: phrase as it is put into the question.
    """

    source: SceneSource
    tokenizer: PreTrainedTokenizerFast
    scene_count: int
    per_scene: int
    weights: Mapping[ExpressionKind, float] = field(
        default_factory=lambda: {kind: KIND_WEIGHTS[kind] for kind in KINDS}
    )
    image_tokens: int = (IMAGE_SIZE // PATCH_SIZE) ** 2
    look: SceneView = clip_look
    points_a_box: int = 3
    named_points: int = 3
    groups: float = 0.15
    longest: int = 900
    typed: Typed = as_it_is

    def __call__(self, rng: np.random.Generator) -> DialogueBatch:
        """Draw one."""
        scenes: list[TrainingScene] = []
        packed = []
        while len(scenes) < self.scene_count:
            for scene in self.source.scenes(rng, min(2, self.scene_count - len(scenes))):
                item = self.pack(scene, self.source.phrases(scene, rng, self.per_scene, self.weights), rng)
                if len(item.ids) <= self.longest:
                    scenes.append(scene)
                    packed.append(item)
        return batched(scenes, packed, self.tokenizer.pad_token_id, self.look)

    def pack(self, scene: TrainingScene, expressions: Sequence[Expression], rng: np.random.Generator) -> PackedSequence:
        """Write the dialogues of one scene: box and points for each phrase, prompt points for some."""
        packed = PackedSequence()
        image = packed.add(self._encode("<|user|>" + "<image>" * self.image_tokens), [], None)
        for expression in expressions:
            masks = self._masks(scene, expression)
            aim = bits_of(expression)
            boxes = [dialects.relative_box(tuple(tight_box(mask)), mask.shape) for mask in masks]
            answer = dialects.boxes_answer(boxes)
            question = dialects.box_question(self.typed(expression.text, rng))
            turn = self._turn(packed, question, answer, image, aim)
            if boxes and self.points_a_box:
                self._add_points(packed, boxes, turn, scene.mask(expression.object_indices), aim, rng)
            if masks and rng.random() < self.groups:
                groups = [_prompt_group(mask, box, rng) for mask, box in zip(masks, boxes, strict=True)]
                question = dialects.prompt_points_question(expression.text)
                self._turn(packed, question, dialects.prompt_points_answer(groups), image, aim)
        self._add_named_points(packed, scene, image, rng)
        return packed

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _turn(self, packed: PackedSequence, question: str, answer: str, parent: int, aim: int) -> int:
        return packed.add(self._encode(f"{question}<|assistant|>"), self._encode(f"{answer}<|end|>"), parent, aim)

    def _add_points(
        self,
        packed: PackedSequence,
        boxes: list[dialects.RelativeBox],
        turn: int,
        mask: NDArray[np.bool_],
        aim: int,
        rng: np.random.Generator,
    ) -> None:
        """Ask about points in one of the boxes, a little beyond it too, as the box will not be exact."""
        box = boxes[int(rng.integers(len(boxes)))]
        header = packed.add(self._encode("<|user|>" + dialects.points_question(box, [])), [], turn)
        for _ in range(self.points_a_box):
            x, y = (
                int(np.clip(rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low)), 0, 999))
                for low, high in ((box[0], box[2]), (box[1], box[3]))
            )
            is_on = bool(mask[y * mask.shape[0] // 1000, x * mask.shape[1] // 1000])
            question = self._encode(f"{dialects.format_point((x, y))}<|assistant|>")
            packed.add(question, self._encode(dialects.points_answer([is_on])), header, aim)

    def _add_named_points(
        self, packed: PackedSequence, scene: TrainingScene, image: int, rng: np.random.Generator
    ) -> None:
        """Ask what is at some points, three in four of them on objects: "red fox left small", or "background"."""
        ranks, _ = object_ranks(scene.objects)
        height, width = scene.object_map.shape
        for _ in range(self.named_points):
            wanted = int(rng.integers(1, len(scene.objects) + 1)) if rng.random() < 0.75 else 0
            rows, columns = np.nonzero(scene.object_map == wanted)
            if not len(rows):
                continue
            k = int(rng.integers(len(rows)))
            point = dialects.format_point((int(columns[k]) * 1000 // width, int(rows[k]) * 1000 // height))
            answer, aim = BACKGROUND, 0
            if wanted:
                aim = 1 << (wanted - 1)
                held = [word for word, is_held in zip(RANKS, ranks[wanted], strict=True) if is_held]
                item = scene.objects[wanted - 1]
                answer = " ".join([*([item.colour] if item.colour else []), item.category, *held])
            self._turn(packed, NAMING_QUESTION + point, answer, image, aim)

    def _masks(self, scene: TrainingScene, expression: Expression) -> list[NDArray[np.bool_]]:
        """Masks of the expression's objects from left to right."""
        masks = [scene.mask((index,)) for index in expression.object_indices]
        return sorted((mask for mask in masks if mask.any()), key=lambda mask: tight_box(mask)[0])


def batched(
    scenes: Sequence[TrainingScene], packed: Sequence[PackedSequence], pad: int, look: SceneView = clip_look
) -> DialogueBatch:
    """Lay packed dialogues out as tensors; padding is `pad`, and the vision tower is given what `look` returns."""
    length, segments = max(len(item.ids) for item in packed), max(len(item.lineage) for item in packed)
    ids = torch.full((len(packed), length), pad)
    positions, owner, aims = (torch.zeros_like(ids) for _ in range(3))
    owner += segments
    labels = torch.full_like(ids, -100)
    sees = torch.zeros(len(packed), segments + 1, segments + 1, dtype=torch.bool)
    for row, item in enumerate(packed):
        count = len(item.ids)
        for table, values in (
            (ids, item.ids),
            (positions, item.positions),
            (owner, item.owner),
            (labels, item.labels),
            (aims, item.aims),
        ):
            table[row, :count] = torch.tensor(values)
        own = item.sees()
        sees[row, : len(own), : len(own)] = torch.from_numpy(own)
    rows, columns = torch.nonzero(labels != -100, as_tuple=True)
    pixels = torch.stack([look(scene) for scene in scenes])
    at = (rows, columns)
    answers = (rows, columns, columns - 1, labels[at], aims[at])
    return DialogueBatch(scene_tensors(scenes), pixels, ids, positions, owner, sees, *answers)


def _prompt_group(mask: NDArray[np.bool_], box: dialects.RelativeBox, rng: np.random.Generator) -> dialects.PromptGroup:
    """Draw two points on the mask and one off it, within the box where the mask leaves room."""
    height, width = mask.shape
    x1, y1, x2, y2 = (value * side // 1000 for value, side in zip(box, (width, height) * 2, strict=True))
    inside = np.zeros_like(mask)
    inside[y1 : y2 + 1, x1 : x2 + 1] = True
    off = inside & ~mask if (inside & ~mask).any() else ~mask

    def pick(allowed: NDArray[np.bool_]) -> dialects.RelativePoint:
        rows, columns = np.nonzero(allowed)
        k = int(rng.integers(len(rows)))
        return int(columns[k] * 1000 // width), int(rows[k] * 1000 // height)

    return dialects.PromptGroup(box, (pick(mask), pick(mask)), (pick(off),))
