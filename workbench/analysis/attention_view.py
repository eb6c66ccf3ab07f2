"""What there is to look into of an answer's attention: small maps of every layer, head and word, and a picture."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evfsam.attention import (
    between_tokens,
    cls_text_rollout,
    cls_to_image_heads,
    cls_to_text_heads,
    mass_gain,
    mass_inside,
    rollout,
    text_rollouts,
    text_to_image_heads,
)
from evfsam.errors import ConfigurationError
from evfsam.types import AttentionRecord, RgbImage, Segmentation
from workbench.comparison import StrategyResult
from workbench.pictures.colours import HEAT_STOPS, ramp
from workbench.pictures.rendering import heat_map
from workbench.pictures.shown_pictures import shown_pair, shrunk, shrunk_mask

ROLLOUT: Final = 0
"""Stands for all layers in place of a layer's number."""
ALL_HEADS: Final = 0
"""Stands for the sum of the heads in place of a head's number."""
CAVEAT: Final = (
    "Attention shows which patches and words a token read from, not why the mask came out as it did: a model can look "
    "at a place without using it, and use what it read in layers or heads that are not shown here."
)
"""What attention does not prove, for every place that shows it."""

_SIDE: Final = 768


@dataclass(frozen=True)
class TokenShare:
    """One piece of the phrase and how much [CLS] read of it.

    Attributes:
        index: its place, from 0, for `AttentionView.token_map_of`.
        text: as a person reads it, without the tokenizer's mark for a space.
        share: of all of [CLS]'s attention, in [0, 1]; patches and [CLS] itself get the rest.
        is_special: whether it marks the phrase's beginning or end and is no part of it.
    """

    index: int
    text: str
    share: float
    is_special: bool


@dataclass(frozen=True, eq=False)
class AttentionView:
    """The attention of one answer, without the tensors it came from.

    Attributes:
        title: the strategy's.
        maps: (L, A, h, w) float32, share of the [CLS] token's attention that each patch gets, by layer and head.
        rollout: (h, w) float32, attention followed through all layers.
        picture: (H, W, 3), the image at a size for showing.
        mask: (H, W) bool, the strategy's answer at that size.
        phrase: what was asked.
        tokens: the T pieces of the phrase, as the tokenizer spells them.
        token_maps: (L, A, T, h, w) float32, each token's attention to the patches.
        token_rollouts: (T, h, w) float32, the same followed through all layers.
        token_shares: (L, A, T) float32, share of [CLS]'s attention that each token gets.
        token_rollout_shares: (T,) float32, the same followed through all layers.
    """

    title: str
    maps: NDArray[np.float32]
    rollout: NDArray[np.float32]
    picture: RgbImage
    mask: NDArray[np.bool_]
    phrase: str
    tokens: tuple[str, ...]
    token_maps: NDArray[np.float32]
    token_rollouts: NDArray[np.float32]
    token_shares: NDArray[np.float32]
    token_rollout_shares: NDArray[np.float32]

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
        self._check(layer, head)
        return self.rollout if layer == ROLLOUT else _of_heads(self.maps[layer - 1], head)

    def token_map_of(self, layer: int, head: int, token: int) -> NDArray[np.float32]:
        """(h, w): where one piece of the phrase looked; layer and head as in `map_of`, tokens count from 0.

        Raises:
            ConfigurationError: there is no such layer, head or token.
        """
        self._check(layer, head)
        if not 0 <= token < len(self.tokens):
            raise ConfigurationError(
                "expected a token from 0 to {most}, got {value}; count the pieces of the phrase",
                most=len(self.tokens) - 1,
                value=token,
            )
        maps = self.token_rollouts if layer == ROLLOUT else _of_heads(self.token_maps[layer - 1], head)
        chosen: NDArray[np.float32] = maps[token]
        return chosen

    def shares_of_tokens(self, layer: int, head: int) -> tuple[TokenShare, ...]:
        """Return how much of its attention [CLS] gave each piece of the phrase, heads averaged for head 0.

        Raises:
            ConfigurationError: there is no such layer or head.
        """
        self._check(layer, head)
        shares = self.token_rollout_shares
        if layer != ROLLOUT:
            heads = self.token_shares[layer - 1]
            shares = heads.mean(axis=0, dtype=np.float32) if head == ALL_HEADS else heads[head - 1]
        return tuple(
            TokenShare(index, _readable(token), float(share), token.startswith("<") and token.endswith(">"))
            for index, (token, share) in enumerate(zip(self.tokens, shares, strict=True))
        )

    def mass_inside(self, layer: int, head: int) -> float:
        """Return the share of a map's attention that lies on the mask, in [0, 1]."""
        return mass_inside(self.map_of(layer, head), self.mask)

    def mass_gain(self, layer: int, head: int) -> float | None:
        """Return that share over the mask's share of the image; 1 where attention ignores it, None without a mask."""
        return mass_gain(self.map_of(layer, head), self.mask)

    def shares(self, layer: int, head: int) -> tuple[float, float, float]:
        """Return how [CLS] spent its attention: on the image, the phrase and itself, which add up to 1.

        Raises:
            ConfigurationError: there is no such layer or head.
        """
        image = float(self.map_of(layer, head).sum()) / self.heads_in(layer, head)
        phrase = sum(token.share for token in self.shares_of_tokens(layer, head))
        return image, phrase, max(0.0, 1 - image - phrase)

    def heads_in(self, layer: int, head: int) -> int:
        """Return how many heads a map sums up: its values are divided by it to be shares of a token's attention."""
        return self.head_count if layer != ROLLOUT and head == ALL_HEADS else 1

    def peak(self, layer: int, head: int, token: int | None = None) -> float:
        """Return the strongest value of one map, of [CLS] or of a piece of the phrase."""
        return float(self._map(layer, head, token).max())

    def highest_share(self) -> float:
        """Return the strongest value of all maps there are, of every layer, head and word and of the rollouts.

        It is a share of one token's attention in [0, 1]; a map that sums up heads is held to it times `heads_in`.
        """
        every = self.maps, self.rollout, self.token_maps, self.token_rollouts
        return float(max(each.max(initial=0) for each in every))

    def head_grid(self, *, is_one_scale: bool = False) -> RgbImage:
        """Draw [CLS]'s maps of all layers and heads, a pixel a patch, without the picture.

        Args:
            is_one_scale: whether a colour means the same in all maps; else each map's strongest patch is the brightest.

        Returns:
            (L * h, (1 + A) * w, 3): a row of maps a layer, the first layer on top; the heads' mean, then each head.
        """
        means = self.maps.mean(axis=1, keepdims=True, dtype=np.float32)
        every = np.concatenate([means, self.maps], axis=1)
        peaks = np.float32(self.highest_share()) if is_one_scale else every.max(axis=(2, 3), keepdims=True)
        shades = np.divide(every, peaks, out=np.zeros_like(every), where=np.asarray(peaks) > 0)
        layers, maps, height, width = shades.shape
        tiled = shades.transpose(0, 2, 1, 3).reshape(layers * height, maps * width)
        drawn: RgbImage = np.rint(ramp(tiled, HEAT_STOPS)).astype(np.uint8)
        return drawn

    def heat_map(
        self, layer: int, head: int, token: int | None = None, *, peak: float | None = None, is_smooth: bool = True
    ) -> RgbImage:
        """Draw one map, of [CLS] or of a piece of the phrase, over the picture, with the mask's outline.

        `peak` and `is_smooth` are those of `rendering.heat_map`.
        """
        return heat_map(self.picture, self._map(layer, head, token), self.mask, peak=peak, is_smooth=is_smooth)

    def _map(self, layer: int, head: int, token: int | None) -> NDArray[np.float32]:
        return self.map_of(layer, head) if token is None else self.token_map_of(layer, head, token)

    def _check(self, layer: int, head: int) -> None:
        if not 0 <= layer <= self.layer_count or not 0 <= head <= self.head_count:
            raise ConfigurationError(
                "expected a layer 1 to {layers} (0: rollout) and a head 1 to {heads} (0: all), got layer {layer} "
                "and head {head}",
                layers=self.layer_count,
                heads=self.head_count,
                layer=layer,
                head=head,
            )


def attention_view(result: StrategyResult, image: RgbImage, phrase: str = "") -> AttentionView | None:
    """Keep what the page needs of an answer's attention; None where the strategy has none, or got several phrases.

    Source: EVF-SAM, arXiv:2406.20076, the [CLS]-to-image maps of its attention figure.
    """
    return _view(result.card.title, result.segmentation, image, phrase)


def attention_views(result: StrategyResult, image: RgbImage, phrase: str = "") -> tuple[AttentionView, ...]:
    """Keep the attention of each of several phrases, in their order; those without any are left out.

    Args:
        result: one strategy's.
        image: (H, W, 3) uint8 RGB that it was asked about.
        phrase: what was asked where it was a single phrase; several are known to the result.
    """
    answers = [(answer.phrase, answer.segmentation) for answer in result.answers] or [(phrase, result.segmentation)]
    views = (_view(result.card.title, segmentation, image, asked) for asked, segmentation in answers)
    return tuple(view for view in views if view is not None)


def shares_between(record: AttentionRecord, layer: int, head: int) -> NDArray[np.float32]:
    """Return how much of each token's attention every token gets; layer and head as in `AttentionView.map_of`.

    Returns:
        (S, S) float32 as `evfsam.attention.between_tokens`; the mean for head 0.

    Raises:
        ConfigurationError: there is no such layer or head.
    """
    chosen = None if layer == ROLLOUT else layer - 1
    return between_tokens(record, chosen, None if head == ALL_HEADS else head - 1)


def _view(title: str, segmentation: Segmentation, image: RgbImage, phrase: str) -> AttentionView | None:
    record = segmentation.attention
    if record is None:
        return None
    picture, mask = shown_pair(image, segmentation.mask)
    return AttentionView(
        title=title,
        maps=cls_to_image_heads(record),
        rollout=rollout(record),
        picture=shrunk(picture, _SIDE),
        mask=shrunk_mask(mask, _SIDE),
        phrase=phrase,
        tokens=record.text_tokens,
        token_maps=text_to_image_heads(record),
        token_rollouts=text_rollouts(record),
        token_shares=cls_to_text_heads(record),
        token_rollout_shares=cls_text_rollout(record),
    )


def _of_heads(values: NDArray[np.float32], head: int) -> NDArray[np.float32]:
    """(...): one head of (A, ...), from 1, or the sum of all."""
    chosen: NDArray[np.float32] = values.sum(axis=0) if head == ALL_HEADS else values[head - 1]
    return chosen


def _readable(token: str) -> str:
    return token.replace("\u2581", "") or "\u2423"
