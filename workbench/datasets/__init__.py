"""Images with known masks and the phrases that name them."""
