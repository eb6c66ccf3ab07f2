"""SAM, SAM-2 and EfficientSAM behind one interface: an image once, then masks for each prompt."""
