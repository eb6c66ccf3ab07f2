"""Multimodal pre-training of BEiT-3 mini with dense targets, so that phrases steer patches before [CLS] has to.

Four losses: the referred mask on the patch grid, predicted from the fused image tokens of the last layer and of one
two layers before it, so that [CLS] finds the answer in time to gather it; the name of the object in each patch, against
the word embeddings and from an early layer, which ties words to looks; the referred mask on a coarse grid from [CLS]
alone, which makes [CLS] gather what the projector will need; and how each object compares with its equals (leftmost,
tallest, ...), whatever the phrase says, which teaches the comparing that words of position, order and size call for.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from evfsam.encoders.beit3 import Beit3Config, Beit3Encoder
from evfsam.encoders.tokenizers import EOS_ID, PhraseTokenizer
from evfsam.model.losses import batch_mask_loss
from evfsam.preprocess import beit3_pixels
from training.batches import Overlaps, PhraseBatch, PhraseDraw, held_out_batches, pooled
from training.loop import Schedule
from training.patches import PatchHeads
from training.scene_stream import SceneSource

CONFIG = Beit3Config(
    image_size=160,
    patch_size=16,
    vocab_size=2004,
    embed_dim=128,
    head_count=4,
    ffn_dim=512,
    layer_count=8,
    text_position_count=130,
)
SCHEDULE = Schedule(steps=4500, learning_rate=6e-4, warmup=100, validate_every=500)
SCENES_A_STEP = 16
PHRASES_A_SCENE = 4
NAMING_LAYER = 3
RANKING_LAYER = 5
DEEP_LAYER = 6
"""Layers after which patches are named and compared, and after which the mask is predicted besides at the end."""
CELLS = 4
"""Cells a side into which each patch's mask is divided."""
CLS_GRID = 16
"""Side of the grid on which [CLS] alone predicts the mask."""


class DenseHeads(nn.Module):
    """An encoder with the heads of its pre-training.

    Args:
        encoder: the BEiT-3 to train.
        tokenizer: how its words are spelled.
    """

    def __init__(self, encoder: Beit3Encoder, tokenizer: PhraseTokenizer) -> None:
        super().__init__()
        width = encoder.config.embed_dim
        self.encoder = encoder
        self.mask_head = nn.Linear(width, CELLS * CELLS)
        self.deep_mask_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, CELLS * CELLS))
        self.cls_head = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, CLS_GRID**2))
        self.patches = PatchHeads(width, width, lambda word: [i for i in tokenizer.encode(word) if i > EOS_ID])


@dataclass(frozen=True, eq=False)
class DensePrediction:
    """What the heads say of P phrases about B scenes.

    Attributes:
        fine, deep: (P, h * CELLS, w * CELLS) mask logits from the last layer and from `DEEP_LAYER`.
        coarse: (P, CLS_GRID, CLS_GRID) mask logits from [CLS].
        early_patches, ranked_patches: (B, h * w, D) patches after `NAMING_LAYER` and after `RANKING_LAYER`.
    """

    fine: torch.Tensor
    deep: torch.Tensor
    coarse: torch.Tensor
    early_patches: torch.Tensor
    ranked_patches: torch.Tensor


def cells(logits: torch.Tensor, grid: int) -> torch.Tensor:
    """(P, grid * grid, CELLS^2) to (P, grid * CELLS, grid * CELLS)."""
    parted = logits.float().unflatten(-1, (CELLS, CELLS)).unflatten(1, (grid, grid))
    laid: torch.Tensor = parted.permute(0, 1, 3, 2, 4).reshape(len(parted), grid * CELLS, grid * CELLS)
    return laid


class PretrainStage:
    """Dense pre-training; see `training.loop.Stage`."""

    def __init__(self, source: SceneSource, tokenizer: PhraseTokenizer, held_out: int) -> None:
        pixels = partial(beit3_pixels, side=CONFIG.image_size)
        self.draw = PhraseDraw(source, pixels, tokenizer.encode_batch, SCENES_A_STEP, PHRASES_A_SCENE)
        self.held_out = held_out_batches(self.draw, held_out)
        encoder = Beit3Encoder(CONFIG)
        for module in encoder.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        self._module = DenseHeads(encoder, tokenizer)

    @property
    def module(self) -> DenseHeads:
        """Encoder and heads."""
        return self._module

    def loss(self, batch: PhraseBatch) -> torch.Tensor:
        """Sum of the dense masks, the mask of [CLS], the ranks and the naming."""
        masks = batch.square_masks()
        predicted = self._predict(batch)
        losses = [
            weight * batch_mask_loss([logits], [pooled(masks, logits.shape[-1])], bce_weight=1.0, dice_weight=1.0).loss
            for weight, logits in ((1.0, predicted.fine), (0.7, predicted.deep), (1.0, predicted.coarse))
        ]
        heads, words = self._module.patches, self._module.encoder.text_embed
        losses.append(0.5 * heads.naming_loss(batch.scenes, predicted.early_patches, words))
        losses.append(heads.ranking_loss(batch.scenes, predicted.ranked_patches))
        return torch.stack(losses).sum()

    def validate(self) -> dict[str, float]:
        """Figures of the dense mask on held-out pictures, in all and by kind, and of [CLS] alone."""
        fine, coarse = [], []
        for each in self.held_out:
            batch = each.to(self._module.patches.nothing.device)
            predicted, masks = self._predict(batch), batch.square_masks()
            fine.append((predicted.fine, pooled(masks, predicted.fine.shape[-1])))
            coarse.append((predicted.coarse, pooled(masks, CLS_GRID)))
        figures = Overlaps.of(self.held_out, fine).figures()
        return figures | {"cls": Overlaps.of(self.held_out, coarse).figures()["cIoU"]}

    def _predict(self, batch: PhraseBatch) -> DensePrediction:
        module, count = self._module, len(batch.scene_of) // len(batch.encoder_pixels)
        output = module.encoder(batch.images(), batch.input_ids, ~batch.words, output_hidden_states=True)
        height, width = CONFIG.patch_grid
        patches = slice(1, 1 + height * width)
        return DensePrediction(
            fine=cells(module.mask_head(output.last_hidden_state[:, patches]), height),
            deep=cells(module.deep_mask_head(output.hidden_states[DEEP_LAYER][:, patches]), height),
            coarse=module.cls_head(output.fused_cls).unflatten(-1, (CLS_GRID, CLS_GRID)).float(),
            early_patches=output.hidden_states[NAMING_LAYER][::count, patches],
            ranked_patches=output.hidden_states[RANKING_LAYER][::count, patches],
        )
