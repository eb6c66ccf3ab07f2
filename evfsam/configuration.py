"""Configuration of EVF-SAM: sizes spelled out, or the two scale words of the released `config.json`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from transformers import PretrainedConfig

from evfsam.beit3 import Beit3Config
from evfsam.checkpoints import read_config
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.mask_backbones import SamConfig

BEIT3_SCALES: Final[Mapping[str, Beit3Config]] = MappingProxyType(
    {"base": Beit3Config(embed_dim=768, head_count=12, ffn_dim=3072, layer_count=12), "large": Beit3Config()}
)
SAM_SCALES: Final[Mapping[str, SamConfig]] = MappingProxyType({"huge": SamConfig()})

_BOOKKEEPING: Final = frozenset(
    {"_name_or_path", "architectures", "attn_implementation", "dtype", "model_type", "name_or_path", "torch_dtype"}
    | {"transformers_version", "tie_word_embeddings", "output_hidden_states", "output_attentions", "return_dict"}
    | {"chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type"}
)


class EvfSamConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes of an EVF-SAM on SAM; the released variant is `EvfSamConfig(mm_extractor_scale="large", sam_scale="huge")`.

    Args:
        hidden_size: width of the projector's input and inner layer; must be the encoder's width. None takes it.
        out_dim: width of the projector's output; must be SAM's prompt width. None takes it.
        mm_extractor_scale: "base" or "large", instead of `beit3`.
        sam_scale: "huge", instead of `sam`.
        beit3: fields of `Beit3Config`; wins over `mm_extractor_scale`.
        sam: fields of `SamConfig`; wins over `sam_scale`.
        pad_token_id: id that marks padding in token ids.
        bos_token_id: first id of every phrase.
        eos_token_id: last id of every phrase.
        **bookkeeping: what transformers writes beside these fields.

    Raises:
        ConfigurationError: a field is unknown, missing or does not fit another.
    """

    model_type = "evf"

    def __init__(
        self,
        hidden_size: int | None = None,
        out_dim: int | None = None,
        mm_extractor_scale: str | None = None,
        sam_scale: str | None = None,
        beit3: Mapping[str, Any] | None = None,
        sam: Mapping[str, Any] | None = None,
        pad_token_id: int = 1,
        bos_token_id: int = 0,
        eos_token_id: int = 2,
        **bookkeeping: Any,
    ) -> None:
        unknown = sorted(set(bookkeeping) - _BOOKKEEPING)
        if unknown:
            raise ConfigurationError(f"EVF-SAM: unknown fields {unknown} in the configuration; remove or correct them")
        architectures = bookkeeping.get("architectures") or ["EvfSamModel"]
        if architectures != ["EvfSamModel"]:
            raise ConfigurationError(
                f"EVF-SAM: expected weights of an EvfSamModel (on SAM), got {architectures}; "
                "other families are not built in"
            )
        self.mm_extractor_scale = mm_extractor_scale
        self.sam_scale = sam_scale
        # A config without any size is transformers' probe for defaults; it stands for the released variant.
        beit3_sizes = _sizes(beit3, Beit3Config, mm_extractor_scale or "large", BEIT3_SCALES, "mm_extractor_scale")
        sam_sizes = _sizes(sam, SamConfig, sam_scale or "huge", SAM_SCALES, "sam_scale")
        self.beit3 = beit3_sizes.to_dict()
        self.sam = sam_sizes.to_dict()
        self.hidden_size = _fitting(hidden_size, beit3_sizes.embed_dim, "hidden_size", "BEiT-3's width")
        self.out_dim = _fitting(out_dim, sam_sizes.prompt_embed_dim, "out_dim", "SAM's prompt width")
        self.pad_token_id, self.bos_token_id, self.eos_token_id = pad_token_id, bos_token_id, eos_token_id
        bookkeeping.setdefault("tie_word_embeddings", False)
        super().__init__(**bookkeeping)

    @classmethod
    def load(cls, directory: str | Path) -> "EvfSamConfig":
        """Read `config.json` of a local checkpoint directory, strictly.

        Raises:
            CheckpointError: it is missing, damaged, or of another model.
            ConfigurationError: fields are unknown or do not fit.
        """
        values: dict[str, Any] = read_config(Path(directory))
        if values.get("model_type") != cls.model_type:
            raise CheckpointError(
                f"expected an EVF-SAM (model_type 'evf') in {directory}, got {values.get('model_type')!r}; "
                "check the path"
            )
        return cls(**values)

    @property
    def beit3_config(self) -> Beit3Config:
        """Sizes of the multimodal encoder."""
        return Beit3Config.from_dict(self.beit3)

    @property
    def sam_config(self) -> SamConfig:
        """Sizes of SAM."""
        return SamConfig.from_dict(self.sam)


def _sizes(values: Mapping[str, Any] | None, kind: Any, scale: str, scales: Mapping[str, Any], field: str) -> Any:
    if values is not None:
        return kind.from_dict(values)
    if scale not in scales:
        raise ConfigurationError(f"EVF-SAM: expected {field} to be one of {sorted(scales)}, got {scale!r}")
    return scales[scale]


def _fitting(value: int | None, expected: int, field: str, what: str) -> int:
    if value not in (None, expected):
        raise ConfigurationError(f"EVF-SAM: expected {field} {expected}, which is {what}, got {value}")
    return expected
