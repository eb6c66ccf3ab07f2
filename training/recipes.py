"""The stages by name: what each reads, trains and writes.

`WORK` holds what is not kept: drawn scenes, embeddings and the state of unfinished stages. `OUT` holds the suite.
"""

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from transformers import AutoTokenizer, CLIPModel

from evfsam.encoders.tokenizers import TOKENIZER_NAME, PhraseTokenizer
from evfsam.errors import CheckpointError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.processing import EvfSamProcessor
from evfsam.sam.sam import SamMaskBackbone
from training import clip, finetune, mllm, pretrain, projector, sam
from training.cards import CARDS, Measured, write_card
from training.embeddings import EmbeddingTable
from training.loop import Schedule, Stage, run
from training.scene_cache import CHUNK_SIZE, SceneCache
from training.tokenizers import train_sentencepiece


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes, and how much of it there is.

    Attributes:
        work: scenes, embeddings and unfinished stages.
        out: the finished suite.
        scene_count, held_out_count: scenes to train on and to validate on.
        steps: optimiser steps instead of the recipe's, or None.
        seed: instead of the recipe's, or None.
        device: where to train.
    """

    work: Path
    out: Path
    scene_count: int = 30_000
    held_out_count: int = 1000
    steps: int | None = None
    seed: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def scenes(self) -> tuple[SceneCache, SceneCache]:
        """Scenes to train on and held-out scenes, drawn where missing."""
        workers = os.cpu_count() or 1
        return (
            SceneCache(self.work, "train", self.scene_count, workers=workers, chunk_size=self.chunk_size),
            SceneCache(self.work, "val", self.held_out_count, workers=workers, chunk_size=self.chunk_size),
        )

    @property
    def chunk_size(self) -> int:
        """Scenes a file on disk."""
        return min(CHUNK_SIZE, self.scene_count, self.held_out_count)

    def state(self, stage: str) -> Path:
        """Checkpoint of an unfinished (or finished) stage."""
        return self.work / "state" / f"{stage}.pt"

    def tokenizer(self) -> PhraseTokenizer:
        """BEiT-3's tokenizer, trained where missing."""
        path = self.work / TOKENIZER_NAME
        if not path.exists():
            train_sentencepiece(self.scenes[0].texts(), path)
        return PhraseTokenizer(path.read_bytes(), pretrain.CONFIG.max_text_tokens)

    def backbone(self) -> SamMaskBackbone:
        """The finished promptable SAM, as it was stored: every later stage sees the rounded weights."""
        return SamMaskBackbone.from_pretrained(self.out / "point-query" / "sam", device=self.device)

    def embeddings(self, backbone: SamMaskBackbone) -> tuple[EmbeddingTable, EmbeddingTable]:
        """SAM's embeddings of `scenes`."""
        train, held_out = self.scenes
        return EmbeddingTable(self.work, "train", backbone, train), EmbeddingTable(self.work, "val", backbone, held_out)

    def clip(self) -> CLIPModel:
        """The finished small CLIP.

        Raises:
            CheckpointError: it is not trained yet.
        """
        if not (self.work / "clip" / "config.json").is_file():
            raise CheckpointError(
                f"expected a trained CLIP in {self.work / 'clip'}; run `python -m training clip` first"
            )
        return CLIPModel.from_pretrained(self.work / "clip", dtype=torch.float32)

    def train(self, name: str, stage: Stage, schedule: Schedule) -> Measured:
        """Run a stage and say how it went."""
        chosen = replace(schedule, steps=self.steps or schedule.steps)
        chosen = chosen if self.seed is None else replace(chosen, seed=self.seed)
        stage.module.to(self.device)
        outcome = run(stage, chosen, self.state(name), device=self.device)
        stage.module.to("cpu").eval()
        hardware = torch.cuda.get_device_name() if self.device.type == "cuda" else f"{_cpu()}, {os.cpu_count()} cores"
        return Measured(chosen, outcome.seconds, hardware, outcome.figures)


def beit3_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the pre-trained BEiT-3 by the names that it has in an EVF-SAM's `mm_extractor`.

    Raises:
        CheckpointError: it is not trained yet.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a pre-trained encoder in {path}; run `python -m training pretrain` first")
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {f"beit3.{name}": value for name, value in weights.items()}


def train_sam(places: Places) -> None:
    """Promptable SAM from points and boxes."""
    stage = sam.SamStage(*places.scenes)
    measured = places.train("sam", stage, sam.SCHEDULE)
    directory = places.out / "point-query" / "sam"
    SamMaskBackbone(stage.sam, sam.CONFIG).save_pretrained(directory, storage_dtype=torch.float16)
    write_card(directory, CARDS["sam"], measured)


def train_encoder(places: Places) -> None:
    """Multimodal pre-training of BEiT-3."""
    stage = pretrain.PretrainStage(*places.scenes, places.tokenizer())
    places.train("pretrain", stage, pretrain.SCHEDULE)
    torch.save(stage.module.encoder.state_dict(), places.work / "beit3.pt")


def train_evf_sam(places: Places) -> None:
    """EVF-SAM fine-tuning."""
    encoder = beit3_weights(places.work / "beit3.pt")
    backbone, tokenizer = places.backbone(), places.tokenizer()
    config = EvfSamConfig(beit3=pretrain.CONFIG.to_dict(), sam=sam.CONFIG.to_dict())
    model = finetune.starting_model(config, backbone, encoder)
    processor = EvfSamProcessor(tokenizer, config)
    stage = finetune.FinetuneStage(
        *places.scenes,
        *places.embeddings(backbone),
        model,
        processor,
        trained=finetune.TrainedParts(),
        scenes_a_step=finetune.SCENES_A_STEP,
    )
    measured = places.train("finetune", stage, finetune.SCHEDULE)
    directory = places.out / "evf-sam"
    stage.model.save_pretrained(directory, storage_dtype=torch.float16)
    tokenizer.save_pretrained(directory)
    write_card(directory, CARDS["evf-sam"], measured)


def train_clip(places: Places) -> None:
    """Contrastive pre-training of CLIP."""
    stage = clip.ClipStage(*places.scenes)
    places.train("clip", stage, clip.SCHEDULE)
    stage.save(places.work / "clip")


def train_projector(places: Places) -> None:
    """The CLIP projectors."""
    backbone, model = places.backbone(), places.clip()
    tokenizer = AutoTokenizer.from_pretrained(places.work / "clip")
    stage = projector.ProjectorStage(*places.scenes, *places.embeddings(backbone), backbone, model, tokenizer)
    measured = places.train("projector", stage, projector.SCHEDULE)
    directory = places.out / "clip-text"
    stage.model.save_pretrained(directory, storage_dtype=torch.float16)
    tokenizer.save_pretrained(directory)
    write_card(directory, CARDS["clip-text"], measured)


def train_language(places: Places) -> None:
    """Pre-training of the small LLaVA, with pointing beside its text."""
    stage = mllm.PointingStage(*places.scenes, places.clip())
    places.train("pretrain-mllm", stage, mllm.PRETRAIN_SCHEDULE)
    torch.save(stage.model.state_dict(), places.work / "llava.pt")


def train_mllm(places: Places) -> None:
    """The small LLaVA on SAM4MLLM dialogues."""
    weights = places.work / "llava.pt"
    if not weights.is_file():
        raise CheckpointError(
            f"expected a pre-trained LLaVA in {weights}; run `python -m training pretrain-mllm` first"
        )
    stage = mllm.MllmStage(*places.scenes, places.clip())
    stage.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    measured = places.train("mllm", stage, mllm.SCHEDULE)
    directory = places.out / "point-query" / "mllm"
    stage.save(directory)
    write_card(directory, CARDS["mllm"], measured)


STAGES: Final[Mapping[str, Callable[[Places], None]]] = MappingProxyType(
    {
        "sam": train_sam,
        "pretrain": train_encoder,
        "finetune": train_evf_sam,
        "clip": train_clip,
        "projector": train_projector,
        "pretrain-mllm": train_language,
        "mllm": train_mllm,
    }
)
"""In an order that works: every stage after the ones it reads from."""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
