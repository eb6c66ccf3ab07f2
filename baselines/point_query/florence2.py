"""Florence-2 as a model that is asked for boxes. It holds no dialogue and answers no yes or no.

Source: Florence-2, arXiv:2311.06242; boxes are written as location tokens, which the tokenizer holds as specials.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from PIL import Image
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from baselines.point_query.dialogue import Message, YesNo
from baselines.weights import existing_directory, raise_unless_complete, without_progress_bars
from evfsam.errors import CheckpointError, ConfigurationError, PhraseError
from evfsam.types import RgbImage, See

BEAMS = 3
"""Beams of the search, as the model's makers use it."""


class Florence2Model:
    """Florence-2 with its processor.

    Args:
        model: in evaluation mode, on its device.
        processor: of the same release.
    """

    def __init__(self, model: Florence2ForConditionalGeneration, processor: Florence2Processor) -> None:
        self.model = model
        self.processor = processor
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: str | torch.device, dtype: torch.dtype
    ) -> "Florence2Model":
        """Load what `save_pretrained` of model and processor wrote.

        Raises:
            CheckpointError: the directory is missing or does not hold a complete Florence-2.
        """
        path = existing_directory(directory)
        try:
            with without_progress_bars():
                model, info = Florence2ForConditionalGeneration.from_pretrained(
                    path, dtype=dtype, output_loading_info=True
                )
                processor = Florence2Processor.from_pretrained(path)
        except (OSError, ValueError, KeyError) as err:
            raise CheckpointError(
                "expected a saved Florence-2 in {path}, got: {reason}", path=path, reason=err
            ) from err
        raise_unless_complete(path, info, may_hold_more=True)
        return cls(model.to(device).eval(), processor)

    def check_words(self, phrase: str) -> None:
        """Refuse a phrase that spells a task, a location or another mark of the model.

        Raises:
            PhraseError: the model would take it for structure.
        """
        marks = {*self.processor.tasks_answer_post_processing_type, *self.processor.tokenizer.all_special_tokens}
        found = sorted(mark for mark in {*marks, "<loc_"} if mark in phrase)
        if found:
            raise PhraseError("the phrase holds {token!r}, a control token of the model; leave it out", token=found[0])

    @contextmanager
    def conversation(self, image: RgbImage, seen: See | None = None) -> Iterator["Florence2Talk"]:  # noqa: ARG002
        """Open a conversation about one image; others wait until it is closed."""
        with self._lock, torch.inference_mode():
            yield Florence2Talk(self, Image.fromarray(image))


class Florence2Talk:
    """Questions about one image; made by `Florence2Model.conversation`."""

    def __init__(self, florence: Florence2Model, image: Image.Image) -> None:
        self._florence = florence
        self._image = image

    def ask(self, messages: Sequence[Message], *, max_new_tokens: int) -> str:
        """Return the answer to the last message, location tokens included."""
        model, processor = self._florence.model, self._florence.processor
        content = messages[-1]["content"]
        assert isinstance(content, list)
        question = "".join(part["text"] for part in content if part["type"] == "text")
        inputs = processor(images=self._image, text=question, return_tensors="pt").to(model.device, model.dtype)
        sequence = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=BEAMS)[0]
        text: str = processor.tokenizer.decode(sequence, skip_special_tokens=False)
        for mark in ("<s>", "</s>", "<pad>"):
            text = text.replace(mark, "")
        return text.strip()

    def ask_weighing(self, messages: Sequence[Message], *, max_new_tokens: int, rival: str) -> tuple[str, float]:
        """Refuse: the family has no answer for nothing, so there is none to weigh."""
        del messages, max_new_tokens, rival
        raise ConfigurationError("Florence-2 always names a box; it has no answer for absent objects to weigh")

    def ask_each(self, dialogues: Sequence[Sequence[Message]]) -> YesNo:
        """Refuse: the model knows no yes and no."""
        del dialogues
        _refuse()

    def ask_list(self, messages: Sequence[Message], *, count: int) -> tuple[str, YesNo]:
        """Refuse: the model knows no yes and no."""
        del messages, count
        _refuse()

    def resized_size(self) -> None:
        """Return None: location bins are relative to the image."""
        return None


def _refuse() -> NoReturn:
    raise ConfigurationError("Florence-2 answers no yes or no; use prompt='box'")
