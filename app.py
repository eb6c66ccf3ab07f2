"""Entry point of the page in a checkout and in a Space; installed, `sam-workbench app` is the same."""

import sys

from webui.launch import create_demo, preload_weights, read_settings, serve

__all__ = ["create_demo", "preload_weights", "read_settings"]

if __name__ == "__main__":
    sys.exit(serve())
