"""What each patch of an image shows, taught beside a stage's own task: the object's name, its colour and its ranks.

Vision encoders of this size learn little of it from phrases alone: a scene's caption, a box or a mask says nothing of
most patches. Names are told apart by word embeddings, which ties words to looks.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from training.ranks import RANKS, object_ranks
from training.scene_cache import CachedScene, shown_objects
from workbench.datasets.vocabulary import CATEGORIES, HUES

_CATEGORY_IDS = {name: i + 1 for i, name in enumerate(sorted(CATEGORIES))}
_COLOUR_IDS = {name: i + 1 for i, name in enumerate(sorted(HUES))}


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
        spelled = [torch.tensor(list(encode(name))) for name in (*_CATEGORY_IDS, *_COLOUR_IDS)]
        self.register_buffer("name_ids", nn.utils.rnn.pad_sequence(spelled, True, -1), persistent=False)

    def naming_loss(self, scenes: Sequence[CachedScene], patches: torch.Tensor, words: nn.Embedding) -> torch.Tensor:
        """Cross-entropy of each patch's category and half that of its colour.

        Args:
            scenes: B scenes.
            patches: (B, N, width) features, N a square number.
            words: embeddings of the tokens.
        """
        present = (self.name_ids >= 0)[..., None]
        vectors = (words(self.name_ids.clamp_min(0)) * present).sum(1) / present.sum(1)
        targets = [patch_names(scene, round(patches.shape[1] ** 0.5)) for scene in scenes]
        features, split = self.naming(patches).chunk(2, dim=-1), len(_CATEGORY_IDS)
        losses = []
        for kind, known in enumerate((vectors[:split], vectors[split:])):
            table = torch.cat([self.nothing[kind : kind + 1], known])
            wanted = torch.from_numpy(np.concatenate([target[kind] for target in targets])).to(patches.device)
            losses.append(F.cross_entropy(features[kind].flatten(0, 1).float() @ table.T.float(), wanted))
        return losses[0] + 0.5 * losses[1]

    def ranking_loss(self, scenes: Sequence[CachedScene], patches: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of `RANKS` on patches of objects that have equals; patches elsewhere are left out.

        Args:
            scenes: B scenes.
            patches: (B, N, width) features, N a square number.
        """
        ranks, is_ranked = zip(*(object_ranks(scene) for scene in scenes), strict=True)
        shown = [shown_objects(scene, round(patches.shape[1] ** 0.5)) for scene in scenes]
        wanted = np.stack([of_scene[objects] for of_scene, objects in zip(ranks, shown, strict=True)])
        counted = np.stack([of_scene[objects] for of_scene, objects in zip(is_ranked, shown, strict=True)])
        weights = torch.from_numpy(counted).float().to(patches.device)[..., None]
        targets = torch.from_numpy(wanted).float().to(patches.device)
        losses = F.binary_cross_entropy_with_logits(self.ranking(patches).float(), targets, reduction="none")
        return (losses * weights).sum() / (weights.sum() * len(RANKS)).clamp_min(1)


def patch_names(scene: CachedScene, grid: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(grid * grid,) category and colour of the object that shows most in each patch; 0 for background or no paint."""
    shown = shown_objects(scene, grid)
    categories = np.array([0, *(_CATEGORY_IDS[name] for name in scene.categories)])
    colours = np.array([0, *(_COLOUR_IDS[name] if name else 0 for name in scene.colours)])
    return categories[shown], colours[shown]
