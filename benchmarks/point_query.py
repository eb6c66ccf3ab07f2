"""What the shared prefix saves: `python -m benchmarks.point_query [--size small] [--device cpu] [--out FILE.json]`.

Asks a Qwen3-VL with random weights the 25 point questions of one box twice, in one run: as 25 separate dialogues, each
with the image and the whole first turn, and independently over one shared prefix, whose key/value cache is computed
once; what the questions begin with alike is read once too. The answers must agree. Figures are the least of some rounds
in which both take turns: processor seconds of all threads on a CPU, where other work would lengthen those of the clock,
and seconds of the clock elsewhere.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

import numpy as np
import torch
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from baselines.point_query import dialects
from baselines.point_query.dialogue import Message, YesNo
from baselines.point_query.language_model import LanguageModel
from baselines.point_query.strategy import grid_points
from benchmarks.measurements import chosen_device
from evfsam.types import RgbImage
from workbench.names import DEVICE_NAMES

PHRASE: Final = "the dog to the left of the bench"
ANSWER: Final = '```json\n[\n\t{"bbox_2d": [212, 305, 588, 871], "label": "dog"}\n]\n```'
BOX: Final = (212, 305, 588, 871)
LEAST_RATIO: Final = 5.0
TOLERANCE: Final = 1e-3
"""Largest difference of P(yes) that rounding explains in float32, and in bfloat16 ten times that."""

_MARKS: Final = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the model: hidden width, layers, feed-forward width and heads of its text half and its image half."""

    width: int
    layers: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vision_width: int
    vision_layers: int
    vision_ffn: int
    vision_heads: int


SIZES: Final[Mapping[str, Sizes]] = MappingProxyType(
    {
        "tiny": Sizes(32, 2, 64, 4, 2, 8, 32, 2, 64, 2),
        "small": Sizes(512, 8, 1536, 8, 4, 64, 256, 4, 1024, 4),
        "2b": Sizes(2048, 28, 6144, 16, 8, 128, 1024, 24, 4096, 16),
    }
)


@dataclass(frozen=True)
class QueryFigures:
    """The figures of one run.

    Attributes:
        parameters: of the model.
        question_count: asked each way.
        dialogue_tokens: of one whole dialogue, image included.
        separate_s, shared_s: of all questions, as dialogues of their own and over one prefix.
        ratio: the first by the second.
        largest_difference: of P(yes) between both ways.
        spread: standard deviation of P(yes) over the points: 0 would mean that they are not told apart.
    """

    parameters: int
    question_count: int
    dialogue_tokens: int
    separate_s: float
    shared_s: float
    ratio: float
    largest_difference: float
    spread: float


def build_language(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """Return a Qwen3-VL with random weights and a tokenizer over bytes."""
    tokenizer = _byte_tokenizer()
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=16, merge_size=2, min_pixels=256 * 256, max_pixels=1280 * 1280),
        tokenizer,
        Qwen3VLVideoProcessor(),
        chat_template=_TEMPLATE,
    )
    half = sizes.head_dim // 2
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": sections, "mrope_interleaved": True}
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(_MARKS))
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.width,
            "intermediate_size": sizes.ffn,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.kv_heads,
            "head_dim": sizes.head_dim,
            "rope_parameters": rope,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": sizes.vision_layers,
            "hidden_size": sizes.vision_width,
            "intermediate_size": sizes.vision_ffn,
            "num_heads": sizes.vision_heads,
            "patch_size": 16,
            "out_hidden_size": sizes.width,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3VLForConditionalGeneration(config).to(dtype).eval()
    with torch.no_grad():
        # Fresh output weights are so small that every point would be answered alike.
        model.lm_head.weight.normal_(std=sizes.width**-0.5)
    return LanguageModel(model, processor)


def point_dialogues() -> list[list[Message]]:
    """Return one whole dialogue a grid point: image, box question, box answer, point question."""
    dialect = dialects.DIALECTS["qwen3-vl"]
    assert dialect.box_question is not None and dialect.points_question is not None  # noqa: PT018
    grid = dialect.convention.grid((480, 640))
    first: list[Message] = [
        dialects.user_turn(dialect.box_question(PHRASE, "0+"), with_image=True),
        dialects.assistant_turn(ANSWER),
    ]
    questions = [dialect.points_question(PHRASE, BOX, [point], grid) for point in grid_points(BOX, 5)]
    return [[*first, dialects.user_turn(question)] for question in questions]


def ask_separately(language: LanguageModel, image: RgbImage, dialogues: Sequence[Sequence[Message]]) -> YesNo:
    """Ask each dialogue from its beginning, one after the other."""
    picture = Image.fromarray(image)
    with torch.inference_mode():
        logits = [
            language.model(**language.encode(picture, messages), logits_to_keep=1).logits[:, -1]
            for messages in dialogues
        ]
    return language.yes_no(torch.cat(logits))


def ask_over_one_prefix(language: LanguageModel, image: RgbImage, dialogues: Sequence[Sequence[Message]]) -> YesNo:
    """Ask as the point query does: the prefix once, then all questions in one batch."""
    with language.conversation(image) as conversation:
        return conversation.ask_each(dialogues)


def measure(language: LanguageModel, image: RgbImage, rounds: int) -> QueryFigures:
    """Ask both ways and compare answers and times."""
    dialogues = point_dialogues()
    # One question each way first: libraries choose their kernels then, and no figure should hold that.
    ask_separately(language, image, dialogues[:1])
    ask_over_one_prefix(language, image, dialogues[:2])
    separate_s = shared_s = float("inf")
    for _ in range(rounds):
        separate, seconds = _timed(language, lambda: ask_separately(language, image, dialogues))
        separate_s = min(separate_s, seconds)
        shared, seconds = _timed(language, lambda: ask_over_one_prefix(language, image, dialogues))
        shared_s = min(shared_s, seconds)
    return QueryFigures(
        parameters=sum(parameter.numel() for parameter in language.model.parameters()),
        question_count=len(dialogues),
        dialogue_tokens=language.encode(Image.fromarray(image), dialogues[0])["input_ids"].shape[1],
        separate_s=separate_s,
        shared_s=shared_s,
        ratio=separate_s / shared_s,
        largest_difference=float((separate.p_yes - shared.p_yes).abs().max()),
        spread=float(separate.p_yes.std()),
    )


def _timed(language: LanguageModel, ask: Callable[[], T]) -> tuple[T, float]:
    is_on_cpu = language.model.device.type == "cpu"
    clock = time.process_time if is_on_cpu else time.perf_counter
    started = clock()
    answer = ask()
    if language.model.device.type == "cuda":
        torch.cuda.synchronize()
    return answer, clock() - started


def _byte_tokenizer() -> Qwen2Tokenizer:
    merges = [("Y", "e"), ("Ye", "s"), ("N", "o")]
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    tokenizer = Qwen2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *_MARKS]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    return tokenizer


def report(measured: QueryFigures, size: str, device: str, tolerance: float) -> list[str]:
    """Put the figures into lines for people."""
    agrees = measured.largest_difference <= tolerance
    return [
        f"Qwen3-VL, size {size}, {measured.parameters / 1e6:.0f} M parameters with random weights, device {device}, "
        f"{torch.get_num_threads()} torch threads, torch {torch.__version__}",
        f"{measured.question_count} questions about points, {measured.dialogue_tokens} tokens a dialogue (of bytes)",
        "",
        f"25 separate dialogues        {measured.separate_s:8.3f} s",
        f"independent, shared prefix   {measured.shared_s:8.3f} s",
        f"ratio                        {measured.ratio:8.1f}    bound {LEAST_RATIO:.0f}    "
        f"{'within' if measured.ratio >= LEAST_RATIO else 'UNDER'}",
        f"largest difference of P(yes) {measured.largest_difference:8.1e}    bound {tolerance:.0e}    "
        f"{'equal' if agrees else 'DIFFERENT'} (spread over the points {measured.spread:.1e})",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where the answers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="small", help="of the model (default: small)")
    parser.add_argument("--device", choices=DEVICE_NAMES, default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=2, help="the best of so many counts (default: 2)")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    chosen = parser.parse_args(arguments)
    device, dtype = chosen_device(parser, chosen.device), getattr(torch, chosen.dtype)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    measured = measure(build_language(SIZES[chosen.size], device, dtype), image, max(1, chosen.rounds))
    tolerance = TOLERANCE if dtype == torch.float32 else 10 * TOLERANCE
    if chosen.out:
        figures = {"size": chosen.size, "device": str(device), "python": platform.python_version(), **asdict(measured)}
        chosen.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print("\n".join(report(measured, chosen.size, str(device), tolerance)))
    return 0 if measured.largest_difference <= tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
