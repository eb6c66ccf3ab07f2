"""SAM 3: a segmenter that reads the phrase itself and returns every instance with a score.

SAM 3 LiteText is the same with a smaller reader of phrases, where the installed transformers has it. SAM 3's weights
are gated on the Hub: a suite leaves it out where they are not granted.

Source: SAM 3: Segment Anything with Concepts, arXiv:2511.16719.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final, cast

import torch
import transformers
from PIL import Image
from transformers import PreTrainedConfig, PreTrainedModel, Sam3Model, Sam3Processor
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from baselines.strategy_cards import SAM3, SAM3_LITE_TEXT
from baselines.strategy_options import changed, check_number
from baselines.weights import raise_unless_complete, without_progress_bars
from evfsam.errors import CheckpointError, Sentence
from evfsam.geometry import stretched_frame
from evfsam.phrases import check_phrase, in_words, refuse_control_tokens
from evfsam.sam.backbone import weights_digest
from evfsam.types import (
    ImageEmbedding,
    ImageView,
    MaskPrediction,
    RgbImage,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)
from evfsam.weights.hub import weights_directory

HUB_ID: Final = "facebook/sam3"
MAX_TOKENS: Final = 32

_LITE_TEXT: Final = "sam3_lite_text"


@dataclass(frozen=True)
class Sam3Options:
    """Which instances count.

    Attributes:
        threshold: instances with a lower score (presence times match) are dropped, in [0, 1].
        largest_count: instances kept, the best first, 1..200.

    Raises:
        ConfigurationError: a value is out of range or of the wrong kind.
    """

    threshold: float = 0.3
    largest_count: int = 50

    def __post_init__(self) -> None:
        check_number(self, "threshold", 0, 1)
        check_number(self, "largest_count", 1, 200, is_whole=True)


class Sam3Encoder:
    """SAM 3's image half, whose features views keep; it draws for phrases alone.

    Args:
        model: a SAM 3 or SAM 3 LiteText, in evaluation mode.
        processor: of the same release.
    """

    def __init__(self, model: PreTrainedModel, processor: Sam3Processor) -> None:
        self.model = model
        self.processor = processor

    @cached_property
    def encoder_identity(self) -> str:
        """Digest of the vision encoder's weights, its type in use and its input size."""
        facts = (self.model.config.model_type, str(self.model.dtype), self.model.config.image_size)
        return weights_digest(facts, self.model.vision_encoder.state_dict().items())

    @torch.no_grad()
    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        """Compute the feature pyramid: the coarsest level used, then the finer ones and all their positions."""
        start = time.perf_counter()
        inputs = self.processor(images=Image.fromarray(image), return_tensors="pt")
        output = self.model.get_vision_features(inputs["pixel_values"].to(self.model.device, self.model.dtype))
        # The last level of the pyramid is not used by the detector.
        levels, positions = output.fpn_hidden_states[:-1], output.fpn_position_encoding[:-1]
        size = (image.shape[0], image.shape[1])
        side = self.model.config.image_size
        return ImageEmbedding(
            image_embeddings=levels[-1],
            original_size=size,
            input_size=(side, side),
            encoder_identity=self.encoder_identity,
            seconds=time.perf_counter() - start,
            high_res_features=(*levels[:-1], *positions),
        )

    @staticmethod
    def pyramid(embedding: ImageEmbedding) -> Sam3VisionEncoderOutput:
        """Return the features as SAM 3's detector takes them."""
        finer_count = (len(embedding.high_res_features) - 1) // 2
        levels = (*embedding.high_res_features[:finer_count], embedding.image_embeddings)
        positions = embedding.high_res_features[finer_count:]
        # The detector drops the last level of both lists.
        return Sam3VisionEncoderOutput(
            fpn_hidden_states=(*levels, levels[-1]), fpn_position_encoding=(*positions, positions[-1])
        )


@dataclass(frozen=True)
class Sam3Strategy:
    """All instances of a phrase, with scores.

    Args:
        backbone: the model's image half.
        options: see `Sam3Options`.
    """

    backbone: Sam3Encoder
    options: Sam3Options = field(default_factory=Sam3Options)

    @property
    def card(self) -> StrategyCard:
        """What it is."""
        return SAM3_LITE_TEXT if self.backbone.model.config.model_type == _LITE_TEXT else SAM3

    def with_options(self, /, **options: object) -> "Sam3Strategy":
        """Return a copy with other options and the same weights.

        Raises:
            ConfigurationError: an option is unknown or out of range.
        """
        return replace(self, options=changed(self.options, options, "SAM 3"))

    @torch.no_grad()
    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Draw every instance of the phrase and join them.

        The predictions' `pred_ious` hold SAM 3's scores, which are probabilities of an instance, not guesses of IoU.

        Raises:
            PhraseError: the phrase is empty, too long, or spells a control token of the tokenizer.
        """
        phrase = in_words(check_phrase(phrase), "{}")
        model, tokenizer = self.backbone.model, self.backbone.processor.tokenizer
        refuse_control_tokens(tokenizer, phrase)
        start = time.perf_counter()
        embedding, was_cached = view.embedding(self.backbone)
        encoded_at = time.perf_counter()
        tokens = tokenizer(
            phrase, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
        ).to(model.device)
        text = model.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        output = model(
            vision_embeds=self.backbone.pyramid(embedding),
            text_embeds=text,
            attention_mask=tokens["attention_mask"],
        )
        presence = output.presence_logits.float().sigmoid().reshape(-1)[0]
        scores = output.pred_logits[0].float().sigmoid() * presence
        order = scores.argsort(descending=True, stable=True)
        chosen = order[scores[order] >= self.options.threshold][: self.options.largest_count]
        low_res = output.pred_masks[0, chosen].float()
        found_at = time.perf_counter()
        seconds = {"encode image": encoded_at - start, "decode": found_at - encoded_at}
        cut_off = len(tokenizer(phrase)["input_ids"]) - int(tokens["attention_mask"].sum())
        step = self._step(phrase, output.pred_boxes[0, chosen], scores[chosen], float(presence), view.size, cut_off)
        prompt = SamPrompt(text_prompt_embeddings=text.pooler_output[0][tokens["attention_mask"][0].bool()].float())
        absent = self._absent(float(scores.max()))
        if not len(chosen):
            return Segmentation.undrawn(
                absent, view.size, trace=(step,), seconds=seconds, embedding_was_cached=was_cached
            )
        frame = stretched_frame(view.size, low_res.shape[-1])
        return Segmentation.drawn(
            (prompt,) * len(chosen),
            tuple(
                MaskPrediction(low[None], score[None], 0, frame)
                for low, score in zip(low_res, scores[chosen], strict=True)
            ),
            absent,
            trace=(step,),
            seconds=seconds,
            embedding_was_cached=was_cached,
        )

    def _step(
        self,
        phrase: str,
        boxes: torch.Tensor,
        scores: torch.Tensor,
        presence: float,
        size: tuple[int, int],
        cut_off: int,
    ) -> TraceEntry:
        height, width = size
        boxes = boxes.float()  # before they are scaled: bfloat16 knows no width of 1333 pixels
        pixels = (boxes * boxes.new_tensor([width, height, width, height])).tolist()
        instances = [{"box": box, "score": score} for box, score in zip(pixels, scores.tolist(), strict=True)]
        said = f"{len(instances)} instances; presence {presence:.0%}."
        values: Mapping[str, object] = {
            "instances": instances,
            "presence": presence,
            "threshold": self.options.threshold,
            "tokens_cut_off": cut_off,
        }
        return TraceEntry("find instances", phrase, said, values)

    def _absent(self, best: float) -> Verdict:
        if best < self.options.threshold:
            return Verdict(
                "absent",
                Sentence(
                    "SAM 3's best instance scored {best:.2f}; {asked:.2f} is asked for.",
                    best=best,
                    asked=self.options.threshold,
                ),
            )
        return Verdict("absent", "SAM 3 drew no pixel for this phrase.")


def load_strategy(weights: Mapping[str, str | Path], *, device: str | torch.device, dtype: torch.dtype) -> Sam3Strategy:
    """Load SAM 3.

    Args:
        weights: a directory or Hub id under "sam3".
        device: where it runs.
        dtype: of the weights in memory.

    Raises:
        CheckpointError: the weights are missing, not granted, incomplete, or do not fit.
    """
    directory = weights_directory(weights["sam3"])
    try:
        with without_progress_bars():
            model, info = _model_class(directory).from_pretrained(
                directory, dtype=dtype, output_loading_info=True, use_safetensors=True
            )
            processor = Sam3Processor.from_pretrained(directory)
    except (OSError, ValueError, KeyError) as err:
        raise CheckpointError(
            "expected a saved SAM 3 in {directory}, got: {reason}", directory=directory, reason=err
        ) from err
    raise_unless_complete(directory, info, may_hold_more=True)
    return Sam3Strategy(Sam3Encoder(model.to(device).eval(), processor))


def _model_class(directory: Path) -> type[PreTrainedModel]:
    """Return the class that a directory's configuration asks for.

    Raises:
        CheckpointError: transformers is too old for it.
    """
    if PreTrainedConfig.get_config_dict(directory)[0].get("model_type") != _LITE_TEXT:
        return cast(type[PreTrainedModel], Sam3Model)
    found: type[PreTrainedModel] | None = getattr(transformers, "Sam3LiteTextModel", None)
    if found is None:
        raise CheckpointError(
            "expected a transformers with SAM 3 LiteText for {place}, got {version}; install a newer one, or "
            "take {other}",
            place=directory,
            version=transformers.__version__,
            other=HUB_ID,
        )
    return found
