"""Strategies on CLIP: its text feature as SAM's prompt, or its ranking of SAM's proposals."""
