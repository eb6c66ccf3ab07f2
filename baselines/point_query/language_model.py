"""Any transformers image-text-to-text model with its processor: loading, chat templates, spellings of yes and no.

Its conversations are about one image: greedy answers, and P(yes) of many short questions at once. The questions about
points share one long beginning: the image and the first turn. Its key/value cache is computed once, and the questions
branch off it (`baselines.point_query.branches`), so 25 of them cost one short forward pass; so do the box questions of
several phrases. Models that cannot branch get the cache repeated along the batch. Shapes: N questions, S tokens, V
vocabulary.

Source: SAM4MLLM, arXiv:2409.10542, section 4.1 (confidence from token probabilities). The paper asks all points in one
list; independent questions are our departure, because models that were not tuned for it do not keep long lists.
"""

import copy
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from uuid import uuid4

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.cache_utils import Cache, DynamicCache
from transformers.utils import is_peft_available

from baselines.point_query.adapters import with_todays_names
from baselines.point_query.branches import Branch, BranchingCache, can_branch, can_choose_greedily, holds_positions
from baselines.point_query.dialects import NO, YES, format_box, format_point, system_turn
from baselines.point_query.dialogue import Message, YesNo
from baselines.transformers_releases import cache_argument
from baselines.weights import existing_directory, raise_unless_complete, without_progress_bars
from evfsam.errors import CheckpointError, ConfigurationError, ImageFormatError
from evfsam.phrases import refuse_control_tokens
from evfsam.types import RgbImage, See

Picture = Image.Image | torch.Tensor
"""What a processor is given: a picture, or its pixels (3, H, W) uint8."""

_WORD_STARTS: Final = "▁Ġ "

_FILTERS: Final = {int(Image.Resampling.BILINEAR): "bilinear", int(Image.Resampling.BICUBIC): "bicubic"}

_LARGE: Final = 2**21
"""Pixels from which on a picture is given as numbers where the processor would turn it into them anyway."""

QUESTIONS_A_BATCH: Final = 25
"""Questions answered by one forward pass: the repeated cache is the memory they cost."""


_SEEN: Final[ContextVar[See | None]] = ContextVar("seen", default=None)
"""Where the conversation that is open in this thread keeps what is seen in its image."""


class LanguageModel:
    """An image-text-to-text model with its processor.

    Args:
        model: in evaluation mode, on its device.
        processor: with a tokenizer and a chat template.
        template_options: what the chat template is told beside the messages, such as {"enable_thinking": False}.
        system_prompt: what the model is told before every dialogue; "" for nothing.
        image_side: pixels of the square to which images are squashed first; None leaves them to the processor.

    Raises:
        ConfigurationError: the processor has no chat template, or its tokenizer cannot tell yes from no or changes
            what it decodes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        template_options: Mapping[str, object] = MappingProxyType({}),
        *,
        system_prompt: str = "",
        image_side: int | None = None,
    ) -> None:
        if processor.chat_template is None and processor.tokenizer.chat_template is None:
            raise ConfigurationError("the language model's processor has no chat template; save one beside it")
        self.model = model
        self.processor = processor
        self.template_options = dict(template_options)
        self._before = [system_turn(system_prompt)] if system_prompt else []
        self._image_side = image_side
        _raise_unless_faithful(processor.tokenizer)
        self._yes_ids = _spellings(processor.tokenizer, YES)
        self._no_ids = _spellings(processor.tokenizer, NO)
        if set(self._yes_ids) & set(self._no_ids):
            raise ConfigurationError("the tokenizer begins Yes and No with one token: answers cannot be told apart")
        # Some models (M-RoPE ones) note the current image's offsets on the module: one conversation at a time.
        if isinstance(model, LlavaForConditionalGeneration):
            _look_once(model)
        self._lock: AbstractContextManager[object] = threading.Lock() if holds_positions(model) else nullcontext()

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        device: str | torch.device,
        dtype: torch.dtype,
        adapter: str | Path | None = None,
        template_options: Mapping[str, object] = MappingProxyType({}),
        system_prompt: str = "",
        image_side: int | None = None,
        may_hold_more: bool = False,
    ) -> Self:
        """Load a directory that `save_pretrained` of model and processor wrote; no weight may be missing.

        Args:
            directory: of model and processor.
            device: where it runs.
            dtype: of the weights in memory.
            adapter: directory of a LoRA adapter (peft) to put on the model.
            template_options: see the class.
            system_prompt: see the class.
            image_side: see the class.
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
            raise CheckpointError(
                "expected a saved image-text-to-text model in {path}, got: {reason}", path=path, reason=err
            ) from err
        raise_unless_complete(path, info, may_hold_more=may_hold_more)
        if adapter is not None:
            _put_on_adapter(model, existing_directory(adapter))
        placed = model.to(device).eval()
        return cls(placed, processor, template_options, system_prompt=system_prompt, image_side=image_side)

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
    def conversation(self, image: RgbImage, seen: See | None = None) -> Iterator["Conversation"]:
        """Open a conversation about one image; others wait until it is closed where the model notes something of it.

        Args:
            image: (H, W, 3) uint8.
            seen: keeps what a LLaVA's vision tower sees in the image for the next conversation about it.
        """
        with self._lock, torch.inference_mode():
            before = _SEEN.set(seen)
            try:
                yield Conversation(self, self._picture(image))
            finally:
                _SEEN.reset(before)

    def _picture(self, image: RgbImage) -> Picture:
        if self._image_side is None:
            return _picture_for(self.processor.image_processor, image)
        return self._squashed(Image.fromarray(image))

    def _squashed(self, picture: Image.Image) -> Image.Image:
        """Return the picture as the processor is to see it; one that was squashed before as it is."""
        side = self._image_side
        return picture if side is None else picture.resize((side, side), Image.Resampling.BICUBIC)

    def encode(self, image: Picture, messages: Sequence[Message]) -> dict[str, torch.Tensor]:
        """Turn image and dialogue into the model's inputs, up to where the model would speak.

        Raises:
            ImageFormatError: the model's processor refuses the image, as some do if one side is far the longer.
        """
        if isinstance(image, Image.Image):
            image = self._squashed(image)
        placed = [_with_image(message, image) for message in (*self._before, *messages)]
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

    def encode_texts(self, dialogues: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Return the tokens of dialogues with the image left as its bare placeholder; only their ends are meaningful.

        Those that differ in their last words alone are templated once.
        """
        texts = [
            text for _, alike in groupby(dialogues, _without_last_words) for text in self._rendered_alike(list(alike))
        ]
        ids: list[list[int]] = self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids

    def _rendered_alike(self, dialogues: Sequence[Sequence[Message]]) -> list[str]:
        words = [_last_words(messages) for messages in dialogues]
        first, last = self._rendered(dialogues[0]), self._rendered(dialogues[-1])
        if words[0] and first.count(words[0]) == 1:
            head, tail = first.split(words[0])
            if last == f"{head}{words[-1]}{tail}":  # the template leaves words as they are
                return [f"{head}{each}{tail}" for each in words]
        return [self._rendered(messages) for messages in dialogues]

    def _rendered(self, messages: Sequence[Message]) -> str:
        text: str = self.processor.apply_chat_template(
            [*self._before, *messages], add_generation_prompt=True, tokenize=False, **self.template_options
        )
        return text

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
        with with_todays_names(adapter) as directory:
            info = model.load_adapter(str(directory))
    except (OSError, ValueError, KeyError) as err:
        raise CheckpointError(
            "expected a peft adapter for this model in {adapter}, got: {reason}", adapter=adapter, reason=err
        ) from err
    missing = [key for key in info.missing_keys if "lora_" in key]
    if missing or info.unexpected_keys or info.mismatched_keys:
        odd = sorted(map(str, (*missing, *info.unexpected_keys, *info.mismatched_keys)))
        raise CheckpointError(
            "the adapter in {adapter} does not fit this model: {odd}", adapter=adapter, odd=", ".join(odd[:5])
        )


def _with_image(message: Message, image: Picture) -> dict[str, object]:
    """Return the message with the picture itself in its image placeholder."""
    content = message["content"]
    assert isinstance(content, list)
    return {**message, "content": [{**part, "image": image} if part["type"] == "image" else part for part in content]}


def _last_words(messages: Sequence[Message]) -> str:
    """Return the last turn's text; empty where it has none, or several."""
    content = messages[-1]["content"]
    texts = [part["text"] for part in content if part["type"] == "text"] if isinstance(content, list) else []
    return str(texts[0]) if len(texts) == 1 else ""


def _without_last_words(messages: Sequence[Message]) -> tuple[object, ...]:
    """Return a dialogue without its last turn's text: equal for dialogues that differ in it alone."""
    last = messages[-1]
    content = last["content"]
    others = [part for part in content if part["type"] != "text"] if isinstance(content, list) else content
    return list(messages[:-1]), {**last, "content": others}, bool(_last_words(messages))


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
            "expected a tokenizer that gives back {written!r}, got {read!r}; give it a decoder, such as Fuse",
            written=written,
            read=read,
        )


class Conversation:
    """Questions about one image; made by `LanguageModel.conversation`, and not to be shared between threads."""

    def __init__(self, language: LanguageModel, image: Picture) -> None:
        self._language = language
        self._image = image
        self._cache: Cache = DynamicCache(config=language.model.config)
        self._cached_ids: list[int] = []
        self._together: _Together | None = None

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
        texts = self._language.encode_texts(dialogues)
        if self._together is not None and self._together.holds(texts):
            return self._language.yes_no(self._after_answers(self._together, texts))
        shared = _shared_length(texts)
        suffixes = [ids[shared:] for ids in texts]
        inputs = self._language.encode(self._image, dialogues[0])
        prefix_length = self._prefix_length(inputs, suffixes[0])
        cache = self._prefix_cache(inputs, prefix_length)
        if can_branch(self._language.model, cache):
            tree = BranchingCache(self._language.model, cache)
            return self._language.yes_no(tree.read_ends([tree.root] * len(suffixes), suffixes))
        batches = [suffixes[i : i + QUESTIONS_A_BATCH] for i in range(0, len(suffixes), QUESTIONS_A_BATCH)]
        answers = [self._next_logits(copy.deepcopy(cache), batch) for batch in batches]
        return self._language.yes_no(torch.cat(answers))

    def can_ask_together(self) -> bool:
        """Whether `ask_together` gives what `ask_weighing` gives each dialogue."""
        model = self._language.model
        return can_branch(model, DynamicCache(config=model.config)) and can_choose_greedily(model)

    def ask_together(
        self, dialogues: Sequence[Sequence[Message]], *, max_new_tokens: int, rival: str | None
    ) -> list[tuple[str, float]]:
        """Do as `ask_weighing` for several dialogues with a common beginning that holds the image.

        Their answers are spoken side by side, and questions that follow them with `ask_each` go on from there.

        Args:
            dialogues: N whole dialogues.
            max_new_tokens: of each answer.
            rival: as in `ask_weighing`; None weighs nothing.

        Returns:
            N answers, each with the probability of the rival, 0 without one.
        """
        model, tokenizer = self._language.model, self._language.processor.tokenizer
        texts = self._language.encode_texts(dialogues)
        shared = _shared_length(texts)
        inputs = self._language.encode(self._image, dialogues[0])
        cache = self._prefix_cache(inputs, self._prefix_length(inputs, texts[0][shared:]))
        tree = BranchingCache(model, cache)
        asked, logits = tree.grow([tree.root] * len(texts), [ids[shared:] for ids in texts])
        weights = [0.0] * len(texts)
        if rival is not None:
            token = tokenizer(rival, add_special_tokens=False)["input_ids"][0]
            weights = logits.float().softmax(-1)[:, token].tolist()
        branches, spoken = tree.speak(asked, logits, most=max_new_tokens)
        self._together = _Together(texts[0][:shared], tree, branches)
        return [(self._decode(torch.tensor(ids)), weight) for ids, weight in zip(spoken, weights, strict=True)]

    def _after_answers(self, together: "_Together", texts: Sequence[list[int]]) -> torch.Tensor:
        """Return (N, V) logits after dialogues that each go on from one of the answers."""
        start = len(together.beginning)
        groups: dict[int, list[int]] = {}
        answers = [[*branch.ids, -1] for branch in together.answers]
        in_order = sorted(range(len(answers)), key=answers.__getitem__)
        for index, ids in enumerate(texts):
            own = ids[start:]
            # In the order of words, the answer that shares most with it stands right before it or behind.
            place = bisect_left(in_order, own, key=answers.__getitem__)
            beside = in_order[max(place - 1, 0) : place + 1]
            nearest = max(beside, key=lambda answer: _shared_length([own, answers[answer]]))
            groups.setdefault(nearest, []).append(index)
        stems, rests, order = [], [], []
        for answer, members in groups.items():
            followed = [texts[index][start:] for index in members]
            common = _shared_length(followed)
            known = min(common, _shared_length([followed[0], answers[answer]]))
            stems.append((together.answers[answer].cut(known), followed[0][known:common]))
            rests.append([ids[common:] for ids in followed])
            order += members
        fed = [(branch, tokens) for branch, tokens in stems if tokens]
        grown = together.tree.grow([branch for branch, _ in fed], [tokens for _, tokens in fed])[0] if fed else []
        longer = iter(grown)
        parents = [next(longer) if tokens else branch for branch, tokens in stems]
        logits = together.tree.read_ends(
            [parent for parent, members in zip(parents, rests, strict=True) for _ in members],
            [ids for members in rests for ids in members],
        )
        return logits[torch.tensor(np.argsort(order), device=logits.device)]

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


@dataclass(frozen=True, eq=False)
class _Together:
    """What `ask_together` leaves behind.

    Attributes:
        beginning: tokens of the text that all dialogues begin with, the image left as its placeholder.
        tree: the cache.
        answers: the branches at whose ends the answers are.
    """

    beginning: list[int]
    tree: BranchingCache
    answers: list[Branch]

    def holds(self, texts: Sequence[list[int]]) -> bool:
        """Whether all texts go on from the beginning."""
        return all(ids[: len(self.beginning)] == self.beginning for ids in texts)


def _picture_for(image_processor: Any, image: RgbImage) -> Picture:
    """Return the (H, W, 3) image as its processor takes it; of a large one, Pillow's copies would take longest.

    Where the processor would squash it to one size, that is done here, to the same bits: it does so for every question.
    """
    if image.shape[0] * image.shape[1] < _LARGE or getattr(image_processor, "backend", "") != "torchvision":
        return Image.fromarray(image)
    size = {name: side for name, side in dict(image_processor.size).items() if side}
    mode = _FILTERS.get(image_processor.resample)
    is_squashed = image_processor.do_resize and not getattr(image_processor, "do_center_crop", False)
    if not is_squashed or mode is None or size.keys() != {"height", "width"}:
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    sides = (size["height"], size["width"])
    return F.interpolate(pixels, sides, mode=mode, align_corners=False, antialias=True)[0].contiguous()


@dataclass(frozen=True, eq=False)
class _ImageFeatures:
    """What a LLaVA's vision tower sees in an image, as transformers hands it on; the layers before are let go."""

    output: Any

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in self.output.pooler_output)


def _look_once(model: LlavaForConditionalGeneration) -> None:
    """Let the model look at an image once for all conversations that keep what is seen in it."""
    look, identity = model.model.get_image_features, uuid4().hex

    @wraps(look)
    def features(**options: Any) -> Any:
        seen = _SEEN.get()
        if seen is None:
            return look(**options)

        def compute() -> _ImageFeatures:
            output = look(**options)
            return _ImageFeatures(type(output)(pooler_output=output.pooler_output))

        return seen(identity, compute)[0].output

    model.model.get_image_features = features


def image_refused(image: Picture, err: Exception) -> ImageFormatError:
    """Put into words that a model's processor refuses an image, as some do if one side is far the longer."""
    width, height = image.size if isinstance(image, Image.Image) else (image.shape[2], image.shape[1])
    return ImageFormatError(
        "the language model cannot take an image of {width} x {height} pixels ({reason}); crop it nearer to a square",
        width=width,
        height=height,
        reason=err,
    )


def _is_per_token(value: torch.Tensor, inputs: dict[str, torch.Tensor]) -> bool:
    return value.shape == inputs["input_ids"].shape


def _shared_length(sequences: Sequence[list[int]]) -> int:
    """Return how many first tokens all sequences share, leaving each at least one token of its own."""
    first, last = min(sequences), max(sequences)  # in the order of words: what these two share, all do
    most = max(min(map(len, sequences)) - 1, 0)
    pairs = zip(first[:most], last[:most], strict=True)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), most)
