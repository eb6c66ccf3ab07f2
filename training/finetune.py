"""EVF-SAM fine-tuning: BEiT-3, projector and SAM's mask decoder learn with BCE + dice, the image encoder stays frozen.

Source: EVF-SAM, arXiv:2406.20076, sections 3.3 and 4.1. Departures, for two cores: the loss is taken on the decoder's
own grid against covered shares instead of at the image's size, and frozen embeddings are read from disk.
"""

import numpy as np
import torch
from torch import nn

from evfsam.configuration import EvfSamConfig
from evfsam.losses import batch_mask_loss
from evfsam.mask_backbones import SamMaskBackbone
from evfsam.modeling import EvfSamModel
from evfsam.preprocess import beit3_pixels
from evfsam.tokenizer import PhraseTokenizer
from training import pretrain, sam
from training.batches import PhraseBatch, ciou_figures, draw_phrases, held_out_phrases
from training.embeddings import EmbeddingTable
from training.loop import Schedule
from training.scene_cache import SceneCache

SCHEDULE = Schedule(steps=4000, learning_rate=4e-4, warmup=200, validate_every=250)
SCENES_A_STEP = 16
PHRASES_A_SCENE = 4


class FinetuneStage:
    """Referring segmentation through one prompt token; see `training.loop.Stage`.

    Args:
        scenes, held_out: cached scenes.
        embeddings, held_out_embeddings: of those scenes.
        backbone: the promptable SAM to start from.
        encoder_weights: of the pre-trained BEiT-3.
        tokenizer: the one of the pre-training.
    """

    def __init__(
        self,
        scenes: SceneCache,
        held_out: SceneCache,
        embeddings: EmbeddingTable,
        held_out_embeddings: EmbeddingTable,
        backbone: SamMaskBackbone,
        encoder_weights: dict[str, torch.Tensor],
        tokenizer: PhraseTokenizer,
    ) -> None:
        self.scenes, self.embeddings, self.tokenizer = scenes, embeddings, tokenizer
        self.held_out, self.held_out_embeddings = held_out_phrases(held_out, 384), held_out_embeddings
        config = EvfSamConfig(beit3=pretrain.CONFIG.to_dict(), sam=sam.CONFIG.to_dict())
        self.model = EvfSamModel(config)
        self.model.visual_model.load_state_dict(backbone.sam.state_dict())
        self.model.mm_extractor.beit3.load_state_dict(encoder_weights)
        self.model.set_trainable(mask_decoder=True, no_mask_embedding=True)

    @property
    def module(self) -> nn.Module:
        """The EVF-SAM."""
        return self.model

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """BCE + dice of the single mask."""
        batch = draw_phrases(self.scenes, rng, scene_count=SCENES_A_STEP, per_scene=PHRASES_A_SCENE)
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
        pixels = torch.stack([beit3_pixels(scene.image, pretrain.CONFIG.image_size) for scene in batch.scenes])
        ids, words = self.tokenizer.encode_batch([e.text for e in batch.expressions])
        device = self.model.device
        images = pixels.to(device).repeat_interleave(count, 0)
        prompts, _ = self.model.fuse(images, ids.to(device), words.to(device))
        embeddings = torch.stack([table[index] for index in batch.scene_indices]).to(device)
        low_res_logits, _ = self.model.decode(embeddings.repeat_interleave(count, 0), prompts)
        return low_res_logits[:, 0].float()
