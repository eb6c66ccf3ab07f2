"""Doors for programs beside the page: HTTP, the Model Context Protocol, OpenAPI."""
