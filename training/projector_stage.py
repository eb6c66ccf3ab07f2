"""The CLIP projectors: CLIP's frozen features to one prompt token, with SAM's mask decoder fine-tuned beside them.

Beside the masks a prompt is to point: its product with SAM's image embedding is held to what is meant. A decoder that
learns from masks alone marks whatever stands out before it heeds the prompt.

Source: EVF-SAM, arXiv:2406.20076, figure 3 (a) and (b): text alone, and text with the image's feature concatenated.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPModel, PreTrainedTokenizerBase

from baselines.clip.text import ClipTextSamConfig, ClipTextSamModel
from evfsam.model.losses import batch_mask_loss
from evfsam.preprocess import SAM_MEAN, SAM_STD, clip_pixels
from evfsam.sam.sam import SamMaskBackbone
from evfsam.weights.checkpoint_files import read_config, read_weights
from training import sam_stage
from training.batches import Overlaps, PhraseBatch, PhraseDraw, held_out_batches
from training.loop import Schedule
from training.scene_stream import SceneSource, covered_share
from training.warm_start import started

SCHEDULE = Schedule(steps=1200, learning_rate=8e-4, warmup=50, validate_every=300)
SCENES_A_STEP = 24
PHRASES_A_SCENE = 4


def fresh_model(clip: CLIPModel, backbone: SamMaskBackbone) -> ClipTextSamModel:
    """Put a trained CLIP and a SAM together; the projectors between them are fresh."""
    model = ClipTextSamModel(ClipTextSamConfig(clip.config.text_config, clip.config.vision_config, backbone.config))
    model.text_encoder.load_state_dict(clip.text_model.state_dict())
    model.image_encoder.load_state_dict(clip.vision_model.state_dict())
    model.sam.load_state_dict(backbone.sam.state_dict())
    return model


def earlier_model(directory: Path, backbone: SamMaskBackbone) -> ClipTextSamModel:
    """Put another SAM under the CLIP and the projectors of an earlier suite; its mask decoder starts from theirs."""
    earlier = ClipTextSamConfig.from_dict(read_config(directory))
    model = ClipTextSamModel(replace(earlier, sam=sam_stage.CONFIG))
    model.sam.load_state_dict(backbone.sam.state_dict())
    kept = ("text_encoder.", "image_encoder.", "projectors.", "sam.mask_decoder.")
    weights = {name: value for name, value in read_weights(directory).items() if name.startswith(kept)}
    model.load_state_dict(started(model.state_dict(), weights))
    return model


class ProjectorStage:
    """Both variants at once, each phrase read by both; see `training.loop.Stage`."""

    def __init__(
        self, source: SceneSource, model: ClipTextSamModel, tokenizer: PreTrainedTokenizerBase, held_out: int
    ) -> None:
        self.tokenizer, self.model = tokenizer, model
        self.pointing = nn.ParameterDict({"scale": torch.tensor(1.0), "bias": torch.tensor(-2.0)})
        pixels = partial(clip_pixels, side=model.config.vision.image_size)
        self.draw = PhraseDraw(source, pixels, self._encode, SCENES_A_STEP, PHRASES_A_SCENE)
        self.held_out = held_out_batches(self.draw, held_out)

    def _encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return tokens["input_ids"], tokens["attention_mask"]

    @property
    def module(self) -> nn.Module:
        """CLIP, projectors and SAM, and how strongly a prompt points."""
        return nn.ModuleDict({"model": self.model, "pointing": self.pointing})

    def loss(self, batch: PhraseBatch) -> torch.Tensor:
        """BCE + dice of both variants' masks, and half of that of where their prompts point."""
        logits, points = self._predict(batch)
        masks = batch.masks()
        targets, cells = covered_share(masks), F.adaptive_avg_pool2d(masks[:, None], points[0].shape[-1])[:, 0]
        loss = batch_mask_loss(logits, [targets, targets], bce_weight=2.0, dice_weight=1.0).loss
        return loss + 0.5 * batch_mask_loss(points, [cells, cells], bce_weight=2.0, dice_weight=1.0).loss

    def validate(self) -> dict[str, float]:
        """Figures on the decoder's grid: text alone, in all and by kind, and late concat."""
        text: list[tuple[torch.Tensor, torch.Tensor]] = []
        late: list[tuple[torch.Tensor, torch.Tensor]] = []
        for each in self.held_out:
            batch = each.to(self.model.sam.device)
            targets = covered_share(batch.masks())
            for answers, logits in zip((text, late), self._predict(batch)[0], strict=True):
                answers.append((logits, targets))
        figures = Overlaps.of(self.held_out, text).figures()
        return figures | {"late": Overlaps.of(self.held_out, late).figures()["cIoU"]}

    def _predict(self, batch: PhraseBatch) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Logits (P, LOSS_SIDE, LOSS_SIDE) of text alone and of late concat, and (P, h, w) of where prompts point."""
        with torch.no_grad():
            embeddings = self.model.sam.image_encoder(batch.scenes.sam_pixels(SAM_MEAN, SAM_STD))[batch.scene_of]
        answers, points = [], []
        for images in (None, batch.encoder_pixels.float()):
            prompts = self.model.prompt_embeddings(batch.input_ids, batch.words, images, batch.scene_of)
            answers.append(self.model.decode(embeddings, prompts)[0][:, 0].float())
            towards = (prompts @ embeddings.flatten(2))[:, 0].unflatten(1, embeddings.shape[2:]).float()
            points.append(self.pointing["scale"] * towards / prompts.shape[-1] ** 0.5 + self.pointing["bias"])
        return answers, points
