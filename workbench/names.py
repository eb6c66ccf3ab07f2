"""Names that can be said before anything is loaded: of suites, devices, number types and data sets.

The command line must answer `--help` and slips of the pen at once, so nothing here imports a package.
"""

from difflib import get_close_matches
from typing import Final, Literal, get_args

from evfsam.errors import Sentence

AUTO_KEY: Final = "auto"
FULL_KEY: Final = "full"
SUITE_NAMES: Final = (AUTO_KEY, "mini", FULL_KEY)
DEVICE_NAMES: Final = ("auto", "cpu", "cuda", "mps")
DTYPE_NAMES: Final = ("float32", "bfloat16", "float16")
DATASET_NAMES: Final = (
    "scenes:train",
    "scenes:val",
    "scenes:test",
    "photo-scenes:train",
    "photo-scenes:val",
    "photo-scenes:test",
    "refcoco:SPLIT",
    "refcoco+:SPLIT",
    "refcocog:SPLIT",
    "refclef:SPLIT",
    "grefcoco:SPLIT",
    "refcoco-m:validation",
    "reasonseg:SPLIT",
    "ade20k:SPLIT",
    "pascal-part:SPLIT",
    "part-imagenet:SPLIT",
    "human-parsing:all",
    "coco-panoptic:SPLIT",
    "coco:FILE",
    "folder:DIR",
    "hf:ID_OR_DIR:SPLIT",
)
"""What `workbench.datasets.known_datasets` opens. A refer data set may name who split it: refcocog/google:val."""
MarkKind = Literal["box", "click"]
"""What can be marked beside a phrase whose mask is known."""
MARK_NAMES: Final[tuple[MarkKind, ...]] = get_args(MarkKind)
SCENES_LIMIT: Final = 500
"""Expressions asked of generated scenes where no limit is given; other data sets are asked whole."""
VIDEO_CHECKPOINT: Final = "YxZhang/evf-sam2"
"""The checkpoint that follows a phrase unless another is named: EVF-SAM2 on Hiera-L, from the Hub."""


def unknown_name(what: str, name: str, known: tuple[str, ...]) -> Sentence:
    """Word the error for a name that is not one of the known ones, with the nearest as a suggestion."""
    near, choices = get_close_matches(name, known, n=1), ", ".join(known)
    kind = Sentence(what)
    if not near:
        return Sentence("unknown {kind} {name!r}: expected one of {choices}", kind=kind, name=name, choices=choices)
    return Sentence(
        "unknown {kind} {name!r}: expected one of {choices}; did you mean {guess}?",
        kind=kind,
        name=name,
        choices=choices,
        guess=near[0],
    )
