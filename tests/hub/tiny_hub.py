"""A local Hub cache with tiny random models of the real transformers classes under the real repository ids.

`lay_down(root, *ids)` writes the cache; with `HF_HUB_CACHE` at `root` and `HF_HUB_OFFLINE=1`, whatever loads from the
Hub loads these. The tokenizers are the families' own classes over bytes, so that texts and marks come out as they do
with the released ones.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.hub import tiny_families, tiny_vision

Saver = Callable[[Path], None]

SAM = "facebook/sam-vit-huge"
CLIP = "openai/clip-vit-large-patch14"
OPEN_CLIP = "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"
GROUNDING_DINO = "IDEA-Research/grounding-dino-base"
SAM3 = "facebook/sam3"
SAM3_LITE_TEXT = "vil-uob/sam3-litetext-s0"
QWEN3_VL = "Qwen/Qwen3-VL-2B-Instruct"
QWEN3_5 = "Qwen/Qwen3.5-2B"
QWEN2_5_VL = "Qwen/Qwen2.5-VL-7B-Instruct"
INTERNVL = "OpenGVLab/InternVL3_5-2B-HF"
LLAVA_NEXT = "llava-hf/llama3-llava-next-8b-hf"
FLORENCE_2 = "florence-community/Florence-2-large"
MOLMO2 = "allenai/Molmo2-4B"

SAVERS: Mapping[str, Saver] = MappingProxyType(
    {
        SAM: tiny_vision.save_sam,
        CLIP: tiny_vision.save_clip,
        OPEN_CLIP: tiny_vision.save_clip,
        GROUNDING_DINO: tiny_vision.save_grounding_dino,
        SAM3: tiny_vision.save_sam3,
        SAM3_LITE_TEXT: tiny_vision.save_sam3_lite_text,
        QWEN3_VL: tiny_families.save_qwen3_vl,
        QWEN3_5: tiny_families.save_qwen3_5,
        QWEN2_5_VL: tiny_families.save_qwen2_5_vl,
        INTERNVL: tiny_families.save_internvl,
        LLAVA_NEXT: tiny_families.save_llava_next,
        FLORENCE_2: tiny_families.save_florence_2,
        MOLMO2: tiny_families.save_molmo2,
    }
)


def commit_of(repo_id: str) -> str:
    """The commit under which a repository is laid down: 40 hexadecimal digits."""
    return hashlib.sha1(repo_id.encode()).hexdigest()


def snapshot_of(root: Path, repo_id: str) -> Path:
    """Where a repository's files lie in the cache at `root`."""
    return root / f"models--{repo_id.replace('/', '--')}" / "snapshots" / commit_of(repo_id)


def lay_down(root: Path, *repo_ids: str, savers: Mapping[str, Saver] = SAVERS) -> Path:
    """Write repositories into a Hub cache; those that are there already are left alone."""
    for repo_id in repo_ids or tuple(savers):
        snapshot = snapshot_of(root, repo_id)
        if snapshot.exists():
            continue
        snapshot.mkdir(parents=True)
        savers[repo_id](snapshot)
        reference = snapshot.parents[1] / "refs" / "main"
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit_of(repo_id))
    return root


def use_hub(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let this process, and those it starts, take models from the cache at `root` alone."""
    monkeypatch.setenv("HF_HUB_CACHE", str(root))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
