"""A checkpoint of every strategy of the mini suite, built tiny from the real classes around one SAM image encoder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from baselines.point_query.language_model import LanguageModel
from evfsam.encoders.beit3 import Beit3Config
from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.types import Strategy
from tests.baselines.tiny_models import taught_llava, tiny_clip_text, tiny_sam
from workbench.suites.registry import SUITES

TOKENIZER = Path(__file__).parents[1] / "fixtures" / "golden" / "tokenizer" / "sentencepiece.bpe.model"


def save_evf_sam(directory: Path) -> None:
    sam = tiny_sam()
    tokenizer = PhraseTokenizer(TOKENIZER.read_bytes(), 64)
    encoder = Beit3Config(
        image_size=32,
        patch_size=16,
        vocab_size=tokenizer.vocab_size,
        embed_dim=32,
        head_count=2,
        ffn_dim=64,
        layer_count=2,
        text_position_count=66,
    )
    config = EvfSamConfig(beit3=encoder.to_dict(), sam=sam.config.to_dict())
    torch.manual_seed(0)
    model = EvfSamModel(config)
    model.visual_model.load_state_dict(sam.sam.state_dict())
    model.save_pretrained(directory)
    EvfSamProcessor(tokenizer, config).save_pretrained(directory)


def save_clip_text(directory: Path) -> None:
    model, tokenizer = tiny_clip_text()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def save_point_query(directory: Path) -> None:
    LanguageModel(*taught_llava()).save_pretrained(directory / "mllm")
    tiny_sam().save_pretrained(directory / "sam")


SAVERS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {"evf-sam": save_evf_sam, "clip-text": save_clip_text, "point-query": save_point_query}
)


def load(key: str, directory: Path, dtype: torch.dtype = torch.float32) -> Strategy:
    """Load a strategy from its tiny checkpoint, through the loader that the suite registers."""
    entry = replace(SUITES["mini"].strategies[key], directory=directory / key)
    return entry.load(torch.device("cpu"), dtype)
