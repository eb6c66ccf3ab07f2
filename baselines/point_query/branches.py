"""Continuations of one dialogue that do not see each other, side by side in one key/value cache.

The dialogue's beginning, with the image, is in the cache once. What follows it in different ways, such as sixteen
phrases or twenty-five questions, is fed together as one sequence: a mask lets every token see the beginning and its own
branch alone, and positions count along the branch. So nothing of the cache is repeated, and one forward pass reads them
all. Words that branches begin with alike are fed once, such as the box before the points in it. Shapes: N branches, S
tokens fed together, T tokens in the cache, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from baselines.transformers_releases import cache_argument

ENDS_AT_ONCE: Final = 25
"""Branches that one forward pass reads to their ends: each token is compared with those of all, seen or not."""
_PLAIN_ATTENTION: Final = "full_attention"


@dataclass(frozen=True, eq=False)
class Branch:
    """A way through the cache, from the dialogue's beginning to one of its ends.

    Attributes:
        ids: text tokens after the shared beginning.
        seen: (T,) bool, which tokens of the cache lie on it; later ones do not.
        position: of the token that would follow.
    """

    ids: tuple[int, ...]
    seen: NDArray[np.bool_]
    position: int

    def cut(self, length: int) -> "Branch":
        """Return it with the first `length` of its ids alone."""
        dropped = len(self.ids) - length
        if not dropped:
            return self
        seen = self.seen.copy()
        seen[np.flatnonzero(seen)[-dropped:]] = False
        return Branch(self.ids[:length], seen, self.position - dropped)


class _Twigs:
    """Tokens to feed after branches, each once where branches of one parent go the same way.

    Attributes:
        ids, positions: of each token.
        branches: the parent that each token grows from.
        befores: index of the token before each; None right after the parent.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.branches: list[Branch] = []
        self.befores: list[int | None] = []
        self._known: dict[tuple[int, int | None, int], int] = {}

    def add(self, parent: Branch, tokens: Sequence[int]) -> int:
        """Take in tokens, at least one, that follow a branch; return the index of the last."""
        before: int | None = None
        for depth, token in enumerate(tokens):
            step = id(parent), before, token
            if step not in self._known:
                self._known[step] = len(self.ids)
                self.ids.append(token)
                self.positions.append(parent.position + depth)
                self.branches.append(parent)
                self.befores.append(before)
            before = self._known[step]
        assert before is not None
        return before


class BranchingCache:
    """A dialogue's beginning and the branches that grow from it.

    Args:
        model: that `can_branch`.
        cache: holds the beginning; it grows and is cut back in place.
    """

    def __init__(self, model: PreTrainedModel, cache: Cache) -> None:
        self._model = model
        self._cache = cache
        self._length = int(cache.get_seq_length())
        self.root = Branch((), np.ones(self._length, dtype=np.bool_), self._length + _position_offset(model))

    def grow(self, parents: Sequence[Branch], tokens: Sequence[Sequence[int]]) -> tuple[list[Branch], torch.Tensor]:
        """Feed tokens after branches, all in one forward pass; they stay in the cache.

        Args:
            parents: N branches; one may be named more than once.
            tokens: at least one for each.

        Returns:
            The N longer branches, and (N, V) logits after the last token of each.
        """
        counts = [len(each) for each in tokens]
        ends = np.cumsum(counts)
        allowed = np.zeros((int(ends[-1]), self._length + int(ends[-1])), dtype=np.bool_)
        grown = []
        for parent, fed, count, end in zip(parents, tokens, counts, ends, strict=True):
            rows = slice(int(end) - count, int(end))
            columns = slice(self._length + rows.start, self._length + rows.stop)
            allowed[rows, : len(parent.seen)] = parent.seen
            allowed[rows, columns] = np.tri(count, dtype=np.bool_)
            grown.append(Branch((*parent.ids, *fed), allowed[rows.stop - 1], parent.position + count))
        positions = [
            np.arange(parent.position, parent.position + count) for parent, count in zip(parents, counts, strict=True)
        ]
        logits = self._forward(allowed, np.concatenate(tokens), np.concatenate(positions), ends - 1)
        self._length += int(ends[-1])
        return grown, logits

    def read_ends(self, parents: Sequence[Branch], tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return (N, V) logits after tokens that follow branches; the cache stays as it is.

        Cheapest where branches of one parent stand beside each other: what no parent of a pass has seen is left out.
        """
        parts = [slice(start, start + ENDS_AT_ONCE) for start in range(0, len(parents), ENDS_AT_ONCE)]
        ends = []
        for part in parts:
            tree, own = self._narrowed(parents[part])
            ends.append(tree._read(own, tokens[part]))
        return torch.cat(ends)

    def _read(self, parents: Sequence[Branch], tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Do as `read_ends` in one forward pass: what branches of one parent begin with alike is fed once."""
        fed = _Twigs()
        ends = [fed.add(parent, each) for parent, each in zip(parents, tokens, strict=True)]
        allowed = np.zeros((len(fed.ids), self._length + len(fed.ids)), dtype=np.bool_)
        for row, (branch, before) in enumerate(zip(fed.branches, fed.befores, strict=True)):
            if before is None:
                allowed[row, : len(branch.seen)] = branch.seen
            else:
                allowed[row] = allowed[before]
            allowed[row, self._length + row] = True
        logits = self._forward(allowed, np.array(fed.ids), np.array(fed.positions), np.array(ends))
        self._cache.crop(-len(fed.ids))
        return logits

    def _narrowed(self, parents: Sequence[Branch]) -> tuple["BranchingCache", list[Branch]]:
        """Return a cache of what these branches have seen alone, and the branches in it."""
        each = {id(parent): parent for parent in parents}
        seen = np.zeros((len(each), self._length), dtype=np.bool_)
        for row, parent in zip(seen, each.values(), strict=True):
            row[: len(parent.seen)] = parent.seen
        kept = np.flatnonzero(seen.any(axis=0))
        if len(kept) == self._length:
            return self, list(parents)
        cache = DynamicCache(config=self._model.config)
        places = torch.from_numpy(kept).to(self._model.device)
        for index, layer in enumerate(self._cache.layers):
            cache.update(layer.keys[:, :, places], layer.values[:, :, places], index)
        own = {
            key: Branch(parent.ids, row[kept], parent.position)
            for row, (key, parent) in zip(seen, each.items(), strict=True)
        }
        return BranchingCache(self._model, cache), [own[id(parent)] for parent in parents]

    def speak(
        self, branches: Sequence[Branch], logits: torch.Tensor, *, most: int
    ) -> tuple[list[Branch], list[list[int]]]:
        """Let each branch go on with its likeliest token, again and again, until it ends.

        Args:
            branches: N of them.
            logits: (N, V) at their ends.
            most: tokens that each may speak.

        Returns:
            The branches with what they spoke, but for each one's last token, which is chosen and not fed; and all that
            each spoke.
        """
        ends = _end_tokens(self._model)
        grown = list(branches)
        spoken: list[list[int]] = [[] for _ in grown]
        going = list(range(len(grown)))
        for step in range(most):
            for index, token in zip(going, logits.argmax(-1).tolist(), strict=True):
                spoken[index].append(token)
            going = [index for index in going if spoken[index][-1] not in ends]
            if not going or step == most - 1:
                break
            longer, logits = self.grow([grown[index] for index in going], [spoken[index][-1:] for index in going])
            for index, branch in zip(going, longer, strict=True):
                grown[index] = branch
        return grown, spoken

    def _forward(
        self, allowed: NDArray[np.bool_], ids: NDArray[np.int_], positions: NDArray[np.int_], wanted: NDArray[np.int_]
    ) -> torch.Tensor:
        model = self._model
        device, dtype = model.device, model.dtype
        mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
        mask.masked_fill_(torch.from_numpy(~allowed).to(device), torch.finfo(dtype).min)
        output = model(
            input_ids=torch.from_numpy(ids)[None].to(device),
            position_ids=torch.from_numpy(positions)[None].to(device),
            attention_mask=mask[None, None],
            use_cache=True,
            logits_to_keep=torch.from_numpy(wanted).to(device),
            **cache_argument(model, self._cache),
        )
        logits: torch.Tensor = output.logits[0]
        return logits


def can_branch(model: PreTrainedModel, cache: Cache) -> bool:
    """Whether a model reads branches as it would read each alone: every layer attends to all that a mask allows."""
    text: Any = model.config.get_text_config()
    kinds = getattr(text, "layer_types", None) or (_PLAIN_ATTENTION,)
    slides = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    is_masked = model.config._attn_implementation in ("sdpa", "eager")
    return bool(cache.is_croppable and is_masked and not slides and set(kinds) == {_PLAIN_ATTENTION})


def can_choose_greedily(model: PreTrainedModel) -> bool:
    """Whether `generate` without sampling is nothing but the likeliest token, one after the other."""
    settings: Mapping[str, object] = model.generation_config.to_diff_dict()
    changing = ("penalty", "no_repeat", "suppress", "bad_words", "forced", "min_length", "min_new", "sequence_bias")
    return not any(
        value not in (None, 1.0, 0) for name, value in settings.items() if any(part in name for part in changing)
    )


def _end_tokens(model: PreTrainedModel) -> frozenset[int]:
    """Return the tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    return frozenset() if ends is None else frozenset(ends if isinstance(ends, list | tuple) else (ends,))


def holds_positions(model: PreTrainedModel) -> bool:
    """Whether a model notes on itself how positions go on after the image it saw last."""
    return any(hasattr(module, "rope_deltas") for module in (model, getattr(model, "model", None)))


def _position_offset(model: PreTrainedModel) -> int:
    """Return how far the next position is from the number of tokens: models of three axes count an image shorter."""
    for module in (model, getattr(model, "model", None)):
        deltas = getattr(module, "rope_deltas", None)
        if deltas is not None:
            return int(deltas.flatten()[0])
    return 0
