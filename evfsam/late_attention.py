"""Attention probabilities that are worked out when somebody reads them.

A run of many phrases makes a matrix of all tokens by all tokens for each phrase, layer and head, of which a page shows
the first phrase's and a batch none. What they are made of, queries and keys, is at hand anyway. Shapes: B pairs of
image and phrase, A heads, S tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch

from evfsam.types import AttentionRecord


@torch.no_grad()
def attention_probabilities(q: torch.Tensor, k: torch.Tensor, key_mask: torch.Tensor | None) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(head width)) in float32.

    Args:
        q: (B, A, S, head width).
        k: (B, A, S, head width).
        key_mask: (B, 1, 1, S) or (B, 1, S, S) bool, True where a token may be attended to; None for all.

    Returns:
        (B, A, S, S) float32; rows sum to 1. Detached from the graph.
    """
    with torch.autocast(q.device.type, enabled=False):
        scores = (q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-1, -2)
        if key_mask is not None:
            scores.masked_fill_(~key_mask, float("-inf"))
        return torch.softmax(scores, dim=-1)


@dataclass(frozen=True, eq=False)
class AttentionScores:
    """What one layer's probabilities are made of; see `attention_probabilities`.

    Attributes:
        queries, keys: (B, A, S, head width), detached.
        key_mask: as there.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    key_mask: torch.Tensor | None

    def probabilities(self) -> torch.Tensor:
        """(B, A, S, S) float32."""
        return attention_probabilities(self.queries, self.keys, self.key_mask)

    def of_first_token(self) -> "AttentionScores":
        """Return those of the first token's row alone."""
        mask = self.key_mask
        return AttentionScores(self.queries[:, :, :1], self.keys, None if mask is None else mask[:, :, :1])

    @property
    def nbytes(self) -> int:
        """Bytes of queries and keys."""
        return self.queries.nbytes + self.keys.nbytes


class LateAttention(Mapping[int, torch.Tensor]):
    """Probabilities (B, A, S, S) float32 by layer, made anew each time a layer's are read.

    Args:
        scores: of the layers asked for.
    """

    def __init__(self, scores: Mapping[int, AttentionScores]) -> None:
        self._scores = dict(scores)

    def __getitem__(self, layer: int) -> torch.Tensor:
        return self._scores[layer].probabilities()

    def __iter__(self) -> Iterator[int]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def of_pair(self, index: int) -> tuple[AttentionScores, ...]:
        """Return what one pair's probabilities are made of, layer by layer, on the CPU.

        All layers are brought there at once: each copy by itself would wait for the GPU, some seventy times a pair.
        """
        layers, pair = [self._scores[layer] for layer in sorted(self._scores)], slice(index, index + 1)
        brought = iter(on_cpu_at_once([part[pair] for each in layers for part in (each.queries, each.keys)]))
        masks = {id(each.key_mask): _mask_of_pair(each.key_mask, pair) for each in layers}
        return tuple(AttentionScores(next(brought), next(brought), masks[id(each.key_mask)]) for each in layers)


def _mask_of_pair(mask: torch.Tensor | None, pair: slice) -> torch.Tensor | None:
    """Return one pair's mask on the CPU; one that all pairs share is each pair's."""
    if mask is None:
        return None
    return (mask[pair] if len(mask) > 1 else mask).cpu()


def on_cpu_at_once(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Bring tensors of one type and device to the CPU in one copy, whose memory they share; those there stay.

    Shapes may differ.
    """
    if all(each.device.type == "cpu" for each in tensors):
        return list(tensors)
    joined = torch.cat([each.reshape(-1) for each in tensors]).cpu()
    parts = joined.split([each.numel() for each in tensors])
    return [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)]


class LateAttentionRecord(AttentionRecord):
    """An `AttentionRecord` whose probabilities are made when they are first read, and kept from then on.

    Args:
        layers: of one pair.
        token_count: S without the padding, which lies behind.
        patch_grid: as in `AttentionRecord`.
        original_size: likewise.
        text_tokens: likewise.
    """

    _layers: tuple[AttentionScores, ...]
    _token_count: int

    def __init__(
        self,
        layers: tuple[AttentionScores, ...],
        token_count: int,
        patch_grid: tuple[int, int],
        original_size: tuple[int, int],
        text_tokens: tuple[str, ...],
    ) -> None:
        facts = {"patch_grid": patch_grid, "original_size": original_size, "text_tokens": text_tokens}
        vars(self).update(facts, _layers=layers, _token_count=token_count)  # the dataclass is frozen

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """See `AttentionRecord`."""
        count = self._token_count
        return torch.stack([layer.probabilities()[0, :, :count, :count] for layer in self._layers])

    def of_cls(self) -> torch.Tensor:
        """See `AttentionRecord`; of the other tokens nothing is worked out for it."""
        if "probabilities" in vars(self):
            return super().of_cls()
        rows = [layer.of_first_token().probabilities()[0, :, 0, : self._token_count] for layer in self._layers]
        return torch.stack(rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(L, A, S, S)."""
        return len(self._layers), self._layers[0].queries.shape[1], self._token_count, self._token_count

    @property
    def nbytes(self) -> int:
        """Bytes that it comes to, once the probabilities are made."""
        return prod(self.shape) * torch.float32.itemsize + sum(layer.nbytes for layer in self._layers)

    def at_once(self) -> AttentionRecord:
        """Return the same record with its probabilities alone."""
        return AttentionRecord(self.probabilities, self.patch_grid, self.original_size, self.text_tokens)
