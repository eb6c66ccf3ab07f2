"""The CLIP projectors: CLIP's frozen features to one prompt token, with SAM's mask decoder fine-tuned beside them.

Source: EVF-SAM, arXiv:2406.20076, figure 3 (a) and (b): text alone, and text with the image's feature concatenated.
"""

import numpy as np
import torch
from torch import nn
from transformers import CLIPModel, PreTrainedTokenizerBase

from baselines.clip.text import ClipTextSamConfig, ClipTextSamModel
from evfsam.model.losses import batch_mask_loss
from evfsam.preprocess import clip_pixels
from evfsam.sam.sam import SamMaskBackbone
from training import sam
from training.batches import PhraseBatch, ciou_figures, draw_phrases, held_out_phrases
from training.clip import IMAGE_SIZE
from training.embeddings import EmbeddingTable
from training.loop import Schedule
from training.scene_cache import SceneCache

SCHEDULE = Schedule(steps=1500, learning_rate=8e-4, warmup=100, validate_every=250)
SCENES_A_STEP = 16
PHRASES_A_SCENE = 4


class ProjectorStage:
    """Both variants at once, each phrase read by both; see `training.loop.Stage`."""

    def __init__(
        self,
        scenes: SceneCache,
        held_out: SceneCache,
        embeddings: EmbeddingTable,
        held_out_embeddings: EmbeddingTable,
        backbone: SamMaskBackbone,
        clip: CLIPModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self.scenes, self.embeddings, self.tokenizer = scenes, embeddings, tokenizer
        self.held_out, self.held_out_embeddings = held_out_phrases(held_out, 256), held_out_embeddings
        config = ClipTextSamConfig(clip.config.text_config, clip.config.vision_config, sam.CONFIG)
        self.model = ClipTextSamModel(config)
        self.model.sam.load_state_dict(backbone.sam.state_dict())
        self.model.text_encoder.load_state_dict(clip.text_model.state_dict())
        self.model.image_encoder.load_state_dict(clip.vision_model.state_dict())

    @property
    def module(self) -> nn.Module:
        """CLIP, projectors and SAM."""
        return self.model

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """BCE + dice of both variants' masks."""
        batch = draw_phrases(self.scenes, rng, scene_count=SCENES_A_STEP, per_scene=PHRASES_A_SCENE)
        logits = self._predict(batch, self.embeddings)
        targets = sam.covered_share(batch.masks()).to(logits[0].device)
        return batch_mask_loss(logits, [targets, targets], bce_weight=2.0, dice_weight=1.0).loss

    def validate(self) -> dict[str, float]:
        """Figures on the decoder's grid: text alone, in all and by kind, and late concat."""
        logits = self._predict(self.held_out, self.held_out_embeddings)
        targets = sam.covered_share(self.held_out.masks())
        text, late = (ciou_figures(each.cpu(), targets, self.held_out.expressions) for each in logits)
        return {**text, "late": late["cIoU"]}

    def _predict(self, batch: PhraseBatch, table: EmbeddingTable) -> list[torch.Tensor]:
        """Logits (P, LOSS_SIDE, LOSS_SIDE) of text alone and of late concat."""
        count = batch.phrases_per_scene
        pixels = torch.stack([clip_pixels(scene.image, IMAGE_SIZE) for scene in batch.scenes])
        tokens = self.tokenizer([e.text for e in batch.expressions], padding=True, truncation=True, return_tensors="pt")
        device = self.model.sam.device
        tokens, pixels = tokens.to(device), pixels.to(device)
        embeddings = torch.stack([table[index] for index in batch.scene_indices]).to(device).repeat_interleave(count, 0)
        answers = []
        for images in (None, pixels.repeat_interleave(count, 0)):
            prompts = self.model.prompt_embeddings(tokens["input_ids"], tokens["attention_mask"], images)
            answers.append(self.model.decode(embeddings, prompts)[0][:, 0].float())
        return answers
