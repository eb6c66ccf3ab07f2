"""The point query over an open multimodal model: which family it is, how it is loaded, and what it may be asked.

The family is read from the model's configuration; it brings its one dialect. No code from the Hub is ever run.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from baselines.point_query.dialects import Dialect, dialect_of_model, find_dialect
from baselines.point_query.dialogue import ChatModel
from baselines.point_query.florence2 import Florence2Model
from baselines.point_query.language_model import LanguageModel
from baselines.point_query.options import default_options
from baselines.point_query.strategy import PointQueryStrategy
from baselines.strategy_cards import POINT_QUERY
from baselines.weights import existing_directory, load_mask_backbone
from evfsam.errors import ConfigurationError, Sentence
from evfsam.types import StrategyCard
from evfsam.weights.checkpoint_files import read_config
from evfsam.weights.hub import weights_directory


def load_strategy(
    weights: Mapping[str, str | Path],
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    dialect: str | None = None,
) -> PointQueryStrategy:
    """Load a point query over an open model.

    Args:
        weights: directories or Hub ids: "mllm" and "sam", and "adapter" for LLaVA-NeXT.
        device: where both run.
        dtype: of the weights in memory.
        dialect: key of a dialect, for a model whose configuration does not tell its family.

    Raises:
        CheckpointError: weights are missing, incomplete, or do not fit.
        ConfigurationError: the family is unknown, or needs a class that this transformers has not.
    """
    directory = weights_directory(weights["mllm"])
    chosen = family_of(directory, dialect)
    adapter = weights.get("adapter")
    if chosen.key == "llava-next" and dialect is None and adapter is None:
        raise ConfigurationError(
            "LLaVA-NeXT speaks SAM4MLLM's dialect only with SAM4MLLM's adapters: give their directory as 'adapter', or "
            "dialect='llava-next' for weights into which they are merged"
        )
    model = _load_model(chosen, directory, adapter, device=device, dtype=dtype)
    backbone = load_mask_backbone(weights_directory(weights["sam"]), device=device, dtype=dtype)
    return PointQueryStrategy(model, backbone, default_options(chosen), card_of(chosen), chosen)


def family_of(directory: str | Path, dialect: str | None = None) -> Dialect:
    """Return the dialect of the model in a directory.

    Raises:
        CheckpointError: there is no such directory, or no configuration in it.
        ConfigurationError: the family is unknown, or needs a class that this transformers has not.
    """
    model_type = str(read_config(existing_directory(directory)).get("model_type"))
    chosen = find_dialect(dialect) if dialect is not None else dialect_of_model(model_type)
    if model_type not in CONFIG_MAPPING:
        raise ConfigurationError(
            "{title} (model_type {kind!r}) has no class in transformers {version}; install a later one: code "
            "from the Hub is not run",
            title=chosen.title,
            kind=model_type,
            version=transformers.__version__,
        )
    return chosen


def card_of(dialect: Dialect) -> StrategyCard:
    """Return the strategy's card for one family."""
    card = replace(POINT_QUERY, title=Sentence("Point query, {model}", model=dialect.title), licence=dialect.licence)
    if dialect.points_question is None and dialect.box_question is not None:
        return replace(
            card,
            summary="A vision model writes boxes as location tokens; each box prompts SAM.",
            can="Finds what a phrase names with a small model, several objects at once.",
            cannot="Cannot be asked about points, nor whether the object is there at all.",
        )
    if dialect.box_question is None:
        return replace(
            card,
            summary="A language model points at each object; every point prompts SAM for one mask.",
            can="Points well, counts several objects, and says when there is none.",
            cannot="Names no box, so SAM alone decides how far the object reaches from its point.",
        )
    return card


def _load_model(
    dialect: Dialect, directory: Path, adapter: str | Path | None, *, device: str | torch.device, dtype: torch.dtype
) -> ChatModel:
    if dialect.reads == "florence2":
        return Florence2Model.from_pretrained(directory, device=device, dtype=dtype)
    return LanguageModel.from_pretrained(
        directory,
        device=device,
        dtype=dtype,
        adapter=None if adapter is None else weights_directory(adapter),
        template_options=dialect.template_options,
        system_prompt=dialect.system_prompt,
        image_side=dialect.image_side,
        may_hold_more=True,
    )
