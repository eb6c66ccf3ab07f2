"""One tiny model a family, and checkpoints of it as the paper's authors lay them out."""

import json
import shutil
from pathlib import Path

import torch

from evfsam.model.configuration import EvfSamConfig
from evfsam.model.export import released_values
from evfsam.model.modeling import EvfSamModel
from tests.evfsam.tiny import BEIT3, SAM, TOKENIZER_DIRECTORY

SAM2 = {
    "image_size": 64,
    "trunk_embed_dim": 8,
    "trunk_num_heads": 1,
    "trunk_stages": [1, 1, 2, 1],
    "trunk_global_blocks": [3],
    "trunk_window_sizes": [4, 2, 4, 2],
    "prompt_embed_dim": 32,
    "memory_dim": 8,
    "memory_attention_depth": 1,
    "memory_attention_mlp_dim": 32,
}
EFFICIENT_SAM = {
    "image_size": 64,
    "vit_patch_size": 8,
    "encoder_embed_dim": 32,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "position_grid": 4,
    "prompt_embed_dim": 32,
    "decoder_mlp_dim": 64,
    "iou_head_hidden_dim": 32,
}
FAMILY_SIZES = {"sam": SAM, "sam2": SAM2, "efficient_sam": EFFICIENT_SAM}


def tiny_family_model(family: str) -> EvfSamModel:
    """Build a model with weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = EvfSamConfig(beit3=BEIT3, sam=FAMILY_SIZES[family], family=family)
        return EvfSamModel(config).requires_grad_(False).eval()


def write_released(directory: Path, model: EvfSamModel, *, pickled: bool = False, shard_count: int = 1) -> Path:
    """Lay out a checkpoint as a release: config.json, tokenizer files, and weights in any of the four ways."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    (directory / "config.json").write_text(json.dumps(released_values(model.config, [torch.float32])))
    shutil.copy(TOKENIZER_DIRECTORY / "sentencepiece.bpe.model", directory)
    shutil.copy(TOKENIZER_DIRECTORY / "tokenizer_config.json", directory)
    stem, ending = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    save = torch.save if pickled else save_file
    if shard_count == 1:
        save(tensors, directory / f"{stem}.{ending}")
        return directory
    names = [f"{stem}-{i + 1:05d}-of-{shard_count:05d}.{ending}" for i in range(shard_count)]
    for i, name in enumerate(names):
        save({key: tensors[key] for key in list(tensors)[i::shard_count]}, directory / name)
    weight_map = {key: names[i % shard_count] for i, key in enumerate(tensors)}
    (directory / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory
