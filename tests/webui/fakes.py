"""Strategies that need no weights: they segment by colour, so that a test knows each mask beforehand."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from evfsam.errors import ConfigurationError, EvfSamError
from evfsam.geometry import longest_side_frame
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
from workbench.comparison import Comparison
from workbench.suites.registry import StrategyEntry, Suite

LAYERS, HEADS, GRID = 3, 4, 8
TOOL_NAMES = ("list_strategies", "segment", "compare_strategies", "explain_attention", "draw_scene")
"""All public endpoints, each a tool too."""


class FakeBackbone:
    """Encodes an image to its mean colour; counts how often."""

    encoder_identity = "fake-encoder"

    def __init__(self) -> None:
        self.encoded_count = 0

    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        self.encoded_count += 1
        mean = torch.tensor(image.reshape(-1, 3).mean(axis=0), dtype=torch.float32).reshape(1, 3, 1, 1)
        return ImageEmbedding(mean, image.shape[:2], image.shape[:2], self.encoder_identity, 0.01)

    def decode(self, embedding: ImageEmbedding, prompt: SamPrompt, *, multimask: bool) -> MaskPrediction:
        raise NotImplementedError("the fake strategies draw their masks themselves")


@dataclass(frozen=True)
class FakeStrategy:
    """Segments the pixels whose channel (0 red, 1 green, 2 blue) stands out; "absent" and "explode" are obeyed."""

    card: StrategyCard
    backbone: FakeBackbone
    channel: int
    evidence: str = "none"
    grid_size: int = 5
    seconds: float = 0.0
    given: SamPrompt = field(default_factory=SamPrompt)

    def with_prompt(self, points: Sequence[PromptPoint] = (), box: BoxXyxy | None = None) -> "FakeStrategy":
        return replace(self, given=SamPrompt(box=box, points=tuple(points)))

    def with_options(self, /, **options: object) -> "FakeStrategy":
        if set(options) - {"grid_size"}:
            raise ConfigurationError(f"the fake has no option {', '.join(sorted(options))}")
        return replace(self, **options)  # type: ignore[arg-type]

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        _, was_cached = view.embedding(self.backbone)
        time.sleep(self.seconds)
        trace = (TraceEntry("look", asked=phrase, answered=f"channel {self.channel}", values={"grid": self.grid_size}),)
        if "explode" in phrase and self.channel == 1:
            raise EvfSamError(f"expected a phrase without explosives; see /{'a_very_long_folder_name_' * 4}/notes.txt")
        if "absent" in phrase:
            empty = torch.full(view.size, float("-inf"))
            return Segmentation(Verdict("absent", "the model answered: No object found."), empty, trace=trace)
        mask = refined(channel_mask(view.image, self.channel), self.given)
        return Segmentation(
            Verdict("found"),
            torch.from_numpy(np.where(mask, 1.0, -1.0).astype(np.float32)),
            pred_iou=0.9 - self.channel / 10,
            prompts=(self._prompt(mask),),
            predictions=(three_candidates(mask),) if self.evidence == "points" else (),
            attention=drawn_attention(view.size, len(phrase)) if self.evidence == "attention" else None,
            trace=trace,
            seconds={"encode image": 0.0 if was_cached else 0.01, "decode": 0.002},
            embedding_was_cached=was_cached,
        )

    def _prompt(self, mask: NDArray[np.bool_]) -> SamPrompt:
        rows, columns = np.nonzero(mask)
        if self.evidence != "points" or not rows.size:
            return SamPrompt(text_prompt_embeddings=torch.ones(1, 4))
        x1, x2, y1, y2 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        points = []
        for i in range(self.grid_size):
            for j in range(self.grid_size):
                x = float(x1 + (j + 0.5) * (x2 - x1) / self.grid_size)
                y = float(y1 + (i + 0.5) * (y2 - y1) / self.grid_size)
                inside = bool(mask[int(y), int(x)])
                p_yes = 0.5 + (0.48 if inside else -0.46) * ((i * 7 + j * 3) % 5 + 1) / 5
                sure = max(p_yes, 1 - p_yes)
                points.append(PromptPoint(x, y, 1 if p_yes > 0.5 else 0, sure, sure > 0.8, p_yes))
        return SamPrompt(box=(float(x1), float(y1), float(x2), float(y2)), points=tuple(points))


def channel_mask(image: RgbImage, channel: int) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels whose channel is at least 40 grey levels above the two others."""
    others = np.delete(image.astype(np.int16), channel, axis=2).max(axis=2)
    return image[..., channel].astype(np.int16) - others > 40


def refined(mask: NDArray[np.bool_], given: SamPrompt) -> NDArray[np.bool_]:
    """Cut the mask to the box, then add or remove a square of 41 pixels around each point."""
    changed = mask.copy()
    if given.box is not None:
        x1, y1, x2, y2 = (int(side) for side in given.box)
        changed = np.zeros_like(mask)
        changed[y1:y2, x1:x2] = mask[y1:y2, x1:x2]
    for point in given.points:
        x, y = int(point.x), int(point.y)
        changed[max(y - 20, 0) : y + 21, max(x - 20, 0) : x + 21] = point.label == 1
    return changed


def three_candidates(mask: NDArray[np.bool_]) -> MaskPrediction:
    """Answer as SAM's decoder: the mask, chosen, everything but the mask, and everything; padded to a square."""
    square = np.zeros((max(mask.shape),) * 2, dtype=np.float32)
    square[: mask.shape[0], : mask.shape[1]] = mask * 2.0 - 1
    low = F.interpolate(torch.from_numpy(square)[None, None], (64, 64))[0, 0]
    frame = longest_side_frame((mask.shape[0], mask.shape[1]), 256)
    return MaskPrediction(torch.stack([low, -low, torch.ones(64, 64)]), torch.tensor([0.7, 0.2, 0.4]), 0, frame)


def fake_comparison(
    seconds: float = 0.0, load: Callable[[], None] | None = None, question_bytes: int | None = None
) -> tuple[Comparison, FakeBackbone]:
    """Build a real comparison over fake strategies: red with attention, green without evidence, blue with points."""
    backbone = FakeBackbone()
    kinds = {"evf-sam": (0, "attention"), "clip-text": (1, "none"), "point-query": (2, "points")}
    titles = {"evf-sam": "EVF-SAM", "clip-text": "CLIP text", "point-query": "Point query"}
    entries = {
        key: FakeEntry(
            StrategyCard(key, titles[key], "Looks for one colour.", paper="", licence="", can="", cannot=""), "", Path()
        )
        for key in kinds
    }
    for key, (channel, evidence) in kinds.items():
        card = StrategyCard(
            key=key,
            title=titles[key],
            summary="Segments the pixels in which one colour stands out.",
            paper="none",
            licence="Apache-2.0",
            can="Finds saturated colours.",
            cannot="Reads no words at all.",
        )
        entries[key].hold(FakeStrategy(card, backbone, channel, evidence, seconds=seconds), load)
    notice = "Fake strategies that look for colours: they know red, green and blue, and nothing else."
    suite = Suite(key="fake", title="Fake suite", notice=notice, strategies=MappingProxyType(entries))
    return Comparison(suite, question_bytes=question_bytes), backbone


class FakeEntry(StrategyEntry):
    """An entry whose strategy is at hand."""

    def hold(self, strategy: FakeStrategy, load: Callable[[], None] | None) -> None:
        object.__setattr__(self, "_held", (strategy, load))

    def load(self, device: torch.device, dtype: torch.dtype) -> FakeStrategy:  # noqa: ARG002
        strategy, load = self._held  # type: ignore[attr-defined]
        if load is not None:
            load()
        return strategy


def drawn_attention(size: tuple[int, int], seed: int) -> AttentionRecord:
    tokens = 1 + GRID * GRID + 3
    scores = torch.randn(LAYERS, HEADS, tokens, tokens, generator=torch.Generator().manual_seed(seed)) * 2
    return AttentionRecord(scores.softmax(-1), (GRID, GRID), size, ("<s>", "word", "</s>"))


def three_colours(size: tuple[int, int] = (240, 320), shift: int = 0) -> RgbImage:
    """Draw a red, a green and a blue square on grey; `shift` moves them, so that two pictures differ."""
    height, width = size
    image = np.full((height, width, 3), 120, dtype=np.uint8)
    side = min(height, width) // 4
    for channel in range(3):
        left = width * channel // 3 + 10 + shift
        top = 20 + shift + channel * 30
        image[top : top + side, left : left + side] = np.eye(3, dtype=np.uint8)[channel] * 200 + 30
    return image
