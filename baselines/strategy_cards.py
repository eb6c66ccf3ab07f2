"""What the strategies beside EVF-SAM are, for the page and the reports, before and after their weights are there."""

from dataclasses import replace
from typing import Final

from evfsam.types import StrategyCard

CLIP_TEXT: Final = StrategyCard(
    key="clip-text",
    title="CLIP text",
    summary="CLIP reads the phrase alone; its projected feature becomes SAM's prompt.",
    paper="baseline of EVF-SAM, Zhang et al., 2024, https://arxiv.org/abs/2406.20076",
    licence="Apache-2.0",
    can="Finds things by their name and colour.",
    cannot="Tell the left one from the right one: the phrase never meets the image before SAM's decoder.",
    takes_marks=True,
)
CLIP_TEXT_AND_IMAGE: Final = replace(
    CLIP_TEXT,
    title="CLIP text + image",
    summary="CLIP reads the phrase and, apart from it, the image; both features together become SAM's prompt.",
    cannot="Tell the left one from the right one well: phrase and image meet only after both are one vector.",
)
CLIP_RANKING: Final = StrategyCard(
    key="clip-ranking",
    title="CLIP ranking",
    summary="SAM proposes masks over the whole image; CLIP ranks their cut-outs against the phrase.",
    paper="zero-shot form of CLIP-prompted SAM; Kirillov et al., 2023, https://arxiv.org/abs/2304.02643, section 7.5",
    licence="MIT (CLIP), Apache-2.0 (SAM)",
    can="Names whole objects without any training, and shows the ranking it chose from.",
    cannot="Tell left from right or one from another of a kind: CLIP sees each cut-out alone. Never says absent.",
)
GROUNDED_SAM: Final = StrategyCard(
    key="grounded-sam",
    title="Grounded-SAM",
    summary="Grounding DINO draws boxes for the phrase; each box prompts SAM for one mask.",
    paper="Grounding DINO, Liu et al., 2023, https://arxiv.org/abs/2303.05499; Grounded SAM, arXiv:2401.14159",
    licence="Apache-2.0",
    can="Finds every object of a kind, each with a score.",
    cannot="Read long descriptions well: words of the phrase are matched one by one, so relations get lost.",
)
SAM3: Final = StrategyCard(
    key="sam3",
    title="SAM 3",
    summary="SAM 3 reads the phrase itself and draws every instance of it, each with a score.",
    paper="SAM 3: Segment Anything with Concepts, Meta, 2025, https://arxiv.org/abs/2511.16719",
    licence="SAM License (gated)",
    can="Finds all instances of a short noun phrase, and says when there is none.",
    cannot="Follow position words and relations: it was trained on noun phrases.",
)
SAM3_LITE_TEXT: Final = replace(
    SAM3,
    title="SAM 3 LiteText",
    summary="SAM 3 with a small reader of phrases, a MobileCLIP; it draws every instance, each with a score.",
    paper="EfficientSAM3 LiteText, 2026, as transformers has it; on SAM 3, https://arxiv.org/abs/2511.16719",
    licence="See the model's page",
)
POINT_QUERY: Final = StrategyCard(
    key="point-query",
    title="Point query",
    summary="A language model that sees the image names a box and says of points in it whether they lie on the object; "
    "box and confident points prompt SAM.",
    paper="SAM4MLLM, Chen et al., ECCV 2024, https://arxiv.org/abs/2409.10542",
    licence="Apache-2.0",
    can="Says when the object is absent, finds several objects, and shows the box and points it acted on.",
    cannot="Correct a wrong box: the points that it asks about lie inside it.",
    takes_marks=True,
)
