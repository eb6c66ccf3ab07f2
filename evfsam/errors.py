"""What can go wrong for a caller. Every message says what was expected, what arrived and the next step."""


class EvfSamError(Exception):
    """Base of the errors a person can act on; the page and the command line show the message as it is."""


class ImageFormatError(EvfSamError):
    """The file or array is not an image this library can read."""


class PhraseError(EvfSamError):
    """The phrase is empty, too long, or not text."""


class GeometryError(EvfSamError):
    """A size, box or point does not fit the frame it was given for."""


class CheckpointError(EvfSamError):
    """A checkpoint is missing, damaged, or does not hold what its configuration promises."""


class ConfigurationError(EvfSamError):
    """An option or configuration field is unknown or out of range."""


class MemoryBudgetError(EvfSamError):
    """A question would take more memory than there is for one."""
