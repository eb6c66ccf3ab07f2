"""Contrastive pre-training of the small CLIP: scenes against captions, patches against names, phrases against patches.

The second term takes every patch that shows an object against every name in the batch, such as "left small red fox" for
the painted fox that is leftmost and smallest of its kind; without it a scene of five objects teaches a patch little.
The third takes phrases, worded as people type them, against the patches of their scene; without it a text's feature
tells how it is worded rather than what it names.
Source: CLIP, arXiv:2103.00020, section 2.3; RegionCLIP, arXiv:2112.09106, for contrasting regions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
)

from evfsam.preprocess import clip_pixels
from training.batches import KIND_WEIGHTS
from training.loop import Schedule
from training.ranks import RANKS, object_ranks
from training.scene_stream import SHARES, SceneSource, Tensors, TrainingScene, scene_tensors
from training.tokenizer_training import train_clip_tokenizer
from workbench.datasets.vocabulary import NOUNS

IMAGE_SIZE = 128
PATCH_SIZE = 16
MAX_TOKENS = 40
SCHEDULE = Schedule(steps=1800, learning_rate=1e-3, warmup=100, validate_every=300)
BATCH = 64
PHRASES_A_SCENE = 3
PHRASE_WEIGHTS = {**KIND_WEIGHTS, "absent": 0.0}
"""Of their kinds: what is absent has no patch."""


def build_clip(tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """Return a CLIP of transformers' own classes with random weights, small enough for two cores."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=128))
    for table in (
        model.text_model.embeddings.token_embedding,
        model.text_model.embeddings.position_embedding,
        model.vision_model.embeddings.position_embedding,
    ):
        nn.init.normal_(table.weight, std=0.1)
    return model


def object_name(scene: TrainingScene, index: int, rng: np.random.Generator) -> str:
    """Name an object: its name or a synonym, with its colour where it has a clear one (and sometimes without)."""
    item = scene.objects[index]
    words = (item.category, *NOUNS[item.category].synonyms)
    noun = item.category if rng.random() < 0.7 else words[int(rng.integers(len(words)))]
    named = f"{item.colour} {noun}" if item.colour and rng.random() < 0.7 else noun
    return f"the {named}" if rng.random() < 0.5 else named


def caption(scene: TrainingScene, rng: np.random.Generator) -> str:
    """Say what is in a scene: up to four different names, in any order, plural where there are several."""
    names = []
    categories = [item.category for item in scene.objects]
    for category in dict.fromkeys(categories):
        members = [i for i, name in enumerate(categories) if name == category]
        names.append(NOUNS[category].plural if len(members) > 1 else object_name(scene, members[0], rng))
    picked = [names[i] for i in rng.permutation(len(names))[:4]]
    return " and ".join(picked)


def full_name(scene: TrainingScene, index: int, ranks: NDArray[np.bool_]) -> str:
    """Say everything of an object: how it compares with its equals, its colour and its name."""
    held = [word for word, is_held in zip(RANKS, ranks[index + 1], strict=True) if is_held]
    item = scene.objects[index]
    return " ".join([*held, *([item.colour] if item.colour else []), item.category])


@dataclass(frozen=True, eq=False)
class ClipBatch(Tensors):
    """B scenes with captions, their patches with names, and P phrases about them.

    Attributes:
        pixels: (B, 3, IMAGE_SIZE, IMAGE_SIZE) float16.
        is_object: (B, N) which patches show an object.
        patch_names: (A,) for each of those, its row among the names.
        scene_of: (P,) scene of each phrase.
        meant: (P, N) which patches of its scene a phrase means, one at least.
        input_ids, words: (B + P + U, T) the captions, the phrases, then the U different names.
    """

    pixels: torch.Tensor
    is_object: torch.Tensor
    patch_names: torch.Tensor
    scene_of: torch.Tensor
    meant: torch.Tensor
    input_ids: torch.Tensor
    words: torch.Tensor


@dataclass(frozen=True)
class ClipDraw:
    """Draws batches; see `training.loop.Stage`."""

    source: SceneSource
    tokenizer: PreTrainedTokenizerFast
    scene_count: int

    def __call__(self, rng: np.random.Generator) -> ClipBatch:
        """Draw one."""
        scenes = self.source.scenes(rng, self.scene_count)
        shown = scene_tensors(scenes).shown(IMAGE_SIZE // PATCH_SIZE)
        names, phrases, scene_of, meant = [], [], [], []
        for row, (scene, objects) in enumerate(zip(scenes, shown, strict=True)):
            for each in self.source.phrases(scene, rng, PHRASES_A_SCENE, PHRASE_WEIGHTS):
                patches = torch.isin(objects, torch.tensor(each.object_indices) + 1)
                if patches.any():
                    phrases.append(each.text)
                    scene_of.append(row)
                    meant.append(patches)
            ranks, _ = object_ranks(scene.objects)
            full = [full_name(scene, index, ranks) for index in range(len(scene.objects))]
            names += [full[int(k) - 1] for k in objects[objects > 0]]
        unique = sorted(set(names))
        row_of = {name: row for row, name in enumerate(unique)}
        texts = [*(caption(scene, rng) for scene in scenes), *phrases, *unique]
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pixels = torch.stack([clip_pixels(scene.image, IMAGE_SIZE).half() for scene in scenes])
        rows = torch.tensor([row_of[name] for name in names], dtype=torch.int64)
        of_phrases = (
            torch.tensor(scene_of, dtype=torch.int64),
            torch.stack(meant) if meant else torch.zeros_like(shown[:0], dtype=torch.bool),
        )
        return ClipBatch(pixels, shown > 0, rows, *of_phrases, tokens["input_ids"], tokens["attention_mask"])


class ClipStage:
    """Contrastive training of scenes, patches and phrases; see `training.loop.Stage`."""

    def __init__(self, source: SceneSource, texts: Iterable[str], held_out: int) -> None:
        self.tokenizer = train_clip_tokenizer(texts, max_length=MAX_TOKENS)
        self.draw: Callable[[np.random.Generator], ClipBatch] = ClipDraw(source, self.tokenizer, BATCH)
        self.model = build_clip(self.tokenizer)
        rng = np.random.default_rng(0)
        self.held_out = {
            kind: ClipDraw(source.held_out(kind), self.tokenizer, -(-held_out // 4))(rng) for kind in SHARES
        }

    @property
    def module(self) -> nn.Module:
        """The CLIP."""
        return self.model  # type: ignore[no-any-return]

    def loss(self, batch: ClipBatch) -> torch.Tensor:
        """Sum of the cross-entropies of scenes, patches and phrases; a phrase's is spread over what it means."""
        scene_logits, patch_logits, phrase_logits = self._logits(batch)
        own = torch.arange(len(scene_logits), device=self.model.device)
        scene_loss = (F.cross_entropy(scene_logits, own) + F.cross_entropy(scene_logits.T, own)) / 2
        meant = batch.meant / batch.meant.sum(1, keepdim=True)
        phrase_loss = F.cross_entropy(phrase_logits, meant, reduction="sum") / max(1, len(meant))
        return scene_loss + F.cross_entropy(patch_logits, batch.patch_names) + phrase_loss

    def validate(self) -> dict[str, float]:
        """Accuracy of finding a caption, a patch's name and a patch that a phrase means, on held-out pictures."""
        figures = {}
        for name, drawn in self.held_out.items():
            batch = drawn.to(self.model.device)
            scene_logits, patch_logits, phrase_logits = self._logits(batch)
            own = torch.arange(len(scene_logits), device=self.model.device)
            figures[f"{name} caption"] = float((scene_logits.argmax(1) == own).float().mean())
            figures[f"{name} patch"] = float((patch_logits.argmax(1) == batch.patch_names).float().mean())
            best = phrase_logits.argmax(1, keepdim=True)
            figures[f"{name} phrase"] = float(batch.meant.gather(1, best).sum()) / max(1, len(best))
        return figures

    def save(self, directory: Path) -> None:
        """Write model and processor."""
        image_processor = CLIPImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_center_crop=False)
        self.model.half().save_pretrained(directory)
        CLIPProcessor(image_processor, self.tokenizer).save_pretrained(directory)

    def _logits(self, batch: ClipBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, B) of scenes against captions, (A, U) of patches against names, (P, N) of phrases against patches."""
        vision = self.model.vision_model(pixel_values=batch.pixels.float())
        scenes = self.model.visual_projection(vision.pooler_output)
        patches = self.model.visual_projection(self.model.vision_model.post_layernorm(vision.last_hidden_state[:, 1:]))
        text = self.model.text_model(input_ids=batch.input_ids, attention_mask=batch.words)
        scenes, patches, texts = (
            F.normalize(each.float(), dim=-1)
            for each in (scenes, patches, self.model.text_projection(text.pooler_output))
        )
        counts = len(batch.pixels), len(batch.scene_of)
        captions, phrases, names = texts.split([*counts, len(texts) - sum(counts)])
        scale = self.model.logit_scale.clamp(max=4.6).exp()
        return (
            scale * scenes @ captions.T,
            scale * patches[batch.is_object] @ names.T,
            scale * (patches[batch.scene_of] @ phrases[:, :, None])[..., 0],
        )
