"""EVF-SAM behind transformers' `AutoConfig`, `AutoModel` and `AutoProcessor`."""

from transformers import AutoConfig, AutoModel, AutoProcessor

from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor


def register_auto_classes() -> None:
    """Let the Auto classes load EVF-SAM, by Hub id or directory; called again, does nothing.

    No code of a checkpoint is run, whatever its configuration names.
    """
    AutoConfig.register(EvfSamConfig.model_type, EvfSamConfig, exist_ok=True)
    AutoModel.register(EvfSamConfig, EvfSamModel, exist_ok=True)
    AutoProcessor.register(EvfSamConfig, EvfSamProcessor, exist_ok=True)
