"""A small run with two phrases, two strategies that answer and one that fails."""

import numpy as np
import torch

from evfsam.geometry import stretched_frame
from evfsam.types import (
    AttentionRecord,
    MaskPrediction,
    PromptPoint,
    RgbImage,
    SamPrompt,
    Segmentation,
    StrategyCard,
    Verdict,
)
from workbench.comparison import PhraseResult, StrategyResult, joined
from workbench.export.exported_run import ExportedRun, exported_run
from workbench.metrics.masks import Mask

HEIGHT, WIDTH = 40, 60
PHRASES = ("the blue bus", 'a "red" & round ball')
IMAGE: RgbImage = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def ring() -> Mask:
    """A part with a hole, and an island of one pixel."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    distance = np.hypot(rows - 20, columns - 25)
    mask = (distance < 15) & (distance > 6)
    mask[1, 55] = True
    return mask


def segmentation(mask: Mask) -> Segmentation:
    logits = torch.where(torch.from_numpy(mask), 5.0, -5.0)
    points = (PromptPoint(12.5, 20.5, 1), PromptPoint(1.5, 1.5, 0, is_kept=False))
    scores = torch.randn(2, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    frame = stretched_frame((HEIGHT, WIDTH), 64)
    return Segmentation(
        Verdict("found") if mask.any() else Verdict("absent", "Nothing is there."),
        logits,
        pred_iou=1.02,
        prompts=(SamPrompt(points=points),),
        predictions=(MaskPrediction(logits[None, ::4, ::4], torch.tensor([1.02]), 0, frame),),
        attention=AttentionRecord(scores.softmax(-1), (2, 3), (HEIGHT, WIDTH), ("<s>", "\u2581bus")),
    )


def result(key: str, *answers: Segmentation) -> StrategyResult:
    card = StrategyCard(key, f"Title of {key}", "", "a paper", "MIT", "", "")
    if len(answers) == 1:
        return StrategyResult(key, card, answers[0], 0.5)
    asked = tuple(PhraseResult(phrase, answer) for phrase, answer in zip(PHRASES, answers, strict=True))
    return StrategyResult(key, card, joined(answers), 0.5, answers=asked)


def run_of_two_phrases() -> ExportedRun:
    square = np.zeros((HEIGHT, WIDTH), dtype=bool)
    square[5:15, 30:50] = True
    failed = Segmentation(Verdict("failed", "It broke."), torch.full((HEIGHT, WIDTH), -torch.inf))
    results = [
        result("evf-sam", segmentation(ring()), segmentation(square)),
        result("clip-text", segmentation(square), segmentation(np.zeros_like(square))),
        result("broken", failed, failed),
    ]
    return exported_run(
        IMAGE,
        "; ".join(PHRASES),
        "doubles",
        results,
        image_title="bus.png",
        options={"clip-text": {"variant": "text"}},
        weights={"evf-sam": {"model.safetensors": "0" * 64}},
    )


def decoded_label_studio(rle: list[int], height: int, width: int) -> Mask:
    """Read Label Studio's bit stream from its description; returns where the alpha is set."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_repeated = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_repeated else [read(word) for _ in range(length)]
    assert len(values) == count
    channels = np.array(values).reshape(height, width, 4)
    assert (channels == channels[..., :1]).all()
    return channels[..., 3] == 255
