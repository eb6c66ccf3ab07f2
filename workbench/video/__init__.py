"""A phrase through a clip: limits, parts, work with progress and a stop, files."""
