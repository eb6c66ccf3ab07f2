"""The `full` suite: the strategies on models that people use, from the Hub at the revisions of the lock file.

A new strategy is one file elsewhere and one `_Recipe` here; its models go into `models.lock.json`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from baselines.strategy_cards import CLIP_RANKING, CLIP_TEXT, GROUNDED_SAM, POINT_QUERY, SAM3
from evfsam.errors import ConfigurationError, Sentence
from evfsam.strategy_cards import EVF_SAM, EVF_SAM2
from evfsam.types import StrategyCard
from evfsam.weights.hub import fault_in_words
from workbench.names import FULL_KEY, unknown_name
from workbench.suites.hub_entries import HubEntry, SharedSams
from workbench.suites.load_status import LoadStatus
from workbench.suites.model_store import ModelStore
from workbench.suites.registry import Suite

ModelPlaces = Mapping[str, str | Path]
"""What replaces a model: a directory, or another id of the lock file; by strategy key, "key.role", or Hub id."""

GatedReason = Callable[[str], str | None]
"""Says why the Hub does not grant a gated model; None where it does."""

_SAM: Final = "facebook/sam-vit-huge"
_CLIP: Final = "openai/clip-vit-large-patch14"
_NEEDS_PROJECTOR: Final = (
    "no projector between CLIP and SAM is published: bring one with --weights clip-text=DIR, or use CLIP ranking, "
    "which needs none"
)
_NOTICE: Final = (
    "Published models from the Hugging Face Hub, at pinned revisions; each is fetched when it is first needed. They "
    "know photographs; the generated scenes of this page are foreign to them."
)


@dataclass(frozen=True)
class _Recipe:
    """What a `HubEntry` is made of; an empty id stands for weights that somebody has to bring."""

    card: StrategyCard
    loader: str
    weights: Mapping[str, str]
    takes_directory: bool = False


_RECIPES: Final[Mapping[str, _Recipe]] = MappingProxyType(
    {
        "evf-sam": _Recipe(
            EVF_SAM,
            "evfsam.model.strategy:load_strategy",
            {"model": "YxZhang/evf-sam-multitask"},
            takes_directory=True,
        ),
        "evf-sam2": _Recipe(
            EVF_SAM2,
            "evfsam.model.strategy:load_strategy",
            {"model": "YxZhang/evf-sam2"},
            takes_directory=True,
        ),
        "clip-text": _Recipe(
            CLIP_TEXT,
            "baselines.clip.projector:load_strategy",
            {"projector": "", "clip": _CLIP, "sam": _SAM},
        ),
        "clip-ranking": _Recipe(
            CLIP_RANKING,
            "baselines.clip.ranking:load_strategy",
            {"clip": _CLIP, "sam": _SAM},
        ),
        "point-query": _Recipe(
            POINT_QUERY,
            "baselines.point_query.open_models:load_strategy",
            {"mllm": "Qwen/Qwen3-VL-2B-Instruct", "sam": _SAM},
        ),
        "grounded-sam": _Recipe(
            GROUNDED_SAM,
            "baselines.grounded:load_strategy",
            {"detector": "IDEA-Research/grounding-dino-base", "sam": _SAM},
        ),
        "sam3": _Recipe(
            SAM3,
            "baselines.sam3:load_strategy",
            {"sam3": "facebook/sam3"},
        ),
    }
)


def default_model_ids() -> tuple[str, ...]:
    """Return the ids that the suite loads where nothing is replaced, each once."""
    ids = (model_id for recipe in _RECIPES.values() for model_id in recipe.weights.values())
    return tuple(dict.fromkeys(model_id for model_id in ids if model_id))


def full_suite(
    store: ModelStore | None = None, places: ModelPlaces = MappingProxyType({}), gated_reason: GatedReason | None = None
) -> Suite:
    """Build the suite; nothing is fetched or loaded.

    Args:
        store: fetches the models.
        places: what replaces models.
        gated_reason: asks the Hub for a gated model that is not on this machine; by default `hub_gated_reason`.

    Raises:
        ConfigurationError: `places` names what the suite does not have, or an id that the lock file lacks.
    """
    store = store or ModelStore()
    load_status, sams = LoadStatus(), SharedSams()
    chosen = {key: dict(_replaced(key, recipe, places)) for key, recipe in _RECIPES.items()}
    _check_names(places)
    entries, left_out = {}, {}
    for key, recipe in _RECIPES.items():
        reason = _reason_to_leave_out(chosen[key], store, gated_reason or hub_gated_reason)
        if reason:
            left_out[recipe.card.title] = reason
            continue
        entries[key] = HubEntry(
            key,
            recipe.card,
            recipe.loader,
            chosen[key],
            store,
            recipe.takes_directory,
            load_status,
            sams,
        )
        _ = entries[key].models
    return Suite(
        FULL_KEY,
        "Full: published models",
        _NOTICE,
        MappingProxyType(entries),
        left_out=left_out,
        load_status=load_status,
    )


def hub_gated_reason(model_id: str) -> str | None:
    """Ask the Hub whether it grants a gated model to this user."""
    from huggingface_hub import HfApi, get_token

    page = f"https://huggingface.co/{model_id}"
    if get_token() is None:
        return Sentence(
            "{model} is gated, and there is no token: accept its terms at {page}, then set HF_TOKEN",
            model=model_id,
            page=page,
        )
    try:
        HfApi().auth_check(model_id)
    except Exception as error:  # what the client's transport raises differs between its versions
        return fault_in_words(model_id, error)
    return None


def _replaced(key: str, recipe: _Recipe, places: ModelPlaces) -> Iterator[tuple[str, str | Path]]:
    for index, (role, model_id) in enumerate(recipe.weights.items()):
        place = places.get(model_id, model_id) if model_id else model_id
        place = places.get(f"{key}.{role}", place)
        yield role, places.get(key, place) if index == 0 else place


def _check_names(places: ModelPlaces) -> None:
    roles = tuple(f"{key}.{role}" for key, recipe in _RECIPES.items() for role in recipe.weights)
    known = (*_RECIPES, *roles, *default_model_ids())
    for name in places:
        if name not in known:
            raise ConfigurationError(unknown_name("weights", name, known))


def _reason_to_leave_out(weights: Mapping[str, str | Path], store: ModelStore, gated: GatedReason) -> str | None:
    for place in weights.values():
        if place == "":
            return _NEEDS_PROJECTOR
        if isinstance(place, str) and store.model(place).is_gated and store.missing_reason(place) is not None:
            reason = gated(place)
            if reason:
                return reason
    return None
