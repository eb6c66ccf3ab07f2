"""The mask decoder of a finished SAM alone: more photographs, and small things in boxes seen closer.

The image encoder stays, for others share its embeddings.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch

from training.closer_views import chosen, closer_views
from training.loop import Schedule
from training.sam_stage import SamBatch, SamStage, covered_share
from training.scene_stream import SceneKind, SceneSource

SCHEDULE = Schedule(steps=2500, learning_rate=4e-4, warmup=50, validate_every=300, seed=1)
SHARES: Final[Mapping[SceneKind, float]] = {"page": 0.3, "drawn": 0.15, "photo": 0.55}
CLOSER_EVERY: Final = 2
"""Of the boxes around small things, one in so many is seen closer."""


class SamDecoderStage(SamStage):
    """Promptable segmentation with a frozen image encoder; see `training.loop.Stage`.

    Args:
        source: of scenes.
        held_out: objects that a validation measures.
        weights: of the finished SAM.
    """

    def __init__(self, source: SceneSource, held_out: int, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__(source, held_out)
        self.sam.load_state_dict(weights)
        self.sam.image_encoder.requires_grad_(False)

    def _embedded(self, batch: SamBatch) -> tuple[torch.Tensor, SamBatch, torch.Tensor]:
        images, _, targets = super()._embedded(batch)
        is_box = batch.prompts.boxes is not None and batch.prompts.points is None
        return self._closer(images, batch, targets, CLOSER_EVERY) if is_box else (images, batch, targets)

    def _closer(
        self, images: torch.Tensor, batch: SamBatch, targets: torch.Tensor, every: int
    ) -> tuple[torch.Tensor, SamBatch, torch.Tensor]:
        """See one in so many of the boxes around small things closer."""
        boxes = batch.prompts.boxes
        assert boxes is not None
        closer = closer_views(batch.scenes, batch.scene_of, batch.masks(), boxes)
        rows = torch.arange(len(targets), device=targets.device)
        is_closer = closer.is_small & (rows % every == 0)
        if is_closer.any():
            images = images.clone()
            images[is_closer] = self.sam.image_encoder(closer.pixels[is_closer])
        prompts = replace(batch.prompts, boxes=chosen(is_closer, closer.boxes, boxes))
        return images, replace(batch, prompts=prompts), chosen(is_closer, covered_share(closer.masks), targets)

    def _mean_ious(self, name: str, batch: SamBatch) -> dict[str, float]:
        """As its base; boxes are seen closer as well."""
        images, _, targets = super()._embedded(batch)
        figures = {name: self._mean_iou(images, batch, targets)}
        if name == "box":
            figures["closer"] = self._mean_iou(*self._closer(images, batch, targets, 1))
        return figures
