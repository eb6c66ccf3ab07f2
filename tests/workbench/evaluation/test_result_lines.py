"""A file of results outlives a kill at any moment: no answer is lost, none is there twice, none is of another run."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest

from tests.workbench.doubles import suite_of
from tests.workbench.evaluation.test_evaluation import sample
from workbench.comparison import Comparison
from workbench.datasets.contract import SampleError
from workbench.evaluation.evaluation import Shard, measure
from workbench.evaluation.measured_answers import Answer, Place
from workbench.evaluation.result_lines import ResultsError, ResultsFile, read_results
from workbench.evaluation.run_identity import Facts, Header, RunIdentity, questions_digest

RUN = RunIdentity("doubles", "two images", None, {"light": "a1", "other": "b2"}, "cpu")
HEADER = Header(RUN, Shard())
ANSWER = Answer(Place(0, "one", 0, "light"), "the light", "category", "found", data="d1")


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    (tmp_path / "weights").mkdir()
    return Comparison(suite_of(tmp_path / "weights", light="load_bright", other="load_bright"))


@pytest.fixture
def whole_run(comparison: Comparison) -> Callable[[Path], int]:
    """Carry the run out, or go on with it, and return how many answers it had to ask for."""
    samples = [replace(sample(), sample_id=name) for name in ("one", "two")]

    def run(path: Path) -> int:
        count = 0
        with ResultsFile(path, HEADER) as file:
            for answers in measure(comparison, samples, done=file.done):
                count += len(answers)
                file.append(answers)
            file.finish()
        return count

    return run


def answers_but_for_time(path: Path) -> set[Answer]:
    answers = [replace(each, seconds=0.0, peak_bytes=None) for each in read_results(path).answers]
    assert len({each.place for each in answers}) == len(answers) == 16
    return set(answers)


def test_answers_come_back_as_they_were_written(whole_run: Callable[[Path], int], tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    assert whole_run(path) == 16
    results = read_results(path)
    assert (results.header, results.is_complete) == (HEADER, True)
    light = next(each for each in results.answers if each.place == Place(1, "two", 1, "light"))
    assert (light.phrase, light.kind, light.outcome) == ("the lower light", "position", "found")
    assert (light.intersection, light.union, light.marked, light.wanted) == (600, 1200, 1200, 600)
    assert (light.box_iou, light.size, light.pred_iou) == (0.5, (40, 60), 0.75)
    assert 0 < light.boundary_f < 1
    assert 0 < light.attention_mass < 1
    content = path.read_bytes()
    assert whole_run(path) == 0
    assert path.read_bytes() == content


def test_what_could_not_be_read_is_asked_again_and_only_that(comparison: Comparison, tmp_path: Path) -> None:
    def refuse() -> None:
        raise SampleError("the disk does not answer")

    whole = replace(sample(), sample_id="one")
    without_mask = replace(
        whole, questions=(replace(whole.questions[0], reference_source=refuse), *whole.questions[1:])
    )
    path, counts = tmp_path / "results.jsonl", []
    for now in (replace(whole, image_source=refuse), without_mask, without_mask, whole, whole):
        with ResultsFile(path, HEADER) as file:
            for answers in measure(comparison, [now], done=file.done):
                file.append(answers)
            file.finish()
        counts.append((sum(each.outcome == "unread" for each in read_results(path).answers), len(path.read_bytes())))
    unread, sizes = zip(*counts, strict=True)
    assert unread == (8, 2, 2, 0, 0)
    assert (sizes[1], sizes[3]) == (sizes[2], sizes[4]), "nothing is written that is there already"
    assert read_results(path).is_complete


def test_a_run_cut_short_anywhere_goes_on_without_a_lost_or_a_repeated_answer(
    whole_run: Callable[[Path], int], tmp_path: Path
) -> None:
    whole = tmp_path / "whole.jsonl"
    whole_run(whole)
    content = whole.read_bytes()
    expected = answers_but_for_time(whole)
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    cuts = {0, 1, ends[0] - 1, *(end + shift for end in ends for shift in (-1, 0, 1, 200))}
    cut_path = tmp_path / "cut.jsonl"
    for cut in sorted(cut for cut in cuts if cut <= len(content)):
        cut_path.write_bytes(content[:cut])
        written = max(0, content[:cut].count(b"\n") - 1)
        asked = whole_run(cut_path)
        assert asked == 16 - min(written, 16), f"cut at byte {cut}"
        assert answers_but_for_time(cut_path) == expected
        assert read_results(cut_path).is_complete


def test_an_unfinished_file_can_be_read_and_says_so(whole_run: Callable[[Path], int], tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    whole_run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:-9])
    results = read_results(path)
    assert (len(results.answers), results.is_complete) == (4, False)


@pytest.mark.parametrize(
    ("header", "difference"),
    [
        (Header(replace(RUN, limit=100), Shard()), "limit was None and is 100"),
        (Header(replace(RUN, dataset="refcoco:val"), Shard()), "dataset was 'two images' and is 'refcoco:val'"),
        (
            Header(replace(RUN, strategies={"light": "a2", "other": "b2"}), Shard()),
            "strategies was .*a1.* and is .*a2.*",
        ),
        (Header(replace(RUN, device="cuda"), Shard()), "device was 'cpu' and is 'cuda'"),
        (Header(replace(RUN, dtype="bfloat16"), Shard()), "dtype was 'float32' and is 'bfloat16'"),
        (Header(replace(RUN, samples="other"), Shard()), "the data set's images or phrases were others"),
        (Header(RUN, Shard(2, 3)), "shard was '1/1' and is '2/3'"),
    ],
)
def test_a_file_of_another_run_is_refused_and_left_as_it_is(header: Header, difference: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path, HEADER) as file:
        file.append([ANSWER])
    content = path.read_bytes()
    with pytest.raises(ResultsError, match=rf"holds another run: {difference}; choose another file"):
        ResultsFile(path, header)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"my diary", b"my diary\n", b'{"format": "other"}\n', b"[]\n", b"\n", b"[" * 100_000 + b"\n"]
)
def test_a_file_of_something_else_is_never_overwritten(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"expected results of evaluate in .*results\.jsonl, got something else"):
        ResultsFile(path, HEADER)
    assert path.read_bytes() == content


BEYOND_ANY = (
    b'{"sample_index": 0, "sample_id": "a", "question_index": 0, "strategy": "s", "outcome": "", "size": [1e999, 1]}\n'
)


@pytest.mark.parametrize(
    "broken",
    [b"{\n", b"7\n", b'{"phrase": "the light"}\n', b"\0\0\0\n", BEYOND_ANY, b"[" * 100_000 + b"\n"],
)
def test_damage_before_the_last_line_is_told_with_its_line(broken: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path, HEADER) as file:
        file.append([ANSWER])
    path.write_bytes(path.read_bytes() + broken)
    with pytest.raises(ResultsError, match=r"line 3 of .*results\.jsonl, got something else: the file is damaged"):
        read_results(path)


def test_an_answer_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path, HEADER) as file:
        file.append([ANSWER, ANSWER])
    with pytest.raises(ResultsError, match="the same answer twice, again in line 3"):
        read_results(path)


class FullDisk:
    """A file that takes so many bytes and then has no room."""

    def __init__(self, file: object, room: int) -> None:
        self.file, self.room = file, room

    def write(self, content: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(content[: self.room])
        self.room -= len(part)
        return self.file.write(part)

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    second = replace(ANSWER, place=Place(0, "one", 1, "light"))
    with ResultsFile(path, HEADER) as file:
        file.append([ANSWER])
        file._file = FullDisk(file._file, room=40)
        with pytest.raises(
            ResultsError, match=r"cannot write .*No space left on device; make room .* same command again"
        ):
            file.append([second])
    with ResultsFile(path, HEADER) as file:
        assert file.done == {(0, 0, "light"): "d1"}
        file.append([second])
    assert [each.place.question_index for each in read_results(path).answers] == [0, 1]


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot (read|write) .*file"):
        ResultsFile(tmp_path / "file" / "results.jsonl", HEADER)
    with pytest.raises(ResultsError, match=r"cannot write .*directory"):
        ResultsFile(tmp_path, HEADER)


def test_two_writers_at_once_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path, HEADER) as file:
        with pytest.raises(ResultsError, match=r"another process is writing .*results\.jsonl"):
            ResultsFile(path, HEADER)
        file.append([ANSWER])
    with ResultsFile(path, HEADER) as file:
        assert file.done == {(0, 0, "light"): "d1"}


def test_a_run_is_gone_on_with_on_another_day_and_keeps_the_day_it_began(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, later = (replace(HEADER, facts=Facts(f"2026-01-0{day}T00:00:00+00:00", "a machine")) for day in (1, 2))
    with ResultsFile(path, first):
        pass
    content = path.read_bytes()
    for cut in (0, 1, 30, 60, len(content) - 1, len(content)):
        path.write_bytes(content[:cut])
        with ResultsFile(path, later) as file:
            file.append([ANSWER])
        assert read_results(path).header == (first if cut == len(content) else later)


@pytest.mark.parametrize(
    ("line", "path", "value"),
    [
        (0, ("run", "dataset"), None),
        (0, ("run", "limit"), "ten"),
        (0, ("run", "strategies"), "light"),
        (0, ("run", "strategies"), {"light": 1}),
        (0, ("facts", "weights"), [1]),
        (0, ("shard",), [1, 10**9]),
        (0, ("shard",), [1, "1"]),
        (1, ("strategy",), "stranger"),
        (1, ("outcome",), "perhaps"),
        (1, ("wanted",), "1"),
        (1, ("wanted",), 10**400),
        (1, ("pred_iou",), True),
        (1, ("size",), [1, 2, 3]),
        (2, ("parameters",), {"light": "many"}),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_stands(
    line: int, path: tuple[str, ...], value: object, tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    with ResultsFile(file, HEADER) as written:
        written.append([ANSWER])
        written.finish({"light": 5})
    records = [json.loads(each) for each in file.read_text().splitlines()]
    *outer, last = path
    reduce(lambda record, name: record[name], outer, records[line])[last] = value
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    with pytest.raises(ResultsError, match=f"line {line + 1} of" if line else "expected results of evaluate"):
        read_results(file)


def test_a_file_without_number_type_digest_and_facts_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path, HEADER) as file:
        file.append([ANSWER])
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    del first["facts"], first["run"]["dtype"], first["run"]["samples"], second["data"]
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    assert (read_results(path).header, read_results(path).answers) == (HEADER, (replace(ANSWER, data=""),))


def test_other_questions_or_images_make_another_digest() -> None:
    one, other = (replace(sample(), sample_id=name) for name in ("one", "other"))
    fewer = replace(one, questions=one.questions[1:])
    digests = [questions_digest(samples) for samples in ([one, other], [other, one], [one], [fewer], [])]
    assert len(set(digests)) == 5
    assert questions_digest([one, other]) == digests[0]


def test_every_line_is_json_whatever_the_phrase_holds(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    odd = replace(ANSWER, phrase="a\u2028b\r\n\udcff\x00", pred_iou=float("nan"))
    with ResultsFile(path, HEADER) as file:
        file.append([odd])
    assert len([json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]) == 2
    (answer,) = read_results(path).answers
    assert (answer.phrase, answer.pred_iou) == (odd.phrase, None)
