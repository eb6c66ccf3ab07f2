"""What every data set offers: images with phrases and known masks, read when they are needed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, NoReturn, Protocol, TypeVar, runtime_checkable

import numpy as np

from evfsam.errors import ConfigurationError, EvfSamError
from evfsam.phrases import ALL_OF_CLASS
from evfsam.types import RgbImage
from workbench.metrics.masks import ReferenceMask

Item = TypeVar("Item")

ABSENT: Final = "absent"
"""The kind of expressions that name nothing in the image. They have no place in cIoU, gIoU and Pr@X."""

SEMANTIC_PREFIX: Final = ALL_OF_CLASS
"""Before the name of a category: all of its pixels are meant."""

WordingKind = Literal["seen", "unseen", ""]
"""Whether a phrase is worded as in training; "" where the data set does not know."""


class DatasetError(ConfigurationError):
    """A data set is not where it was looked for, or not laid out as expected."""


class SampleError(EvfSamError):
    """One sample cannot be read: its image is missing or its mask is damaged."""


@dataclass(frozen=True, eq=False)
class SampleQuestion:
    """One expression about an image, with its known answer.

    Attributes:
        phrase: the expression.
        kind: of the expression; `ABSENT` where it names nothing.
        reference_source: the known mask, or a function that reads it.
        wording: whether it is one that training saw.
    """

    phrase: str
    kind: str
    reference_source: ReferenceMask | Callable[[], ReferenceMask]
    wording: WordingKind = ""

    @property
    def reference(self) -> ReferenceMask:
        """(H, W) bool or uint8 labels, empty for the kind "absent"; read anew at every use.

        Raises:
            SampleError: the mask cannot be read.
        """
        return self.reference_source if isinstance(self.reference_source, np.ndarray) else self.reference_source()


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with all the questions asked about it, together, so that it is encoded once.

    Attributes:
        image_source: (H, W, 3) uint8 RGB, or a function that reads it.
        questions: in the order in which they are asked.
        sample_id: of one image alone in its data set and split; samples that share one are about the same image.
        file_name: of the image as the data set's own file has it, where it is more than the id.
    """

    image_source: RgbImage | Callable[[], RgbImage]
    questions: tuple[SampleQuestion, ...]
    sample_id: str = ""
    file_name: str = ""

    @property
    def image(self) -> RgbImage:
        """(H, W, 3) uint8 RGB; read anew at every use.

        Raises:
            SampleError: the image cannot be read.
        """
        return self.image_source if isinstance(self.image_source, np.ndarray) else self.image_source()


def unreadable_sample(sample_id: str, kind: str, reason: str) -> Sample:
    """Return what stands for a sample whose very questions cannot be read: one question that cannot be put."""

    def refuse() -> NoReturn:
        raise SampleError(reason)

    return Sample(refuse, (SampleQuestion("(unreadable)", kind, refuse),), sample_id)


class Dataset(Protocol):
    """One split of a data set, image by image in a fixed order."""

    @property
    def name(self) -> str:
        """What it is called on the command line, without the split."""
        ...

    @property
    def split(self) -> str:
        """Its split; "all" where there are none."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __iter__(self) -> Iterator[Sample]:
        """Go through the images; reads annotations at most, no image and no mask."""
        ...


@runtime_checkable
class IndexedDataset(Dataset, Protocol):
    """A data set of which one image can be had without those before it."""

    def __getitem__(self, index: int) -> Sample:
        """Return an image by its number from 0; raises IndexError beyond the last."""
        ...


@dataclass(frozen=True, eq=False)
class ListedDataset:
    """A data set whose annotations fit into memory.

    Attributes:
        name, split: see `Dataset`.
        samples: in their order.
    """

    name: str
    split: str
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


@dataclass(frozen=True, eq=False)
class ReadDataset(Generic[Item]):
    """A data set whose samples are made when they are asked for.

    Attributes:
        name, split: see `Dataset`.
        items: what is known of each image beforehand, in their order.
        read: makes the sample of an item.
    """

    name: str
    split: str
    items: Sequence[Item]
    read: Callable[[Item], Sample]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Sample]:
        return map(self.read, self.items)

    def __getitem__(self, index: int) -> Sample:
        return self.read(self.items[index])
