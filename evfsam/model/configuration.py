"""Configuration of EVF-SAM: sizes spelled out, or the two scale words of the released `config.json`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from transformers import PretrainedConfig

from evfsam.encoders.beit3 import Beit3Config
from evfsam.encoders.multimodal import EncoderChoice, EncoderName, Feature, Fusion
from evfsam.encoders.sizes import ClipSizes, EncoderSizes, ViltSizes
from evfsam.errors import ConfigurationError
from evfsam.model.released_layout import configuration_values, known_values
from evfsam.sam.backbone import VisualConfig
from evfsam.sam.families import Family, find_family
from evfsam.weights.checkpoint_files import CONFIG_NAME, written_whole

BEIT3_SCALES: Final[Mapping[str, Beit3Config]] = MappingProxyType(
    {"base": Beit3Config(embed_dim=768, head_count=12, ffn_dim=3072, layer_count=12), "large": Beit3Config()}
)

_BOOKKEEPING: Final = frozenset(
    {"_name_or_path", "architectures", "attn_implementation", "dtype", "model_type", "name_or_path", "torch_dtype"}
    | {"transformers_version", "tie_word_embeddings", "output_hidden_states", "output_attentions", "return_dict"}
    | {"chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type"}
)


_OF_AUTO_CLASSES: Final = frozenset({"_from_auto", "adapter_kwargs", "code_revision", "trust_remote_code"})


def refuse_options(options: Mapping[str, object], known: str) -> None:
    """Refuse options of `from_pretrained` that would have no effect; those that Auto classes add are theirs.

    Raises:
        ConfigurationError: naming them.
    """
    unknown = sorted(set(options) - _OF_AUTO_CLASSES)
    if unknown:
        raise ConfigurationError(
            "EVF-SAM: unknown options {unknown}; expected only {known}", unknown=unknown, known=known
        )


class EvfSamConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes of an EVF-SAM; the released one on SAM is `EvfSamConfig(mm_extractor_scale="large", sam_scale="huge")`.

    Args:
        hidden_size: width of the projector's input and inner layer; must be the feature's width. None takes it.
        out_dim: width of the projector's output; must be SAM's prompt width. None takes it.
        mm_extractor_scale: "base" or "large", instead of `beit3`.
        sam_scale: a word for the sizes of the family's SAM ("huge"; SAM-2 "large", "tiny"; EfficientSAM "small",
            "tiny"), instead of `sam`.
        beit3: fields of `Beit3Config`; wins over `mm_extractor_scale`.
        sam: fields of the family's configuration, such as `SamConfig`; wins over `sam_scale`.
        family: one of `families.FAMILIES`; None tells it from `architectures`, and without those takes "sam".
        encoder, fusion, fused_layers, feature: fields of `encoders.EncoderChoice`; the released one by default.
        vilt: fields of `ViltSizes`, with encoder "vilt".
        clip: fields of `ClipSizes`, with encoder "clip".
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
        encoder: EncoderName = "beit3",
        fusion: Fusion = "early",
        fused_layers: int | None = None,
        feature: Feature | None = None,
        vilt: Mapping[str, Any] | None = None,
        clip: Mapping[str, Any] | None = None,
        family: str | None = None,
        **bookkeeping: Any,
    ) -> None:
        unknown = sorted(set(bookkeeping) - _BOOKKEEPING)
        if unknown:
            raise ConfigurationError(
                "EVF-SAM: unknown fields {unknown} in the configuration; remove or correct them", unknown=unknown
            )
        chosen = find_family(family, bookkeeping.get("architectures"))
        self.family = chosen.model_type
        bookkeeping["architectures"] = [chosen.architecture]
        self.mm_extractor_scale = mm_extractor_scale
        self.sam_scale = sam_scale
        # A config without any size is transformers' probe for defaults; it stands for the released variant.
        choice = EncoderChoice(encoder, fusion, fused_layers, feature)
        self.encoder, self.fusion, self.fused_layers = encoder, fusion, fused_layers
        self.feature = choice.feature
        self.beit3, self.vilt, self.clip = _encoder_fields(encoder, mm_extractor_scale, beit3, vilt, clip)
        choice.check_layers(self.encoder_sizes.layer_count)
        scale = sam_scale or next(iter(chosen.scales))
        sam_sizes = _sizes(sam, chosen.config_type, scale, chosen.scales, "sam_scale")
        self.sam = sam_sizes.to_dict()
        self.hidden_size = _fitting(
            hidden_size, choice.feature_width(self.encoder_sizes), "hidden_size", "the width of the encoder's feature"
        )
        self.out_dim = _fitting(out_dim, sam_sizes.prompt_embed_dim, "out_dim", "SAM's prompt width")
        self.pad_token_id, self.bos_token_id, self.eos_token_id = pad_token_id, bos_token_id, eos_token_id
        bookkeeping.setdefault("tie_word_embeddings", False)
        super().__init__(**bookkeeping)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build one from the values of a `config.json` of either layout, as `AutoConfig` does."""
        return super().from_dict(known_values(config_dict), **kwargs)

    def to_json_file(self, json_file_path: str | Path, use_diff: bool = True) -> None:
        """Write it as JSON, as `PretrainedConfig` does; an older file stays until the new one is whole."""
        with written_whole(Path(json_file_path)) as partial:
            super().to_json_file(partial, use_diff)

    @classmethod
    def load(cls, directory: str | Path) -> "EvfSamConfig":
        """Read `config.json` of a local checkpoint directory in either layout; weights beside it tell the family.

        Raises:
            CheckpointError: it is missing, damaged, of another model, or gives no sizes.
            ConfigurationError: fields are unknown, of the wrong kind, or do not fit; names the file.
        """
        file, values = Path(directory) / CONFIG_NAME, configuration_values(Path(directory))
        try:
            return cls(**values)
        except ConfigurationError as err:
            raise ConfigurationError("{file}: {reason}", file=file, reason=err) from err
        except (AttributeError, LookupError, TypeError, ValueError) as err:
            raise ConfigurationError(
                "{file} holds a value of the wrong kind ({reason}); restore the file", file=file, reason=err
            ) from err

    @property
    def encoder_choice(self) -> EncoderChoice:
        """Which encoder reads image and phrase, and where they meet."""
        return EncoderChoice(self.encoder, self.fusion, self.fused_layers, self.feature)

    @property
    def encoder_sizes(self) -> EncoderSizes:
        """Sizes of the multimodal encoder in use."""
        if self.encoder == "vilt":
            return ViltSizes.from_dict(self.vilt or {})
        return ClipSizes.from_dict(self.clip or {}) if self.encoder == "clip" else self.beit3_config

    @property
    def beit3_config(self) -> Beit3Config:
        """Sizes of BEiT-3.

        Raises:
            ConfigurationError: another encoder is in use.
        """
        if self.encoder != "beit3":
            raise ConfigurationError(
                "EVF-SAM: this one reads with {encoder}, not BEiT-3; ask for encoder_sizes", encoder=self.encoder
            )
        return Beit3Config.from_dict(self.beit3 or {})

    @property
    def visual_family(self) -> Family:
        """Which SAM segments, and what follows from that."""
        return find_family(self.family, None)

    @property
    def sam_config(self) -> VisualConfig:
        """Sizes of the family's SAM."""
        return self.visual_family.config_type.from_dict(self.sam)


def _encoder_fields(
    encoder: str,
    scale: str | None,
    beit3: Mapping[str, Any] | None,
    vilt: Mapping[str, Any] | None,
    clip: Mapping[str, Any] | None,
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, dict[str, Any] | None]:
    """Fill in the sizes of the encoder in use; those of another one are an error."""
    given = {"beit3": beit3, "vilt": vilt, "clip": clip}
    others = [name for name, values in given.items() if name != encoder and values is not None]
    if encoder != "beit3" and scale is not None:
        others.append("mm_extractor_scale")
    if others:
        raise ConfigurationError(
            "EVF-SAM: {others} given, but the encoder is {encoder!r}; drop one",
            others=", ".join(others),
            encoder=encoder,
        )
    if encoder == "vilt":
        return None, ViltSizes.from_dict(vilt or {}).to_dict(), None
    if encoder == "clip":
        return None, None, ClipSizes.from_dict(clip or {}).to_dict()
    sizes = _sizes(beit3, Beit3Config, scale or "large", BEIT3_SCALES, "mm_extractor_scale")
    return sizes.to_dict(), None, None


def _sizes(values: Mapping[str, Any] | None, kind: Any, scale: str, scales: Mapping[str, Any], field: str) -> Any:
    if values is not None:
        return kind.from_dict(values)
    if scale not in scales:
        raise ConfigurationError(
            "EVF-SAM: expected {field} to be one of {scales}, got {scale!r}",
            field=field,
            scales=sorted(scales),
            scale=scale,
        )
    return scales[scale]


def _fitting(value: int | None, expected: int, field: str, what: str) -> int:
    if value not in (None, expected):
        raise ConfigurationError(
            "EVF-SAM: expected {field} {expected}, which is {what}, got {value}",
            field=field,
            expected=expected,
            what=what,
            value=value,
        )
    return expected
