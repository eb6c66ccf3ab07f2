"""What each patch of an image shows, taught beside a stage's own task: the object's name, its colour and its ranks.

Vision encoders of this size learn little of it from phrases alone: a scene's caption, a box or a mask says nothing of
most patches. Names are told apart by word embeddings, which ties words to looks.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from training.ranks import RANKS
from training.scene_stream import COLOUR_IDS, NAME_IDS, SceneTensors


class PatchHeads(nn.Module):
    """Heads over patch features that say what a patch shows.

    Args:
        width: channels of the patches.
        word_width: channels of the word embeddings.
        encode: word to its token ids.
    """

    def __init__(self, width: int, word_width: int, encode: Callable[[str], Sequence[int]]) -> None:
        super().__init__()
        self.naming = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * word_width))
        self.ranking = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(RANKS)))
        self.nothing = nn.Parameter(torch.zeros(2, word_width))
        spelled = [torch.tensor(list(encode(name))) for name in (*NAME_IDS, *COLOUR_IDS)]
        self.name_ids: torch.Tensor
        self.register_buffer("name_ids", nn.utils.rnn.pad_sequence(spelled, True, -1), persistent=False)

    def naming_loss(self, scenes: SceneTensors, patches: torch.Tensor, words: nn.Embedding) -> torch.Tensor:
        """Cross-entropy of each patch's name and half that of its colour, where it has a clear one.

        Args:
            scenes: B scenes.
            patches: (B, N, width) features, N a square number.
            words: embeddings of the tokens.
        """
        vectors = self._vectors(words)
        shown = scenes.shown(round(patches.shape[1] ** 0.5))
        features, split = self.naming(patches).chunk(2, dim=-1), len(NAME_IDS)
        losses = []
        for kind, (known, ids) in enumerate(((vectors[:split], scenes.names), (vectors[split:], scenes.colours))):
            table = torch.cat([self.nothing[kind : kind + 1], known])
            wanted = ids.gather(1, shown)
            losses.append(F.cross_entropy(features[kind].flatten(0, 1).float() @ table.T.float(), wanted.flatten()))
        return losses[0] + 0.5 * losses[1]

    def taught_naming_loss(
        self, scenes: SceneTensors, patches: torch.Tensor, words: nn.Embedding, taught: torch.Tensor
    ) -> torch.Tensor:
        """Divergence from a teacher's names and half the cross-entropy of colours, where objects have a clear one.

        Args:
            scenes: B scenes.
            patches: (B, N, width) features, N a square number.
            words: embeddings of the tokens.
            taught: (B, N, names + 1) probabilities, the first for no object.
        """
        vectors, split = self._vectors(words), len(NAME_IDS)
        shown = scenes.shown(round(patches.shape[1] ** 0.5))
        named, coloured = self.naming(patches).chunk(2, dim=-1)
        scores = named @ torch.cat([self.nothing[:1], vectors[:split]]).T
        names = F.kl_div(scores.log_softmax(-1).flatten(0, 1), taught.flatten(0, 1), reduction="batchmean")
        colours = F.cross_entropy(
            (coloured @ torch.cat([self.nothing[1:], vectors[split:]]).T).flatten(0, 1),
            scenes.colours.gather(1, shown).flatten(),
        )
        return names + 0.5 * colours

    def named_right(
        self, scenes: SceneTensors, patches: torch.Tensor, words: nn.Embedding
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, N) whether each patch is named right, and what it shows, 0 where that is no object."""
        known = torch.cat([self.nothing[:1], self._vectors(words)[: len(NAME_IDS)]])
        shown = scenes.shown(round(patches.shape[1] ** 0.5))
        named = (self.naming(patches).chunk(2, dim=-1)[0] @ known.T).argmax(-1)
        return named == scenes.names.gather(1, shown), shown

    def _vectors(self, words: nn.Embedding) -> torch.Tensor:
        """(names + colours, word_width): the mean embedding of each word's pieces."""
        present = (self.name_ids >= 0)[..., None]
        vectors: torch.Tensor = (words(self.name_ids.clamp_min(0)) * present).sum(1) / present.sum(1)
        return vectors

    def ranking_loss(self, scenes: SceneTensors, patches: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of `RANKS` on patches of objects that have equals; patches elsewhere are left out.

        Args:
            scenes: B scenes.
            patches: (B, N, width) features, N a square number.
        """
        shown = scenes.shown(round(patches.shape[1] ** 0.5))
        rows = torch.arange(len(shown), device=shown.device)[:, None]
        targets, weights = scenes.ranks[rows, shown].float(), scenes.is_ranked[rows, shown].float()[..., None]
        losses = F.binary_cross_entropy_with_logits(self.ranking(patches).float(), targets, reduction="none")
        return (losses * weights).sum() / (weights.sum() * len(RANKS)).clamp_min(1)
