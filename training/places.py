"""Where a training run reads and writes, and how much of it there is: what every stage is given.

The work folder holds what is not kept, such as the state of unfinished stages; the other the finished suite.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn
from transformers import CLIPModel, PreTrainedTokenizerFast

from evfsam.encoders.tokenizers import TOKENIZER_NAME, PhraseTokenizer
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.sam.sam import SamMaskBackbone
from evfsam.weights.checkpoint_files import CONFIG_NAME
from training import mllm, pretrain
from training.cards import CARD_NAME, CARDS, Measured, Past, past_told, row_of, write_card
from training.loop import CHECKPOINT_EVERY_S, Schedule, Stage, run
from training.processes import Processes
from training.scene_pool import ScenePool
from training.scene_stream import SceneSource
from training.tokenizer_training import train_sentencepiece
from training.whole import whole_folder
from workbench.datasets.cutouts import FETCHED
from workbench.export.file_writing import whole_file

PHRASES_FOR_TOKENIZERS: Final = 40_000


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes, and how much of it there is.

    Attributes:
        work: unfinished stages, and what later stages read.
        out: the finished suite.
        steps: optimiser steps instead of the recipe's, or None.
        pace: factor on the recipe's steps.
        seed: instead of the recipe's, or None.
        device: where to train.
        workers: processes that draw scenes; 0 draws them where the model trains.
        scenes_a_step: instead of the recipe's, or None.
        held_out: phrases or objects that a validation measures.
        start: an earlier suite to start from, or None for fresh weights.
        pictures: what `python -m training data` fetched; without it the project's own drawings are used.
        save_every_s: seconds between two states of an unfinished stage.
        seconds: that a stage takes instead of its steps, or None.
        pool: scenes that are drawn once, kept and drawn from; 0 draws anew for every batch.
    """

    work: Path
    out: Path
    steps: int | None = None
    pace: float = 1.0
    seed: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: int = 0
    scenes_a_step: int | None = None
    held_out: int = 512
    start: Path | None = None
    pictures: Path = FETCHED
    save_every_s: float = CHECKPOINT_EVERY_S
    seconds: float | None = None
    pool: int = 0

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Phrases as training draws them, for the tokenizers; always the same."""
        path = self.work / "phrases.txt"
        if not path.exists():
            drawn = self.source().texts(np.random.default_rng(0), PHRASES_FOR_TOKENIZERS)
            with whole_file(path) as new:
                new.write_text("\n".join(drawn))
        return tuple(path.read_text().splitlines())

    @property
    def earlier(self) -> Path:
        """The suite whose weights a stage goes on from: an earlier one where named, else the one that is being made."""
        return self.out if self.start is None else self.start

    def source(self) -> SceneSource:
        """Scenes to train on."""
        source = SceneSource(self.pictures)
        return ScenePool(source, self.pool_folder(source, self.pool), self.pool) if self.pool else source

    def pool_folder(self, source: SceneSource, size: int, tower_name: str = "") -> Path:
        """Return where scenes are kept: a folder of its own for all that has its part in them."""
        facts = repr((source.digest(), sorted(source.shares.items()), source.side, size, tower_name))
        return self.work / "pool" / hashlib.sha256(facts.encode()).hexdigest()[:12]

    def state(self, stage: str) -> Path:
        """Checkpoint of an unfinished (or finished) stage."""
        return self.work / "state" / f"{stage}.pt"

    def begun(self, stage: str, folder: Path) -> Path:
        """Return a folder of weights as a stage began from it, whatever was written there since.

        What lies in --out is copied as the stage begins, for it or a later one writes in its place: so a stage that is
        finished twice ends at the same weights, also where it was killed between two of its parts.
        """
        if not folder.resolve().is_relative_to(self.out.resolve()):
            return folder
        kept, is_begun = self.work / "begun" / stage / folder.name, self.state(stage).exists()
        if is_begun and kept.is_dir():
            return kept
        if not folder.is_dir() or (Processes.joined(self.device).rank and not is_begun):
            return folder  # the first process copies it; until the end nothing is written there
        with whole_folder(kept) as new:
            shutil.copytree(folder, new, dirs_exist_ok=True)
        return kept

    def tokenizer(self) -> PhraseTokenizer:
        """BEiT-3's tokenizer, trained where missing."""
        path = self.work / TOKENIZER_NAME
        if not path.exists():
            train_sentencepiece(self.texts, path)
        return PhraseTokenizer(path.read_bytes(), pretrain.CONFIG.max_text_tokens)

    def dialogue_tokenizer(self) -> PreTrainedTokenizerFast:
        """The language model's tokenizer, trained where missing."""
        folder = self.work / "dialogue-tokenizer"
        if not (folder / "tokenizer.json").exists():
            with whole_folder(folder) as new:
                mllm.build_tokenizer(self.texts).save_pretrained(new)
        return PreTrainedTokenizerFast.from_pretrained(folder)

    @property
    def sam(self) -> Path:
        """Where the finished promptable SAM is."""
        return self.out / "point-query" / "sam"

    def backbone(self, folder: Path) -> SamMaskBackbone:
        """Read a finished SAM as it was stored: every later stage sees the rounded weights.

        Raises:
            CheckpointError: it is not trained yet.
        """
        if not (folder / CONFIG_NAME).is_file():
            raise CheckpointError(
                "expected a trained SAM in {folder}; run `python -m training sam` first", folder=folder
            )
        return SamMaskBackbone.from_pretrained(folder, device=self.device)

    def clip(self) -> CLIPModel:
        """The finished small CLIP.

        Raises:
            CheckpointError: it is not trained yet.
        """
        if not (self.work / "clip" / CONFIG_NAME).is_file():
            raise CheckpointError(
                f"expected a trained CLIP in {self.work / 'clip'}; run `python -m training clip` first"
            )
        return CLIPModel.from_pretrained(self.work / "clip", dtype=torch.float32)

    def choices(self) -> dict[str, object]:
        """What was asked for and has its part in what a stage becomes, beside its schedule."""
        return {"out": self._beside_work(self.out), "scenes_a_step": self.scenes_a_step, "pool": self.pool}

    def all_choices(self) -> dict[str, object]:
        """The same of a run of all stages."""
        start = None if self.start is None else self._beside_work(self.start)
        return {"start": start, "steps": self.steps, "pace": self.pace, "seed": self.seed, **self.choices()}

    def _beside_work(self, folder: Path) -> str:
        """The way to a folder from the work folder, for both may be moved together."""
        return os.path.relpath(folder.resolve(), self.work.resolve())

    def train(self, name: str, stage: Stage, schedule: Schedule, began: Sequence[Path] = ()) -> Measured:
        """Run a stage and say how it went; of several processes that train it together, the first alone goes on.

        Args:
            name: of the stage.
            stage: what learns.
            schedule: of the recipe.
            began: files and folders of the weights that it starts from; see `begun`.
        """
        if self.scenes_a_step is not None:
            cast(Any, stage).draw = replace(cast(Any, stage.draw), scene_count=self.scenes_a_step)
        chosen = replace(schedule, steps=self.steps or max(1, round(schedule.steps * self.pace)))
        chosen = chosen if self.seed is None else replace(chosen, seed=self.seed)
        stage.module.to(self.device)
        data = self.source().digest()
        outcome = run(
            stage,
            chosen,
            self.state(name),
            device=self.device,
            workers=self.workers,
            facts={"data": data, "starting weights": weights_digest(began), **self.choices()},
            checkpoint_every_s=self.save_every_s,
            curves=self.work / "curves" / name,
            seconds=self.seconds,
        )
        processes = Processes.joined(self.device)
        if processes.rank:
            sys.exit(0)
        chosen = replace(chosen, steps=outcome.steps)
        stage.module.to("cpu").eval()
        hardware = torch.cuda.get_device_name() if self.device.type == "cuda" else f"{_cpu()}, {os.cpu_count()} cores"
        hardware += f", {processes.size} processes" if processes.size > 1 else ""
        measured = Measured(name, chosen, outcome.seconds, hardware, outcome.figures, data, _commit())
        with whole_file(self.row(name)) as new:
            new.write_text(row_of(measured))
        return measured

    def row(self, stage: str) -> Path:
        """What cards say of a finished stage."""
        return self.work / "rows" / f"{stage}.txt"

    def keep(self, name: str, module: nn.Module) -> None:
        """Keep weights for later stages, as `NAME.pt` of the work folder."""
        with whole_file(self.work / f"{name}.pt") as new:
            torch.save(module.state_dict(), new)

    @contextmanager
    def writing(
        self, part: str, card: str, measured: Measured, *, began: Path | None, stages: Sequence[str] = ()
    ) -> Iterator[Path]:
        """Lend an empty folder for a part of the suite; with its card it takes the place of the earlier part.

        Args:
            part: its folder in the suite.
            card: which of `CARDS`.
            measured: the last stage.
            began: folder of the model whose weights went on, from whose card this one's goes on, or None for fresh
                ones; see `begun`.
            stages: before the last one, whose cards nobody wrote.
        """
        name = "/".join((*self.earlier.parts[-2:], part))
        past = Past() if began is None else past_told(began, name)
        between = (self.row(stage).read_text() for stage in stages if self.row(stage).is_file())
        past = replace(past, rows=(*past.rows, *between, row_of(measured)))
        with whole_folder(self.out / part) as folder:
            yield folder
            write_card(folder, CARDS[card], measured, past)


def weights_digest(places: Iterable[Path]) -> str:
    """Say in a few letters what is in files and folders, but for the cards; nothing for none."""
    files = [
        file
        for place in places
        for file in (sorted(place.iterdir()) if place.is_dir() else [place])
        if file.is_file() and file.name != CARD_NAME
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12] if files else ""


def earlier_part(places: Places, stage: str, part: str, made_by: str) -> Path:
    """Return where a part of the suite lies that a stage is to teach something more, as it began.

    Raises:
        ConfigurationError: there is none.
    """
    folder = places.begun(stage, places.earlier / part)
    if not (folder / CONFIG_NAME).is_file():
        raise ConfigurationError(
            "expected --start with the suite to go on from, or a model in {folder}, got none; "
            "`python -m training {made_by}` makes one",
            folder=folder,
            made_by=made_by,
        )
    return folder


def _commit() -> str:
    """The project's commit, or "unknown" outside a checkout."""
    folder = Path(__file__).resolve().parent
    done = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
