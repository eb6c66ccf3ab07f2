"""EVF-SAM fine-tuning: BEiT-3, projector and SAM's mask decoder learn with BCE + dice, the image encoder stays frozen.

Source: EVF-SAM, arXiv:2406.20076, sections 3.3 and 4.1. Departures, for two cores: the loss is taken on the decoder's
own grid against covered shares instead of at the image's size, and frozen embeddings are read from disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from evfsam.model.configuration import EvfSamConfig
from evfsam.model.losses import batch_mask_loss
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.sam.sam import SamMaskBackbone
from training import sam
from training.batches import PhraseBatch, ciou_figures, draw_phrases, held_out_phrases
from training.embeddings import EmbeddingTable
from training.loop import Schedule
from training.scene_cache import SceneCache

SCHEDULE = Schedule(steps=4000, learning_rate=4e-4, warmup=200, validate_every=250)
SCENES_A_STEP = 16
PHRASES_A_SCENE = 4


@dataclass(frozen=True)
class TrainedParts:
    """What learns beside the projector; the paper's table 4 leaves parts out.

    Attributes:
        encoder: the multimodal encoder.
        prompt_encoder: SAM's; of it, a phrase's prompt meets only the embedding for "no mask given".
        mask_decoder: SAM's.
    """

    encoder: bool = True
    prompt_encoder: bool = True
    mask_decoder: bool = True


def starting_model(
    config: EvfSamConfig, backbone: SamMaskBackbone, encoder_weights: Mapping[str, torch.Tensor]
) -> EvfSamModel:
    """Put a promptable SAM and a pre-trained encoder together; the projector between them is fresh.

    Args:
        config: what to build.
        backbone: a SAM of the configuration's sizes.
        encoder_weights: by their names in `mm_extractor`; an encoder without its image half takes what it needs.
    """
    model = EvfSamModel(config)
    model.visual_model.load_state_dict(backbone.sam.state_dict())
    own = model.mm_extractor.state_dict()
    model.mm_extractor.load_state_dict({name: value for name, value in encoder_weights.items() if name in own})
    return model


class FinetuneStage:
    """Referring segmentation through one prompt token; see `training.loop.Stage`.

    Args:
        scenes, held_out: cached scenes.
        embeddings, held_out_embeddings: of those scenes.
        model: to start from.
        processor: of the encoder's pre-training.
        trained: what learns.
        scenes_a_step: `PHRASES_A_SCENE` phrases each.
    """

    def __init__(
        self,
        scenes: SceneCache,
        held_out: SceneCache,
        embeddings: EmbeddingTable,
        held_out_embeddings: EmbeddingTable,
        model: EvfSamModel,
        processor: EvfSamProcessor,
        *,
        trained: TrainedParts,
        scenes_a_step: int,
    ) -> None:
        self.scenes, self.embeddings, self.processor = scenes, embeddings, processor
        self.held_out, self.held_out_embeddings = held_out_phrases(held_out, 384), held_out_embeddings
        self.model, self.scenes_a_step = model, scenes_a_step
        model.set_trainable(
            encoder=trained.encoder, mask_decoder=trained.mask_decoder, no_mask_embedding=trained.prompt_encoder
        )

    @property
    def module(self) -> nn.Module:
        """The EVF-SAM."""
        return self.model

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """BCE + dice of the single mask."""
        batch = draw_phrases(self.scenes, rng, scene_count=self.scenes_a_step, per_scene=PHRASES_A_SCENE)
        logits = self._predict(batch, self.embeddings)
        return batch_mask_loss(
            [logits], [sam.covered_share(batch.masks()).to(logits.device)], bce_weight=2.0, dice_weight=1.0
        ).loss

    def validate(self) -> dict[str, float]:
        """Figures on the decoder's grid, in all and by kind."""
        logits = self._predict(self.held_out, self.held_out_embeddings)
        return ciou_figures(logits.cpu(), sam.covered_share(self.held_out.masks()), self.held_out.expressions)

    def _predict(self, batch: PhraseBatch, table: EmbeddingTable) -> torch.Tensor:
        """(P, LOSS_SIDE, LOSS_SIDE) logits."""
        count = batch.phrases_per_scene
        pixels = torch.cat([self.processor.encoder_pixels(scene.image) for scene in batch.scenes])
        ids, words = self.processor.tokenizer.encode_batch([e.text for e in batch.expressions])
        device = self.model.device
        images = pixels.to(device).repeat_interleave(count, 0)
        prompts, _ = self.model.fuse(images, ids.to(device), words.to(device))
        embeddings = torch.stack([table[index] for index in batch.scene_indices]).to(device)
        low_res_logits, _ = self.model.decode(embeddings.repeat_interleave(count, 0), prompts)
        return low_res_logits[:, 0].float()
