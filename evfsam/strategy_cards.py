"""What EVF-SAM is, for the page and the reports, before and after its weights are there."""

from dataclasses import replace
from typing import Final

from evfsam.types import StrategyCard

EVF_SAM: Final = StrategyCard(
    key="evf-sam",
    title="EVF-SAM",
    summary="BEiT-3 reads image and phrase together; its [CLS] token becomes one prompt for SAM.",
    paper="EVF-SAM: Early Vision-Language Fusion for Text-Prompted Segment Anything Model, arXiv:2406.20076",
    licence="Apache-2.0",
    can="Understands positions, relations and attributes, since the phrase meets the image before SAM is asked.",
    cannot="Say for sure that something is absent: it has no rejection head, only an empty mask.",
    takes_marks=True,
)
EVF_SAM2: Final = replace(EVF_SAM, key="evf-sam2", title="EVF-SAM2")
