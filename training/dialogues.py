"""SAM4MLLM on real data: dialogues about boxes and points, taught to adapters on a LLaVA-type model by text alone.

Source: SAM4MLLM, arXiv:2409.10542, sections 3.2 to 4.1. Departures: AdamW with a linear decline as for the other models
where the paper has Lion with a cosine; adapters on the projector between image and language too, where the paper trains
the whole resampler; points are drawn in the known box without asking SAM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from baselines.point_query import dialects
from baselines.point_query.dialogue import Message
from baselines.point_query.language_model import LanguageModel
from evfsam.errors import ConfigurationError
from evfsam.phrases import in_words
from training.res_data import DrawnImage, object_pixels
from training.scene_stream import tight_box

TAUGHT: Final = ("sam4mllm", "llava-next")
"""Dialects that are learned this way; other families have their own words already."""
LORA_RANK: Final = 256
LORA_ALPHA: Final = 128
LORA_DROPOUT: Final = 0.05
ADAPTED: Final = r".*(language_model\..*(q|k|v|o|gate|up|down)_proj|multi_modal_projector\.linear_\d)"
"""Modules that get an adapter."""
LONGEST_TEXT: Final = 2048
"""Tokens of a dialogue beside the image's; what does not fit is left for another time."""
PHRASES_A_DIALOGUE: Final = 5
NOT_TRAINED: Final = -100


@dataclass(frozen=True, eq=False)
class Spoken:
    """One dialogue as the model takes it.

    Attributes:
        inputs: of the model, one row each.
        labels: (1, T) the tokens of the answers; `NOT_TRAINED` elsewhere.
    """

    inputs: Mapping[str, torch.Tensor]
    labels: torch.Tensor


class DialogueLoss(nn.Module):
    """A language model as a function from dialogues to the cross-entropy of their answers' tokens.

    Args:
        model: LLaVA with adapters.
        is_mixed: whether products are taken in bfloat16.
    """

    def __init__(self, model: Any, *, is_mixed: bool) -> None:
        super().__init__()
        self.model, self.is_mixed = model, is_mixed

    def forward(self, batch: Sequence[Spoken]) -> torch.Tensor:
        """Return the mean over the answers' tokens; one dialogue at a time, as their images differ in size."""
        device = self.model.device
        total = torch.zeros((), device=device)
        count = 0
        for spoken in batch:
            inputs = {
                name: value.to(device, self.model.dtype if value.is_floating_point() else None)
                for name, value in spoken.inputs.items()
            }
            with torch.autocast(device.type, torch.bfloat16, enabled=self.is_mixed):
                logits = self.model(**inputs, use_cache=False).logits[:, :-1]
            labels = spoken.labels[:, 1:].to(device)
            answered = labels != NOT_TRAINED
            total = total + F.cross_entropy(logits[answered].float(), labels[answered], reduction="sum")
            count += int(answered.sum())
        return total / max(count, 1)


class DialogueObjective:
    """Adapters on a language model that speaks SAM4MLLM's dialect; see `training.res_objectives.Objective`.

    Args:
        language: model and processor.
        rank, alpha: of the adapters.
        is_mixed: whether products are taken in bfloat16.

    Raises:
        ConfigurationError: the model speaks another dialect, has nowhere to put adapters, or peft is not installed.
    """

    def __init__(
        self,
        language: LanguageModel,
        *,
        rank: int = LORA_RANK,
        alpha: int = LORA_ALPHA,
        is_mixed: bool = True,
    ) -> None:
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as err:
            raise ConfigurationError("training adapters needs peft: pip install -r requirements-train.txt") from err
        dialect = dialects.dialect_of_model(language.model.config.model_type)
        if dialect.key not in TAUGHT:
            raise ConfigurationError(
                f"expected a LLaVA-type model that learns the dialect of {' or '.join(TAUGHT)}, got one that speaks "
                f"{dialect.title}; give a checkpoint of type llava or llava_next"
            )
        self.language = language
        adapters = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=LORA_DROPOUT, target_modules=ADAPTED)
        try:
            self.model = get_peft_model(language.model, adapters)
        except ValueError as err:
            raise ConfigurationError(f"found nowhere to put adapters in this model: {err}") from err
        self.module = DialogueLoss(self.model, is_mixed=is_mixed)

    def check_phrase(self, phrase: str) -> None:
        """Raise a PhraseError where the phrase spells a control token."""
        self.language.check_words(phrase)

    def prepare(self, drawn: Sequence[DrawnImage], rng: np.random.Generator) -> tuple[Spoken, ...]:
        """Write a dialogue for each image and mark its answers."""
        return tuple(self._spoken(each, rng) for each in drawn)

    def save(self, directory: Path) -> None:
        """Write the adapters alone, as `LanguageModel.from_pretrained(..., adapter=directory)` reads them."""
        self.model.save_pretrained(directory)

    def _spoken(self, drawn: DrawnImage, rng: np.random.Generator) -> Spoken:
        exchanges = [
            exchange(in_words(phrase), object_pixels(reference), rng)
            for phrase, reference in zip(drawn.phrases[:PHRASES_A_DIALOGUE], drawn.references, strict=False)
        ]
        while len(exchanges) > 1 and len(self._tokens(_joined(exchanges))) > LONGEST_TEXT:
            exchanges.pop()
        messages = _joined(exchanges)
        picture = Image.fromarray(drawn.image)
        inputs = dict(self._encoded(messages, picture))
        ids = inputs["input_ids"]
        text = self._tokens(messages)
        image_tokens = ids.shape[1] - len(text)
        labels = torch.full_like(ids, NOT_TRAINED)
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                start = _shared(text, self._tokens(messages[:index], is_asked=True))
                end = _shared(text, self._tokens(messages[: index + 1]))
                labels[:, image_tokens + start : image_tokens + end] = ids[:, image_tokens + start : image_tokens + end]
        return Spoken(inputs, labels)

    def _encoded(self, messages: Sequence[Message], picture: Image.Image) -> Mapping[str, torch.Tensor]:
        """Turn the dialogue into the model's inputs, with the picture in its first turn."""
        first = messages[0]["content"]
        assert isinstance(first, list)
        content = [{**part, "image": picture} if part["type"] == "image" else part for part in first]
        encoded = self.language.processor.apply_chat_template(
            [{**messages[0], "content": content}, *messages[1:]],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **self.language.template_options,
        )
        return {name: value for name, value in encoded.items() if isinstance(value, torch.Tensor)}

    def _tokens(self, messages: Sequence[Message], *, is_asked: bool = False) -> list[int]:
        """Return the tokens of a dialogue with the image as one, up to where the model would speak if it is asked."""
        text = self.language.processor.apply_chat_template(
            list(messages), add_generation_prompt=is_asked, tokenize=False, **self.language.template_options
        )
        ids: list[int] = self.language.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def exchange(phrase: str, mask: NDArray[np.bool_], rng: np.random.Generator) -> list[Message]:
    """Write the turns about one phrase: its box, and about ten points in it; one turn where nothing is there.

    Args:
        phrase: the expression.
        mask: (H, W), empty for what is absent.
        rng: draws the points: N(10, 4) of them, 1 to 20, anywhere in the box.
    """
    boxes = [dialects.relative_box(tuple(tight_box(mask)), mask.shape)] if mask.any() else []
    turns: list[Mapping[str, object]] = [
        dialects.user_turn(dialects.box_question(phrase)),
        dialects.assistant_turn(dialects.boxes_answer(boxes)),
    ]
    for box in boxes:
        count = int(np.clip(round(rng.normal(10, 4)), 1, 20))
        points = [(int(rng.integers(box[0], box[2] + 1)), int(rng.integers(box[1], box[3] + 1))) for _ in range(count)]
        answers = [_is_on(mask, point) for point in points]
        turns.append(dialects.user_turn(dialects.points_question(box, points)))
        turns.append(dialects.assistant_turn(dialects.points_answer(answers)))
    return turns


def _is_on(mask: NDArray[np.bool_], point: dialects.RelativePoint) -> bool:
    height, width = mask.shape
    x, y = dialects.pixel_point(point, (height, width))
    return bool(mask[min(int(y), height - 1), min(int(x), width - 1)])


def _joined(exchanges: Sequence[list[Message]]) -> list[Message]:
    """Put exchanges into one dialogue, with the image in its first turn."""
    first, *others = [turn for turns in exchanges for turn in turns]
    content = first["content"]
    assert isinstance(content, list)
    return [{**first, "content": [{"type": "image"}, *content]}, *others]


def _shared(whole: Sequence[int], part: Sequence[int]) -> int:
    """Count the tokens with which both begin: where a word runs over a border, its token belongs to what follows."""
    differing = (i for i, (one, other) in enumerate(zip(whole, part, strict=False)) if one != other)
    return next(differing, min(len(whole), len(part)))
