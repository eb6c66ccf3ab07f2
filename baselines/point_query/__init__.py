"""A language model that sees the image is asked for a box, then about points in it."""
