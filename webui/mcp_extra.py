"""Whether the endpoints are served as tools of the Model Context Protocol too: only where it is asked for."""

import os
from importlib.util import find_spec

from evfsam.errors import ConfigurationError


def mcp_server(is_wanted: bool) -> bool:
    """Return `launch`'s argument of the same name: true where tools are wanted here or by GRADIO_MCP_SERVER=true.

    Raises:
        ConfigurationError: tools are wanted, but the package that speaks the protocol is not installed.
    """
    is_wanted = is_wanted or os.environ.get("GRADIO_MCP_SERVER", "").lower() == "true"
    if is_wanted and find_spec("mcp") is None:
        raise ConfigurationError(
            "expected the package mcp, got none installed; pip install 'gradio[mcp]', or leave out --mcp and "
            "GRADIO_MCP_SERVER"
        )
    return is_wanted
