from types import ModuleType

import pytest

from evfsam.errors import ConfigurationError
from webui import mcp_extra


def test_tools_are_served_only_where_a_flag_or_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_extra, "find_spec", lambda name: ModuleType(name))
    monkeypatch.delenv("GRADIO_MCP_SERVER", raising=False)
    assert [mcp_extra.mcp_server(wanted) for wanted in (False, True)] == [False, True]
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    assert mcp_extra.mcp_server(False) is True


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_extra, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'gradio\[mcp\]'"):
        mcp_extra.mcp_server(True)
