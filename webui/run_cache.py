"""The finished runs that visitors still look at: kept for the tabs beside the comparison, bounded in bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from evfsam.errors import Sentence
from evfsam.types import Segmentation
from webui.bounded_store import BoundedStore
from webui.known_scenes import KnownScene
from webui.tabs.compare.runs import Progress
from workbench.comparison import StrategyOptions

DEFAULT_MAX_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A comparison, kept once all strategies have answered.

    Attributes:
        progress: image, phrases and answers.
        options: what was chosen for each strategy, by its key.
        known: the scene on the page, if it is one.
    """

    progress: Progress
    options: StrategyOptions
    known: KnownScene | None

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the image and of all that its answers hold; what several of them share counts once."""
        answers = [one for result in self.progress.results for one in (result.segmentation, *result.by_phrase)]
        height, width = self.progress.view.size
        image_bytes, mask_bytes = self.progress.view.image.nbytes, len(answers) * -(-height * width // 8)
        held = {id(tensor.untyped_storage()): tensor for one in answers for tensor in _tensors_of(one)}
        tensor_bytes = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
        attention = {id(one.attention): one.attention.nbytes for one in answers if one.attention is not None}
        return image_bytes + mask_bytes + tensor_bytes + sum(attention.values())


class RunStore(BoundedStore[FinishedRun]):
    """Keeps the finished runs of the visitors.

    Args:
        max_bytes: bound on what they hold; one that alone exceeds it is not kept.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        super().__init__(max_bytes, lambda run: run.nbytes, "run", "Press Compare to run it again.")

    def put(self, value: FinishedRun, key: str = "", owner: str | None = None) -> str:
        """Keep a run; returns its key.

        Raises:
            NoRoomError: it is larger than all room, or what others are at takes that.
        """
        if value.nbytes > self.max_bytes:
            size, most = (f"{count / 2**20:,.0f}" for count in (value.nbytes, self.max_bytes))
            self.refuse(
                Sentence(
                    "This run takes {size} MiB, more than the {most} MiB that are kept for these tabs. "
                    "Ask fewer phrases or strategies at once, or take a smaller picture.",
                    size=size,
                    most=most,
                )
            )
        return super().put(value, key, owner)


def _tensors_of(segmentation: Segmentation) -> Iterator[torch.Tensor]:
    held = [segmentation.given_logits]
    held += [each.low_res_logits for each in segmentation.predictions]
    return (tensor for tensor in held if tensor is not None)
