"""Teaching a LLaVA to see with another tower: first the tower, then dialogues with pointing, then text alone.

The tower learns to give the language model what the earlier one gave it on the page's scenes, to name what each patch
of a composite shows, and to keep apart what the convolutions' own classifier tells apart: that knowledge comes from
photographs, and composites alone would wear it off.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from training.loop import Schedule
from training.namer import Namer
from training.patches import PatchHeads
from training.scene_dialogues import clip_look
from training.scene_pool import ScenePool, seen_look
from training.scene_stream import NAME_IDS, SceneKind, SceneTensors, Tensors, scene_tensors
from training.tower import Classifier, image_tokens

TOWER_SCHEDULE = Schedule(
    steps=800, learning_rate=1.5e-3, warmup=100, weight_decay=0.02, validate_every=500, slow_parts={"embed_tokens": 0.5}
)
SLOW_TOWER = {"vision_tower": 0.1, "multi_modal_projector": 0.2}
"""What the tower was taught of names wears off in dialogues about the same pictures, so it follows slowly."""
POINTING_SCHEDULE = Schedule(steps=3000, learning_rate=6e-4, warmup=40, validate_every=1000, slow_parts=SLOW_TOWER)
TEXT_SCHEDULE = Schedule(steps=600, learning_rate=2e-4, warmup=20, validate_every=300, slow_parts=SLOW_TOWER)
ABSENT_SHARE = 2.5
"""Of phrases in the last stage, against 0.9 before: what is not there is learnt last."""
SHARES: Mapping[SceneKind, float] = {"page": 0.35, "drawn": 0.2, "photo": 0.45}
POOL = 8000
"""Scenes; each is seen several times, with other phrases."""
SCENES_FOR_NAMER = 6000
SCENES_FOR_TOWER = 24


@dataclass(frozen=True, eq=False)
class SightBatch(Tensors):
    """B scenes of the pool.

    Attributes:
        scenes: the scenes.
        features: (B, C, h, w) float16 of the convolutions.
        pages: (P,) which of them the page draws.
        page_pixels: (P, 3, e, e) float16 as the earlier tower sees those.
    """

    scenes: SceneTensors
    features: torch.Tensor
    pages: torch.Tensor
    page_pixels: torch.Tensor


@dataclass(frozen=True)
class SightDraw:
    """Draws batches of scenes of the pool; see `training.loop.Stage`."""

    source: ScenePool
    scene_count: int
    old_side: int

    def __call__(self, rng: np.random.Generator) -> SightBatch:
        """Draw one."""
        scenes = self.source.scenes(rng, self.scene_count)
        pages = [row for row, scene in enumerate(scenes) if scene.kind == "page"]
        pixels = [clip_look(scenes[row], self.old_side) for row in pages]
        return SightBatch(
            scene_tensors(scenes, self.source.side),
            torch.stack([seen_look(scene) for scene in scenes]),
            torch.tensor(pages, dtype=torch.long),
            torch.stack(pixels) if pixels else torch.zeros(0, 3, self.old_side, self.old_side),
        )


class SeeingLlava(nn.Module):
    """A LLaVA with the heads that its tower is taught by, and the frozen tower that it learns from.

    Args:
        model: the LLaVA.
        tokenizer: how words are spelled.
        earlier: a LLaVA on another tower; not trained.
        classifier: of the frozen convolutions.
        namer: of the names.
    """

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        earlier: LlavaForConditionalGeneration,
        classifier: Classifier,
        namer: Namer,
    ) -> None:
        super().__init__()
        width = model.config.text_config.hidden_size
        self.model = model
        self.patches = PatchHeads(
            width, width, lambda word: tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        )
        self.classes = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classifier.classes))
        self.earlier = earlier.requires_grad_(False)
        self.classifier = classifier.requires_grad_(False)
        self.namer = namer


class SightStage:
    """All but the language model's layers and the convolutions; see `training.loop.Stage`."""

    def __init__(self, pool: ScenePool, seeing: SeeingLlava, held_out: int) -> None:
        self.seeing = seeing
        for part in (seeing.model.model.language_model.layers, seeing.model.model.language_model.norm):
            part.requires_grad_(False)
        old_side: int = seeing.earlier.config.vision_config.image_size
        self.draw: Callable[[np.random.Generator], SightBatch] = SightDraw(pool, SCENES_FOR_TOWER, old_side)
        rng = np.random.default_rng(0)
        self.held_out = {
            kind: [SightDraw(pool.held_out(kind), 16, old_side)(rng) for _ in range(max(1, held_out // 32))]
            for kind in pool.shares
        }

    @property
    def module(self) -> nn.Module:
        """The LLaVA, its heads and its teachers."""
        return self.seeing

    def loss(self, batch: SightBatch) -> torch.Tensor:
        """Squared error of tokens, divergences of names and of ImageNet's classes, cross-entropies of the rest."""
        heads, words = self.seeing.patches, self.seeing.model.get_input_embeddings()
        tokens = image_tokens(self.seeing.model, batch.features.float())
        with torch.no_grad():
            names, classes = (teach(batch.features.float()) for teach in (self.seeing.namer, self.seeing.classifier))
        losses = [
            heads.taught_naming_loss(batch.scenes, tokens, words, names),
            heads.ranking_loss(batch.scenes, tokens),
        ]
        predicted = self.seeing.classes(tokens).log_softmax(-1)
        losses.append(0.3 * F.kl_div(predicted.flatten(0, 1), classes.flatten(0, 1), reduction="batchmean"))
        if len(batch.pages):
            losses.append(2 * self._token_error(batch, tokens))
        return torch.stack(losses).sum()

    def _token_error(self, batch: SightBatch, tokens: torch.Tensor) -> torch.Tensor:
        """Squared error on the page's scenes as a share of the variance."""
        with torch.no_grad():
            wanted = earlier_tokens(self.seeing.earlier, batch.page_pixels.float())
        return (tokens[batch.pages] - wanted).square().mean() / wanted.var(dim=(0, 1)).mean()

    def validate(self) -> dict[str, float]:
        """Share of patches named right, of objects' patches only, and the error of tokens on the page's scenes."""
        figures: dict[str, float] = {}
        for kind, batches in self.held_out.items():
            right, count, errors = 0.0, 0, []
            for batch in batches:
                tokens = image_tokens(self.seeing.model, batch.features.float())
                is_right, shown = self.seeing.patches.named_right(
                    batch.scenes, tokens, self.seeing.model.get_input_embeddings()
                )
                right += float(is_right[shown > 0].sum())
                count += int((shown > 0).sum())
                if len(batch.pages):
                    errors.append(self._token_error(batch, tokens).item())
            figures[f"{kind} named"] = right / max(count, 1)
            if errors:
                figures[f"{kind} token error"] = sum(errors) / len(errors)
        return figures


def earlier_tokens(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """(B, N, D): what an earlier LLaVA gives its language model for pixels (B, 3, e, e)."""
    outputs = model.model.get_image_features(
        pixel_values=pixels,
        vision_feature_layer=model.config.vision_feature_layer,
        vision_feature_select_strategy="default",
        output_hidden_states=True,
    )
    return torch.stack(list(outputs.pooler_output))


def namer_of_pool(pool: ScenePool, count: int) -> Namer:
    """Fit a namer to the first `count` scenes of a pool that keeps features."""
    features, names = [], []
    for first in tqdm(range(0, min(count, pool.size), SCENES_FOR_TOWER), "look at scenes for names", mininterval=2):
        scenes = [pool.item(index) for index in range(first, min(first + SCENES_FOR_TOWER, pool.size))]
        tensors = scene_tensors(scenes, pool.side)
        seen = torch.stack([seen_look(scene) for scene in scenes])
        features.append(seen.flatten(2).mT.flatten(0, 1))
        names.append(tensors.names.gather(1, tensors.shown(seen.shape[-1])).flatten())
    return Namer(torch.cat(features).double(), torch.cat(names), len(NAME_IDS) + 1)


def start_embeddings(
    model: LlavaForConditionalGeneration,
    earlier: LlavaForConditionalGeneration,
    batches: Sequence[SightBatch],
    directions: torch.Tensor,
) -> None:
    """Let the hybrid's first states start near the earlier CLIP's on the page's scenes, and tell names apart beside.

    Args:
        model: whose positions and projection are set.
        earlier: the LLaVA on a CLIP.
        batches: with scenes of the page.
        directions: of `Namer.directions`.
    """
    with torch.no_grad():
        states = torch.cat(
            [
                earlier.model.vision_tower(
                    pixel_values=batch.page_pixels.float(), output_hidden_states=True
                ).hidden_states[0]
                for batch in batches
            ]
        )
        features = torch.cat([batch.features[batch.pages].float() for batch in batches]).flatten(2).mT
        places = model.model.vision_tower.embeddings
        places.position_embeddings.copy_(states.mean(0, keepdim=True))
        places.cls_token.zero_()
        wanted = (states - states.mean(0))[:, 1:].flatten(0, 1).double()
        given = features.flatten(0, 1).double()
        centred = given - given.mean(0)
        ridge = 0.1 * torch.eye(centred.shape[1], dtype=torch.double) * centred.square().sum(0).mean()
        solved = torch.linalg.solve(centred.mT @ centred + ridge, centred.mT @ wanted).mT
        scale = wanted.std() / (centred @ directions.mT).std()
        weight = solved + scale * directions
        places.projection.weight.copy_(weight[:, :, None, None])
        places.projection.bias.copy_(-(weight @ given.mean(0)))
