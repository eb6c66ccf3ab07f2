"""The stages by name, and what each reads, trains and writes; those of the language model in `llava_recipes`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from transformers import AutoTokenizer

from evfsam.errors import CheckpointError
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
from training.cards import Measured
from training.llava_recipes import (
    train_language,
    train_mllm,
    train_presence,
    train_sight,
    train_sight_pointing,
    train_sight_text,
)
from training.loop import Schedule
from training.namer import START_DEVIATION
from training.places import Places, earlier_part
from training.scene_stream import SceneSource
from training.warm_start import started
from training.whole import whole_folder

MAX_SHARD_BYTES: Final = 9_500_000
"""A Space takes no larger file without LFS."""


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
    folder = earlier_part(places, stage, "evf-sam", "finetune")
    return EvfSamModel.from_pretrained(folder), EvfSamProcessor.from_pretrained(folder), folder


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
    sam = earlier_part(places, "shared-encoder", "point-query/sam", "sam")
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
