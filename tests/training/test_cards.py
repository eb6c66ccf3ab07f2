"""A card tells what its weights went through, those before them too."""

from pathlib import Path

import pytest

from training.cards import CARDS, Measured, Past, past_told, row_of, write_card
from training.loop import Schedule
from workbench.bundled import CHECKPOINTS

MEASURED = Measured("sam", Schedule(7, 0.1), 3, "a Xeon", {"box": 0.5}, "digest", "0123456789")


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    past = Past("the weights of `mini/sam`", ("| `sam` | 5 |", row_of(MEASURED)))
    write_card(tmp_path, CARDS["sam"], MEASURED, past)
    assert past_told(tmp_path, "another") == past


def test_a_model_without_a_card_is_told_by_its_name(tmp_path: Path) -> None:
    assert past_told(tmp_path, "mini/sam") == Past("the weights of `mini/sam`")


@pytest.mark.parametrize("part", ["evf-sam", "point-query/sam", "point-query/mllm"])
def test_cards_that_come_with_the_project_are_read(part: str) -> None:
    past = past_told(CHECKPOINTS / "mini" / part, "unread")
    assert past.rows
    assert "unread" not in past.first
