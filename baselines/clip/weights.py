"""CLIP from a directory or a Hub id: OpenAI's, and open_clip's where the repository holds weights for transformers."""

from pathlib import Path

import torch
from transformers import CLIPModel, CLIPTokenizerFast, PreTrainedTokenizerFast

from baselines.weights import raise_unless_complete, without_progress_bars
from evfsam.errors import CheckpointError, Sentence
from evfsam.weights.checkpoint_files import read_config
from evfsam.weights.hub import weights_directory

OPENAI_VIT_L = "openai/clip-vit-large-patch14"


def load_clip(
    source: str | Path, *, device: str | torch.device, dtype: torch.dtype
) -> tuple[CLIPModel, PreTrainedTokenizerFast]:
    """Load a CLIP and its tokenizer.

    Args:
        source: a directory or a Hub id, such as "openai/clip-vit-large-patch14" or
            "laion/CLIP-ViT-L-14-laion2B-s32B-b82K".
        device: where it runs.
        dtype: of the weights in memory.

    Raises:
        CheckpointError: there are no weights, or none that transformers' CLIP classes read.
    """
    directory = weights_directory(source)
    has_open_clip = (directory / "open_clip_config.json").is_file()
    advice = Sentence(
        "choose one with both, such as laion/CLIP-ViT-L-14-laion2B-s32B-b82K, or {other}", other=OPENAI_VIT_L
    )
    if has_open_clip and not (directory / "config.json").is_file():
        raise CheckpointError(
            "{source} holds open_clip's own format alone, which is not read; {advice}", source=source, advice=advice
        )
    model_type = read_config(directory).get("model_type")
    if model_type != "clip":
        raise CheckpointError(
            "expected a CLIP in {source}, got model_type {kind!r}; {advice}",
            source=source,
            kind=model_type,
            advice=advice,
        )
    try:
        with without_progress_bars():
            model, info = CLIPModel.from_pretrained(
                directory, dtype=dtype, output_loading_info=True, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = CLIPTokenizerFast.from_pretrained(directory)
    except (OSError, ValueError, KeyError) as err:
        raise CheckpointError(
            "expected a CLIP with safetensors and its tokenizer in {source}, got: {reason}", source=source, reason=err
        ) from err
    raise_unless_complete(directory, info, may_hold_more=True)
    return model.to(device).eval().requires_grad_(False), tokenizer
