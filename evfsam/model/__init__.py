"""EVF-SAM whole: configuration, model, processor, losses, checkpoints, and the strategy on top."""
