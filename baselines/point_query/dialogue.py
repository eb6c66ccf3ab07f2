"""What a dialogue about an image is made of: messages, and what whoever answers them can be asked."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from evfsam.types import RgbImage, See

Message = Mapping[str, object]
"""One turn of a dialogue as `baselines.point_query.dialects.user_turn` makes it."""


@dataclass(frozen=True, eq=False)
class YesNo:
    """Next-token probabilities of yes against no.

    Attributes:
        p_yes: (N,) float32 in [0, 1], over the spellings of yes and no alone.
        mass: (N,) float32 in [0, 1], what yes and no together hold of the whole vocabulary; near 0, the model was
            about to say something else.
    """

    p_yes: torch.Tensor
    mass: torch.Tensor


class Chat(Protocol):
    """Questions about one image; `baselines.point_query.language_model.Conversation` is one."""

    def ask(self, messages: Sequence[Message], *, max_new_tokens: int) -> str:
        """Return the answer to a dialogue."""
        ...

    def ask_weighing(self, messages: Sequence[Message], *, max_new_tokens: int, rival: str) -> tuple[str, float]:
        """Return the answer, and how likely it was to begin as `rival` does."""
        ...

    def ask_each(self, dialogues: Sequence[Sequence[Message]]) -> YesNo:
        """Read yes against no after each of several dialogues with one beginning."""
        ...

    def ask_list(self, messages: Sequence[Message], *, count: int) -> tuple[str, YesNo]:
        """Read a list of yes and no out of one answer."""
        ...

    def resized_size(self) -> tuple[int, int] | None:
        """Return (H, W) of the image as the model's processor resizes it, where that is known."""
        ...


@runtime_checkable
class ChatOfMany(Protocol):
    """A chat that may answer several dialogues side by side."""

    def can_ask_together(self) -> bool:
        """Whether it may."""
        ...

    def ask_together(
        self, dialogues: Sequence[Sequence[Message]], *, max_new_tokens: int, rival: str | None
    ) -> list[tuple[str, float]]:
        """Return each answer, and how likely it was to begin as `rival` does; 0 without one."""
        ...


class ChatModel(Protocol):
    """A model that can be asked about images; `LanguageModel` is one."""

    def check_words(self, phrase: str) -> None:
        """Refuse a phrase that the model would take for structure."""
        ...

    def conversation(self, image: RgbImage, seen: See | None = None) -> AbstractContextManager[Chat]:
        """Open a conversation about one image; `seen` keeps what may be seen in it for the next one."""
        ...
