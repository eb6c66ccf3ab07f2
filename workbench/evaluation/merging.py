"""Files of results brought together: the shards of a run, and several runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from workbench.datasets.contract import ABSENT
from workbench.evaluation.groups import GroupScores, grouped
from workbench.evaluation.measured_answers import Answer, Scores, scores_of
from workbench.evaluation.result_lines import Results, ResultsError, read_results
from workbench.evaluation.run_figures import Figure, figure_of, ratios
from workbench.evaluation.run_identity import Facts, RunIdentity


@dataclass(frozen=True)
class MergedRun:
    """All there is of one run.

    Attributes:
        run: what it was.
        root: where the data set's files were; "" where it has none.
        answers: in the order of the data set, whatever the order of files and lines.
        notes: what is missing, a sentence each; empty where the run reached its end.
        facts: beside the run.
        parameters: how many numbers the weights of each strategy have, by key, as far as known.
    """

    run: RunIdentity
    root: str
    answers: tuple[Answer, ...]
    notes: tuple[str, ...]
    facts: Facts = field(default_factory=Facts)
    parameters: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every question of the data set was put: none is missing, unreadable or beyond a limit."""
        spots = {(each.place.sample_index, each.place.question_index) for each in self.answers if each.kind != ABSENT}
        is_all = self.run.limit is None or len(spots) < self.run.limit
        return is_all and not self.notes and all(each.outcome != "unread" for each in self.answers)

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Scores by strategy."""
        return scores_of(self.answers, self.run.strategies)

    @cached_property
    def figures(self) -> dict[str, dict[str, Figure]]:
        """Every figure with its interval, by strategy and name out of `ratios`."""
        return {key: self._figures_of(key) for key in self.run.strategies}

    @cached_property
    def groups(self) -> dict[str, dict[str, dict[str, GroupScores]]]:
        """Scores of groups of expressions, by criterion, group and strategy."""
        return grouped(self.answers)

    @property
    def figure_names(self) -> tuple[str, ...]:
        """The figures that say something of this run, in the order of reading."""
        has_absent = any(scores.absent.count for scores in self.scores.values())
        names = ratios(self.run.dataset)
        return tuple(name for name in names if has_absent or not name.endswith(("of targets", "with absent")))

    def images_of(self, strategy: str) -> dict[int, Scores]:
        """Scores of one strategy by index of the image, in the order of the data set."""
        by_image: dict[int, Scores] = defaultdict(Scores)
        for answer in self.answers:
            if answer.place.strategy == strategy:
                by_image[answer.place.sample_index] += Scores.of(answer)
        return {index: by_image[index] for index in sorted(by_image)}

    def _figures_of(self, strategy: str) -> dict[str, Figure]:
        images = list(self.images_of(strategy).values())
        named = ratios(self.run.dataset).items()
        return {name: figure_of(name, ratio, self.scores[strategy], images) for name, ratio in named}


def merged_runs(paths: Sequence[Path]) -> list[MergedRun]:
    """Read files of results and bring those of one run together, in the order in which runs are first met.

    Raises:
        ResultsError: a file cannot be read, or two have the same answer.
    """
    by_run: dict[str, list[Results]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        results = read_results(path)
        by_run[results.header.run.fingerprint].append(results)
    return [_merged(parts) for parts in by_run.values()]


def _merged(parts: Sequence[Results]) -> MergedRun:
    answers: dict[tuple[int, int, str], Answer] = {}
    source: dict[tuple[int, int, str], Path] = {}
    for part in parts:
        for answer in part.answers:
            place = (answer.place.sample_index, answer.place.question_index, answer.place.strategy)
            if place in answers:
                raise ResultsError(f"{source[place]} and {part.path} have the same answers; give one of them")
            answers[place], source[place] = answer, part.path
    header = parts[0].header
    order = {key: number for number, key in enumerate(header.run.strategies)}
    places = sorted(answers, key=lambda place: (place[0], place[1], order[place[2]]))
    ordered = tuple(answers[place] for place in places)
    parameters = {key: count for part in parts for key, count in part.parameters.items()}
    return MergedRun(header.run, header.root, ordered, tuple(_notes(parts)), header.facts, parameters)


def _notes(parts: Sequence[Results]) -> Iterable[str]:
    for part in parts:
        if not part.is_complete:
            yield f"{part.path.name} ends before its run did; run the same command again and it goes on from there"
    shards = [part.header.shard for part in parts]
    missing = set(range(1, shards[0].count + 1)) - {shard.number for shard in shards}
    for number in sorted(missing):
        yield f"shard {number} of {shards[0].count} is missing"
