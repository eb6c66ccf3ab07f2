"""CLIP-text-prompted SAM out of three parts: a released CLIP, a released SAM, and a projector trained between them.

A projector is a directory or Hub id with `config.json` and `model.safetensors`: the projectors of
`baselines.clip.text` for the widths it names, and SAM's mask decoder where it was trained along. Released CLIPs come
without one; the zero-shot form of the idea, `baselines.clip.ranking`, needs none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from transformers import CLIPModel, CLIPTokenizerFast, PreTrainedTokenizerFast

from baselines.clip.text import ClipTextSamConfig, ClipTextSamModel, ClipTextStrategy
from baselines.weights import load_mask_backbone, raise_unless_complete, without_progress_bars
from evfsam.errors import CheckpointError, Sentence
from evfsam.sam.sam import SamMaskBackbone
from evfsam.weights.checkpoint_files import read_config, read_weights, save_weights, write_config
from evfsam.weights.hub import weights_directory
from evfsam.weights.loading import load_strictly

OPENAI_VIT_L = "openai/clip-vit-large-patch14"
_MODEL_TYPE: Final = "clip-text-projector"
_PARTS: Final = ("projectors.", "sam.mask_decoder.")


def load_clip(
    source: str | Path, *, device: str | torch.device, dtype: torch.dtype
) -> tuple[CLIPModel, PreTrainedTokenizerFast]:
    """Load a released CLIP and its tokenizer: OpenAI's, or one of open_clip's with weights for transformers.

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


def save_projector(model: ClipTextSamModel, directory: str | Path, *, clip: str, sam: str) -> None:
    """Write the trained parts of a model: projectors and mask decoder.

    Args:
        model: whose projectors to keep.
        directory: is made where it is not there.
        clip: the CLIP it was trained with, as a person would name it.
        sam: the SAM it was trained with.
    """
    trained = {name: value for name, value in model.state_dict().items() if name.startswith(_PARTS)}
    save_weights(Path(directory), trained, None)
    write_config(Path(directory), {"model_type": _MODEL_TYPE, **_widths(model.config), "clip": clip, "sam": sam})


def load_strategy(
    weights: Mapping[str, str | Path], *, device: str | torch.device, dtype: torch.dtype
) -> ClipTextStrategy:
    """Put CLIP, projector and SAM together.

    Args:
        weights: directories or Hub ids: "clip", "sam" and "projector".
        device: where all run.
        dtype: of the weights in memory.

    Raises:
        CheckpointError: there is no projector, or a part is missing or does not fit the others.
    """
    if not weights.get("projector"):
        raise CheckpointError(
            "CLIP text needs a projector trained between this CLIP and this SAM, and none is given: give one as "
            "'projector' (a directory or a Hub id), or choose CLIP ranking, which needs no training"
        )
    directory = weights_directory(weights["projector"])
    values = read_config(directory)
    if values.get("model_type") != _MODEL_TYPE:
        raise CheckpointError(
            "expected a projector (model_type {kind!r}) in {directory}, got {other!r}; save one with "
            "baselines.clip.projector.save_projector",
            kind=_MODEL_TYPE,
            directory=directory,
            other=values.get("model_type"),
        )
    clip, tokenizer = load_clip(weights["clip"], device="cpu", dtype=dtype)
    backbone = load_mask_backbone(weights_directory(weights["sam"]), device="cpu", dtype=dtype)
    if not isinstance(backbone, SamMaskBackbone):
        raise CheckpointError(
            "a projector is trained for a SAM, got another mask model in {weights}; give a SAM", weights=weights["sam"]
        )
    config = ClipTextSamConfig(clip.config.text_config, clip.config.vision_config, backbone.config)
    wanted = _widths(config)
    if {name: values.get(name) for name in wanted} != wanted:
        raise CheckpointError(
            "the projector in {directory} was trained for {clip} and {sam} with {sizes}, these parts have "
            "{wanted}; choose the parts it names",
            directory=directory,
            clip=values.get("clip"),
            sam=values.get("sam"),
            sizes={name: values.get(name) for name in wanted},
            wanted=wanted,
        )
    model = ClipTextSamModel(config)
    state = {f"text_encoder.{name}": value for name, value in clip.text_model.state_dict().items()}
    state |= {f"image_encoder.{name}": value for name, value in clip.vision_model.state_dict().items()}
    state |= {f"sam.{name}": value for name, value in backbone.sam.state_dict().items()}
    state |= read_weights(directory)
    load_strictly(model, state, str(directory))
    model.requires_grad_(False).place(device, dtype)
    return ClipTextStrategy(model, tokenizer, SamMaskBackbone(model.sam, config.sam))


def _widths(config: ClipTextSamConfig) -> dict[str, object]:
    return {
        "text_width": config.text.hidden_size,
        "image_width": config.vision.hidden_size,
        "prompt_width": config.sam.prompt_embed_dim,
    }
