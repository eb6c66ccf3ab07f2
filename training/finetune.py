"""EVF-SAM fine-tuning: BEiT-3, projector and SAM's mask decoder learn with BCE + dice, the image encoder stays frozen.

A stage that also teaches names keeps the dense targets of the pre-training beside the mask, for a start from weights
that know fewer words and pictures than are trained on.
Source: EVF-SAM, arXiv:2406.20076, sections 3.3 and 4.1. Departures, for two cores: the loss is taken on the decoder's
own grid against covered shares instead of at the image's size, and frozen embeddings are read from disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import nn

from evfsam.encoders.tokenizers import EOS_ID, PhraseTokenizer
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.losses import batch_mask_loss
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.preprocess import SAM_MEAN, SAM_STD
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import RgbImage
from training import pretrain, sam
from training.batches import KIND_WEIGHTS, Overlaps, PhraseBatch, PhraseDraw, held_out_batches, pooled
from training.loop import Schedule
from training.patches import PatchHeads
from training.scene_stream import SceneSource
from workbench.datasets.expressions import ExpressionKind

SCHEDULE = Schedule(steps=1450, learning_rate=6e-4, warmup=60, validate_every=250)
WORDINGS_SCHEDULE = Schedule(steps=1250, learning_rate=4e-4, warmup=40, validate_every=250)
WORDING_WEIGHTS: Final[Mapping[ExpressionKind, float]] = {**KIND_WEIGHTS, "absent": 1.8}
ABSENT_SCHEDULE = Schedule(steps=250, learning_rate=1.5e-4, warmup=10, validate_every=125, seed=1)
ABSENT_WEIGHTS: Final[Mapping[ExpressionKind, float]] = {**KIND_WEIGHTS, "absent": 5.0}
BLEND: Final = 0.8
"""Share of the newer weights where they are mixed with those they started from."""
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


class TaughtEvfSam(nn.Module):
    """An EVF-SAM with the heads of the tasks that stand beside its masks.

    Args:
        model: the EVF-SAM, with a BEiT-3 of the recipe's sizes.
        tokenizer: how its words are spelled.
    """

    def __init__(self, model: EvfSamModel, tokenizer: PhraseTokenizer) -> None:
        super().__init__()
        width = pretrain.CONFIG.embed_dim
        self.model = model
        self.mask_head = nn.Linear(width, pretrain.CELLS**2)
        self.patches = PatchHeads(width, width, lambda word: [i for i in tokenizer.encode(word) if i > EOS_ID])

    def loss(self, batch: PhraseBatch, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Dense mask, names and ranks from every layer's output, (P, S, D) each."""
        side, count = pretrain.CONFIG.patch_grid[0], len(batch.scene_of) // len(batch.encoder_pixels)
        patches = slice(1, 1 + side**2)
        dense = pretrain.cells(self.mask_head(states[pretrain.DEEP_LAYER][:, patches]))
        masks = pooled(batch.square_masks(), dense.shape[-1])
        words = cast(Any, self.model).mm_extractor.beit3.text_embed
        named, ranked = (states[k][::count, patches] for k in (pretrain.NAMING_LAYER, pretrain.RANKING_LAYER))
        return (
            0.7 * batch_mask_loss([dense], [masks], bce_weight=1.0, dice_weight=1.0).loss
            + 0.5 * self.patches.naming_loss(batch.scenes, named, words)
            + 0.5 * self.patches.ranking_loss(batch.scenes, ranked)
        )


class FinetuneStage:
    """Referring segmentation through one prompt token; see `training.loop.Stage`.

    Args:
        source: of scenes.
        model: to start from.
        processor: of the encoder's pre-training.
        trained: what learns.
        scenes_a_step: `PHRASES_A_SCENE` phrases each.
        held_out: phrases that a validation measures.
        is_taught: whether dense masks, names and ranks are learnt beside.
        weights: how often each kind of phrase is drawn; None for the usual.
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
        is_taught: bool = False,
        weights: Mapping[ExpressionKind, float] | None = None,
    ) -> None:
        self.model, self.processor = model, processor
        self.taught = TaughtEvfSam(model, cast(PhraseTokenizer, processor.tokenizer)) if is_taught else None
        encode = processor.tokenizer.encode_batch
        self.draw = PhraseDraw(source, self._pixels, encode, scenes_a_step, PHRASES_A_SCENE, weights)
        self.held_out = held_out_batches(self.draw, held_out)
        model.set_trainable(
            encoder=trained.encoder, mask_decoder=trained.mask_decoder, no_mask_embedding=trained.prompt_encoder
        )

    def _pixels(self, image: RgbImage) -> torch.Tensor:
        return self.processor.encoder_pixels(image)[0]

    @property
    def module(self) -> nn.Module:
        """The EVF-SAM, and the heads beside it."""
        return self.taught or self.model

    def loss(self, batch: PhraseBatch) -> torch.Tensor:
        """BCE + dice of the single mask, and the losses beside it."""
        logits, states = self._predict(batch, keep_states=self.taught is not None)
        targets = sam.covered_share(batch.masks())
        loss = batch_mask_loss([logits], [targets], bce_weight=2.0, dice_weight=1.0).loss
        return loss if self.taught is None else loss + self.taught.loss(batch, states)

    def validate(self) -> dict[str, float]:
        """Figures on the decoder's grid, in all and by kind, on held-out pictures and wordings."""
        answers = []
        for each in self.held_out:
            batch = each.to(self.model.device)
            answers.append((self._predict(batch)[0], sam.covered_share(batch.masks())))
        return Overlaps.of(self.held_out, answers).figures()

    def _predict(self, batch: PhraseBatch, *, keep_states: bool = False) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """(P, 4h, 4w) logits, and the output of every layer of the encoder if asked for."""
        with torch.no_grad():
            embeddings = self.model.visual_model.image_encoder(batch.scenes.sam_pixels(SAM_MEAN, SAM_STD))
        prompts, output = self.model.fuse(
            batch.images(), batch.input_ids, batch.words, output_hidden_states=keep_states
        )
        low_res_logits, _ = self.model.decode(embeddings[batch.scene_of], prompts)
        return low_res_logits[:, 0].float(), output.hidden_states
