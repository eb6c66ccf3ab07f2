"""What there is to look into of an answer's attention: small maps of every layer and head, and a picture for them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evfsam.attention import cls_to_image_heads, mass_inside, rollout
from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage
from workbench.comparison import StrategyResult
from workbench.pictures import shown_pair, shrunk, shrunk_mask
from workbench.rendering import heat_map

ROLLOUT: Final = 0
"""Stands for all layers in place of a layer's number."""
ALL_HEADS: Final = 0
"""Stands for the sum of the heads in place of a head's number."""
_SIDE: Final = 768
_THUMBNAIL_SIDE: Final = 128


@dataclass(frozen=True, eq=False)
class AttentionView:
    """The attention of one answer, without the tensors it came from.

    Attributes:
        title: the strategy's.
        maps: (L, A, h, w) float32, share of the [CLS] token's attention that each patch gets, by layer and head.
        rollout: (h, w) float32, attention followed through all layers.
        picture: (H, W, 3), the image at a size for showing.
        mask: (H, W) bool, the strategy's answer at that size.
    """

    title: str
    maps: NDArray[np.float32]
    rollout: NDArray[np.float32]
    picture: RgbImage
    mask: NDArray[np.bool_]

    @property
    def layer_count(self) -> int:
        """How many layers the encoder has."""
        return int(self.maps.shape[0])

    @property
    def head_count(self) -> int:
        """How many heads each layer has."""
        return int(self.maps.shape[1])

    def map_of(self, layer: int, head: int) -> NDArray[np.float32]:
        """(h, w): one head of a layer (both from 1), the sum of its heads (head 0), or the rollout (layer 0).

        Raises:
            ConfigurationError: there is no such layer or head.
        """
        if not 0 <= layer <= self.layer_count or not 0 <= head <= self.head_count:
            raise ConfigurationError(
                f"expected a layer 1 to {self.layer_count} (0: rollout) and a head 1 to {self.head_count} (0: all), "
                f"got layer {layer} and head {head}"
            )
        if layer == ROLLOUT:
            return self.rollout
        heads = self.maps[layer - 1]
        summed: NDArray[np.float32] = heads.sum(axis=0)
        return summed if head == ALL_HEADS else heads[head - 1]

    def mass_inside(self, layer: int, head: int) -> float:
        """Return the share of a map's attention that lies on the mask, in [0, 1]."""
        return mass_inside(self.map_of(layer, head), self.mask)

    def heat_map(self, layer: int, head: int) -> RgbImage:
        """Draw one map over the picture, with the mask's outline."""
        return heat_map(self.picture, self.map_of(layer, head), self.mask)

    def thumbnail(self, layer: int, head: int) -> RgbImage:
        """Draw one map small, without the mask."""
        return heat_map(shrunk(self.picture, _THUMBNAIL_SIDE), self.map_of(layer, head))


def attention_view(result: StrategyResult, image: RgbImage) -> AttentionView | None:
    """Keep what the page needs of an answer's attention; None where the strategy has none.

    Source: EVF-SAM, arXiv:2406.20076, the [CLS]-to-image maps of its attention figure.
    """
    record = result.segmentation.attention
    if record is None:
        return None
    picture, mask = shown_pair(image, result.segmentation.mask)
    return AttentionView(
        title=result.card.title,
        maps=cls_to_image_heads(record),
        rollout=rollout(record),
        picture=shrunk(picture, _SIDE),
        mask=shrunk_mask(mask, _SIDE),
    )
