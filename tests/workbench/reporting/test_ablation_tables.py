"""The ablations' tables: means, intervals, the paper's order told apart from noise."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evfsam.errors import ConfigurationError
from workbench.reporting.ablation_tables import (
    FIGURES,
    AblationRun,
    ablations_markdown,
    agreement,
    draw_ablations,
    half_interval,
    read_figures,
)
from workbench.reporting.paper import PaperAblation, ablation_groups

LOW, HIGH = PaperAblation("low", "the lower", 20.0), PaperAblation("high", "the higher", 80.0)


def runs(row: str, *cious: float, steps: int = 0) -> list[AblationRun]:
    return [AblationRun(row, seed, ciou, ciou, {}, "a machine", steps, 90.0) for seed, ciou in enumerate(cious)]


def test_the_interval_is_students() -> None:
    # Two degrees of freedom: 4.3027 times the deviation 1 over the root of 3.
    assert half_interval([1.0, 2.0, 3.0]) == pytest.approx(2.4841, abs=1e-4)


def test_one_seed_has_no_interval() -> None:
    assert half_interval([1.0]) == float("inf")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (
            {0: 10.0, 1: 11.0, 2: 12.0},
            {0: 20.0, 1: 21.1, 2: 22.0},
            "order beyond the noise of the seeds: 1, within it: 0",
        ),
        (
            {0: 10.0, 1: 30.0, 2: 20.0},
            {0: 25.0, 1: 20.0, 2: 21.0},
            "seeds: 0, within it: 1. The other way round within the noise: 0",
        ),
        (
            {0: 25.0, 1: 20.0, 2: 21.0},
            {0: 10.0, 1: 30.0, 2: 20.0},
            "seeds: 0, within it: 0. The other way round within the noise: 1, beyond it: 0.",
        ),
        (
            {0: 20.0, 1: 21.1, 2: 22.0},
            {0: 10.0, 1: 11.0, 2: 12.0},
            "beyond it: 1 (the higher fell short of the lower by 10.0).",
        ),
    ],
)
def test_pairs_are_compared_seed_by_seed(low: dict[int, float], high: dict[int, float], said: str) -> None:
    assert said in agreement([LOW, HIGH], {"low": low, "high": high})


def test_three_seeds_are_corrected_for_the_number_of_pairs() -> None:
    # Gains of 4, 5 and 7: t = 6.047 with 2 degrees of freedom, p = 0.026; three such pairs make it 0.079.
    cious = {"low": {0: 0.0, 1: 0.0, 2: 0.0}, "middle": {0: 4.0, 1: 5.0, 2: 7.0}, "high": {0: 8.0, 1: 10.0, 2: 14.0}}
    middle = PaperAblation("middle", "the middle", 50.0)
    assert "order beyond the noise of the seeds: 1, within it: 0" in agreement([LOW, middle], cious)
    assert "order beyond the noise of the seeds: 0, within it: 3" in agreement([LOW, middle, HIGH], cious)


def test_a_pair_that_the_paper_finds_even_is_not_judged() -> None:
    even = [LOW, PaperAblation("high", "as high", 20.0)]

    assert agreement(even, {"low": {0: 1.0}, "high": {0: 2.0}}).startswith("Of 0 pairs")


def test_tables_hold_the_rows_that_were_made_with_the_papers_figures() -> None:
    text = ablations_markdown([*runs("clip-text", 0.30, 0.31, 0.32, steps=400), *runs("beit3-early", 0.6, 0.61, 0.62)])

    assert "| CLIP, text alone | 31.0 ± 2.5 | 63.4 |" in text
    assert "| BEiT-3, early in all layers | 61.0 ± 2.5 | 83.7 |" in text
    assert "CLIP, late concat" not in text
    assert "3 trainings of 400 steps took 4 minutes in all on a machine" in text


def test_every_row_of_the_papers_is_a_recipe() -> None:
    from training.ablations import ASKED_ROWS, TRAINED_ROWS

    wanted = {row.row for rows in ablation_groups().values() for row in rows}

    assert wanted == set(TRAINED_ROWS) | set(ASKED_ROWS)


def test_the_documents_hold_the_tables_of_the_figures_that_come_with_the_weights() -> None:
    page = (Path(__file__).parents[3] / "docs" / "ablations.md").read_text(encoding="utf-8")

    assert ablations_markdown(read_figures(FIGURES)) in page


def test_the_picture_names_its_rows_from_top_to_bottom_and_its_scale_from_left_to_right(tmp_path: Path) -> None:
    draw_ablations(read_figures(FIGURES), tmp_path / "ablations.svg")
    drawn = ElementTree.parse(tmp_path / "ablations.svg").iter("{http://www.w3.org/2000/svg}text")
    places = [(each.text, float(each.get("x") or "nan"), float(each.get("y") or "nan")) for each in drawn]
    titles = [row.title for rows in ablation_groups().values() for row in rows]
    rows = sorted((y, text) for text, _, y in places if text in titles)
    assert [text for _, text in rows] == titles
    lowest = max(y for text, _, y in places if text == "0")
    scale = sorted((x, int(text)) for text, x, y in places if text and text.isdigit() and abs(y - lowest) < 1)
    assert [value for _, value in scale] == [0, 20, 40, 60, 80, 100]


def test_three_seeds_of_every_row_come_with_the_weights() -> None:
    wanted = {(row.row, seed) for rows in ablation_groups().values() for row in rows for seed in range(3)}

    assert {(run.row, run.seed) for run in read_figures(FIGURES)} == wanted


def test_no_runs_are_told_with_the_command_that_makes_them() -> None:
    with pytest.raises(ConfigurationError, match="python -m training ablations"):
        ablations_markdown([])


def test_figures_are_read_back(tmp_path: Path) -> None:
    line = {"row": "clip-text", "seed": 1, "cIoU": 0.3, "gIoU": 0.2, "count": 5, "kinds": {"size": 0.1}, "steps": 7}
    (tmp_path / "figures.jsonl").write_text(json.dumps(line) + "\n")

    (run,) = read_figures(tmp_path / "figures.jsonl")

    assert (run.row, run.seed, run.ciou, run.steps, run.kinds) == ("clip-text", 1, 0.3, 7, {"size": 0.1})


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "figures.jsonl").write_text('{"row": "clip-text"}\n')

    with pytest.raises(ConfigurationError, match="line 1"):
        read_figures(tmp_path / "figures.jsonl")
