"""The three kinds of SAM, and how a configuration says which one stands behind an EVF-SAM."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from evfsam.errors import ConfigurationError
from evfsam.sam.backbone import BaseMaskBackbone
from evfsam.sam.efficient_sam import EfficientSamMaskBackbone
from evfsam.sam.sam import SamMaskBackbone
from evfsam.sam.sam2 import Sam2MaskBackbone

Family = type[BaseMaskBackbone[Any, Any]]
"""One kind of SAM; `BaseMaskBackbone` says what its class knows."""

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {family.model_type: family for family in (SamMaskBackbone, Sam2MaskBackbone, EfficientSamMaskBackbone)}
)


def find_family(key: str | None, architectures: Sequence[str] | None) -> Family:
    """Tell the family from a configuration's field and the class name it was released under.

    Args:
        key: one of `FAMILIES`, or None.
        architectures: as in `config.json`; None or empty says nothing. Without either, the family is "sam".

    Raises:
        ConfigurationError: one is unknown, or they contradict each other.
    """
    if key is not None and key not in FAMILIES:
        raise ConfigurationError(
            "EVF-SAM: expected family to be one of {families}, got {key!r}", families=sorted(FAMILIES), key=key
        )
    if not architectures:
        return FAMILIES[key or "sam"]
    named = {family.architecture: family for family in FAMILIES.values()}
    if len(architectures) != 1 or architectures[0] not in named:
        raise ConfigurationError(
            "EVF-SAM: expected weights of one of {named}, got {architectures}; check the path",
            named=sorted(named),
            architectures=list(architectures),
        )
    family = named[architectures[0]]
    if key not in (None, family.model_type):
        raise ConfigurationError(
            "EVF-SAM: the architecture {architecture} is of the family {model_type!r}, but the field family says "
            "{key!r}; correct one of them",
            architecture=family.architecture,
            model_type=family.model_type,
            key=key,
        )
    return family
