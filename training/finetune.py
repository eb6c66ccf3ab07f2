"""EVF-SAM fine-tuning: BEiT-3, projector and SAM's mask decoder learn with BCE + dice, the image encoder stays frozen.

Source: EVF-SAM, arXiv:2406.20076, sections 3.3 and 4.1. Departures, for two cores: the loss is taken on the decoder's
own grid against covered shares instead of at the image's size, and frozen embeddings are read from disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from evfsam.model.configuration import EvfSamConfig
from evfsam.model.losses import batch_mask_loss
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.preprocess import SAM_MEAN, SAM_STD
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import RgbImage
from training import sam
from training.batches import Overlaps, PhraseBatch, PhraseDraw, held_out_batches
from training.loop import Schedule
from training.scene_stream import SceneSource

SCHEDULE = Schedule(steps=1000, learning_rate=4e-4, warmup=60, validate_every=250)
SCENES_A_STEP = 12
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
        source: of scenes.
        model: to start from.
        processor: of the encoder's pre-training.
        trained: what learns.
        scenes_a_step: `PHRASES_A_SCENE` phrases each.
        held_out: phrases that a validation measures.
    """

    def __init__(
        self,
        source: SceneSource,
        model: EvfSamModel,
        processor: EvfSamProcessor,
        *,
        trained: TrainedParts,
        scenes_a_step: int,
        held_out: int,
    ) -> None:
        self.model, self.processor = model, processor
        encode = processor.tokenizer.encode_batch
        self.draw = PhraseDraw(source, self._pixels, encode, scenes_a_step, PHRASES_A_SCENE)
        self.held_out = held_out_batches(self.draw, held_out)
        model.set_trainable(
            encoder=trained.encoder, mask_decoder=trained.mask_decoder, no_mask_embedding=trained.prompt_encoder
        )

    def _pixels(self, image: RgbImage) -> torch.Tensor:
        return self.processor.encoder_pixels(image)[0]

    @property
    def module(self) -> nn.Module:
        """The EVF-SAM."""
        return self.model

    def loss(self, batch: PhraseBatch) -> torch.Tensor:
        """BCE + dice of the single mask."""
        logits, targets = self._predict(batch), sam.covered_share(batch.masks())
        return batch_mask_loss([logits], [targets], bce_weight=2.0, dice_weight=1.0).loss

    def validate(self) -> dict[str, float]:
        """Figures on the decoder's grid, in all and by kind, on held-out pictures and wordings."""
        answers = []
        for each in self.held_out:
            batch = each.to(self.model.device)
            answers.append((self._predict(batch), sam.covered_share(batch.masks())))
        return Overlaps.of(self.held_out, answers).figures()

    def _predict(self, batch: PhraseBatch) -> torch.Tensor:
        """(P, LOSS_SIDE, LOSS_SIDE) logits."""
        with torch.no_grad():
            embeddings = self.model.visual_model.image_encoder(batch.scenes.sam_pixels(SAM_MEAN, SAM_STD))
        prompts, _ = self.model.fuse(batch.images(), batch.input_ids, batch.words)
        low_res_logits, _ = self.model.decode(embeddings[batch.scene_of], prompts)
        return low_res_logits[:, 0].float()
