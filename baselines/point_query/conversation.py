"""A conversation about one image: greedy answers, and P(yes) of many short questions at once.

The questions about points share one long beginning: the image and the first turn. Its key/value cache is computed once
and repeated along the batch, so 25 questions cost one short forward pass. Shapes: N questions, S tokens, V vocabulary.

Source: SAM4MLLM, arXiv:2409.10542, section 4.1 (confidence from token probabilities). The paper asks all points in one
list; independent questions are our departure, because models that were not tuned for it do not keep long lists.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from PIL import Image
from transformers.cache_utils import Cache, DynamicCache

from baselines.transformers_releases import cache_argument
from evfsam.errors import ConfigurationError, ImageFormatError
from evfsam.types import RgbImage

if TYPE_CHECKING:
    from baselines.point_query.language_model import LanguageModel

Message = Mapping[str, object]
"""One turn of a dialogue as `baselines.point_query.dialects.user_turn` makes it."""

QUESTIONS_A_BATCH: Final = 25
"""Questions answered by one forward pass: the repeated cache is the memory they cost."""


@dataclass(frozen=True, eq=False)
class YesNo:
    """Next-token probabilities of yes against no.

    Attributes:
        p_yes: (N,) float32 in [0, 1], over the spellings of yes and no alone.
        mass: (N,) float32 in [0, 1], what yes and no together hold of the whole vocabulary; near 0, the model was
            about to say something else.
    """

    p_yes: torch.Tensor
    mass: torch.Tensor


class Talk(Protocol):
    """Questions about one image; `baselines.point_query.conversation.Conversation` is one."""

    def ask(self, messages: Sequence[Message], *, max_new_tokens: int) -> str:
        """Return the answer to a dialogue."""
        ...

    def ask_weighing(self, messages: Sequence[Message], *, max_new_tokens: int, rival: str) -> tuple[str, float]:
        """Return the answer, and how likely it was to begin as `rival` does."""
        ...

    def ask_each(self, dialogues: Sequence[Sequence[Message]]) -> YesNo:
        """Read yes against no after each of several dialogues with one beginning."""
        ...

    def ask_list(self, messages: Sequence[Message], *, count: int) -> tuple[str, YesNo]:
        """Read a list of yes and no out of one answer."""
        ...

    def resized_size(self) -> tuple[int, int] | None:
        """Return (H, W) of the image as the model's processor resizes it, where that is known."""
        ...


class AskedModel(Protocol):
    """A model that can be asked about images; `LanguageModel` is one."""

    def check_words(self, phrase: str) -> None:
        """Refuse a phrase that the model would take for structure."""
        ...

    def conversation(self, image: RgbImage) -> AbstractContextManager[Talk]:
        """Open a conversation about one image."""
        ...


class Conversation:
    """Questions about one image; made by `LanguageModel.conversation`, and not to be shared between threads."""

    def __init__(self, language: "LanguageModel", image: Image.Image) -> None:
        self._language = language
        self._image = image
        self._cache: Cache = DynamicCache(config=language.model.config)
        self._cached_ids: list[int] = []

    def resized_size(self) -> tuple[int, int] | None:
        """Return (H, W) of the image as the processor resizes it; None where the processor keeps no such number."""
        image_processor = self._language.processor.image_processor
        try:
            grid = image_processor(images=[self._image], return_tensors="pt").get("image_grid_thw")
        except ValueError as err:
            raise image_refused(self._image, err) from err
        if grid is None:
            return None
        _, rows, columns = grid[0].tolist()
        return rows * image_processor.patch_size, columns * image_processor.patch_size

    def ask(self, messages: Sequence[Message], *, max_new_tokens: int) -> str:
        """Return the greedy answer to the dialogue, special tokens left out."""
        answer, _ = self._answer(messages, max_new_tokens)
        return answer

    def ask_weighing(self, messages: Sequence[Message], *, max_new_tokens: int, rival: str) -> tuple[str, float]:
        """Return the greedy answer, and the probability of the first token of `rival` where the answer begins."""
        answer, first = self._answer(messages, max_new_tokens)
        token = self._language.processor.tokenizer(rival, add_special_tokens=False)["input_ids"][0]
        return answer, float(first.float().softmax(-1)[token])

    def _answer(self, messages: Sequence[Message], max_new_tokens: int) -> tuple[str, torch.Tensor]:
        """Return the greedy answer and the (V,) logits of its first token; keeps the cache for what follows."""
        inputs = self._language.encode(self._image, messages)
        cache = DynamicCache(config=self._language.model.config)
        output = self._generate(
            inputs, max_new_tokens, output_logits=True, **cache_argument(self._language.model, cache)
        )
        sequence = output.sequences[0]
        # The last token was chosen but never fed back, so the cache does not hold it.
        self._cache, self._cached_ids = cache, sequence[: cache.get_seq_length()].tolist()
        return self._decode(sequence[inputs["input_ids"].shape[1] :]), output.logits[0][0]

    def ask_each(self, dialogues: Sequence[Sequence[Message]]) -> YesNo:
        """Ask questions that continue one dialogue independently, and read yes against no.

        Args:
            dialogues: N whole dialogues with a common beginning that holds the image.
        """
        texts = [self._language.encode_text(messages) for messages in dialogues]
        shared = _shared_length(texts)
        suffixes = [ids[shared:] for ids in texts]
        inputs = self._language.encode(self._image, dialogues[0])
        prefix_length = self._prefix_length(inputs, suffixes[0])
        cache = self._prefix_cache(inputs, prefix_length)
        batches = [suffixes[i : i + QUESTIONS_A_BATCH] for i in range(0, len(suffixes), QUESTIONS_A_BATCH)]
        answers = [self._next_logits(copy.deepcopy(cache), batch) for batch in batches]
        return self._language.yes_no(torch.cat(answers))

    def ask_list(self, messages: Sequence[Message], *, count: int) -> tuple[str, YesNo]:
        """Ask for a list of Yes and No in one answer, and read each where it is spoken.

        Returns:
            The raw answer, and at most `count` probabilities: fewer where the model stopped early.
        """
        inputs = self._language.encode(self._image, messages)
        output = self._generate(inputs, 3 * count + 1, output_logits=True)
        spoken = output.sequences[0, inputs["input_ids"].shape[1] :]
        steps = [step for step, token in enumerate(spoken.tolist()) if self._language.is_yes_or_no(token)][:count]
        logits = torch.cat([output.logits[0][:0], *(output.logits[step] for step in steps)])
        return self._decode(spoken), self._language.yes_no(logits)

    def _generate(self, inputs: dict[str, torch.Tensor], max_new_tokens: int, **options: object) -> Any:
        return self._language.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            return_dict_in_generate=True,
            **options,
        )

    def _decode(self, ids: torch.Tensor) -> str:
        text: str = self._language.processor.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    def _prefix_length(self, inputs: dict[str, torch.Tensor], suffix: list[int]) -> int:
        """Return where the suffix begins in the full inputs, whose image takes many tokens instead of one."""
        ids = inputs["input_ids"][0].tolist()
        if ids[-len(suffix) :] != suffix:
            raise ConfigurationError(
                "the processor tokenises a dialogue with an image differently from its text alone; "
                "use turns='joint' with this model"
            )
        return len(ids) - len(suffix)

    def _prefix_cache(self, inputs: dict[str, torch.Tensor], length: int) -> Cache:
        """Return the cache of the first `length` tokens, going on from the last answer where it agrees."""
        ids = inputs["input_ids"][0, :length].tolist()
        known = _shared_length([ids, self._cached_ids])
        image_token = getattr(self._language.processor, "image_token_id", None)
        if known == 0 or image_token in ids[known:] or not self._cache.is_croppable:
            cache = DynamicCache(config=self._language.model.config)
            first = {
                name: value[:, :length] if _is_per_token(value, inputs) else value for name, value in inputs.items()
            }
            self._forward(cache, logits_to_keep=1, **first)
        else:
            cache = copy.deepcopy(self._cache)
            cache.crop(known - cache.get_seq_length())
            self._forward(cache, input_ids=inputs["input_ids"][:, known:length])
        return cache

    def _next_logits(self, cache: Cache, suffixes: Sequence[list[int]]) -> torch.Tensor:
        """Return (N, V) logits after each suffix; the cache of the shared prefix is repeated N times."""
        device = self._language.model.device
        lengths = torch.tensor([len(suffix) for suffix in suffixes], device=device)
        ids = torch.zeros(len(suffixes), int(lengths.max()), dtype=torch.long, device=device)
        for row, suffix in zip(ids, suffixes, strict=True):
            row[: len(suffix)] = torch.tensor(suffix, device=device)
        # Unlike batch_repeat_interleave, this also repeats the states of linear attention.
        cache.reorder_cache(torch.zeros(len(suffixes), dtype=torch.long, device=device))
        logits = self._forward(cache, input_ids=ids)
        return logits[torch.arange(len(suffixes), device=device), lengths - 1]

    def _forward(self, cache: Cache, **inputs: Any) -> torch.Tensor:
        """Return the logits of tokens that follow the cache, which holds them too afterwards.

        With a filled cache, `inputs` hold no mask: padding stands on the right, where a causal model never lets a real
        token see it, and M-RoPE models would count positions over a mask of the whole length instead of the new tokens.
        """
        model = self._language.model
        output = model(**inputs, **cache_argument(model, cache), use_cache=True)
        logits: torch.Tensor = output.logits
        return logits


def image_refused(image: Image.Image, err: Exception) -> ImageFormatError:
    """Put into words that a model's processor refuses an image, as some do if one side is far the longer."""
    return ImageFormatError(
        f"the language model cannot take an image of {image.width} x {image.height} pixels ({err}); "
        "crop it nearer to a square"
    )


def _is_per_token(value: torch.Tensor, inputs: dict[str, torch.Tensor]) -> bool:
    return value.shape == inputs["input_ids"].shape


def _shared_length(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many first tokens all sequences share, leaving each at least one token of its own."""
    columns = zip(*sequences, strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    return min(shared, *(max(len(sequence) - 1, 0) for sequence in sequences))
