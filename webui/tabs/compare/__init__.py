"""The tab Compare: an image, a phrase, an answer a strategy."""
