import pytest

from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from tests.evfsam.tiny import tiny_model, tiny_processor


@pytest.fixture(scope="session")
def model() -> EvfSamModel:
    """A tiny model in eval mode; tests only read it."""
    return tiny_model().requires_grad_(False)


@pytest.fixture(scope="session")
def processor(model: EvfSamModel) -> EvfSamProcessor:
    return tiny_processor(model)
