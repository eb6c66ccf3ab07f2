"""A strategy whose models come from the Hub, or from directories that replace them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from types import MappingProxyType
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError

from evfsam.errors import CheckpointError, ConfigurationError, EvfSamError
from evfsam.types import MaskBackbone, Strategy, StrategyCard
from workbench.suites.load_status import LoadingState, LoadStatus
from workbench.suites.memory_plan import SAM_ROLE, is_out_of_memory, out_of_memory_reason
from workbench.suites.model_lock import LockedModel
from workbench.suites.model_store import ModelStore
from workbench.suites.registry import (
    READING,
    configured,
    directory_digest,
    directory_name,
    loader_of,
    options_text,
    with_options_digest,
)

PROJECTOR_ROLE: Final = "projector"
"""Of what is trained beside a SAM, and its mask decoder with it."""
_SHOWN_CHARACTERS: Final = 200


class SharedSams:
    """Lets strategies on the same SAM hold it once: the first loaded stays, those after it are given that one.

    One whose mask decoder learnt on shares the image encoder alone: with its decoder the others would draw other masks.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[Path, str, torch.dtype], MaskBackbone] = {}
        self._encoders: dict[tuple[Path, str, torch.dtype], Any] = {}
        self._lock = Lock()

    def adopt(
        self,
        strategy: Strategy,
        sam: Path | None,
        device: torch.device,
        dtype: torch.dtype,
        *,
        has_own_decoder: bool = False,
    ) -> Strategy:
        """Return the strategy with the SAM, or its image encoder, that is held already, from the same directory."""
        if sam is None or not is_dataclass(strategy) or "backbone" not in {field.name for field in fields(strategy)}:
            return strategy
        place = sam.resolve(), str(device), dtype
        with self._lock:
            own = cast(Any, strategy).backbone
            held = own if has_own_decoder else self._held.setdefault(place, own)
            model = getattr(own, "sam", None)
            if held is own and hasattr(model, "image_encoder"):
                model.image_encoder = self._encoders.setdefault(place, model.image_encoder)
        return strategy if held is own else cast(Strategy, replace(cast(Any, strategy), backbone=held))


@dataclass(frozen=True)
class HubEntry:
    """How to get a strategy of the `full` suite; keeps what `workbench.suites.registry.Entry` asks.

    Attributes:
        key: of the strategy.
        card: what it is.
        loader: "module:function", called as `function(weights, device=..., dtype=...)` with directories by role; with
            the one directory itself where `takes_directory`.
        weights: Hub ids of the lock file, or directories, by role; the first is the one that the strategy is named for.
        store: fetches the ids.
        load_status: told how far loading is.
        sams: shared with the other entries of the suite.
        refusal: why it may not be loaded here; None where it may.
        options: given to the strategy once it is loaded.
    """

    key: str
    card: StrategyCard
    loader: str
    weights: Mapping[str, str | Path]
    store: ModelStore
    takes_directory: bool = False
    load_status: LoadStatus = field(default_factory=LoadStatus)
    sams: SharedSams = field(default_factory=SharedSams)
    refusal: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def models(self) -> Mapping[str, LockedModel]:
        """The models of the lock file that it loads, by role; directories are not among them."""
        places = self.weights.items()
        return MappingProxyType({role: self.store.model(place) for role, place in places if isinstance(place, str)})

    @property
    def digest(self) -> str:
        """A digest of ids and revisions, which the store holds to, of the files of directories, and of the options."""
        named = [
            f"{role} {place}@{self.store.model(place).revision}"
            if isinstance(place, str)
            else f"{role} {directory_digest(place)}"
            for role, place in self.weights.items()
        ]
        return with_options_digest(sha256("\n".join(named).encode()).hexdigest()[:16], self.options)

    @property
    def source(self) -> str:
        """Where the weights come from, for people: ids with the beginning of their revision, directories, options."""
        named = [
            f"{place}@{self.store.model(place).revision[:8]}" if isinstance(place, str) else directory_name(place)
            for place in self.weights.values()
        ]
        return ", ".join(filter(None, (*named, options_text(self.options))))

    def load(self, device: torch.device, dtype: torch.dtype) -> Strategy:
        """Fetch what is missing, and build the strategy. After a failure it may be tried again.

        Raises:
            CheckpointError: a model cannot be fetched, or is damaged; says what to do.
            ConfigurationError: it does not fit on the device.
        """
        with self.load_status.outcome(self.key):
            places = self._places()
            self.load_status.put(self.key, LoadingState("loading"))
            given = next(iter(places.values())) if self.takes_directory else places
            try:
                with READING:
                    strategy = loader_of(self.loader)(given, device=device, dtype=dtype)
            except (SafetensorError, UnpicklingError, EOFError) as error:
                raise self._unreadable(places, error) from error
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise ConfigurationError(
                    "{title} is not loaded: {reason}", title=self.card.title, reason=out_of_memory_reason(error)
                ) from error
            shared = self.sams.adopt(
                strategy, places.get(SAM_ROLE), device, dtype, has_own_decoder=PROJECTOR_ROLE in places
            )
            return configured(shared, self.key, self.options)

    def fetch(self) -> None:
        """Bring all files to this machine, and load nothing.

        Raises:
            CheckpointError, ConfigurationError: as in `load`.
        """
        try:
            self._places()
        except EvfSamError as error:
            self.load_status.put(self.key, LoadingState("failed", reason=str(error)))
            raise

    def _places(self) -> dict[str, Path]:
        if self.refusal is not None:
            raise ConfigurationError("{title} is not loaded: {reason}", title=self.card.title, reason=self.refusal)
        return {role: self._place(place) for role, place in self.weights.items()}

    def _place(self, place: str | Path) -> Path:
        if isinstance(place, str):
            total = self.store.model(place).nbytes
            self.load_status.put(self.key, LoadingState("fetching", place, 0, total))
            return self.store.directory(place, lambda done, known: self._arrived(place, done, known or total))
        if not place.is_dir():
            raise CheckpointError(
                "{title}: expected a directory at {place}, found none; check --weights",
                title=self.card.title,
                place=place,
            )
        return place

    def _unreadable(self, places: Mapping[str, Path], error: Exception) -> CheckpointError:
        """Word the error for damaged weights; what was recorded of them is forgotten, so that whole ones may follow."""
        for model in self.models.values():
            self.store.forget(model.id)
        where = ", ".join(str(place) for place in places.values())
        reason = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        return CheckpointError(
            "{title}: weights are damaged, such as half a file, in one of {where} ({reason}); delete it there "
            "and ask again",
            title=self.card.title,
            where=where,
            reason=reason,
        )

    def _arrived(self, model_id: str, done: int, total: int) -> None:
        self.load_status.put(self.key, LoadingState("fetching", model_id, done, max(done, total)))
