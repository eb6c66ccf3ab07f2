import pytest

from baselines.point_query.language_model import LanguageModel
from tests.baselines.tiny_models import taught_llava, tiny_llava


@pytest.fixture(scope="session")
def random_language() -> LanguageModel:
    """A tiny LLaVA with random weights: it answers noise, always the same noise."""
    return LanguageModel(*tiny_llava())


@pytest.fixture(scope="session")
def taught_language() -> LanguageModel:
    """A tiny LLaVA that knows one object by heart."""
    return LanguageModel(*taught_llava())
