"""Small honest strategies: they segment by brightness, share a backbone that counts its work, or fail on purpose."""

# ruff: noqa: ARG001, ARG002 - doubles keep the signatures of the contract

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from time import sleep
from types import MappingProxyType

import numpy as np
import torch

from evfsam.errors import ConfigurationError
from evfsam.types import (
    AttentionRecord,
    BoxXyxy,
    ImageEmbedding,
    ImageView,
    MaskPrediction,
    PromptPoint,
    RgbImage,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)
from workbench.suites.registry import StrategyEntry, Suite


@dataclass(eq=False)
class CountingBackbone:
    """A mask backbone whose embedding is the mean of the colour channels; it counts the images it has seen."""

    encoder_identity: str = "brightness"
    encoded_count: int = 0
    _lock: Lock = field(default_factory=Lock)

    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        with self._lock:
            self.encoded_count += 1
        brightness = torch.from_numpy(image.astype(np.float32).mean(axis=2))[None, None]
        return ImageEmbedding(brightness, image.shape[:2], image.shape[:2], self.encoder_identity, 0.0)

    def decode(self, embedding: ImageEmbedding, prompt: SamPrompt, *, multimask: bool) -> MaskPrediction:
        raise AssertionError("the doubles read the embedding themselves")


BACKBONE = CountingBackbone()


@dataclass(frozen=True)
class BrightStrategy:
    """Segments the pixels brighter than a threshold, 0..255; "nothing" as a phrase names nothing."""

    key: str
    threshold: float = 128.0
    backbone: CountingBackbone = BACKBONE

    @property
    def card(self) -> StrategyCard:
        return StrategyCard(self.key, f"Bright ({self.key})", "Bright pixels.", "none", "MIT", "Sees light.", "Reads.")

    def with_options(self, /, **options: object) -> "BrightStrategy":
        if set(options) - {"threshold"}:
            raise ConfigurationError(f"bright has no option {sorted(options)}; it has threshold")
        return replace(self, **options)

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        assert torch.is_inference_mode_enabled(), "strategies are asked without gradients"
        embedding, was_cached = view.embedding(self.backbone)
        logits = embedding.image_embeddings[0, 0] - self.threshold
        if phrase == "nothing":
            nothing = torch.full(view.size, float("-inf"))
            return Segmentation(Verdict("absent", "the phrase says so"), nothing, embedding_was_cached=was_cached)
        height, width = view.size
        box: BoxXyxy = (0.0, 0.0, float(width), float(height))
        points = (
            PromptPoint(width * 0.25, height * 0.5, 1, 0.97, True, 0.97),
            PromptPoint(width * 0.5, height * 0.5, 0, 0.96, True, 0.04),
            PromptPoint(width * 0.75, height * 0.5, 1, 0.6, False, 0.6),
        )
        return Segmentation(
            Verdict("found"),
            logits,
            pred_iou=0.75,
            prompts=(SamPrompt(box, points, torch.tensor([[0.5, -1.5]])),),
            attention=AttentionRecord(torch.full((2, 3, 7, 7), 1 / 7), (2, 2), view.size, ("<s>", "light")),
            trace=(TraceEntry("look", "how bright?", "very", {"mean": np.float32(1.5), "worst": float("nan")}),),
            seconds={"look": 0.001},
            embedding_was_cached=was_cached,
        )


@dataclass(frozen=True)
class BatchingBrightStrategy(BrightStrategy):
    """Answers several phrases together, takes points and a box, and refuses the word "unspeakable"."""

    refinement: SamPrompt = field(default_factory=SamPrompt)

    def with_prompt(self, points: Sequence[PromptPoint] = (), box: BoxXyxy | None = None) -> "BatchingBrightStrategy":
        return replace(self, refinement=SamPrompt(box, tuple(points)))

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        if phrase == "unspeakable":
            raise ConfigurationError("expected words, got something unspeakable")
        return replace(super().segment(view, phrase), prompts=(self.refinement,))

    def segment_many(self, view: ImageView, phrases: Sequence[str]) -> list[Segmentation]:
        found = [self.segment(view, phrase) for phrase in phrases]
        return [replace(one, trace=(TraceEntry("look", f"one of {len(found)}"),)) for one in found]


@dataclass(frozen=True)
class RaisingStrategy:
    """Fails with the error it is given."""

    key: str
    error: Exception

    @property
    def card(self) -> StrategyCard:
        return StrategyCard(self.key, "Raising", "Fails.", "none", "MIT", "Fails.", "Succeed.")

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        raise self.error


@dataclass(frozen=True)
class WrongSizeStrategy(BrightStrategy):
    """Answers with a mask of another size."""

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        return Segmentation(Verdict("found"), torch.zeros(1, 1))


def load_bright(directory: Path, *, device: torch.device, dtype: torch.dtype) -> BrightStrategy:
    with (directory / "loaded.txt").open("a") as log:
        log.write(f"{device} {dtype}\n")
    return BrightStrategy(directory.name)


def load_batching(directory: Path, *, device: torch.device, dtype: torch.dtype) -> BatchingBrightStrategy:
    load_bright(directory, device=device, dtype=dtype)
    return BatchingBrightStrategy(directory.name)


def load_slowly(directory: Path, *, device: torch.device, dtype: torch.dtype) -> BrightStrategy:
    sleep(0.05)  # long enough for other threads to come to the same weights
    return load_bright(directory, device=device, dtype=dtype)


_ALONE = Lock()


def load_alone(directory: Path, *, device: torch.device, dtype: torch.dtype) -> BrightStrategy:
    assert _ALONE.acquire(blocking=False), "two strategies are read at once"
    try:
        return load_slowly(directory, device=device, dtype=dtype)
    finally:
        _ALONE.release()


def load_refused(directory: Path, *, device: torch.device, dtype: torch.dtype) -> RaisingStrategy:
    return RaisingStrategy(directory.name, ConfigurationError("expected daylight, got night; wait"))


def load_buggy(directory: Path, *, device: torch.device, dtype: torch.dtype) -> RaisingStrategy:
    return RaisingStrategy(directory.name, ZeroDivisionError("a secret detail"))


def load_wrong_size(directory: Path, *, device: torch.device, dtype: torch.dtype) -> WrongSizeStrategy:
    return WrongSizeStrategy(directory.name)


def card_of(key: str, title: str) -> StrategyCard:
    """Return a card that says nothing else."""
    return StrategyCard(key, title, "Summary.", paper="", licence="", can="", cannot="")


def suite_of(directory: Path, **loaders: str) -> Suite:
    """Make a suite of strategies named `loaders`, each loaded by the function of this file that it names."""
    entries = {}
    for key, loader in loaders.items():
        folder = directory / key
        if loader != "load_missing":
            folder.mkdir(exist_ok=True)
        entries[key] = StrategyEntry(card_of(key, f"Title of {key}"), f"{__name__}:{loader}", folder)
    return Suite("doubles", "Doubles", "They see brightness alone.", MappingProxyType(entries))


def half_lit(height: int = 40, width: int = 60) -> RgbImage:
    """Return an image whose left half is bright (200) and whose right half is dark (10)."""
    image = np.full((height, width, 3), 10, dtype=np.uint8)
    image[:, : width // 2] = 200
    return image
