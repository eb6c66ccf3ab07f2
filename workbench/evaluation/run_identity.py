"""What a run is: everything that decides its answers, and what should be told of it beside them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256

from workbench.datasets.contract import Sample
from workbench.evaluation.evaluation import Shard


@dataclass(frozen=True)
class RunIdentity:
    """What decides every answer of a run; two files belong together where all of this is equal.

    Attributes:
        suite, dataset: names on the command line.
        limit: expressions asked, or None for all.
        strategies: digest of the weights by strategy key, in the order in which they were asked.
        device: type of device, since arithmetic differs between them; "" where no model ran.
        dtype: number type of weights and activations; "" where no model ran.
        samples: digest of what was asked, see `questions_digest`; "" in files written before there was one.
        marks: what SAM saw beside each phrase, one of `workbench.names.MARK_NAMES`; "" for nothing.
    """

    suite: str
    dataset: str
    limit: int | None
    strategies: Mapping[str, str]
    device: str
    dtype: str = "float32"
    samples: str = ""
    marks: str = ""

    @property
    def circumstances(self) -> str:
        """Marks, number type and device as the end of a sentence; without the latter where no model ran."""
        marks = said_of_marks(self.marks)
        return f"{marks}, {self.dtype} on {self.device}" if self.device else marks

    @property
    def fingerprint(self) -> str:
        """Equal for equal runs."""
        return sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


def said_of_marks(marks: str | None) -> str:
    """Say as the end of a sentence what SAM saw beside each phrase; "" for nothing."""
    return f", a {marks} beside each phrase" if marks else ""


@dataclass(frozen=True)
class Facts:
    """What should be told of a run, though it decides no answer.

    Attributes:
        started: UTC, as in ISO 8601, to the second; "" where it is not known.
        machine: processor or GPU, for people.
        weights: where each strategy's weights came from, by key.
        versions: of the packages that decide answers, by name; None of those not installed.
    """

    started: str = ""
    machine: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """The first line of a file.

    Attributes:
        run: what the file is of.
        shard: which part of it.
        root: where the data set's files were; "" where it has none.
        facts: beside the run.
    """

    run: RunIdentity
    shard: Shard
    root: str = ""
    facts: Facts = field(default_factory=Facts)


def questions_digest(samples: Iterable[Sample]) -> str:
    """Return a digest of which questions are asked of which images, in their order; reads no image and no mask.

    Images and masks are told apart answer by answer, see `workbench.evaluation.measured_answers.Answer.data`.
    """
    digest = sha256()
    for sample in samples:
        asked = [sample.sample_id, *([each.phrase, each.kind] for each in sample.questions)]
        digest.update(json.dumps(asked).encode() + b"\n")
    return digest.hexdigest()[:16]
