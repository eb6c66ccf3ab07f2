"""What a question takes beside the weights, estimated before it is asked, and a refusal where that is too much.

Counted are the picture and its copy, the mask that is being made at the picture's size, all masks as bits, the
decoder's candidates, and the attention where a strategy keeps any. Measured on 12 megapixels, 16 phrases and the three
small strategies: 260 MiB at the peak, where this says 292.
"""

from collections.abc import Iterable
from typing import Final, Protocol, runtime_checkable

from evfsam.errors import MemoryBudgetError, Sentence

GB: Final = 10**9
_PICTURE_BYTES: Final = 6
"""A pixel: the view's copy, and the one that is being resized."""
_DRAWING_BYTES: Final = 10
"""A pixel of the mask that is being made: its logits, those of the next candidate that joins them, and the mask."""
_BITS: Final = 8
_CANDIDATE_BYTES: Final = 3 * 256 * 256 * 4
"""A phrase and strategy: three low-resolution candidates of the published size."""


@runtime_checkable
class KeepsAttention(Protocol):
    """A strategy whose answers hold more than masks."""

    @property
    def attention_bytes(self) -> int:
        """At most so many bytes a phrase."""
        ...


def question_bytes(size: tuple[int, int], phrase_count: int, strategies: Iterable[object]) -> int:
    """Estimate the memory of a question at its peak, the weights not counted.

    Args:
        size: (H, W) of the image.
        phrase_count: how many phrases are asked.
        strategies: those asked; None for one whose weights are not read yet.
    """
    pixels, asked = size[0] * size[1], list(strategies)
    joined = 1 if phrase_count > 1 else 0
    masks = (phrase_count + joined) * len(asked) * -(-pixels // _BITS)
    attention = sum(one.attention_bytes for one in asked if isinstance(one, KeepsAttention))
    held = len(asked) * _CANDIDATE_BYTES + attention
    return pixels * (_PICTURE_BYTES + _DRAWING_BYTES) + masks + phrase_count * held


def check_memory(size: tuple[int, int], phrase_count: int, strategies: Iterable[object], most_bytes: int) -> None:
    """Refuse a question that would take more memory than there is for one, and say what fits.

    Args:
        size: as in `question_bytes`.
        phrase_count: as in `question_bytes`.
        strategies: as in `question_bytes`.
        most_bytes: what a question may take.

    Raises:
        MemoryBudgetError: see above.
    """
    asked = list(strategies)
    needed = question_bytes(size, phrase_count, asked)
    if needed <= most_bytes:
        return
    counts = range(phrase_count - 1, 0, -1)
    fitting = next((count for count in counts if question_bytes(size, count, asked) <= most_bytes), 0)
    megapixels = size[0] * size[1] / 1e6
    if fitting:
        advice = Sentence("ask at most {fitting} phrases at once", fitting=fitting)
    else:
        advice = Sentence("take a smaller picture or fewer strategies")
    raise MemoryBudgetError(
        "expected a question of at most {most:.1f} GB of memory, got one of {needed:.1f} GB (megapixels: "
        "{megapixels:.1f}, phrases: {phrases}, strategies: {strategies}); {advice}",
        most=most_bytes / GB,
        needed=needed / GB,
        megapixels=megapixels,
        phrases=phrase_count,
        strategies=len(asked),
        advice=advice,
    )
