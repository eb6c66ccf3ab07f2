"""The values and protocols that the rooms of this project exchange.

Shapes: H and W are the original image's height and width, C the width of SAM's prompt embeddings, M the number of
candidate masks, L encoder layers, A attention heads, and h x w the encoder's patch grid.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar, overload, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from evfsam.errors import ImageFormatError
from evfsam.geometry import BoxXyxy as BoxXyxy
from evfsam.geometry import Frame, upsample_logits
from evfsam.large_logits import Indices, LargeLogits, can_work_in_bands, row_bands

RgbImage = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

VerdictKind = Literal["found", "absent", "failed"]


@dataclass(frozen=True)
class PromptPoint:
    """One point given to SAM, or considered and dropped.

    Attributes:
        x, y: pixels of the original image; a pixel's centre is at +0.5.
        label: 1 on the object, 0 off it.
        confidence: probability of the answer that gave the label, in [0, 1]; None for a person's click.
        is_kept: whether SAM saw the point.
        p_yes: probability in [0, 1] that the point lies on the object; None where nobody was asked.
    """

    x: float
    y: float
    label: Literal[0, 1]
    confidence: float | None = None
    is_kept: bool = True
    p_yes: float | None = None


@dataclass(frozen=True, eq=False)
class SamPrompt:
    """What SAM's prompt encoder was given for one mask; pixels of the original image.

    Attributes:
        box: XYXY or None.
        points: every point considered; only those with `is_kept` reach SAM.
        text_prompt_embeddings: (N, C) float32 concatenated after the sparse embeddings, or None.
    """

    box: BoxXyxy | None = None
    points: tuple[PromptPoint, ...] = ()
    text_prompt_embeddings: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """SAM's features of one image, on the backbone's device.

    Attributes:
        image_embeddings: (1, C, h, w).
        high_res_features: SAM-2's finer levels, empty for SAM.
        original_size, input_size: (H, W) of the image, and of the part of the encoder's frame that it fills.
        encoder_identity: the encoder that made it; see `MaskBackbone.encoder_identity`.
        seconds: what computing it took.
    """

    image_embeddings: torch.Tensor
    original_size: tuple[int, int]
    input_size: tuple[int, int]
    encoder_identity: str
    seconds: float
    high_res_features: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes held by the tensors."""
        return sum(t.numel() * t.element_size() for t in (self.image_embeddings, *self.high_res_features))


class LogitsOnDemand:
    """A field of (H, W) logits: as they were given, or else joined from an answer's sources whenever it is read."""

    @overload
    def __get__(self, answer: None, owner: type) -> None: ...
    @overload
    def __get__(self, answer: "Segmentation", owner: type) -> torch.Tensor: ...
    def __get__(self, answer: "Segmentation | None", owner: type) -> torch.Tensor | None:
        if answer is None:
            return None  # what the field holds unless it is given
        given = answer.given_logits
        return answer.joined_logits() if given is None else given

    def __set__(self, answer: "Segmentation", value: torch.Tensor | None) -> None:
        vars(answer)["_given_logits"] = value


def no_logits(size: tuple[int, int]) -> torch.Tensor:
    """(H, W) float32, all -inf: the logits where nothing was drawn; takes no memory and cannot be written to."""
    return torch.full((), -torch.inf).expand(size)


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """What SAM's decoder answered to one prompt.

    Attributes:
        low_res_logits: (M, 4h, 4w) float32, every candidate in the decoder's order; on a finer grid where a person's
            box was seen closer (`evfsam.sam.closer_look`).
        pred_ious: (M,) float32, SAM's own guess of each candidate's IoU; not clamped to [0, 1].
        chosen: index of the candidate with the highest `pred_iou`.
        frame: where the image lies in the square that the low-resolution logits cover.
    """

    low_res_logits: torch.Tensor
    pred_ious: torch.Tensor
    chosen: int
    frame: Frame

    @property
    def pred_iou(self) -> float:
        """The chosen candidate's `pred_iou`."""
        return float(self.pred_ious[self.chosen])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the original image."""
        return self.frame.original_size

    @property
    def mask_logits(self) -> torch.Tensor:
        """(H, W) float32 of the chosen candidate, made anew each time they are read; the decision border is 0.

        At the original size they are 192 MB for a photograph of 48 megapixels, at the decoder's 256 kB.
        """
        return upsample_logits(self.low_res_logits[None, self.chosen : self.chosen + 1], self.frame)[0, 0]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: where `mask_logits` exceed 0, made anew each time, without them where the image is large."""
        large = self.large_logits()
        return (self.mask_logits > 0).cpu().numpy() if large is None else large.mask()

    def logit_bands(self) -> Iterator[NDArray[np.float32]]:
        """Yield `mask_logits` in parts, (R, W) each: see `evfsam.large_logits.row_bands`."""
        large = self.large_logits()
        if large is not None:
            yield from large.bands()
            return
        logits = self.mask_logits.cpu().numpy()
        yield from (logits[rows] for rows in row_bands(self.size))

    def logits_at(self, rows: Indices, columns: Indices) -> NDArray[np.float32]:
        """(R, C): `mask_logits` where R rows and C columns meet."""
        large = self.large_logits()
        return self.mask_logits.cpu().numpy()[np.ix_(rows, columns)] if large is None else large.at(rows, columns)

    def large_logits(self) -> LargeLogits | None:
        """Return `mask_logits` as seen a part at a time; None where making all of them is as good."""
        low_res_logits = self.low_res_logits[self.chosen]
        if not can_work_in_bands(low_res_logits, self.frame):
            return None
        return LargeLogits(low_res_logits, self.frame)


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """Attention of a multimodal encoder over one image and phrase.

    Attributes:
        probabilities: (L, A, S, S) float32, query axis then key axis, rows sum to 1; tokens are [CLS], the h x w
            patches row by row, then the text.
        patch_grid: (h, w).
        original_size: (H, W) of the image, to which maps are stretched back.
        text_tokens: the text pieces of the last axis, specials included.
    """

    probabilities: torch.Tensor
    patch_grid: tuple[int, int]
    original_size: tuple[int, int]
    text_tokens: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(L, A, S, S)."""
        return tuple(self.probabilities.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return self.probabilities.nbytes

    def of_cls(self) -> torch.Tensor:
        """(L, A, S) float32: the rows of [CLS]."""
        return self.probabilities[:, :, 0]

    def at_once(self) -> "AttentionRecord":
        """Return it with its probabilities worked out, where they are made when they are read."""
        return self


@dataclass(frozen=True)
class TraceEntry:
    """One step a strategy took, in words: what was asked, what was answered.

    Attributes:
        step: short name, such as "ask for the box".
        asked, answered: text as it was sent and received; empty where the step has none.
        values: plain JSON values worth keeping (parsed box, probabilities, ...).
    """

    step: str
    asked: str = ""
    answered: str = ""
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a strategy says of the phrase: the object was found, is absent, or the strategy failed.

    Attributes:
        kind: "found", "absent" or "failed".
        reason: one sentence for a person; never empty for "absent" and "failed".
    """

    kind: VerdictKind
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A strategy's whole answer to one image and phrase.

    Attributes:
        verdict: see `Verdict`.
        mask_logits: (H, W) float32 at the original size; the mask is where they exceed 0. Unless they are given, they
            are the highest of `sources`: see `LogitsOnDemand`.
        pred_iou: SAM's guess for the mask, or None where SAM was not asked. With several masks, the lowest.
        prompts: the prompts SAM really got, one a mask; their masks are joined.
        predictions: the decoder's answers, one a prompt.
        attention: None for strategies without cross-modal attention.
        trace: the steps in order.
        seconds: seconds a stage, such as {"encode image": 0.2, "fuse": 0.05, "decode": 0.01}.
        embedding_was_cached: whether the image's embedding was at hand, or was not needed; a region that SAM sees
            closer because of a person's box is encoded all the same.
        sources: what `mask_logits` are made of where they are not given; without any, the predictions.
    """

    verdict: Verdict
    mask_logits: LogitsOnDemand = LogitsOnDemand()  # a descriptor, which holds nothing itself
    pred_iou: float | None = None
    prompts: tuple[SamPrompt, ...] = ()
    predictions: tuple[MaskPrediction, ...] = ()
    attention: AttentionRecord | None = None
    trace: tuple[TraceEntry, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    embedding_was_cached: bool = False
    sources: "tuple[MaskPrediction | Segmentation, ...]" = ()

    @classmethod
    def drawn(
        cls,
        prompts: tuple[SamPrompt, ...],
        predictions: tuple[MaskPrediction, ...],
        empty: Verdict,
        *,
        remark: str = "",
        attention: AttentionRecord | None = None,
        trace: tuple[TraceEntry, ...] = (),
        seconds: Mapping[str, float] = MappingProxyType({}),
        embedding_was_cached: bool = False,
    ) -> "Segmentation":
        """Join the decoder's answers, one a prompt and at least one.

        Args:
            prompts: as in the class.
            predictions: as in the class.
            empty: the verdict where no pixel was drawn.
            remark: what to say beside "found".
            attention: as in the class.
            trace: as in the class.
            seconds: as in the class.
            embedding_was_cached: as in the class.
        """
        pred_iou = min(prediction.pred_iou for prediction in predictions)
        evidence = pred_iou, prompts, predictions, attention, trace, dict(seconds), embedding_was_cached
        found = cls(Verdict("found", remark), None, *evidence)
        return found if found.mask_bits.any() else cls(empty, None, *evidence)

    @classmethod
    def undrawn(
        cls,
        verdict: Verdict,
        size: tuple[int, int],
        *,
        trace: tuple[TraceEntry, ...] = (),
        seconds: Mapping[str, float] = MappingProxyType({}),
        embedding_was_cached: bool = True,
    ) -> "Segmentation":
        """Answer without a mask, since none was asked for or none is kept.

        Args:
            verdict: why.
            size: (H, W) of the image.
            trace: as in the class.
            seconds: as in the class.
            embedding_was_cached: as in the class.
        """
        logits, times = no_logits(size), dict(seconds)
        return cls(verdict, logits, trace=trace, seconds=times, embedding_was_cached=embedding_was_cached)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the original image."""
        if self.given_logits is not None:
            return self.given_logits.shape[0], self.given_logits.shape[1]
        return self._sources[0].size

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: logits above 0; made anew of the `mask_bits` each time."""
        bits = self.mask_bits
        return np.unpackbits(bits, count=self.size[0] * self.size[1]).view(np.bool_).reshape(self.size)

    @cached_property
    def mask_bits(self) -> NDArray[np.uint8]:
        """(ceil(H W / 8),) uint8: the mask row by row, eight pixels a byte, zeros behind the last; what is held."""
        if self.given_logits is None and self.verdict.kind != "found":
            return np.zeros(-(-self.size[0] * self.size[1] // 8), dtype=np.uint8)
        return np.packbits(self._marked())

    def _marked(self) -> NDArray[np.bool_]:
        """(H, W) bool: where `mask_logits` exceed 0, whatever the verdict."""
        if self.given_logits is not None:
            return (self.given_logits > 0).cpu().numpy()
        sources = iter(self._sources)
        marked = _marked_by(next(sources))
        for source in sources:
            marked |= _marked_by(source)
        return marked

    def logit_bands(self) -> Iterator[NDArray[np.float32]]:
        """Yield `mask_logits` in parts, (R, W) each, from the top: see `evfsam.large_logits.row_bands`."""
        if self.given_logits is not None:
            logits = self.given_logits.float().cpu().numpy()
            yield from (logits[rows] for rows in row_bands(self.size))
            return
        for parts in zip(*(source.logit_bands() for source in self._sources), strict=True):
            yield reduce(np.maximum, parts)

    def logits_at(self, rows: Indices, columns: Indices) -> NDArray[np.float32]:
        """(R, C): `mask_logits` where R rows and C columns meet."""
        if self.given_logits is not None:
            return self.given_logits.float().cpu().numpy()[np.ix_(rows, columns)]
        return reduce(np.maximum, (source.logits_at(rows, columns) for source in self._sources))

    @property
    def given_logits(self) -> torch.Tensor | None:
        """The `mask_logits` that are held, if any."""
        given: torch.Tensor | None = vars(self)["_given_logits"]
        return given

    @property
    def _sources(self) -> "tuple[MaskPrediction | Segmentation, ...]":
        return self.sources or self.predictions

    def joined_logits(self) -> torch.Tensor:
        """Join the sources' logits by the highest."""
        first, *others = self._sources
        highest = first.mask_logits
        for source in others:
            highest = torch.maximum(highest, source.mask_logits)
        return highest

    @property
    def area_share(self) -> float:
        """Share of the image that the mask covers, in [0, 1]."""
        return int(np.bitwise_count(self.mask_bits).sum(dtype=np.int64)) / (self.size[0] * self.size[1])


def _marked_by(source: MaskPrediction | Segmentation) -> NDArray[np.bool_]:
    """(H, W) bool, a new array: where one source's logits exceed 0."""
    if isinstance(source, MaskPrediction) or source.verdict.kind == "found":
        return source.mask
    return source._marked()


@dataclass(frozen=True)
class StrategyCard:
    """What a strategy is, for the page and the reports.

    Attributes:
        key: stable name on the command line and in files, such as "evf-sam".
        title: for people.
        summary: one sentence: how the phrase reaches SAM.
        paper: citation or URL.
        licence: of the weights in use.
        can, cannot: what to expect of it, one sentence each.
        takes_marks: whether it gives SAM a person's points and box beside its own prompt, told before it is loaded.
    """

    key: str
    title: str
    summary: str
    paper: str
    licence: str
    can: str
    cannot: str
    takes_marks: bool = False


class ImageEncoder(Protocol):
    """The slow half of a segmenter, which sees the image."""

    @property
    def encoder_identity(self) -> str:
        """Digest of the image encoder's weights and configuration: equal digests, equal embeddings."""
        ...

    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        """Compute SAM's features of one image."""
        ...


class MaskBackbone(ImageEncoder, Protocol):
    """A promptable segmenter: a slow half that sees the image, a fast half that sees the prompt."""

    @property
    def looks_closer(self) -> bool:
        """Whether a small thing in a person's box is to be seen alone; see `evfsam.sam.closer_look`."""
        ...

    def frame(self, embedding: ImageEmbedding) -> Frame:
        """Return where the image lies in the encoder's square."""
        ...

    def decode(self, embedding: ImageEmbedding, prompt: SamPrompt, *, multimask: bool) -> MaskPrediction:
        """Turn one prompt into masks; `multimask` asks for three candidates instead of one."""
        ...

    def decode_many(
        self, embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, multimask: bool
    ) -> tuple[MaskPrediction, ...]:
        """Do as `decode` for several prompts on one image, in as few passes as their lengths allow."""
        ...


class Weighed(Protocol):
    """What knows how many bytes it holds, as embeddings and tensors do."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...


Seen = TypeVar("Seen", bound=Weighed)
"""What a model sees in an image before anything is asked of it."""


class See(Protocol):
    """Looks at one image; `ImageView.seen` is one."""

    def __call__(self, identity: str, compute: Callable[[], Seen], /) -> tuple[Seen, bool]:
        """Return what a model of that identity sees in the image, and whether that was at hand already."""
        ...


class EmbeddingStore(Protocol):
    """A cache of what models see in images; `workbench.embedding_cache` bounds one in bytes."""

    def get_or_compute(self, key: str, compute: Callable[[], Seen]) -> tuple[Seen, bool]:
        """Return what is kept under `key` and whether it was there already; computes it at most once."""
        ...


class _OneImageStore:
    """Keeps what was seen in a single view, for callers without a cache of their own."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}

    def get_or_compute(self, key: str, compute: Callable[[], Seen]) -> tuple[Seen, bool]:
        was_kept = key in self._seen
        if not was_kept:
            self._seen[key] = compute()
        return self._seen[key], was_kept


class ImageView:
    """One decoded image and its embeddings, each computed at most once a backbone.

    Args:
        image: (H, W, 3) uint8 RGB; a private read-only copy is kept.
        store: where embeddings live; by default they live and die with the view.

    Raises:
        ImageFormatError: the array has another shape or type, or an empty side.
    """

    def __init__(self, image: RgbImage, store: EmbeddingStore | None = None) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ImageFormatError(
                "expected an RGB uint8 array (H, W, 3), got {dtype} {shape}; read files with "
                "evfsam.preprocess.load_image",
                dtype=image.dtype,
                shape=image.shape,
            )
        self.image: RgbImage = np.array(image, order="C", copy=True)
        self.image.setflags(write=False)
        self._store: EmbeddingStore = store if store is not None else _OneImageStore()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over size and pixels, hexadecimal."""
        digest = hashlib.sha256(repr(self.image.shape).encode())
        digest.update(self.image.data)
        return digest.hexdigest()

    def embedding(self, encoder: ImageEncoder) -> tuple[ImageEmbedding, bool]:
        """Return the encoder's embedding of this image, and whether it was at hand already."""
        return self.seen(encoder.encoder_identity, lambda: encoder.encode_image(self.image))

    def seen(self, identity: str, compute: Callable[[], Seen]) -> tuple[Seen, bool]:
        """Return what a model sees in this image, and whether that was at hand already.

        Args:
            identity: of the model's weights, and of what they make of an image.
            compute: makes it.
        """
        return self._store.get_or_compute(f"{identity}:{self.content_hash}", compute)


@runtime_checkable
class Strategy(Protocol):
    """A way of saying a phrase to SAM. Read-only after it is built: safe to share between visitors."""

    @property
    def card(self) -> StrategyCard:
        """What it is."""
        ...

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Segment what the phrase names.

        Raises:
            PhraseError: the phrase is empty or too long.
        """
        ...
