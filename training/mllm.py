"""Training of the small LLaVA-type model on SAM4MLLM dialogues about scenes.

Text alone taught a model of this size to answer about points, but in 4,000 steps not to say where a phrase's object is
(an eighth of the boxes met it). So it is pre-trained with two tasks beside the text, whose heads are dropped later:
the image tokens tell what each patch shows, and the tokens that speak of an object point at its patches. The
training proper then takes text alone.
Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 to 3.4. Departure: the pre-training, where the paper starts from a
model that knows images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
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
from evfsam.preprocess import LITE_MEAN, LITE_STD
from training.clip import PATCH_SIZE
from training.loop import Schedule
from training.patches import PatchHeads
from training.ranks import RANKS
from training.scene_dialogues import BACKGROUND, NAMING_QUESTION, DialogueBatch, DialogueDraw, clip_look
from training.scene_stream import SceneSource, referred
from training.tokenizer_training import train_dialogue_tokenizer
from training.tower import image_tokens, tower_look
from workbench.datasets.expressions import KINDS, ExpressionKind

PRETRAIN_SCHEDULE = Schedule(steps=2500, learning_rate=7e-4, warmup=200, validate_every=500)
SCHEDULE = Schedule(steps=400, learning_rate=2e-4, warmup=50, validate_every=200)
SCENES_A_STEP = 32
PHRASES_A_SCENE = 4
SEEN_SCENES_A_STEP = 8
SEEN_ABSENT_SHARE = 1.8
"""Of phrases about the scenes of a pool: "not there" is the hardest to tell of names that were seen but a few times."""
SHORTER: Mapping[str, Any] = {"points_a_box": 2, "named_points": 2, "groups": 0.08, "longest": 520}
"""Of dialogues about the scenes of a pool: a CPU takes a step of these in a third of the time."""
POINTER_LAYERS = (3, 4)
"""Layers of the language model after which tokens point at patches; one is left to read off what was pointed at."""
CELLS = 2
"""Cells a side into which each patch is divided where tokens point at it."""
MAX_LENGTH = 1024
_RGB = 3
IMAGE_START = 1
"""Where the image's tokens begin: after `<|user|>`."""
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


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the dialogue tokenizer on phrases and on the words of the answers."""
    ranks = [f"{name} {rank}" for name in ("fox", BACKGROUND) for rank in RANKS]
    answers = [dialects.NO_OBJECT, dialects.YES, dialects.NO, " inside ", " outside ", *ranks] * 2000
    phrases = [f'"{text}"' for text in texts]
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
        image_seq_length=(clip.config.vision_config.image_size // PATCH_SIZE) ** 2,
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
        scores = torch.bmm(keys[rows], self.query(tokens)[:, :, None])[..., 0] / 8
        logits: torch.Tensor = scores.float().unflatten(-1, (side * CELLS, side * CELLS)) + self.bias
        return logits


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
    """Dialogues about scenes, by text alone; see `training.loop.Stage`.

    Args:
        source: of scenes.
        tokenizer: of the dialogues.
        model: to start from.
        held_out: dialogues that a validation measures.
    """

    def __init__(
        self,
        source: SceneSource,
        tokenizer: PreTrainedTokenizerFast,
        model: LlavaForConditionalGeneration,
        held_out: int,
    ) -> None:
        self.tokenizer, self.model = tokenizer, model
        self.image_side: int = model.config.vision_config.image_size
        self.grid: int = self.image_side // model.config.vision_config.patch_size
        self.image_tokens = self.grid**2
        self.is_seen: bool = model.config.vision_config.model_type == "dpt"
        drawing = DialogueDraw(
            source,
            tokenizer,
            SCENES_A_STEP,
            PHRASES_A_SCENE,
            image_tokens=self.image_tokens,
            look=tower_look if self.is_seen else partial(clip_look, side=self.image_side),
        )
        if self.is_seen:
            weights = {**drawing.weights, "absent": SEEN_ABSENT_SHARE}
            drawing = replace(drawing, scene_count=SEEN_SCENES_A_STEP, weights=weights, **SHORTER)
        self.draw: Callable[[np.random.Generator], DialogueBatch] = drawing
        present: dict[ExpressionKind, float] = {kind: 1.0 for kind in KINDS if kind != "absent"}
        rng = np.random.default_rng(0)
        self.held_out = {
            kind: [
                replace(drawing, source=source.held_out(kind), scene_count=16, per_scene=1, weights=present)(rng)
                for _ in range(max(1, held_out // 32))
            ]
            for kind in source.shares
        }
        self.pointers: tuple[nn.Module, ...] = ()

    @property
    def module(self) -> nn.Module:
        """The LLaVA."""
        return self.model  # type: ignore[no-any-return]

    def loss(self, batch: DialogueBatch) -> torch.Tensor:
        """Cross-entropy of the answers' tokens."""
        answers = self._answer(batch)
        return F.cross_entropy(answers.logits, answers.labels)

    def validate(self) -> dict[str, float]:
        """Cross-entropy, accuracy of Yes and No and of box digits given those before, cIoU of pointing if it does."""
        figures: dict[str, float] = {}
        for name, batches in self.held_out.items():
            figures |= {f"{name} {figure}": value for figure, value in self._measure(batches).items()}
        return figures

    def _measure(self, batches: Sequence[DialogueBatch]) -> dict[str, float]:
        yes, no = (self.tokenizer.convert_tokens_to_ids(word) for word in (dialects.YES, dialects.NO))
        numerals = torch.tensor(self.tokenizer.convert_tokens_to_ids(list("0123456789")))
        losses, hits, points, digits, near = 0.0, 0, 0, 0, 0
        overlap, union = 0, 0
        for each in batches:
            batch = each.to(self.model.device)
            answers = self._answer(batch)
            logits, labels = answers.logits.cpu(), answers.labels.cpu()
            losses += F.cross_entropy(logits, labels).item() / len(batches)
            asked = (labels == yes) | (labels == no)
            hits += int(((logits[:, yes] > logits[:, no]) == (labels == yes))[asked].sum())
            points += int(asked.sum())
            is_digit = torch.isin(labels, numerals)
            near += int((logits.argmax(-1) == labels)[is_digit].sum())
            digits += int(is_digit.sum())
            if answers.pointed:
                rows = each.rows[each.aims > 0]
                firsts = torch.tensor([int((rows == row).nonzero()[0]) for row in rows.unique()])
                predicted, true = answers.pointed[-1].cpu()[firsts] > 0, answers.targets.cpu()[firsts] >= 0.5
                overlap += int((predicted & true).sum())
                union += int((predicted | true).sum())
        figures = {"ce": losses, "points": hits / max(points, 1), "digits": near / max(digits, 1)}
        return figures | ({"pointing": overlap / union} if union else {})

    def save(self, directory: Path) -> None:
        """Write model and processor into an empty folder."""
        size = {"height": self.image_side, "width": self.image_side}
        normalised = {"image_mean": list(LITE_MEAN), "image_std": list(LITE_STD)} if self.is_seen else {}
        image_processor = CLIPImageProcessorPil(size=size, do_center_crop=False, **normalised)
        processor = LlavaProcessor(
            image_processor,
            self.tokenizer,
            patch_size=self.model.config.vision_config.patch_size,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=CHAT_TEMPLATE,
        )
        self.model.half().save_pretrained(directory, max_shard_size="9MB")
        processor.save_pretrained(directory)

    def _answer(self, batch: DialogueBatch) -> Answers:
        """Run the model on packed dialogues."""
        last, hidden_states, tokens = self._run(self.model, batch)
        at, is_aimed = (batch.rows, batch.before), batch.aims > 0
        image_span = slice(IMAGE_START, IMAGE_START + self.image_tokens)
        rows = batch.rows[is_aimed]
        masks = referred(batch.scenes.square_maps, rows, batch.aims[is_aimed])
        return Answers(
            logits=self.model.lm_head(last[at]).float(),
            labels=batch.labels,
            image_tokens=tokens,
            pointed=tuple(
                pointer(states[at][is_aimed], states[:, image_span], rows)
                for pointer, states in zip(self.pointers, (hidden_states[k] for k in POINTER_LAYERS), strict=False)
            ),
            targets=F.adaptive_avg_pool2d(masks[:, None], self.grid * CELLS)[:, 0],
        )

    def _run(
        self, model: LlavaForConditionalGeneration, batch: DialogueBatch
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
        """Return the last states (B, L, D), those of every layer, and the image tokens (B, N, D)."""
        options = {
            "attention_mask": _added_mask(batch.visible(), model.dtype),
            "position_ids": batch.positions,
            "use_cache": False,
            "output_hidden_states": True,
        }
        if not self.is_seen:
            output = model.model(input_ids=batch.ids, pixel_values=batch.pixels.float(), **options)
            tokens = llava_image_tokens(output).unflatten(0, (len(batch.ids), self.image_tokens))
            return output.last_hidden_state, output.hidden_states, tokens
        tokens = image_tokens(model, self._features(batch.pixels.float()))
        words = model.get_input_embeddings()(batch.ids)
        end = IMAGE_START + self.image_tokens
        embedded = torch.cat([words[:, :IMAGE_START], tokens, words[:, end:]], 1)
        output = model.model.language_model(inputs_embeds=embedded, **options)
        return output.last_hidden_state, output.hidden_states, tokens

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w): what the frozen convolutions see; scenes of a pool come with it already."""
        if pixels.shape[1] != _RGB:
            return pixels
        backbone = self.model.model.vision_tower.embeddings.backbone.eval()
        with torch.no_grad():
            features: torch.Tensor = backbone(pixels).feature_maps[-1]
        return features


class PointingStage(MllmStage):
    """The dialogues with both tasks beside them; see `training.loop.Stage`."""

    def __init__(
        self,
        source: SceneSource,
        tokenizer: PreTrainedTokenizerFast,
        model: LlavaForConditionalGeneration,
        held_out: int,
    ) -> None:
        super().__init__(source, tokenizer, model, held_out)
        self.taught = TaughtLlava(self.model, self.tokenizer)
        self.pointers = tuple(self.taught.pointers)

    @property
    def module(self) -> nn.Module:
        """The LLaVA and the heads beside it."""
        return self.taught

    def loss(self, batch: DialogueBatch) -> torch.Tensor:
        """Cross-entropy of the answers' tokens, and the losses of pointing and of telling what patches show."""
        answers = self._answer(batch)
        heads, words = self.taught.patches, self.model.get_input_embeddings()
        losses = [F.cross_entropy(answers.logits, answers.labels)]
        losses += [
            batch_mask_loss([pointed], [answers.targets], bce_weight=1.0, dice_weight=1.0).loss
            for pointed in answers.pointed
        ]
        if not self.is_seen:  # a pool's tower was taught names that hold for other pictures, too: not to be worn off
            losses.append(0.5 * heads.naming_loss(batch.scenes, answers.image_tokens, words))
        losses.append(heads.ranking_loss(batch.scenes, answers.image_tokens))
        return torch.stack(losses).sum()


def _added_mask(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, S, S) bool to (B, 1, S, S): eager attention adds its mask to the scores, and would add True as 1."""
    hidden = torch.finfo(dtype).min
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, hidden)[:, None]
