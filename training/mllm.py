"""Training of the small LLaVA-type model on SAM4MLLM dialogues.

Several dialogues about one image are packed into one sequence: they share the image, each continues it independently,
and each question about a point continues its own box. A token sees its own line of descent only, so every dialogue
stands exactly as it will at inference.
Beside the dialogues of SAM4MLLM there is one that names the object at a point and how it compares with its equals: it
teaches what digits mean in the image, which the box alone taught hardly at all in 1,300 steps.
Text alone taught a model of this size to answer about points, but in 4,000 steps not to say where a phrase's object is
(an eighth of the boxes met it). So it is pre-trained with two tasks beside the text, whose heads are dropped later:
the image tokens tell what each patch shows, and the tokens that speak of an object point at its patches. The
training proper then takes text alone.
Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 to 3.4. Departures: the pre-training, where the paper starts from a
model that knows images; one point a turn instead of a list; prompt points are drawn on and off the mask without asking
SAM which group serves it best.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from baselines.point_query import dialects
from baselines.transformers_releases import llava_image_tokens
from evfsam.model.losses import batch_mask_loss
from evfsam.preprocess import clip_pixels
from training.batches import draw_phrases, held_out_phrases
from training.clip import IMAGE_SIZE, PATCH_SIZE
from training.loop import Schedule
from training.patches import PatchHeads
from training.ranks import RANKS, object_ranks
from training.scene_cache import CachedScene, SceneCache, tight_box
from training.tokenizers import train_dialogue_tokenizer
from workbench.datasets.expressions import Expression

PRETRAIN_SCHEDULE = Schedule(steps=7_000, learning_rate=8e-4, warmup=300, validate_every=250)
SCHEDULE = Schedule(steps=800, learning_rate=2e-4, warmup=50, validate_every=200)
SCENES_A_STEP = 12
PHRASES_A_SCENE = 3
POINTS_A_BOX = 3
NAMED_POINTS_A_SCENE = 3
POINTER_LAYERS = (3, 4)
"""Layers of the language model after which tokens point at patches; one is left to read off what was pointed at."""
AIMED_TOKENS = 2
"""Answer tokens that point: the digits of a box say where it is, and pointing after them teaches a phrase nothing."""
CELLS = 2
"""Cells a side into which each patch is divided where tokens point at it."""
NAMING_QUESTION = "Please name the object at the point "
BACKGROUND = "background"
MAX_LENGTH = 1024
IMAGE_START = 1
"""Where the image's tokens begin: after `<|user|>`."""
IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def fixed_texts() -> list[str]:
    """The parts of the questions that never vary."""
    question = dialects.box_question("\0").split("\0")[0]
    header = dialects.points_question((0, 0, 9, 9), []).split("[")[0]
    return [question, dialects.prompt_points_question("\0").split("\0")[0], header, NAMING_QUESTION]


def build_tokenizer(scenes: SceneCache) -> PreTrainedTokenizerFast:
    """Train the dialogue tokenizer on the phrases of the scenes and the words of the answers."""
    ranks = [f"{name} {rank}" for name in ("fox", BACKGROUND) for rank in RANKS]
    answers = [dialects.NO_OBJECT, dialects.YES, dialects.NO, " inside ", " outside ", *ranks] * 2000
    phrases = [f'"{text}"' for text in scenes.texts()]
    capitals = [f'"{text[:1].upper()}{text[1:]}"' for text in phrases[::10]]
    return train_dialogue_tokenizer([*phrases, *capitals, *answers], fixed_texts=fixed_texts(), max_length=MAX_LENGTH)


def build_model(tokenizer: PreTrainedTokenizerFast, clip: CLIPModel) -> LlavaForConditionalGeneration:
    """Return a LLaVA of transformers' own classes whose vision tower starts as the small CLIP's."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=5,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=MAX_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    config = LlavaConfig(
        vision_config=clip.config.vision_config.to_dict(),
        text_config=text.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=[0, -1],
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.set_attn_implementation("eager")
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


@dataclass
class PackedSequence:
    """Token segments of one image, each the continuation of an earlier one.

    Attributes:
        ids, positions, labels: one entry a token; a label of -100 is not trained, and belongs to the token it predicts.
        aims: for an answer's first tokens, the index in `masks` of what it speaks of; -1 for nothing and elsewhere.
        masks: (S, S) bool, the objects spoken of.
        owner: segment of each token.
        lineage: for each segment, itself and the segments before it in its dialogue.
        ends: position after each segment's last token.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    aims: list[int] = field(default_factory=list)
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    lineage: list[set[int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, given: list[int], answer: list[int], parent: int | None, aim: int = -1) -> int:
        """Append a segment after `parent`; only `answer`, which speaks of `aim`, is trained. Returns its number."""
        segment = len(self.lineage)
        self.lineage.append({segment} if parent is None else self.lineage[parent] | {segment})
        start = 0 if parent is None else self.ends[parent]
        tokens = given + answer
        self.ids += tokens
        self.positions += range(start, start + len(tokens))
        self.labels += [-100] * len(given) + answer
        self.aims += [-1] * len(given) + [aim if k < AIMED_TOKENS else -1 for k in range(len(answer))]
        self.owner += [segment] * len(tokens)
        self.ends.append(start + len(tokens))
        return segment

    def speak_of(self, mask: NDArray[np.bool_]) -> int:
        """Keep what segments speak of; returns its `aim`."""
        self.masks.append(mask)
        return len(self.masks) - 1

    def visible(self) -> NDArray[np.bool_]:
        """(S, S) bool: whether the row's token sees the column's."""
        sees = np.array([[other in line for other in range(len(self.lineage))] for line in self.lineage])
        owner = np.array(self.owner)
        return np.tri(len(owner), dtype=np.bool_) & sees[owner][:, owner]


class Pointer(nn.Module):
    """Says how well each cell of the image fits what a token speaks of.

    Args:
        width: channels of the language model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64))
        self.key = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64 * CELLS * CELLS))
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def forward(self, tokens: torch.Tensor, patches: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Compare A tokens with the patches of their images.

        Args:
            tokens: (A, width).
            patches: (B, N, width), N a square number.
            rows: (A,) the image of each token.

        Returns:
            (A, s, s) logits, s = sqrt(N) * CELLS.
        """
        side = round(patches.shape[1] ** 0.5)
        keys = self.key(patches).unflatten(-1, (CELLS, CELLS, 64)).unflatten(1, (side, side))
        keys = keys.permute(0, 1, 3, 2, 4, 5).flatten(1, 4)
        own = F.one_hot(rows, len(patches)).T.bool()
        scores = self.query(tokens).new_empty(len(tokens), keys.shape[1])
        for row, mine in enumerate(own):
            scores[mine] = self.query(tokens[mine]) @ keys[row].T / 8
        return scores.float().unflatten(-1, (side * CELLS, side * CELLS)) + self.bias


class TaughtLlava(nn.Module):
    """A LLaVA with the heads of the tasks that stand beside its text.

    Args:
        model: the LLaVA.
        tokenizer: how words are spelled.
    """

    def __init__(self, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        width = model.config.text_config.hidden_size
        self.model = model
        self.patches = PatchHeads(
            width, width, lambda word: tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        )
        self.pointers = nn.ModuleList(Pointer(width) for _ in POINTER_LAYERS)


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says at the A answer tokens of a batch of B scenes, of which P speak of an object.

    Attributes:
        logits: (A, V) float32 of the next token.
        labels: (A,) the tokens.
        image_tokens: (B, N, D) the patches as the language model is given them.
        pointed: for each of `POINTER_LAYERS`, (P, s, s) logits of the cells.
        targets: (P, s, s) share of each cell that what the token speaks of covers.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    image_tokens: torch.Tensor
    pointed: tuple[torch.Tensor, ...]
    targets: torch.Tensor


class MllmStage:
    """Dialogues about scenes, by text alone; see `training.loop.Stage`."""

    def __init__(self, scenes: SceneCache, held_out: SceneCache, clip: CLIPModel) -> None:
        self.scenes = scenes
        self.held_out = held_out_phrases(held_out, 192)
        self.tokenizer = build_tokenizer(scenes)
        self.model = build_model(self.tokenizer, clip)
        self.pointers: tuple[nn.Module, ...] = ()

    @property
    def module(self) -> nn.Module:
        """The LLaVA."""
        return self.model

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Cross-entropy of the answers' tokens."""
        answers = self._answer(*self._draw(rng))
        return F.cross_entropy(answers.logits, answers.labels)

    def _draw(self, rng: np.random.Generator) -> tuple[tuple[CachedScene, ...], list[PackedSequence]]:
        batch = draw_phrases(self.scenes, rng, scene_count=SCENES_A_STEP, per_scene=PHRASES_A_SCENE)
        packed = []
        for row, scene in enumerate(batch.scenes):
            start = row * PHRASES_A_SCENE
            packed.append(self.pack(scene, batch.expressions[start : start + PHRASES_A_SCENE], rng))
        return batch.scenes, packed

    def validate(self) -> dict[str, float]:
        """Cross-entropy, accuracy of Yes and No and of box digits given those before, cIoU of pointing if it does."""
        rng = np.random.default_rng(0)
        yes, no = (self.tokenizer.convert_tokens_to_ids(word) for word in (dialects.YES, dialects.NO))
        numerals = torch.tensor(self.tokenizer.convert_tokens_to_ids(list("0123456789")))
        losses, hits, points, digits, near = 0.0, 0, 0, 0, 0
        overlap, union = 0, 0
        for start in range(0, len(self.held_out.scenes), 16):
            part = slice(start, start + 16)
            scenes = self.held_out.scenes[part]
            pairs = zip(scenes, self.held_out.expressions[part], strict=True)
            packed = [self.pack(scene, (expression,), rng) for scene, expression in pairs]
            answers = self._answer(scenes, packed)
            logits, labels = answers.logits.cpu(), answers.labels.cpu()
            losses += float(F.cross_entropy(logits, labels)) * len(scenes)
            asked = (labels == yes) | (labels == no)
            hits += int(((logits[:, yes] > logits[:, no]) == (labels == yes))[asked].sum())
            points += int(asked.sum())
            is_digit = torch.isin(labels, numerals)
            near += int((logits.argmax(-1) == labels)[is_digit].sum())
            digits += int(is_digit.sum())
            if not answers.pointed:
                continue
            aimed = [sum(aim >= 0 for aim in item.aims) for item in packed]
            firsts = np.cumsum([0, *aimed[:-1]])
            predicted, true = answers.pointed[-1][firsts] > 0, answers.targets[firsts] >= 0.5
            overlap += int((predicted & true).sum())
            union += int((predicted | true).sum())
        figures = {"ce": losses / len(self.held_out.scenes), "points": hits / points, "digits": near / digits}
        return figures | ({"pointing": overlap / union} if union else {})

    def save(self, directory: Path) -> None:
        """Write model and processor."""
        image_processor = CLIPImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_center_crop=False)
        processor = LlavaProcessor(
            image_processor,
            self.tokenizer,
            patch_size=PATCH_SIZE,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=CHAT_TEMPLATE,
        )
        self.model.half().save_pretrained(directory)
        processor.save_pretrained(directory)

    def pack(self, scene: CachedScene, expressions: tuple[Expression, ...], rng: np.random.Generator) -> PackedSequence:
        """Write the dialogues of one scene: box and points for each phrase, prompt points for some."""
        packed = PackedSequence()
        image = packed.add(self._encode("<|user|>" + "<image>" * IMAGE_TOKENS), [], None)
        for expression in expressions:
            masks = self._masks(scene, expression)
            aim = packed.speak_of(scene.mask(expression.object_indices))
            boxes = [dialects.relative_box(tuple(tight_box(mask)), mask.shape) for mask in masks]
            answer = dialects.boxes_answer(boxes)
            turn = self._turn(packed, dialects.box_question(expression.text), answer, image, aim)
            if boxes:
                self._add_points(packed, boxes, turn, aim, rng)
            if masks and rng.random() < 0.15:
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
        aim: int,
        rng: np.random.Generator,
    ) -> None:
        """Ask about points in one of the boxes, a little beyond it too, as the box will not be exact."""
        mask = packed.masks[aim]
        box = boxes[int(rng.integers(len(boxes)))]
        header = packed.add(self._encode("<|user|>" + dialects.points_question(box, [])), [], turn)
        for _ in range(POINTS_A_BOX):
            x, y = (
                int(np.clip(rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low)), 0, 999))
                for low, high in ((box[0], box[2]), (box[1], box[3]))
            )
            is_on = bool(mask[y * mask.shape[0] // 1000, x * mask.shape[1] // 1000])
            question = self._encode(f"{dialects.format_point((x, y))}<|assistant|>")
            packed.add(question, self._encode(dialects.points_answer([is_on])), header, aim)

    def _add_named_points(
        self, packed: PackedSequence, scene: CachedScene, image: int, rng: np.random.Generator
    ) -> None:
        """Ask what is at some points, three in four of them on objects: "red fox left small", or "background"."""
        ranks, _ = object_ranks(scene)
        side = scene.object_map.shape[0]
        for _ in range(NAMED_POINTS_A_SCENE):
            wanted = int(rng.integers(1, len(scene.categories) + 1)) if rng.random() < 0.75 else 0
            rows, columns = np.nonzero(scene.object_map == wanted)
            if not len(rows):
                continue
            k = int(rng.integers(len(rows)))
            point = dialects.format_point((int(columns[k]) * 1000 // side, int(rows[k]) * 1000 // side))
            answer, aim = BACKGROUND, -1
            if wanted:
                aim = packed.speak_of(scene.object_map == wanted)
                held = [word for word, is_held in zip(RANKS, ranks[wanted], strict=True) if is_held]
                colour = scene.colours[wanted - 1]
                answer = " ".join([*([colour] if colour else []), scene.categories[wanted - 1], *held])
            self._turn(packed, NAMING_QUESTION + point, answer, image, aim)

    def _masks(self, scene: CachedScene, expression: Expression) -> list[NDArray[np.bool_]]:
        """Masks of the expression's objects from left to right."""
        masks = [scene.mask((index,)) for index in expression.object_indices]
        return sorted((mask for mask in masks if mask.any()), key=lambda mask: tight_box(mask)[0])

    def _answer(self, scenes: Sequence[CachedScene], packed: list[PackedSequence]) -> Answers:
        """Run the model on packed dialogues."""
        length = max(len(item.ids) for item in packed)
        ids = torch.full((len(packed), length), self.tokenizer.pad_token_id)
        positions = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        visible = torch.eye(length, dtype=torch.bool).repeat(len(packed), 1, 1)
        predicts = torch.zeros_like(ids)
        aims = torch.full_like(ids, -1)
        for row, item in enumerate(packed):
            count = len(item.ids)
            ids[row, :count] = torch.tensor(item.ids)
            positions[row, :count] = torch.tensor(item.positions)
            labels[row, :count] = torch.tensor(item.labels)
            aims[row, :count] = torch.tensor(item.aims)
            visible[row, :count, :count] = torch.from_numpy(item.visible())
            predicts[row, :count] = torch.arange(count) - 1
        rows, columns = torch.nonzero(labels != -100, as_tuple=True)
        is_aimed = aims[rows, columns] >= 0
        targets = _cell_targets(packed, rows[is_aimed], aims[rows, columns][is_aimed])
        pixels = torch.stack([clip_pixels(scene.image, IMAGE_SIZE) for scene in scenes])
        device = self.model.device
        ids, positions, visible, pixels = (each.to(device) for each in (ids, positions, visible, pixels))
        output = self.model.model(
            input_ids=ids,
            pixel_values=pixels,
            attention_mask=_added_mask(visible),
            position_ids=positions,
            use_cache=False,
            output_hidden_states=True,
        )
        at = (rows.to(device), predicts[rows, columns].to(device))
        image_span = slice(IMAGE_START, IMAGE_START + IMAGE_TOKENS)
        rows, is_aimed = rows.to(device), is_aimed.to(device)
        return Answers(
            logits=self.model.lm_head(output.last_hidden_state[at]).float(),
            labels=labels[labels != -100].to(device),
            image_tokens=llava_image_tokens(output).unflatten(0, (len(packed), IMAGE_TOKENS)),
            pointed=tuple(
                pointer(states[at][is_aimed], states[:, image_span], rows[is_aimed])
                for pointer, states in zip(
                    self.pointers, (output.hidden_states[k] for k in POINTER_LAYERS), strict=False
                )
            ),
            targets=targets.to(device),
        )


class PointingStage(MllmStage):
    """The dialogues with both tasks beside them; see `training.loop.Stage`."""

    def __init__(self, scenes: SceneCache, held_out: SceneCache, clip: CLIPModel) -> None:
        super().__init__(scenes, held_out, clip)
        self.taught = TaughtLlava(self.model, self.tokenizer)
        self.pointers = tuple(self.taught.pointers)

    @property
    def module(self) -> nn.Module:
        """The LLaVA and the heads beside it."""
        return self.taught

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Cross-entropy of the answers' tokens, and the losses of pointing and of telling what patches show."""
        scenes, packed = self._draw(rng)
        answers = self._answer(scenes, packed)
        heads, words = self.taught.patches, self.model.get_input_embeddings()
        losses = [F.cross_entropy(answers.logits, answers.labels)]
        losses += [
            batch_mask_loss([pointed], [answers.targets], bce_weight=1.0, dice_weight=1.0).loss
            for pointed in answers.pointed
        ]
        losses.append(0.5 * heads.naming_loss(scenes, answers.image_tokens, words))
        losses.append(heads.ranking_loss(scenes, answers.image_tokens))
        return torch.stack(losses).sum()


def _cell_targets(packed: list[PackedSequence], rows: torch.Tensor, aims: torch.Tensor) -> torch.Tensor:
    """(P, s, s): share of each cell that the mask of each aim covers."""
    side = IMAGE_SIZE // PATCH_SIZE * CELLS
    masks = [mask for item in packed for mask in item.masks]
    shares = F.adaptive_avg_pool2d(torch.from_numpy(np.stack(masks)).float(), side)
    firsts = np.cumsum([0, *(len(item.masks) for item in packed)])
    return shares[torch.from_numpy(firsts)[rows] + aims]


def _added_mask(visible: torch.Tensor) -> torch.Tensor:
    """(B, S, S) bool to (B, 1, S, S): eager attention adds its mask to the scores, and would add True as 1."""
    hidden = torch.finfo(torch.bfloat16).min
    return torch.zeros_like(visible, dtype=torch.bfloat16).masked_fill(~visible, hidden)[:, None]


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
