"""Contrastive pre-training of the small CLIP: scenes against captions, and patches against names.

The second term takes every patch that shows an object against every name in the batch, such as "left small red fox" for
the painted fox that is leftmost and smallest of its kind; without it a scene of five objects teaches a patch little.
Source: CLIP, arXiv:2103.00020, section 2.3; RegionCLIP, arXiv:2112.09106, for contrasting regions.
"""

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
from training.loop import Schedule
from training.ranks import RANKS, object_ranks
from training.scene_cache import CachedScene, SceneCache, shown_objects
from training.tokenizers import train_clip_tokenizer
from workbench.datasets.vocabulary import CATEGORIES

IMAGE_SIZE = 128
PATCH_SIZE = 16
MAX_TOKENS = 40
SCHEDULE = Schedule(steps=1300, learning_rate=1e-3, warmup=200, validate_every=250)
BATCH = 48


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


def object_name(scene: CachedScene, index: int, rng: np.random.Generator) -> str:
    """Name an object: its category, with its colour where it is painted (and sometimes without)."""
    colour = scene.colours[index]
    named = f"{colour} {scene.categories[index]}" if colour and rng.random() < 0.7 else scene.categories[index]
    return f"the {named}" if rng.random() < 0.5 else named


def caption(scene: CachedScene, rng: np.random.Generator) -> str:
    """Say what is in a scene: up to four different categories, in any order, plural where there are several."""
    names = []
    for category in dict.fromkeys(scene.categories):
        members = [i for i, name in enumerate(scene.categories) if name == category]
        names.append(CATEGORIES[category] if len(members) > 1 else object_name(scene, members[0], rng))
    picked = [names[i] for i in rng.permutation(len(names))[:4]]
    return " and ".join(picked)


def full_name(scene: CachedScene, index: int, ranks: NDArray[np.bool_]) -> str:
    """Say everything of an object: how it compares with its equals, its colour and its category."""
    held = [word for word, is_held in zip(RANKS, ranks[index + 1], strict=True) if is_held]
    colour = scene.colours[index]
    return " ".join([*held, *([colour] if colour else []), scene.categories[index]])


class ClipStage:
    """Contrastive training of scenes and patches; see `training.loop.Stage`."""

    def __init__(self, scenes: SceneCache, held_out: SceneCache) -> None:
        self.scenes, self.held_out = scenes, held_out
        self.tokenizer = train_clip_tokenizer(scenes.texts(), max_length=MAX_TOKENS)
        self.model = build_clip(self.tokenizer)

    @property
    def module(self) -> nn.Module:
        """The CLIP."""
        return self.model

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Sum of the scenes' and the patches' cross-entropies."""
        batch = [self.scenes[int(i)] for i in rng.integers(len(self.scenes), size=BATCH)]
        scene_logits, patch_logits, patch_names = self._logits(batch, rng)
        own = torch.arange(len(batch), device=self.model.device)
        scene_loss = (F.cross_entropy(scene_logits, own) + F.cross_entropy(scene_logits.T, own)) / 2
        return scene_loss + F.cross_entropy(patch_logits, patch_names)

    def validate(self) -> dict[str, float]:
        """Accuracy of naming a patch among the batch's names, and of finding a scene's caption."""
        rng = np.random.default_rng(0)
        batch = [self.held_out[i] for i in range(min(200, len(self.held_out)))]
        scene_logits, patch_logits, names = self._logits(batch, rng)
        found = (scene_logits.argmax(1).cpu() == torch.arange(len(batch))).float().mean()
        return {"caption": float(found), "patch": float((patch_logits.argmax(1) == names).float().mean())}

    def save(self, directory: Path) -> None:
        """Write model and processor."""
        image_processor = CLIPImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_center_crop=False)
        self.model.half().save_pretrained(directory)
        CLIPProcessor(image_processor, self.tokenizer).save_pretrained(directory)

    def _logits(
        self, batch: list[CachedScene], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pixels = torch.stack([clip_pixels(scene.image, IMAGE_SIZE) for scene in batch]).to(self.model.device)
        vision = self.model.vision_model(pixel_values=pixels)
        scene_features = self.model.visual_projection(vision.pooler_output)
        patches = self.model.visual_projection(self.model.vision_model.post_layernorm(vision.last_hidden_state[:, 1:]))
        shown = [shown_objects(scene, IMAGE_SIZE // PATCH_SIZE) for scene in batch]
        names = []
        for scene, objects in zip(batch, shown, strict=True):
            ranks, _ = object_ranks(scene)
            full = [full_name(scene, index, ranks) for index in range(len(scene.categories))]
            names += [full[k - 1] for k in objects[objects > 0]]
        is_object = torch.from_numpy(np.stack(shown) > 0).to(self.model.device)
        unique = sorted(set(names))
        captions = [caption(scene, rng) for scene in batch]
        tokens = self.tokenizer(captions + unique, padding=True, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        text = self.model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        words = F.normalize(self.model.text_projection(text.pooler_output).float(), dim=-1)
        scale = self.model.logit_scale.clamp(max=4.6).exp()
        scene_logits = scale * F.normalize(scene_features.float(), dim=-1) @ words[: len(batch)].T
        patch_logits = scale * F.normalize(patches[is_object].float(), dim=-1) @ words[len(batch) :].T
        index = {name: position for position, name in enumerate(unique)}
        return scene_logits, patch_logits, torch.tensor([index[name] for name in names], device=self.model.device)
