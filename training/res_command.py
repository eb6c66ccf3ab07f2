"""Training on real referring-expression data: `python -m training res`, alone or under `accelerate launch`."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

import torch

from baselines.clip.projector import load_clip
from baselines.clip.text import load_strategy as load_clip_text
from baselines.point_query.language_model import LanguageModel
from baselines.weights import load_mask_backbone
from evfsam.errors import CheckpointError, ConfigurationError, EvfSamError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel, LossWeights
from evfsam.model.processing import EvfSamProcessor
from evfsam.sam.sam import SamMaskBackbone
from evfsam.weights.hub import local_checkpoint, weights_directory
from evfsam.weights.loading import load_strictly
from training.command_line import DefaultsShown, natural
from training.dialogues import PHRASES_A_DIALOGUE, DialogueObjective
from training.projector_stage import fresh_model
from training.res_data import Mixture
from training.res_loop import ResRecipe
from training.res_objectives import EvfSamObjective, Objective
from training.res_projectors import ClipTextObjective
from workbench.cli.parser import OneLineParser
from workbench.datasets.known_datasets import open_dataset
from workbench.names import DATASET_NAMES

_T = TypeVar("_T")
PHRASES_AN_IMAGE = 3
TRAINED_PARTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"sam": ("mask-decoder", "no-mask"), "efficient_sam": ("mask-decoder",), "sam2": ()}
)
"""What the released models trained of each SAM beside encoder and projector."""
_INIT_HELP: Final = "instead of --checkpoint: config, sam, beit3 for evf-sam; clip, sam for clip-text"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the defaults are EVF-SAM's recipe where the paper gives one."""
    parser = OneLineParser(
        prog="python -m training res",
        formatter_class=DefaultsShown,
        description="Train on referring-expression data. Goes on where a run with the same --out was stopped.",
    )
    add = parser.add_argument
    add("--strategy", "--strategies", choices=list(_BUILDERS), default="evf-sam", help="what to train: one of them")
    add(
        "--dataset",
        action="append",
        required=True,
        metavar="NAME",
        help=f"again for a mixture: {', '.join(DATASET_NAMES)}",
    )
    add("--root", action="append", type=Path, metavar="DIR", help="of the files: once, or once a data set, in order")
    add(
        "--weight",
        action="append",
        type=float,
        help="share of the images: once a data set, in order; alike if left out",
    )
    add("--checkpoint", metavar="ID_OR_DIR", help="the model to go on from")
    add("--init", action="append", metavar="PART=SOURCE", help=_INIT_HELP)
    add("--out", type=Path, required=True, help="state, curves, and at the end the model")
    add("--train", nargs="*", choices=["mask-decoder", "no-mask"], help="of EVF-SAM's SAM; as released if left out")
    add("--bce-weight", type=float, default=1.0, help="of the binary cross-entropy in the loss")
    add("--dice-weight", type=float, default=1.0, help="of the Dice loss in the loss")
    add("--lora-rank", type=int, default=256, help="of point-query's adapters; their alpha is half of it")
    add("--precision", choices=["bf16", "no"], default="bf16", help="of products; weights are float32")
    add("--steps", type=int, default=ResRecipe.steps, help="optimiser steps")
    add("--batch", type=int, default=ResRecipe.batch, help="images a step, over all processes and passes")
    add("--images-at-once", type=int, default=ResRecipe.images_at_once, help="images a pass of one process")
    add("--learning-rate", type=float, default=ResRecipe.learning_rate, help="at the start; falls along a line to 0")
    add("--weight-decay", type=float, default=ResRecipe.weight_decay, help="of AdamW")
    add("--seed", type=natural, default=ResRecipe.seed, help="of fresh weights and of the images drawn")
    add("--save-every", type=int, default=ResRecipe.save_every, metavar="STEPS", help="steps between two states")
    add("--workers", type=int, default=ResRecipe.workers, help="threads that read images ahead")
    add("--device", choices=["auto", "cpu"], default="auto", help="auto: the GPU of this process where there is one")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        0; 1 where samples were left out because they could not be read; 2 where the run could not be done.
    """
    try:
        return _train(build_parser().parse_args(arguments))
    except EvfSamError as err:
        print(f"training: {err}", file=sys.stderr)
        return 2


def _train(options: argparse.Namespace) -> int:
    try:
        from torch.utils.tensorboard import SummaryWriter

        from training.res_loop import train
    except ImportError as err:
        raise ConfigurationError(
            f"training on real data needs {err.name}: pip install -r requirements-train.txt"
        ) from err
    del SummaryWriter  # accelerate writes the curves with it, and says nothing in words where it is missing
    recipe = ResRecipe(**{each.name: getattr(options, each.name) for each in fields(ResRecipe)})
    names = options.dataset
    roots = _one_each(options.root, names, "--root", None)
    weights = _one_each(options.weight, names, "--weight", 1.0)
    datasets = [open_dataset(name, root) for name, root in zip(names, roots, strict=True)]
    torch.manual_seed(options.seed)
    objective = _BUILDERS[options.strategy](options)
    count = PHRASES_A_DIALOGUE if options.strategy == "point-query" else PHRASES_AN_IMAGE
    mixture = Mixture.of(datasets, weights, phrases_an_image=count, check_phrase=objective.check_phrase)
    kept = (
        *("strategy", "dataset", "checkpoint", "init", "train", "bce_weight", "dice_weight", "lora_rank"),
        *("steps", "batch", "learning_rate", "weight_decay", "seed"),
    )
    facts = {name: getattr(options, name) for name in kept} | {"weight": weights}
    run = train(objective, mixture, recipe, options.out, facts=facts, cpu=options.device == "cpu")
    if run.unreadable:
        print(f"{len(run.unreadable)} samples were left out; {options.out}/unreadable.json names them", file=sys.stderr)
    return 1 if run.unreadable else 0


def _one_each(given: list[_T] | None, names: list[str], option: str, default: _T) -> list[_T]:
    """Return one value a data set."""
    values = given or [default]
    if len(values) == 1:
        return values * len(names)
    if len(values) != len(names):
        raise ConfigurationError(f"expected {option} once or {len(names)} times, once a data set, got {len(values)}")
    return values


def _build_evf_sam(options: argparse.Namespace) -> Objective:
    if options.checkpoint:
        directory = local_checkpoint(options.checkpoint)
        model, processor = EvfSamModel.from_pretrained(directory), EvfSamProcessor.from_pretrained(directory)
    else:
        parts = _parts(options, ("config", "sam", "beit3"))
        model, processor = _joined_evf_sam(parts)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # loaded weights may lie in their file
    chosen = TRAINED_PARTS.get(model.family.model_type, ()) if options.train is None else options.train
    return EvfSamObjective(
        model,
        processor,
        mask_decoder="mask-decoder" in chosen,
        no_mask_embedding="no-mask" in chosen,
        weights=LossWeights(options.bce_weight, options.dice_weight),
        is_mixed=options.precision == "bf16",
    )


def _joined_evf_sam(parts: dict[str, str]) -> tuple[EvfSamModel, EvfSamProcessor]:
    """Put a SAM and a BEiT-3 together, with a fresh projector between them."""
    directory = local_checkpoint(parts["config"])
    model, processor = EvfSamModel(EvfSamConfig.load(directory)), EvfSamProcessor.from_pretrained(directory)
    backbone = load_mask_backbone(weights_directory(parts["sam"]))
    if not isinstance(backbone, SamMaskBackbone) or model.family.model_type != "sam":
        raise ConfigurationError("only EVF-SAM on SAM is put together of parts; give the others as --checkpoint")
    load_strictly(model.visual_model, backbone.sam.state_dict(), parts["sam"])
    load_strictly(model.mm_extractor, _beit3_weights(Path(parts["beit3"]), model), parts["beit3"])
    return model, processor


def _beit3_weights(path: Path, model: EvfSamModel) -> dict[str, torch.Tensor]:
    """Read BEiT-3's published file; heads that the model has no use for are left out. No pickled code is run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError) as err:
        raise CheckpointError(f"expected BEiT-3's published weights in {path}, cannot read them ({err})") from err
    except Exception as err:  # pickle's own refusals are no RuntimeError
        raise CheckpointError(f"expected plain weights in {path}, got something else ({err})") from err
    state = state.get("model", state)
    wanted = model.mm_extractor.state_dict()
    return {name: value.float() for name, value in state.items() if name in wanted}


def _build_clip_text(options: argparse.Namespace) -> Objective:
    weights, is_mixed = LossWeights(options.bce_weight, options.dice_weight), options.precision == "bf16"
    if options.checkpoint:
        strategy = load_clip_text(weights_directory(options.checkpoint), device="cpu", dtype=torch.float32)
        return ClipTextObjective(strategy.model, strategy.tokenizer, weights=weights, is_mixed=is_mixed)
    parts = _parts(options, ("clip", "sam"))
    clip, tokenizer = load_clip(parts["clip"], device="cpu", dtype=torch.float32)
    backbone = load_mask_backbone(weights_directory(parts["sam"]))
    if not isinstance(backbone, SamMaskBackbone):
        raise ConfigurationError(f"a projector is trained for a SAM, got another mask model in {parts['sam']}")
    named = (parts["clip"], parts["sam"])
    return ClipTextObjective(fresh_model(clip, backbone), tokenizer, parts=named, weights=weights, is_mixed=is_mixed)


def _build_point_query(options: argparse.Namespace) -> Objective:
    if not options.checkpoint:
        raise ConfigurationError("point-query trains adapters on a language model: give it with --checkpoint")
    directory = weights_directory(options.checkpoint)
    is_mixed, rank = options.precision == "bf16", options.lora_rank
    frozen = torch.bfloat16 if is_mixed else torch.float32  # peft keeps the adapters themselves in float32
    language = LanguageModel.from_pretrained(directory, device="cpu", dtype=frozen)
    return DialogueObjective(language, rank=rank, alpha=max(rank // 2, 1), is_mixed=is_mixed)


def _parts(options: argparse.Namespace, wanted: tuple[str, ...]) -> dict[str, str]:
    """Read --init: each part once."""
    pairs = dict(text.partition("=")[::2] for text in options.init or [])
    if set(pairs) != set(wanted) or not all(pairs.values()):
        raise ConfigurationError(
            f"expected --checkpoint ID_OR_DIR, or --init once for each of {', '.join(wanted)} as PART=SOURCE, "
            f"got {options.init or 'neither'}"
        )
    return pairs


_BUILDERS: Final[Mapping[str, Callable[[argparse.Namespace], Objective]]] = MappingProxyType(
    {"evf-sam": _build_evf_sam, "clip-text": _build_clip_text, "point-query": _build_point_query}
)
