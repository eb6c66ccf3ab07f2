"""Any transformers image-text-to-text model with its processor: loading, chat templates, spellings of yes and no."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.utils import is_peft_available

from baselines.checkpoint_files import existing_directory, raise_unless_complete, without_progress_bars
from baselines.control_tokens import refuse_control_tokens
from baselines.point_query.conversation import Conversation, Message, YesNo, image_refused
from baselines.point_query.dialects import NO, YES, format_box, format_point
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.types import RgbImage

__all__ = ["Conversation", "LanguageModel", "Message", "YesNo"]

_WORD_STARTS: Final = "▁Ġ "


class LanguageModel:
    """An image-text-to-text model with its processor.

    Args:
        model: in evaluation mode, on its device.
        processor: with a tokenizer and a chat template.
        template_options: what the chat template is told beside the messages, such as {"enable_thinking": False}.

    Raises:
        ConfigurationError: the processor has no chat template, or its tokenizer cannot tell yes from no or changes
            what it decodes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        template_options: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        if processor.chat_template is None and processor.tokenizer.chat_template is None:
            raise ConfigurationError("the language model's processor has no chat template; save one beside it")
        self.model = model
        self.processor = processor
        self.template_options = dict(template_options)
        _raise_unless_faithful(processor.tokenizer)
        self._yes_ids = _spellings(processor.tokenizer, YES)
        self._no_ids = _spellings(processor.tokenizer, NO)
        if set(self._yes_ids) & set(self._no_ids):
            raise ConfigurationError("the tokenizer begins Yes and No with one token: answers cannot be told apart")
        # Some models (M-RoPE ones) note the current image's offsets on the module: one conversation at a time.
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        device: str | torch.device,
        dtype: torch.dtype,
        adapter: str | Path | None = None,
        template_options: Mapping[str, object] = MappingProxyType({}),
        may_hold_more: bool = False,
    ) -> Self:
        """Load a directory that `save_pretrained` of model and processor wrote; no weight may be missing.

        Args:
            directory: of model and processor.
            device: where it runs.
            dtype: of the weights in memory.
            adapter: directory of a LoRA adapter (peft) to put on the model.
            template_options: see the class.
            may_hold_more: whether weights that the model does not know are welcome.

        Raises:
            CheckpointError: the directory is missing or does not hold a complete model and processor.
            ConfigurationError: there is an adapter, but peft is not installed.
        """
        path = existing_directory(directory)
        try:
            with without_progress_bars():
                model, info = AutoModelForImageTextToText.from_pretrained(
                    path, dtype=dtype, output_loading_info=True, trust_remote_code=False
                )
                processor = AutoProcessor.from_pretrained(path, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as err:
            raise CheckpointError(f"expected a saved image-text-to-text model in {path}, got: {err}") from err
        raise_unless_complete(path, info, may_hold_more=may_hold_more)
        if adapter is not None:
            _put_on_adapter(model, existing_directory(adapter))
        return cls(model.to(device).eval(), processor, template_options)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write model and processor where `from_pretrained` finds them."""
        with without_progress_bars():
            self.model.save_pretrained(directory)
        self.processor.save_pretrained(directory)

    def check_words(self, phrase: str) -> None:
        """Refuse a phrase that spells one of the tokenizer's control tokens.

        Raises:
            PhraseError: such a token would be taken for the dialogue's own structure.
        """
        refuse_control_tokens(self.processor.tokenizer, phrase)

    @contextmanager
    def conversation(self, image: RgbImage) -> Iterator["Conversation"]:
        """Open a conversation about one image; others wait until it is closed."""
        with self._lock, torch.inference_mode():
            yield Conversation(self, Image.fromarray(image))

    def encode(self, image: Image.Image, messages: Sequence[Message]) -> dict[str, torch.Tensor]:
        """Turn image and dialogue into the model's inputs, up to where the model would speak.

        Raises:
            ImageFormatError: the model's processor refuses the image, as some do if one side is far the longer.
        """
        placed = [_with_image(message, image) for message in messages]
        try:
            encoded = self.processor.apply_chat_template(
                placed,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                **self.template_options,
            )
        except ValueError as err:
            raise image_refused(image, err) from err
        return {name: self._on_device(value) for name, value in encoded.items() if isinstance(value, torch.Tensor)}

    def encode_text(self, messages: Sequence[Message]) -> list[int]:
        """Return the dialogue's tokens with the image left as its bare placeholder; only the end is meaningful."""
        text = self.processor.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=False, **self.template_options
        )
        ids: list[int] = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def yes_no(self, logits: torch.Tensor) -> YesNo:
        """Sum next-token probabilities over the spellings of yes and of no.

        Args:
            logits: (N, V).
        """
        log_probabilities = logits.float().log_softmax(dim=-1)
        yes = log_probabilities[:, self._yes_ids].logsumexp(dim=-1)
        no = log_probabilities[:, self._no_ids].logsumexp(dim=-1)
        return YesNo((yes - no).sigmoid().cpu(), (yes.exp() + no.exp()).cpu())

    def is_yes_or_no(self, token: int) -> bool:
        """Tell whether a token spells (or begins) yes or no."""
        return token in self._yes_ids or token in self._no_ids

    def _on_device(self, value: torch.Tensor) -> torch.Tensor:
        dtype = self.model.dtype if value.is_floating_point() else value.dtype
        return value.to(self.model.device, dtype)


def _put_on_adapter(model: PreTrainedModel, adapter: Path) -> None:
    """Load a LoRA adapter onto the model, strictly."""
    if not is_peft_available():
        raise ConfigurationError("an adapter needs the package peft, which is not installed: pip install peft")
    try:
        info = model.load_adapter(str(adapter))
    except (OSError, ValueError, KeyError) as err:
        raise CheckpointError(f"expected a peft adapter for this model in {adapter}, got: {err}") from err
    missing = [key for key in info.missing_keys if "lora_" in key]
    if missing or info.unexpected_keys or info.mismatched_keys:
        odd = sorted(map(str, (*missing, *info.unexpected_keys, *info.mismatched_keys)))
        raise CheckpointError(f"the adapter in {adapter} does not fit this model: {', '.join(odd[:5])}")


def _with_image(message: Message, image: Image.Image) -> dict[str, object]:
    """Return the message with the picture itself in its image placeholder."""
    content = message["content"]
    assert isinstance(content, list)
    return {**message, "content": [{**part, "image": image} if part["type"] == "image" else part for part in content]}


def _spellings(tokenizer: Any, word: str) -> list[int]:
    """Return every token that spells the word in any case, or the first piece of the word where none does."""
    whole = [i for token, i in tokenizer.get_vocab().items() if token.lstrip(_WORD_STARTS).lower() == word.lower()]
    return sorted(whole) or list(tokenizer(word, add_special_tokens=False)["input_ids"][:1])


def _raise_unless_faithful(tokenizer: Any) -> None:
    """Refuse a tokenizer that loses or adds spaces: the answered box would not be read, nor asked again as it was."""
    written = format_box((0, 123, 456, 789)) + format_point((12, 345))
    read = tokenizer.decode(tokenizer(written, add_special_tokens=False)["input_ids"], skip_special_tokens=True).strip()
    if read != written:
        raise ConfigurationError(
            f"expected a tokenizer that gives back {written!r}, got {read!r}; give it a decoder, such as Fuse"
        )
