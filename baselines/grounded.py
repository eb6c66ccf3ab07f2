"""Grounded-SAM: Grounding DINO finds boxes for the phrase, SAM draws a mask in each.

Source: Grounding DINO, arXiv:2303.05499; Grounded SAM, arXiv:2401.14159.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

from baselines.clip.proposals import box_nms
from baselines.strategy_cards import GROUNDED_SAM
from baselines.strategy_options import changed, check_number
from baselines.weights import load_mask_backbone, raise_unless_complete, without_progress_bars
from evfsam.errors import CheckpointError, Sentence, joined_sentences
from evfsam.phrases import check_phrase, in_words, refuse_control_tokens
from evfsam.types import (
    BoxXyxy,
    ImageView,
    MaskBackbone,
    RgbImage,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)
from evfsam.weights.hub import weights_directory

_SAME_BOX: Final = 0.8
_SMALLEST_SIDE: Final = 1.0
_LONGEST_TO_SHORTEST: Final = 8


@dataclass(frozen=True)
class GroundedOptions:
    """Which boxes count.

    Attributes:
        box_threshold: boxes with a lower score are dropped, in [0, 1].
        text_threshold: words with a lower score are not named as a box's label, in [0, 1].
        largest_count: boxes that reach SAM, the best first, 1..32.

    Raises:
        ConfigurationError: a value is out of range or of the wrong kind.
    """

    box_threshold: float = 0.3
    text_threshold: float = 0.25
    largest_count: int = 8

    def __post_init__(self) -> None:
        check_number(self, "box_threshold", 0, 1)
        check_number(self, "text_threshold", 0, 1)
        check_number(self, "largest_count", 1, 32, is_whole=True)


@dataclass(frozen=True)
class Detection:
    """A box of the detector, pixels of the original image, with its score in [0, 1] and the words it stands for."""

    box: BoxXyxy
    score: float
    label: str


@dataclass(frozen=True)
class GroundedStrategy:
    """Boxes from Grounding DINO, masks from SAM.

    Args:
        detector: in evaluation mode.
        processor: the detector's.
        backbone: the SAM that draws.
        options: see `GroundedOptions`.
    """

    detector: GroundingDinoForObjectDetection
    processor: GroundingDinoProcessor
    backbone: MaskBackbone
    options: GroundedOptions = field(default_factory=GroundedOptions)

    @property
    def card(self) -> StrategyCard:
        """What it is."""
        return GROUNDED_SAM

    def with_options(self, /, **options: object) -> "GroundedStrategy":
        """Return a copy with other options and the same weights.

        Raises:
            ConfigurationError: an option is unknown or out of range.
        """
        return replace(self, options=changed(self.options, options, "Grounded-SAM"))

    @torch.no_grad()
    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Detect, then draw one mask a box and join them.

        Raises:
            PhraseError: the phrase is empty, too long, or spells a control token of the detector.
        """
        phrase = in_words(check_phrase(phrase), "{}")
        refuse_control_tokens(self.processor.tokenizer, phrase)
        start = time.perf_counter()
        asked = detector_text(phrase)
        detections = self._detect(view.image, asked)
        usable, problems = usable_boxes(detections, view.size)
        chosen = usable[: self.options.largest_count]
        detected_at = time.perf_counter()
        step = self._step(asked, chosen, problems, len(usable) - len(chosen))
        seconds = {"detect": detected_at - start}
        if not chosen:
            return Segmentation.undrawn(self._nothing(problems), view.size, trace=(step,), seconds=seconds)
        embedding, was_cached = view.embedding(self.backbone)
        encoded_at = time.perf_counter()
        prompts = tuple(SamPrompt(box=detection.box) for detection in chosen)
        predictions = self.backbone.decode_many(embedding, prompts, multimask=True)
        seconds |= {"encode image": encoded_at - detected_at, "decode": time.perf_counter() - encoded_at}
        return Segmentation.drawn(
            prompts,
            predictions,
            Verdict("failed", "SAM drew no pixel for the boxes it was given."),
            trace=(step,),
            seconds=seconds,
            embedding_was_cached=was_cached,
        )

    def _detect(self, image: RgbImage, text: str) -> list[Detection]:
        """Return what the detector scores at least `box_threshold`, the best first."""
        limit = self.detector.config.max_text_len
        image = widened(image)
        inputs = self.processor(
            images=Image.fromarray(image), text=text, truncation=True, max_length=limit, return_tensors="pt"
        ).to(self.detector.device, self.detector.dtype)
        outputs = self.detector(**inputs)
        found = self.processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=self.options.box_threshold,
            text_threshold=self.options.text_threshold,
            target_sizes=[image.shape[:2]],
        )[0]
        if not len(found["boxes"]):  # transformers then gives one label for no box
            return []
        rows = zip(found["boxes"].tolist(), found["scores"].tolist(), found["text_labels"], strict=True)
        marks = self.processor.tokenizer.all_special_tokens
        detections = [
            Detection((box[0], box[1], box[2], box[3]), score, label_without(marks, label))
            for box, score, label in rows
        ]
        return sorted(detections, key=lambda detection: -detection.score)

    def _step(self, asked: str, chosen: list[Detection], problems: list[str], left_out: int) -> TraceEntry:
        boxes = [{"box": list(each.box), "score": each.score, "label": each.label} for each in chosen]
        said = f"{len(chosen)} boxes" + (f", best score {chosen[0].score:.2f}" if chosen else "")
        values = {
            "boxes": boxes,
            "problems": problems,
            "boxes_left_out": left_out,
            "box_threshold": self.options.box_threshold,
        }
        return TraceEntry("detect", asked, said, values)

    def _nothing(self, problems: list[str]) -> Verdict:
        if problems:
            return Verdict(
                "failed",
                Sentence("The detector gave no usable box: {problems}.", problems=joined_sentences(problems[:3])),
            )
        threshold = self.options.box_threshold
        return Verdict(
            "absent", Sentence("The detector found no box with a score of at least {least:.2f}.", least=threshold)
        )


def widened(image: RgbImage) -> RgbImage:
    """Repeat the last row or column of a very long image, so that the detector's coarsest level has pixels of it.

    Pixels keep their coordinates. (H, W, 3) to (H', W', 3) with neither side more than 8 times the other.
    """
    height, width = image.shape[:2]
    least = -(-max(height, width) // _LONGEST_TO_SHORTEST)
    return np.pad(image, ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0)), mode="edge")


def detector_text(phrase: str) -> str:
    """Return the phrase as the detector was trained to read it: lower case, one full stop, at its end."""
    return " ".join(phrase.lower().replace(".", " ").split()) + "."


def label_without(marks: Sequence[str], label: str) -> str:
    """Return a label's words, without the tokenizer's marks and the full stop."""
    return " ".join(word for word in label.replace(".", " ").split() if word not in marks)


def usable_boxes(detections: list[Detection], size: tuple[int, int]) -> tuple[list[Detection], list[str]]:
    """Cut boxes at the image's border, and drop empty ones and copies of better ones.

    Args:
        detections: the best first.
        size: (H, W) of the image.

    Returns:
        What is left, and one sentence for each box outside the image or without an area.
    """
    height, width = size
    inside: list[Detection] = []
    problems: list[str] = []
    for detection in detections:
        x1, y1, x2, y2 = detection.box
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        shown = "[" + ", ".join(f"{value:.0f}" for value in detection.box) + "]"
        # Also false for NaN, which compares with nothing.
        if box[2] - box[0] >= _SMALLEST_SIDE and box[3] - box[1] >= _SMALLEST_SIDE:
            inside.append(replace(detection, box=box))
        else:
            problems.append(
                Sentence("{box} has no area within the {width} x {height} image", box=shown, width=width, height=height)
            )
    if not inside:
        return [], problems
    boxes = torch.tensor([detection.box for detection in inside], dtype=torch.float32)
    scores = torch.tensor([detection.score for detection in inside])
    return [inside[index] for index in box_nms(boxes, scores, _SAME_BOX).tolist()], problems


def load_strategy(
    weights: Mapping[str, str | Path], *, device: str | torch.device, dtype: torch.dtype
) -> GroundedStrategy:
    """Load Grounding DINO and SAM.

    Args:
        weights: directories or Hub ids: "detector" and "sam".
        device: where both run.
        dtype: of SAM's weights in memory; the detector stays float32, as its sampling of features needs.

    Raises:
        CheckpointError: weights are missing, incomplete, or do not fit.
    """
    directory = weights_directory(weights["detector"])
    try:
        with without_progress_bars():
            detector, info = GroundingDinoForObjectDetection.from_pretrained(
                directory, dtype=torch.float32, output_loading_info=True, use_safetensors=True
            )
            processor = GroundingDinoProcessor.from_pretrained(directory)
    except (OSError, ValueError, KeyError) as err:
        raise CheckpointError(
            "expected a saved Grounding DINO in {directory}, got: {reason}", directory=directory, reason=err
        ) from err
    raise_unless_complete(directory, info, may_hold_more=True)
    backbone = load_mask_backbone(weights_directory(weights["sam"]), device=device, dtype=dtype)
    return GroundedStrategy(detector.to(device).eval(), processor, backbone)
