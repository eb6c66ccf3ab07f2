"""`python -m training ablations`: one recipe a row, trained on scenes, measured on test scenes, with three seeds.

Rows of EVF-SAM's tables 1, 3, 4 and 5 start from the same pre-trained encoders and the same promptable SAM and get the
same steps; a seed draws the projector and the batches. Rows of SAM4MLLM's table 6 train nothing: the finished point
query is asked with other options, each seed of other test scenes.

Source: EVF-SAM, arXiv:2406.20076, section 4.4; SAM4MLLM, arXiv:2409.10542, section 4.4.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

import torch
from tqdm import tqdm
from transformers import AutoTokenizer

from evfsam.encoders.multimodal import EncoderChoice
from evfsam.encoders.sizes import ClipSizes
from evfsam.encoders.tokenizers import PretrainedPhraseTokenizer
from evfsam.errors import EvfSamError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.processing import EvfSamProcessor
from evfsam.strategy_cards import EVF_SAM
from training import clip, pretrain, sam_stage
from training.alone import alone
from training.command_line import DefaultsShown, device_here, natural, positive
from training.finetune import FinetuneStage, TrainedParts, starting_model
from training.loop import Schedule
from training.places import Places
from training.processes import check_alone
from training.recipes import beit3_weights
from workbench.cli.parser import OneLineParser
from workbench.comparison import Comparison
from workbench.datasets.contract import Sample
from workbench.datasets.known_datasets import open_dataset
from workbench.evaluation.evaluation import evaluate, limited
from workbench.evaluation.measured_answers import Scores
from workbench.reporting.ablation_tables import FIGURES, ablations_markdown, draw_ablations, read_figures
from workbench.suites.registry import MINI, Entry, StrategyEntry, Suite

SCHEDULE: Final = Schedule(steps=400, learning_rate=4e-4, warmup=50, validate_every=400)
SCENES_A_STEP: Final = 8
TEST_SCENES: Final = "scenes:test"
TEST_EXPRESSIONS: Final = 500
SCENES_BETWEEN_SEEDS: Final = 200
"""How far apart the test scenes of two seeds begin, where the seed chooses scenes."""


@dataclass(frozen=True)
class TrainedRow:
    """A way of prompting SAM that is trained anew.

    Attributes:
        choice: which encoder reads what, where the two meet, and which feature prompts SAM.
        trained: what learns beside the projector.
    """

    choice: EncoderChoice = field(default_factory=EncoderChoice)
    trained: TrainedParts = field(default_factory=TrainedParts)


@dataclass(frozen=True)
class AskedRow:
    """A way of asking the point query.

    Attributes:
        options: of `PointQueryOptions`, beside the usual ones.
    """

    options: Mapping[str, object]


HALF: Final = pretrain.CONFIG.layer_count // 2
TRAINED_ROWS: Final[Mapping[str, TrainedRow]] = MappingProxyType(
    {
        "beit3-early": TrainedRow(),
        "beit3-text": TrainedRow(EncoderChoice(fusion="text")),
        "clip-text": TrainedRow(EncoderChoice("clip", "text")),
        "clip-late": TrainedRow(EncoderChoice("clip", "late")),
        "beit3-late": TrainedRow(EncoderChoice(fusion="late")),
        "beit3-early-half": TrainedRow(EncoderChoice(fused_layers=HALF)),
        "decoder-alone": TrainedRow(trained=TrainedParts(encoder=False, prompt_encoder=False)),
        "encoder-alone": TrainedRow(trained=TrainedParts(prompt_encoder=False, mask_decoder=False)),
        "encoder-and-decoder": TrainedRow(trained=TrainedParts(prompt_encoder=False)),
        "text-cls": TrainedRow(EncoderChoice(feature="text_cls")),
        "patch-mean": TrainedRow(EncoderChoice(feature="mean")),
        "both-cls": TrainedRow(EncoderChoice(feature="concat")),
    }
)
"""In the order in which they tell most, for runs that are broken off."""
ASKED_ROWS: Final[Mapping[str, AskedRow]] = MappingProxyType(
    {
        **{f"threshold-{share}": AskedRow({"threshold": share}) for share in (0.6, 0.7, 0.8, 0.9, 0.95)},
        "grid-6": AskedRow({"grid_size": 6}),
        "random-25": AskedRow({"sampling": "random"}),
        "random-36": AskedRow({"sampling": "random", "grid_size": 6}),
    }
)
"""A threshold of 0.9 on a grid of 5 x 5 is the usual way."""


def run_trained(places: Places, name: str, seed: int) -> dict[str, object]:
    """Train and measure a row of `TRAINED_ROWS`; a run that was killed goes on, as long as its state is there.

    Raises:
        CheckpointError: an encoder or SAM is not trained yet.
    """
    row = TRAINED_ROWS[name]
    torch.manual_seed(seed)
    stage = _stage(places, row)
    measured = places.train(state_name(name, seed), stage, replace(SCHEDULE, seed=seed), _began(places, row))
    directory = places.work / "ablations" / f"{name}-{seed}"
    stage.model.save_pretrained(directory, storage_dtype=torch.float16)
    stage.processor.tokenizer.save_pretrained(directory)
    entry = StrategyEntry(EVF_SAM, "evfsam.model.strategy:load_strategy", directory)
    scores = _scores("evf-sam", entry, places.device, _test_samples(0))
    made = {"steps": measured.schedule.steps, "seconds": round(measured.seconds), "hardware": measured.hardware}
    return {"row": name, "seed": seed, **_figures(scores), **made}


def state_name(row: str, seed: int) -> str:
    """Name the state of a run of `TRAINED_ROWS`."""
    return f"ablation-{row}-{seed}"


def run_asked(places: Places, name: str, seed: int) -> dict[str, object]:
    """Measure a row of `ASKED_ROWS` by the suite's point query on the test scenes of a seed."""
    options = ASKED_ROWS[name].options
    if options.get("sampling") == "random":
        options = {**options, "sampling_seed": seed}
    usual = cast(StrategyEntry, MINI.strategies["point-query"])
    entry = replace(usual, directory=places.out / "point-query", options=options)
    scores = _scores("point-query", entry, places.device, _test_samples(seed * SCENES_BETWEEN_SEEDS))
    return {"row": name, "seed": seed, **_figures(scores)}


def _began(places: Places, row: TrainedRow) -> list[Path]:
    """Return where the weights lie that a row starts from."""
    return [places.sam, places.work / ("clip" if row.choice.encoder == "clip" else "beit3.pt")]


def _stage(places: Places, row: TrainedRow) -> FinetuneStage:
    backbone = places.backbone(places.sam)
    if row.choice.encoder == "clip":
        config, weights, processor = _clip_parts(places, row.choice)
    else:
        config = _config(row.choice, beit3=pretrain.CONFIG.to_dict())
        weights, processor = beit3_weights(places.work / "beit3.pt"), EvfSamProcessor(places.tokenizer(), config)
    model = starting_model(config, backbone, weights)
    return FinetuneStage(
        places.source(), model, processor, trained=row.trained, scenes_a_step=SCENES_A_STEP, held_out=places.held_out
    )


def _clip_parts(
    places: Places, choice: EncoderChoice
) -> tuple[EvfSamConfig, Mapping[str, torch.Tensor], EvfSamProcessor]:
    pretrained = places.clip()
    text, vision = pretrained.config.text_config, pretrained.config.vision_config
    sizes = ClipSizes(
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        vocab_size=text.vocab_size,
        text_position_count=clip.MAX_TOKENS,
        text_embed_dim=text.hidden_size,
        text_head_count=text.num_attention_heads,
        text_ffn_dim=text.intermediate_size,
        text_layer_count=text.num_hidden_layers,
        vision_embed_dim=vision.hidden_size,
        vision_head_count=vision.num_attention_heads,
        vision_ffn_dim=vision.intermediate_size,
        vision_layer_count=vision.num_hidden_layers,
        hidden_act=text.hidden_act,
    )
    marks = {name: getattr(text, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = _config(choice, clip=sizes.to_dict(), **marks)
    halves = {"text_model": pretrained.text_model, "vision_model": pretrained.vision_model}
    weights = {f"{half}.{key}": value for half, part in halves.items() for key, value in part.state_dict().items()}
    tokenizer = PretrainedPhraseTokenizer(AutoTokenizer.from_pretrained(places.work / "clip"), clip.MAX_TOKENS)
    return config, weights, EvfSamProcessor(tokenizer, config)


def _config(choice: EncoderChoice, **fields: Any) -> EvfSamConfig:
    return EvfSamConfig(
        sam=sam_stage.CONFIG.to_dict(),
        encoder=choice.encoder,
        fusion=choice.fusion,
        fused_layers=choice.fused_layers,
        feature=choice.feature,
        **fields,
    )


def _test_samples(first: int) -> Iterable[Sample]:
    return limited(islice(open_dataset(TEST_SCENES, None), first, None), TEST_EXPRESSIONS)


def _scores(key: str, entry: Entry, device: torch.device, samples: Iterable[Sample]) -> Scores:
    suite = Suite("ablation", "Ablation", "", MappingProxyType({key: entry}))
    return evaluate(Comparison(suite, device, torch.float32), samples, [key])[key]


def _figures(scores: Scores) -> dict[str, object]:
    kinds = {kind: tally.ciou for kind, tally in sorted(scores.kinds.items())}
    return {"cIoU": scores.total.ciou, "gIoU": scores.total.giou, "count": scores.total.count, "kinds": kinds}


def main(arguments: list[str] | None = None) -> int:
    """Train and measure what is missing, keep a line a run and lay them all out; returns the exit code."""
    rows = (*TRAINED_ROWS, *ASKED_ROWS)
    parser = OneLineParser(
        formatter_class=DefaultsShown,
        prog="python -m training ablations",
        description="The papers' ablations in miniature, as tables in Markdown. Runs whose figures are at hand are not "
        "made again: on a clean checkout this only lays out the figures that come with it.",
    )
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, metavar="ROW", help=f"of {', '.join(rows)}")
    parser.add_argument(
        "--seeds", type=natural, nargs="+", default=[0, 1, 2], help="of weights and batches, a run each"
    )
    parser.add_argument("--work", type=Path, default=Path("training-cache"), help="pre-trained encoders")
    parser.add_argument("--suite", type=Path, default=Path("checkpoints/mini"), help="the finished suite")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="one JSON object a run")
    parser.add_argument("--picture", type=Path, help="also draw the tables: SVG, PDF or PNG")
    parser.add_argument("--workers", type=natural, default=1, help="processes that draw scenes")
    parser.add_argument("--steps", type=positive, help="optimiser steps instead of the recipe's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to train")
    parser.add_argument("--threads", type=positive, help="CPU threads")
    try:
        options = parser.parse_args(arguments)
        check_alone("ablations")
        if options.threads:
            torch.set_num_threads(options.threads)
        device = device_here(options.device)
        places = Places(options.work, options.suite, steps=options.steps, device=device, workers=options.workers)
        done = {(run.row, run.seed) for run in read_figures(options.figures)}
        wanted = [(row, seed) for seed in options.seeds for row in options.rows if (row, seed) not in done]
        with alone(options.work, "ablations") if wanted else nullcontext():
            for row, seed in tqdm(wanted, desc="ablations", disable=not wanted):
                figures = (run_trained if row in TRAINED_ROWS else run_asked)(places, row, seed)
                with options.figures.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(figures) + "\n")
                places.state(state_name(row, seed)).unlink(missing_ok=True)
        runs = read_figures(options.figures)
        print(ablations_markdown(runs), end="")
        if options.picture is not None:
            draw_ablations(runs, options.picture)
    except EvfSamError as err:
        print(f"training ablations: {err}", file=sys.stderr)
        return 2
    return 0
