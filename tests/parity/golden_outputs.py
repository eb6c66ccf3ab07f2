"""Stored outputs of the reference implementation, and our model with the same weights.

The environment variable GOLDEN_DIR points the same tests at another folder of the same layout; a part it does not hold
is skipped. Tensors named `x_strideK` hold x[..., ::K, ::K]; `x_stats` holds mean, standard deviation, sum of absolute
values, minimum and maximum of the whole x.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evfsam.geometry import Frame
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.preprocess import beit3_pixels
from evfsam.types import RgbImage
from evfsam.weights.loading import load_strictly

_OWN_FIXTURES = Path(__file__).parent.parent / "fixtures" / "golden"

# Measured noise of the reference itself: 1e-5 on logits between thread counts, 4e-6 on embeddings against float64.
EMBEDDING_TOLERANCE = {"atol": 2e-5, "rtol": 0.0}
LOGIT_TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
# The reference against itself in float64 differs by 4e-4 on EfficientSAM's logits, which reach 38.
LOGIT_TOLERANCES = {
    "tiny_sam1": LOGIT_TOLERANCE,
    "tiny_sam2": LOGIT_TOLERANCE,
    "tiny_effisam": {"atol": 1e-3, "rtol": 1e-3},
}


def golden_part(name: str) -> Path:
    """Return a folder of stored outputs."""
    folder = Path(os.environ.get("GOLDEN_DIR", _OWN_FIXTURES)) / name
    if not folder.is_dir() and "GOLDEN_DIR" in os.environ:
        pytest.skip(f"GOLDEN_DIR has no {name}")
    return folder


def compare_stored(ours: torch.Tensor, stored: Mapping[str, torch.Tensor], name: str, **tolerance: float) -> None:
    """Compare with everything stored under a name: whole, strided, and in figures."""
    pattern = re.compile(re.escape(name) + r"(_stride(\d+)|_stats)?")
    found = [(match, value) for key, value in stored.items() if (match := pattern.fullmatch(key))]
    assert found, f"nothing is stored under {name}"
    ours = ours.detach()
    for match, value in found:
        if match[1] == "_stats":
            full = ours.double()
            figures = torch.stack([full.mean(), full.std(), full.abs().sum(), full.min(), full.max()])
            torch.testing.assert_close(figures, value, rtol=1e-4, atol=tolerance["atol"], msg=lambda m: f"{name}: {m}")
        else:
            step = int(match[2] or 1)
            part = ours[..., ::step, ::step] if step > 1 else ours
            torch.testing.assert_close(part, value, **tolerance, msg=lambda m: f"{name}: {m}")


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs, stored outputs, and our model with the stored weights."""

    model: EvfSamModel
    inputs: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]
    facts: Mapping[str, object]
    grad_norms: Mapping[str, float]

    def image(self, letter: str) -> RgbImage:
        return self.inputs[f"image_{letter}"].numpy()

    def sam_input(self, letter: str) -> tuple[torch.Tensor, Frame]:
        return self.model.family.pixels(self.image(letter), self.model.config.sam_config.image_size)

    def encoder_input(self, letter: str) -> torch.Tensor:
        return self.encoder_pixels(self.image(letter))

    def encoder_pixels(self, image: RgbImage) -> torch.Tensor:
        return beit3_pixels(image, self.model.config.beit3_config.image_size)


def config_from_golden(values: dict[str, object]) -> tuple[EvfSamConfig, dict[str, object]]:
    """Build our configuration from the sizes under "golden", and return those facts too."""
    facts = values.pop("golden")
    assert isinstance(facts, dict)
    sizes = facts["beit3"]
    beit3 = {
        "image_size": sizes["img_size"],
        "patch_size": sizes["patch_size"],
        "vocab_size": sizes["vocab_size"],
        "embed_dim": sizes["encoder_embed_dim"],
        "head_count": sizes["encoder_attention_heads"],
        "ffn_dim": sizes["encoder_ffn_embed_dim"],
        "layer_count": sizes["encoder_layers"],
        "text_position_count": facts["beit3_defaults_in_effect"]["max_source_positions"],
    }
    return EvfSamConfig(**values, beit3=beit3, sam=_sam_sizes(facts)), facts


def _sam_sizes(facts: Mapping[str, Any]) -> Mapping[str, object]:
    """Translate the reference's sizes of a SAM of any family into ours."""
    if "sam1" in facts:
        return facts["sam1"]
    if "effisam" in facts:
        sizes = facts["effisam"]
        return {
            "image_size": sizes["img_size"],
            "vit_patch_size": sizes["encoder_patch_size"],
            "encoder_embed_dim": sizes["encoder_patch_embed_dim"],
            "encoder_depth": sizes["encoder_depth"],
            "encoder_num_heads": sizes["encoder_num_heads"],
            "mlp_ratio": sizes["encoder_mlp_ratio"],
            "prompt_embed_dim": sizes["encoder_neck_dims"][-1],
            "decoder_depth": sizes["decoder_transformer_depth"],
            "decoder_mlp_dim": sizes["decoder_transformer_mlp_dim"],
            "decoder_num_heads": sizes["decoder_num_heads"],
            "num_multimask_outputs": sizes["num_multimask_outputs"],
            "iou_head_depth": sizes["iou_head_depth"],
            "iou_head_hidden_dim": sizes["iou_head_hidden_dim"],
        }
    sizes = {name.lstrip("+").removeprefix("model."): size for name, size in facts["sam2_hydra_overrides"].items()}
    return {
        "trunk_embed_dim": sizes["image_encoder.trunk.embed_dim"],
        "trunk_num_heads": sizes["image_encoder.trunk.num_heads"],
        "trunk_stages": sizes["image_encoder.trunk.stages"],
        "trunk_global_blocks": sizes["image_encoder.trunk.global_att_blocks"],
        "trunk_window_sizes": [8, 4, 14, 7],
        "prompt_embed_dim": sizes["image_encoder.neck.d_model"],
        "memory_dim": sizes["memory_encoder.out_dim"],
        "memory_attention_depth": sizes["memory_attention.num_layers"],
        "memory_attention_mlp_dim": sizes["memory_attention.layer.dim_feedforward"],
    }


def load_golden(part: str = "tiny_sam1") -> Golden:
    """Load a fixture of one family into our classes, strictly."""
    folder = golden_part(part)
    config, facts = config_from_golden(json.loads((folder / "config.json").read_text()))
    model = EvfSamModel(config).eval()
    load_strictly(model, load_file(folder / "model.safetensors"), str(folder))
    return Golden(
        model=model,
        inputs=load_file(folder / "inputs.safetensors"),
        outputs=load_file(folder / "outputs.safetensors"),
        facts=facts,
        grad_norms=json.loads((folder / "train_grad_norms.json").read_text()),
    )
