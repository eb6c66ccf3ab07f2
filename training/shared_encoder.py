"""SAM's image encoder and both mask decoders on it together: point query's SAM and EVF-SAM's own.

The encoder is shared, so that a picture is encoded once for both; trained for one of them alone, it would no longer be
what the other learnt on. EVF-SAM's multimodal encoder stays as it is. Scenes are twice as wide and high as SAM's
square: what is seen closer is as sharp as in a photograph.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from training.loop import Schedule
from training.marks import MarkedBatch, MarksDraw, MarksStage
from training.sam_stage import SamBatch, SamDraw, SamStage
from training.scene_stream import SIDE, Tensors

SCHEDULE = Schedule(steps=2500, learning_rate=4e-4, warmup=50, validate_every=250)
SCENE_SIDE: Final = 2 * SIDE
SCENES_A_STEP: Final = 8
PHRASES_A_SCENE: Final = 3


@dataclass(frozen=True, eq=False)
class SharedBatch(Tensors):
    """What both decoders are asked.

    Attributes:
        phrases: with marks, for EVF-SAM.
        objects: with points or boxes, of other scenes.
    """

    phrases: MarkedBatch
    objects: SamBatch


@dataclass(frozen=True)
class SharedDraw:
    """Draws the batches of a split; see `training.loop.Stage`.

    Attributes:
        phrases, objects: draw each half.
        scene_count: of each.
    """

    phrases: MarksDraw
    objects: SamDraw
    scene_count: int

    def __call__(self, rng: np.random.Generator) -> SharedBatch:
        """Draw one."""
        phrases = replace(self.phrases, scene_count=self.scene_count)
        objects = replace(self.objects, scene_count=self.scene_count)
        return SharedBatch(phrases(rng), objects(rng))


class SharedEncoderStage:
    """Phrases with marks, and objects with points or boxes, on one image encoder; see `training.loop.Stage`.

    Args:
        phrases: of a finished EVF-SAM.
        objects: of the SAM whose image encoder it has; that SAM has EVF-SAM's from now on.
    """

    def __init__(self, phrases: MarksStage, objects: SamStage) -> None:
        self.phrases, self.objects = phrases, objects
        encoder: Any = phrases.model.visual_model.image_encoder
        objects.sam.image_encoder = encoder
        encoder.requires_grad_(True)
        self.draw = SharedDraw(phrases.draw, objects.draw, SCENES_A_STEP)
        self._both = nn.ModuleDict({"evf_sam": phrases.model, "sam": objects.sam})

    @property
    def module(self) -> nn.Module:
        """Both, with the encoder once."""
        return self._both

    def loss(self, batch: SharedBatch) -> torch.Tensor:
        """Sum of what each stage says of its half."""
        return self.phrases.loss(batch.phrases) + self.objects.loss(batch.objects)

    def validate(self) -> dict[str, float]:
        """Figures of both; those of the SAM alone begin with "sam"."""
        return self.phrases.validate() | {f"sam {name}": value for name, value in self.objects.validate().items()}
