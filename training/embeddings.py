"""SAM's image embeddings of cached scenes, computed once: every recipe that uses them freezes the image encoder."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from evfsam.preprocess import sam_pixels
from evfsam.sam.sam import SamMaskBackbone
from training.scene_cache import SceneCache

BATCH = 25


class EmbeddingTable:
    """(C, h, w) float16 embeddings of every scene of a cache, on disk, made chunk by chunk where missing.

    Args:
        directory: one folder is made in it for each image encoder.
        name: of the scenes, such as "train".
        backbone: whose image encoder to run.
        scenes: what to encode.
    """

    def __init__(self, directory: Path, name: str, backbone: SamMaskBackbone, scenes: SceneCache) -> None:
        folder = directory / f"embeddings-{name}-{backbone.encoder_identity[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        self._chunk_size = scenes.chunk_size
        chunk_count = len(scenes) // self._chunk_size
        paths = [folder / f"{chunk:05d}.npy" for chunk in range(chunk_count)]
        missing = [chunk for chunk, path in enumerate(paths) if not path.exists()]
        for chunk in tqdm(missing, desc=f"embedding {name} scenes", disable=not missing):
            unfinished = paths[chunk].with_suffix(".tmp.npy")
            np.save(
                unfinished, _embed(backbone, scenes, range(chunk * self._chunk_size, (chunk + 1) * self._chunk_size))
            )
            unfinished.replace(paths[chunk])
        self._chunks = [np.load(path, mmap_mode="r") for path in paths]

    def __getitem__(self, index: int) -> torch.Tensor:
        chunk, row = divmod(index, self._chunk_size)
        return torch.from_numpy(np.array(self._chunks[chunk][row])).float()


@torch.inference_mode()
def _embed(backbone: SamMaskBackbone, scenes: SceneCache, indices: range) -> NDArray[np.float16]:
    encoder = backbone.sam.image_encoder
    device = next(encoder.parameters()).device
    parts = []
    for start in range(0, len(indices), BATCH):
        images = [scenes[index].image for index in indices[start : start + BATCH]]
        pixels = torch.stack([sam_pixels(image, backbone.config.image_size)[0] for image in images])
        with torch.autocast(device.type, torch.bfloat16):
            parts.append(encoder(pixels.to(device)).float().cpu().half().numpy())
    return np.concatenate(parts)
