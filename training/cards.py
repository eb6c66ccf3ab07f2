"""Model cards: what a checkpoint was made of, how, on what, how well it does and what it cannot do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from training.loop import Schedule


@dataclass(frozen=True)
class Measured:
    """How a stage went.

    Attributes:
        schedule: steps, learning rate, seed.
        seconds: of training, resumed runs added up.
        hardware: in words.
        figures: of the last validation.
    """

    schedule: Schedule
    seconds: float
    hardware: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Card:
    """The lasting part of a model card.

    Attributes:
        title: heading.
        pipeline: the Hub's task name.
        summary: what it is.
        recipe: data and objective.
        measures: what the validation figures mean.
        limits: what it cannot do.
    """

    title: str
    pipeline: str
    summary: str
    recipe: str
    measures: str
    limits: str


_LIMITS: Final = (
    "Knows the sixty objects and six colours of the generated scenes, and English phrases of their kinds. "
    "It does not know photographs, people, parts of things or other words."
)
CARDS: Final[Mapping[str, Card]] = MappingProxyType(
    {
        "sam": Card(
            title="SAM mini",
            pipeline="mask-generation",
            summary="A promptable SAM of `segment_anything`'s modules: 256-pixel images, ViT of width 128, 4 blocks, "
            "prompts of width 96, masks of 64 x 64 cells.",
            recipe="Points and boxes on single objects of generated scenes; BCE + dice on covered shares, mostly of "
            "the best of three candidates; squared error on predicted IoU.",
            measures="`box` and `point`: mean IoU on held-out scenes from a tight box and from one point.",
            limits="Segments single sprites on the scenes' backgrounds; photographs are far from its data.",
        ),
        "evf-sam": Card(
            title="EVF-SAM mini",
            pipeline="image-segmentation",
            summary="EVF-SAM (arXiv:2406.20076) at small size: BEiT-3 of width 128 and 8 layers on 128-pixel images, "
            "its fused [CLS] projected to one prompt token of SAM mini.",
            recipe="BEiT-3 is first trained with dense targets (the referred mask on the patch grid, object names of "
            "patches, ranks of objects among their equals, a coarse mask from [CLS]); then encoder, "
            "projector and mask decoder with BCE + dice, SAM's "
            "image encoder frozen. The steps below are those of the second part.",
            measures="cIoU on held-out phrases on the decoder's grid, in all and by kind of expression.",
            limits=_LIMITS,
        ),
        "clip-text": Card(
            title="CLIP-text-prompted SAM mini",
            pipeline="image-segmentation",
            summary="A small CLIP, frozen, whose text feature (or text and image features, concatenated) is projected "
            "to one prompt token of SAM mini.",
            recipe="CLIP contrastively on scenes with captions and on patches with names; then both projectors and the "
            "mask decoder with BCE + dice, everything else frozen.",
            measures="cIoU on held-out phrases on the decoder's grid for text alone, in all and by kind; `late` "
            "is that of the concatenation.",
            limits=_LIMITS + " Position, order, size and relation words mean nothing to it.",
        ),
        "mllm": Card(
            title="LLaVA mini for SAM4MLLM dialogues",
            pipeline="image-text-to-text",
            summary="A LLaVA of transformers' classes: the small CLIP's vision tower at 128 pixels, 64 image "
            "tokens, a Llama of width 160 and 5 layers.",
            recipe="Dialogues of SAM4MLLM (arXiv:2409.10542) about generated scenes: boxes, Yes or No for single "
            "points, box with points in one answer, and beside them names of points. Pre-trained for 7,000 steps with "
            "two tasks beside the text's cross-entropy (image tokens tell what each patch shows, and an answer's first "
            "tokens point at the patches of what it speaks of), then trained on the text's cross-entropy alone: the "
            "steps below. All weights are trained.",
            measures="`ce` cross-entropy of the answers, `points` accuracy of Yes and No, `digits` accuracy of digits.",
            limits=_LIMITS + " It answers one point a turn; lists of points were not trained.",
        ),
    }
)


def write_card(directory: Path, card: Card, measured: Measured) -> None:
    """Write `README.md` beside the weights."""
    schedule = measured.schedule
    figures = "\n".join(f"| {name} | {value:.3f} |" for name, value in measured.figures.items())
    (directory / "README.md").write_text(
        f"""---
license: apache-2.0
pipeline_tag: {card.pipeline}
tags: [referring-expression-segmentation, segment-anything]
---

# {card.title}

{card.summary}

**Data.** Scenes drawn by `workbench/datasets/scenes.py` from the training seeds: sprites of Fluent Emoji (MIT) on
gradients, textures and CC0 or public-domain photographs. No other data.

**Recipe.** {card.recipe} AdamW, {schedule.steps} steps, peak learning rate {schedule.learning_rate:g} with
{schedule.warmup} steps of warm-up and cosine decay, seed {schedule.seed}, bfloat16 products. Stored as float16.

**Hardware.** {measured.hardware}; {measured.seconds / 60:.0f} minutes.

**Measured on validation seeds.** {card.measures}

| figure | value |
|---|---|
{figures}

Figures on test seeds stand in the project's README with the command that prints them.

**Limits.** {card.limits}
"""
    )
