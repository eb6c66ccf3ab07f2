"""A larger limit on a file of results that is there already: what was answered stays, and only the rest is asked.

A limit cuts the questions of one image off and puts the absent ones behind what is left; with a larger one they stand
elsewhere. So the answers about an image whose questions change are dropped and asked again.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from workbench.datasets.contract import Sample
from workbench.evaluation.result_lines import Results, ResultsError, read_results, rewrite_results
from workbench.evaluation.run_identity import Header, questions_digest


def raise_limit(path: Path, header: Header, samples_up_to: Callable[[int | None], Iterable[Sample]]) -> None:
    """Make a file of the same run with a smaller limit one of this run; any other file is left as it is.

    Args:
        path: of the file, which need not be there.
        header: of the run to come.
        samples_up_to: the samples of the data set under a limit; no image is read.

    Raises:
        ResultsError: the questions that were asked are others now, or the file cannot be written.
    """
    earlier = _with_smaller_limit(path, header)
    if earlier is None:
        return
    before = earlier.header.run
    if before.samples not in ("", questions_digest(samples_up_to(before.limit))):
        raise ResultsError(
            f"{path} holds another run: the data set's images or phrases were others; choose another file with --out, "
            "or delete it"
        )
    pairs = zip(samples_up_to(before.limit), samples_up_to(header.run.limit), strict=False)
    moved = {index for index, (old, new) in enumerate(pairs) if len(old.questions) != len(new.questions)}
    kept = [answer for answer in earlier.answers if answer.place.sample_index not in moved]
    rewrite_results(path, replace(earlier.header, run=header.run), kept)


def _with_smaller_limit(path: Path, header: Header) -> Results | None:
    """Read a file of the same run but for its limit; None where it is none, which is told when it is opened."""
    try:
        earlier = read_results(path)
    except ResultsError:
        return None
    before, now = earlier.header.run, header.run
    is_larger = before.limit is not None and (now.limit is None or now.limit > before.limit)
    is_same = replace(before, limit=now.limit, samples=now.samples) == now and earlier.header.shard == header.shard
    return earlier if is_larger and is_same else None
