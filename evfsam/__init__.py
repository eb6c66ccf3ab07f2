"""EVF-SAM as a library: model, processor, SAM backbone, losses, and the values that strategies exchange."""
