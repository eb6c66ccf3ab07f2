"""The stored reference run, shared by all parity tests."""

import pytest

from tests.parity.golden_outputs import Golden, load_golden


@pytest.fixture(scope="session")
def sam1() -> Golden:
    return load_golden()
