"""The folder of pictures: every cut-out and background as a small file, and `index.json` with what is known of them."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from training.pictures.pieces import Piece
from workbench.datasets.cutouts import Split
from workbench.datasets.vocabulary import NOUNS

_ALWAYS_TRAIN = "fluent-3d/"
"""The page's random scenes show these."""
_ALWAYS_TEST = "fluent-flat/"
"""A style of its own that no training sees: the drawn test pictures that come with the project are of it."""


def file_stem(piece: Piece) -> str:
    """Name of a cut-out's file without its ending: what it shows, and a digest of where it comes from."""
    return f"{NOUNS[piece.name].slug}-{hashlib.sha256(piece.key.encode()).hexdigest()[:10]}"


def splits(pieces: Sequence[Piece]) -> dict[str, Split]:
    """Split of each piece by its key.

    Of a name's photographs one is for tests where there are two, another one for validation where there are four; so of
    its drawings where there are four and six, and besides one whole style of them. What was made of one photograph
    stays together, and models are for training only: a figure on held-out photographs speaks of photographs.
    """
    held: dict[tuple[str, str], Split] = {}
    originals: dict[tuple[str, str], set[str]] = defaultdict(set)
    for piece in pieces:
        originals[piece.name, piece.kind].add(piece.original)
    for (name, kind), found in originals.items():
        least = {"photograph": (2, 4), "drawing": (4, 6), "render": (10**9, 10**9)}[kind]
        candidates = _shuffled(o for o in found if not o.startswith((_ALWAYS_TRAIN, _ALWAYS_TEST)))
        if len(found) >= least[0] and candidates:
            held[name, candidates[0]] = "test"
        if len(found) >= least[1] and len(candidates) > 1:
            held[name, candidates[1]] = "val"
    chosen = {original: split for (_, original), split in held.items()}
    return {
        piece.key: "test" if piece.original.startswith(_ALWAYS_TEST) else chosen.get(piece.original, "train")
        for piece in pieces
    }


def background_splits(names: Iterable[str]) -> dict[str, Split]:
    """Of seven backgrounds one is for tests and one for validation."""
    shares: list[Split] = ["test", "train", "train", "val", "train", "train", "train"]
    return {name: shares[position % 7] for position, name in enumerate(_shuffled(names))}


def _shuffled(names: Iterable[str]) -> list[str]:
    """In an order that depends on the names alone, and not on the order in which they come.

    A new picture may still move others to another split: what counts is the place in that order.
    """
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
