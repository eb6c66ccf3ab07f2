"""The report shows figures, faults, the papers' figures and pictures, in files that need nothing beside themselves."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.workbench.doubles import half_lit, suite_of
from tests.workbench.evaluation.test_merging import RUN, answer, written
from workbench.cli.evaluate import Order, run_evaluation
from workbench.comparison import Comparison
from workbench.evaluation.evaluation import Shard
from workbench.evaluation.merging import MergedRun, merged_runs
from workbench.evaluation.pairs import all_pairs
from workbench.evaluation.run_figures import Figure
from workbench.reporting.charts import Group, bar_chart
from workbench.reporting.markdown import report_markdown
from workbench.reporting.page import report_html, write_report
from workbench.reporting.paper import COLUMNS, column_name, paper_rows
from workbench.reporting.showcase import decider_exhibits, dispute, exhibits
from workbench.reporting.tables import run_title

ONE = replace(RUN, strategies={"light": "a1"})
MARKED_UP = "<b>light & 'dark'</b>"


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with phrases, one of which looks like HTML."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, phrase in (("one", MARKED_UP), ("two", "nothing")):
        Image.fromarray(half_lit()).save(folder / f"{name}.png")
        Image.fromarray(half_lit()[..., 0] // 100 * 255).save(folder / f"{name}.mask.png")
        (folder / f"{name}.txt").write_text(phrase)
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> MergedRun:
    (tmp_path / "weights").mkdir()
    comparison = Comparison(suite_of(tmp_path / "weights", light="load_bright", refused="load_refused"))
    out = tmp_path / "results.jsonl"
    run_evaluation(Order(f"folder:{folder}", None, None, ("light", "refused"), Shard(), out), comparison)
    (run,) = merged_runs([out])
    return run


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing(run: MergedRun) -> None:
    tags = Tags(report_html([run]))
    names = {tag for tag, _ in tags.found}
    assert {"table", "img", "svg"} <= names
    assert names & {"script", "link", "iframe", "object", "b"} == {"b"}
    sources = [value for _, attributes in tags.found for name, value in attributes.items() if name in ("src", "href")]
    assert sources
    assert [source for source in sources if not source.startswith("data:image/jpeg;base64,")] == []


def test_seen_and_unseen_wordings_have_a_table_where_they_are_known(run: MergedRun) -> None:
    headings = "| wording | strategy | cIoU | gIoU | Pr@0.5 | expressions | images |"
    assert headings not in report_markdown([run])
    assert "By wording, in percent" not in Tags(report_html([run])).texts
    told = [replace(each, wording="seen" if each.place.sample_index else "unseen") for each in run.answers]
    known = replace(run, answers=tuple(told))
    assert f"{headings}\n| --- | --- | --- | --- | --- | --- | --- |\n| seen | light |" in report_markdown([known])
    assert {"By wording, in percent", "seen", "unseen"} <= set(Tags(report_html([known])).texts)


def test_phrases_are_shown_as_text_and_never_as_markup(run: MergedRun) -> None:
    page = report_html([run])
    assert MARKED_UP not in page
    assert MARKED_UP in Tags(page).texts


def test_the_page_shows_best_worst_and_disputed_with_the_known_mask_beside_each(run: MergedRun) -> None:
    shown = exhibits(run, per_title=1)
    assert [(each.title, each.sample_id) for each in shown] == [
        ("best of light", "one"),
        ("worst of light", "two"),
        ("best of refused", "one"),
        ("worst of refused", "two"),
        ("most disputed", "one"),
    ]
    assert [set(each.pictures) for each in shown] == [{"known mask", "light", "refused"}] * 5
    assert shown[0].ious == {"light": 1.0, "refused": 0.0}
    image, overlaid = half_lit(), shown[0].pictures["light"]
    assert np.array_equal(overlaid[20:, 35:], image[20:, 35:])
    assert not np.array_equal(overlaid[20:, 5:15], image[20:, 5:15])


def test_without_the_images_the_figures_are_still_there(run: MergedRun, folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.unlink()
    page = report_html([run])
    assert "images are not where they were" in page
    assert "known mask" not in page
    assert run.figures["light"]["cIoU"].value == 0.5


def test_answers_that_agree_are_not_disputed_and_those_apart_are(run: MergedRun) -> None:
    light, refused = run.answers[:2]
    assert dispute([light, light]) == 0
    assert dispute([light, refused]) == 1
    assert dispute([light]) == 0


def test_faults_are_named_with_their_reason_and_place(run: MergedRun) -> None:
    text = report_markdown([run])
    assert "- refused failed on 2 expressions, counted as empty masks" in text
    assert re.search(r"- refused, one .* and 1 more: expected daylight, got night; wait", text)
    assert MARKED_UP not in text


def test_the_papers_figures_stand_beside_measured_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [answer(0, 0, intersection=20), answer(0, 0, "dark", intersection=25)])
    lines = [line.strip("| ").split(" | ") for line in report_markdown(merged_runs([path])).splitlines()]
    column = next(line for line in lines if line[0] == "method").index("refcoco:val")
    cells = {line[0]: line[column] for line in lines if len(line) == 1 + len(COLUMNS)}
    assert (cells["EVF-SAM"], cells["SAM4MLLM-7B-PQPP"]) == ("82.1", "77.1")
    assert cells["measured: `light` (mini a1, float32 on cpu)"] == "40.0"
    assert cells["measured: `dark` (mini b2, float32 on cpu)"] == "50.0"


def measured_cells(paths: list[Path]) -> list[tuple[str, str]]:
    """Label and figure of refcoco:val of every measured row beside the papers'."""
    lines = [line.strip("| ").split(" | ") for line in report_markdown(merged_runs(paths)).splitlines()]
    return [(line[0].removeprefix("measured: "), line[1]) for line in lines if line[0].startswith("measured: ")]


def test_runs_of_other_weights_or_number_types_never_share_a_row_with_the_papers(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.jsonl", [answer(0, 0, intersection=20)], run=ONE)
    half = written(
        tmp_path / "half.jsonl", [answer(0, 0, intersection=25)], run=replace(ONE, dtype="bfloat16", device="cuda")
    )
    other = written(tmp_path / "other.jsonl", [answer(0, 0)], run=replace(ONE, strategies={"light": "ffffffff00"}))
    second = written(tmp_path / "second.jsonl", [answer(0, 0, intersection=45)], run=replace(ONE, samples="others"))
    beside = written(tmp_path / "beside.jsonl", [answer(0, 0)], run=replace(ONE, dataset="refcoco:testA"))
    assert measured_cells([whole, half, other, beside, second]) == [
        ("`light` (mini a1, float32 on cpu)", "40.0"),
        ("`light` (mini a1, bfloat16 on cuda)", "50.0"),
        ("`light` (mini ffffffff, float32 on cpu)", "60.0"),
        ("`light` (mini a1, float32 on cpu)", "90.0"),
    ]


def test_a_part_of_a_split_never_stands_beside_the_papers(tmp_path: Path) -> None:
    answers = [answer(0, 0), answer(1, 0, outcome="unread")]
    parts = [
        written(tmp_path / "limited.jsonl", answers[:1], run=replace(ONE, limit=1)),
        written(tmp_path / "cut.jsonl", answers[:1], run=ONE, ended=False),
        written(tmp_path / "shard.jsonl", answers[:1], run=replace(ONE, dtype="float16"), shard=Shard(1, 2)),
        written(tmp_path / "torn.jsonl", answers, run=replace(ONE, dtype="bfloat16")),
    ]
    assert measured_cells(parts) == []
    notes = [line for line in report_markdown(merged_runs(parts)).splitlines() if line.startswith("Not in this table")]
    assert len(notes) == 4
    assert notes[0].endswith(": refcoco:val, first 1 expressions: suite mini (light a1), float32 on cpu.")
    assert "refcoco:val, unfinished: suite mini" in notes[1]
    beyond_its_end = written(tmp_path / "all.jsonl", answers[:1], run=replace(ONE, limit=2))
    assert measured_cells([beyond_its_end]) == [("`light` (mini a1, float32 on cpu)", "60.0")]


def test_the_papers_tables_have_a_figure_or_none_for_every_column() -> None:
    rows = {row.method: row.cious for row in paper_rows()}
    assert rows["EVF-SAM (multitask)"]["refcoco+:testB"] == 71.9
    assert rows["LAVT"]["refcocog:val"] is None
    assert all(set(cious) == set(COLUMNS) for cious in rows.values())


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("refcoco:val", "refcoco:val"),
        ("refcoco/unc:testA", "refcoco:testA"),
        ("refcocog/umd:test", "refcocog:test"),
        ("refcocog/google:val", None),
        ("refcoco/google:val", None),
        ("scenes:test", None),
    ],
)
def test_only_the_papers_own_splits_stand_in_their_columns(name: str, column: str | None) -> None:
    assert column_name(name) == column


def test_a_report_is_written_as_files(run: MergedRun, tmp_path: Path) -> None:
    paths = write_report(tmp_path / "report", [run])
    names = ["report.md", "report.html", "figures.csv", "pairs.csv", "tables.tex", "figures-1-overall.svg"]
    assert [path.name for path in paths] == [*names, "figures-1-by-words-in-the-phrase.svg"]
    assert all(path.stat().st_size > 200 for path in paths)


def test_bars_are_as_high_as_their_figures_and_whiskers_as_long_as_their_intervals() -> None:
    groups = [Group("cIoU <all>", {"evf-sam": Figure(0.5, (0.25, 0.75)), "clip-text": Figure(None, None)})]
    root = ElementTree.fromstring(bar_chart("title & more", groups))
    space = "{http://www.w3.org/2000/svg}"
    (bar,) = [each for each in root.iter(f"{space}rect") if each.find(f"{space}title") is not None]
    assert (float(bar.get("height")), bar.find(f"{space}title").text) == (90.0, "evf-sam, cIoU <all>: 50.0 %")
    whisker = [each for each in root.iter(f"{space}line") if each.get("stroke") == "#000"]
    assert [float(each.get("y1")) - float(each.get("y2")) for each in whisker] == [90.0]


def test_lines_of_the_scale_stand_where_bars_of_their_figure_end() -> None:
    shares = (0, 25, 50, 75, 100)
    groups = [Group(str(share), {"a": Figure(share / 100, None)}) for share in shares]
    root = ElementTree.fromstring(bar_chart("scale", groups))
    space = "{http://www.w3.org/2000/svg}"
    tops = [float(each.get("y")) for each in root.iter(f"{space}rect") if each.find(f"{space}title") is not None]
    lines = [each for each in root.iter(f"{space}line") if each.get("stroke") == "#ccc"]
    assert [float(each.get("y1")) for each in lines] == [float(each.get("y2")) for each in lines] == tops
    labels = [each for each in root.iter(f"{space}text") if each.get("text-anchor") == "end"]
    assert [each.text for each in labels] == [str(share) for share in shares]
    assert [float(each.get("y")) - 4 for each in labels] == tops, "a label's middle is on its line"
    assert {each.get("x2") for each in lines} == {root.get("width")}
    assert all(float(label.get("x")) < float(line.get("x1")) for label, line in zip(labels, lines, strict=True))


def test_a_chart_fits_what_is_drawn_in_it() -> None:
    groups = [Group(str(number), {key: Figure(1.0, None) for key in "abc"}) for number in range(9)]
    root = ElementTree.fromstring(bar_chart("wide", groups))
    edges = [float(each.get("x")) + float(each.get("width")) for each in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert max(edges) <= float(root.get("width"))


def test_labels_titles_and_legends_do_not_touch_and_lie_in_the_chart() -> None:
    keys = ["a-strategy-of-a-long-name", "b", "another-strategy-of-a-long-name"]
    names = ["several objects of one kind", "in", "expressions with a very long name"]
    groups = [Group(name, dict.fromkeys(keys[:1], Figure(0.5, None))) for name in names]
    groups.append(Group("last", dict.fromkeys(keys, Figure(0.5, None))))
    title = "a title that is longer than the bars below it are wide "
    narrow = ElementTree.fromstring(bar_chart(title, [Group("one", {"a": Figure(0.5, None)})]))
    assert float(narrow.get("width")) > 44 + len(title) * 0.6 * 13, "a title alone makes it wide enough"
    root = ElementTree.fromstring(bar_chart(title * 2, groups))
    width = float(root.get("width"))
    rows: dict[str, list[tuple[float, float]]] = {}
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        size = 13 if text.get("font-size") == "13" else 11
        extent = len(text.text) * 0.6 * size  # what letters of sans-serif take at most on the average
        left = float(text.get("x")) - extent * {"middle": 0.5, "end": 1.0}.get(text.get("text-anchor"), 0.0)
        assert left >= 0
        assert left + extent <= width, text.text
        rows.setdefault(text.get("y"), []).append((left, left + extent))
    for extents in rows.values():
        ordered = sorted(extents)
        assert all(end <= start for (_, end), (start, _) in pairwise(ordered))


def test_two_checkpoints_of_one_strategy_have_colours_of_their_own() -> None:
    keys = ["old", "new", "evf-sam", "newest", "a", "b", "c", "clip-text", "sam3"]
    root = ElementTree.fromstring(bar_chart("apart", [Group("cIoU", dict.fromkeys(keys, Figure(0.5, None)))]))
    swatches = [each.get("fill") for each in root.iter("{http://www.w3.org/2000/svg}rect")]
    bars, legend = swatches[: len(keys)], swatches[len(keys) :]
    assert len(set(bars)) == len(keys)
    assert bars == legend
    assert (bars[2], bars[7], bars[8]) == ("rgb(230, 159, 0)", "rgb(86, 180, 233)", "rgb(213, 94, 0)"), "as anywhere"


def test_what_was_marked_though_it_is_absent_is_shown_the_largest_first(tmp_path: Path) -> None:
    nothing = {"kind": "absent", "wanted": 0, "intersection": 0, "boundary_f": None, "box_iou": None}
    answers = [answer(0, 0), *(answer(0, n, **nothing, union=n, marked=n, phrase=f"moon {n}") for n in (1, 3, 2))]
    (run,) = merged_runs([written(tmp_path / "a.jsonl", answers, run=ONE)])
    shown = [each.phrase for each in exhibits(run, 2) if each.title == "marked by light though it is absent"]
    assert shown == ["moon 3", "moon 2"]
    ranked = [each.phrase for each in exhibits(run, 2) if each.title in ("best of light", "worst of light")]
    assert ranked == ["the light"] * 2, "what is absent is among neither"


def test_one_report_holds_several_runs(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / f"{number}.jsonl", [answer(0, 0)], run=replace(RUN, dataset=name))
        for number, name in enumerate(("refcoco:val", "refcoco:testA"))
    ]
    headings = [line for line in report_markdown(merged_runs(paths)).splitlines() if line.startswith("## ")]
    made_with = "suite mini (light a1, dark b2), float32 on cpu"
    assert headings == [
        f"## refcoco:val: {made_with}",
        f"## refcoco:testA: {made_with}",
        "## The papers' figures",
    ]


def test_pairs_are_compared_in_the_report_with_what_decides_between_them(run: MergedRun) -> None:
    text = report_markdown([run])
    # "light" is right about one image of two, "refused" about none; every exchange of the one is as large.
    assert (
        "| light | refused | +50.0 (+0.0 to +100.0) | 1.000 | +50.0 (+0.0 to +100.0) | 1.000 | 1 | 0 | 1 | 2 | 2 |"
        in text
    )
    assert "What decides between light and refused:\n\n| phrase | kind | image |" in text
    assert "| one | 100.0 | 0.0 |" in text
    (decider,) = decider_exhibits(all_pairs([run])[run.run.dataset][0])
    assert set(decider.pictures) == {"known mask", "light", "refused"}
    assert "what decides between light and refused" in Tags(report_html([run])).texts


def test_pairs_of_two_files_show_both_masks_under_their_own_names(run: MergedRun) -> None:
    other = replace(run, run=replace(run.run, dtype="bfloat16"))
    pairs = all_pairs([run, other])[run.run.dataset]
    pair = next(
        each for each in pairs if each.one.strategy != each.other.strategy and each.one.run is not each.other.run
    )
    (decider,) = decider_exhibits(pair)
    assert set(decider.pictures) == {"known mask", pair.one.label, pair.other.label}


def test_a_title_has_weights_number_type_limit_and_date(run: MergedRun) -> None:
    digests = ", ".join(f"{key} {digest[:8]}" for key, digest in run.run.strategies.items())
    today = datetime.now(UTC).date().isoformat()
    limited = replace(run, run=replace(run.run, limit=7, dtype="bfloat16"))
    assert run_title(limited) == (
        f"{run.run.dataset}, first 7 expressions: suite doubles ({digests}), bfloat16 on cpu, {today}"
    )
