"""What can go wrong for a caller, in messages that say what was expected, what arrived and the next step.

An error takes a sentence with `{names}` in it and their values apart, as in
`PhraseError("expected at most {most} words, got {count}", most=30, count=31)`: the sentence without its values is what
a translation is looked up by, and it reads the same each time.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce


class Sentence(str):
    """A sentence in English that still knows what it was made of, so that it can be said in another language.

    Args:
        template: the sentence, its values as `{name}`, with a format where one is wanted (`{share:.0%}`).
        values: by name; a `Sentence` or an `EvfSamError` among them is put into the other language too.

    Attributes:
        template, values: the same.
    """

    __slots__ = ("template", "values")
    template: str
    values: dict[str, object]

    def __new__(cls, template: str, /, **values: object) -> "Sentence":
        """Put the values in; a template without any stays as it is."""
        message = super().__new__(cls, template.format(**values) if values else template)
        message.template, message.values = template, values
        return message

    def __reduce__(self) -> tuple[Callable[..., "Sentence"], tuple[str, dict[str, object]]]:
        """Copy and pickle it whole: answers cross processes."""
        return sentence_of, (self.template, self.values)


def sentence_of(template: str, values: Mapping[str, object]) -> Sentence:
    """Return a sentence from its parts."""
    return Sentence(template, **values)


def joined_sentences(sentences: Iterable[str]) -> Sentence:
    """Return sentences in one, with semicolons between; at least one."""
    return reduce(lambda one, other: Sentence("{one}; {other}", one=one, other=other), map(_whole, sentences))


def _whole(words: str) -> Sentence:
    return words if isinstance(words, Sentence) else Sentence(words)


class EvfSamError(Exception):
    """Base of the errors a person can act on; the page and the command line show the message as it is.

    Args:
        template: as of `Sentence`, or a message that is there already.
        values: as of `Sentence`.

    Attributes:
        message: the sentence.
    """

    def __init__(self, template: str = "", /, **values: object) -> None:
        self.message = template if isinstance(template, Sentence) else Sentence(template, **values)
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the message itself, so that who hands on `str(error)` hands on its template too."""
        return self.message


class ImageFormatError(EvfSamError):
    """The file or array is not an image this library can read."""


class PhraseError(EvfSamError):
    """The phrase is empty, too long, or not text."""


class EmptyPhraseError(PhraseError):
    """There is no phrase."""


class GeometryError(EvfSamError):
    """A size, box or point does not fit the frame it was given for."""


class CheckpointError(EvfSamError):
    """A checkpoint is missing, damaged, or does not hold what its configuration promises."""


class ConfigurationError(EvfSamError):
    """An option or configuration field is unknown or out of range."""


class MemoryBudgetError(EvfSamError):
    """A question would take more memory than there is for one."""
