"""Training of the small LLaVA-type model on SAM4MLLM dialogues, with text cross-entropy alone.

Several dialogues about one image are packed into one sequence: they share the image, each continues it independently,
and each question about a point continues its own box. A token sees its own line of descent only, so every dialogue
stands exactly as it will at inference.
Beside the dialogues of SAM4MLLM there is one that names the object at a point and how it compares with its equals: it
teaches what digits mean in the image, which the box alone taught hardly at all in 1,300 steps.
Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 to 3.4. Departures: one point a turn instead of a list; prompt points
are drawn inside and outside the mask without asking SAM which group serves it best.
"""

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

from baselines import dialects
from evfsam.preprocess import clip_pixels
from training.batches import draw_phrases, held_out_phrases
from training.clip import IMAGE_SIZE, PATCH_SIZE
from training.loop import Schedule
from training.ranks import RANKS, object_ranks
from training.scene_cache import CachedScene, SceneCache, tight_box
from training.tokenizers import train_dialogue_tokenizer
from workbench.datasets.expressions import Expression

SCHEDULE = Schedule(steps=4000, learning_rate=1e-3, warmup=200, validate_every=500, slow_parts={"vision_tower": 0.12})
SCENES_A_STEP = 12
PHRASES_A_SCENE = 2
POINTS_A_BOX = 4
NAMED_POINTS_A_SCENE = 5
NAMING_QUESTION = "Please name the object at the point "
BACKGROUND = "background"
MAX_LENGTH = 1024
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
        owner: segment of each token.
        lineage: for each segment, itself and the segments before it in its dialogue.
        ends: position after each segment's last token.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    lineage: list[set[int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, given: list[int], answer: list[int], parent: int | None) -> int:
        """Append a segment after `parent`; only `answer` is trained. Returns the segment's number."""
        segment = len(self.lineage)
        self.lineage.append({segment} if parent is None else self.lineage[parent] | {segment})
        start = 0 if parent is None else self.ends[parent]
        tokens = given + answer
        self.ids += tokens
        self.positions += range(start, start + len(tokens))
        self.labels += [-100] * len(given) + answer
        self.owner += [segment] * len(tokens)
        self.ends.append(start + len(tokens))
        return segment

    def visible(self) -> NDArray[np.bool_]:
        """(S, S) bool: whether the row's token sees the column's."""
        sees = np.array([[other in line for other in range(len(self.lineage))] for line in self.lineage])
        owner = np.array(self.owner)
        return np.tri(len(owner), dtype=np.bool_) & sees[owner][:, owner]


class MllmStage:
    """Dialogues about scenes; see `training.loop.Stage`."""

    def __init__(self, scenes: SceneCache, held_out: SceneCache, clip: CLIPModel) -> None:
        self.scenes = scenes
        self.held_out = held_out_phrases(held_out, 192)
        self.tokenizer = build_tokenizer(scenes)
        self.model = build_model(self.tokenizer, clip)

    @property
    def module(self) -> nn.Module:
        """The LLaVA."""
        return self.model

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Cross-entropy of the answers' tokens."""
        batch = draw_phrases(self.scenes, rng, scene_count=SCENES_A_STEP, per_scene=PHRASES_A_SCENE)
        packed = []
        for row, scene in enumerate(batch.scenes):
            start = row * PHRASES_A_SCENE
            packed.append(self.pack(scene, batch.expressions[start : start + PHRASES_A_SCENE], rng))
        logits, labels = self._answer_logits([scene.image for scene in batch.scenes], packed)
        return F.cross_entropy(logits, labels)

    def validate(self) -> dict[str, float]:
        """Cross-entropy, accuracy of Yes and No, and of the digits of boxes given those before."""
        rng = np.random.default_rng(0)
        yes, no = (self.tokenizer.convert_tokens_to_ids(word) for word in (dialects.YES, dialects.NO))
        losses, hits, points, digits, near = 0.0, 0, 0, 0, 0
        for start in range(0, len(self.held_out.scenes), 16):
            part = slice(start, start + 16)
            scenes = self.held_out.scenes[part]
            pairs = zip(scenes, self.held_out.expressions[part], strict=True)
            packed = [self.pack(scene, (expression,), rng) for scene, expression in pairs]
            logits, labels = self._answer_logits([scene.image for scene in scenes], packed)
            losses += float(F.cross_entropy(logits, labels)) * len(scenes)
            asked = (labels == yes) | (labels == no)
            hits += int(((logits[:, yes] > logits[:, no]) == (labels == yes))[asked].sum())
            points += int(asked.sum())
            is_digit = torch.isin(labels.cpu(), torch.tensor(self.tokenizer.convert_tokens_to_ids(list("0123456789"))))
            near += int((logits.argmax(-1) == labels).cpu()[is_digit].sum())
            digits += int(is_digit.sum())
        return {"ce": losses / len(self.held_out.scenes), "points": hits / points, "digits": near / digits}

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
            boxes = [dialects.relative_box(tuple(tight_box(mask)), mask.shape) for mask in masks]
            answer = dialects.boxes_answer(boxes)
            turn = self._turn(packed, dialects.box_question(expression.text), answer, image)
            if boxes:
                self._add_points(packed, scene.mask(expression.object_indices), boxes, turn, rng)
            if masks and rng.random() < 0.15:
                groups = [_prompt_group(mask, box, rng) for mask, box in zip(masks, boxes, strict=True)]
                question = dialects.prompt_points_question(expression.text)
                self._turn(packed, question, dialects.prompt_points_answer(groups), image)
        self._add_named_points(packed, scene, image, rng)
        return packed

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _turn(self, packed: PackedSequence, question: str, answer: str, parent: int) -> int:
        return packed.add(self._encode(f"{question}<|assistant|>"), self._encode(f"{answer}<|end|>"), parent)

    def _add_points(
        self,
        packed: PackedSequence,
        mask: NDArray[np.bool_],
        boxes: list[dialects.RelativeBox],
        turn: int,
        rng: np.random.Generator,
    ) -> None:
        """Ask about points in one of the boxes, a little beyond it too, as the box will not be exact."""
        box = boxes[int(rng.integers(len(boxes)))]
        header = packed.add(self._encode("<|user|>" + dialects.points_question(box, [])), [], turn)
        for _ in range(POINTS_A_BOX):
            x, y = (
                int(np.clip(rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low)), 0, 999))
                for low, high in ((box[0], box[2]), (box[1], box[3]))
            )
            is_on = bool(mask[y * mask.shape[0] // 1000, x * mask.shape[1] // 1000])
            question = self._encode(f"{dialects.format_point((x, y))}<|assistant|>")
            packed.add(question, self._encode(dialects.points_answer([is_on])), header)

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
            answer = BACKGROUND
            if wanted:
                held = [word for word, is_held in zip(RANKS, ranks[wanted], strict=True) if is_held]
                colour = scene.colours[wanted - 1]
                answer = " ".join([*([colour] if colour else []), scene.categories[wanted - 1], *held])
            self._turn(packed, NAMING_QUESTION + point, answer, image)

    def _masks(self, scene: CachedScene, expression: Expression) -> list[NDArray[np.bool_]]:
        """Masks of the expression's objects from left to right."""
        masks = [scene.mask((index,)) for index in expression.object_indices]
        return sorted((mask for mask in masks if mask.any()), key=lambda mask: tight_box(mask)[0])

    def _answer_logits(
        self, images: list[NDArray[np.uint8]], packed: list[PackedSequence]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (A, V) logits that predict the A answer tokens of the batch, and those tokens."""
        length = max(len(item.ids) for item in packed)
        ids = torch.full((len(packed), length), self.tokenizer.pad_token_id)
        positions = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        visible = torch.eye(length, dtype=torch.bool).repeat(len(packed), 1, 1)
        predicts = torch.zeros_like(ids)
        for row, item in enumerate(packed):
            count = len(item.ids)
            ids[row, :count] = torch.tensor(item.ids)
            positions[row, :count] = torch.tensor(item.positions)
            labels[row, :count] = torch.tensor(item.labels)
            visible[row, :count, :count] = torch.from_numpy(item.visible())
            predicts[row, :count] = torch.arange(count) - 1
        pixels = torch.stack([clip_pixels(image, IMAGE_SIZE) for image in images])
        device = self.model.device
        ids, positions, visible, labels = (each.to(device) for each in (ids, positions, visible, labels))
        hidden = self.model.model(
            input_ids=ids,
            pixel_values=pixels.to(device),
            attention_mask=_added_mask(visible),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        rows, columns = torch.nonzero(labels != -100, as_tuple=True)
        logits: torch.Tensor = self.model.lm_head(hidden[rows, predicts[rows, columns]]).float()
        return logits, labels[rows, columns]


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
