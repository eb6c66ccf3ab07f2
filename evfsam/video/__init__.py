"""A phrase through the frames of a clip."""
