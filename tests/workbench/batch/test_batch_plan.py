"""Phrases typed and phrases of a CSV become questions; each line that does not is named with its number."""

import pytest

from workbench.batch.batch_files import BatchError, BatchImage, BatchTable, Limits, Sources
from workbench.batch.batch_plan import BatchPlan, plan_batch

LIMITS = Limits(images=9, phrases=3, questions=7, entries=9, file_megabytes=1, megabytes=1)


def planned(table: str | bytes = "", *phrases: str, names: str = "a/1.png b/1.png 2.png") -> BatchPlan:
    images = tuple(BatchImage(name, bytes) for name in names.split())
    content = table.encode() if isinstance(table, str) else table
    tables = (BatchTable("q.csv", content),) if content else ()
    return plan_batch(Sources(images, tables), phrases, LIMITS)


def asked(plan: BatchPlan) -> dict[str, tuple[str, ...]]:
    return {each.image.name: each.phrases for each in plan.images}


def faults(plan: BatchPlan) -> list[str]:
    return [f"{fault.place}: {fault.reason}" for fault in plan.faults]


def test_typed_phrases_are_asked_of_every_image_and_rows_of_theirs_alone() -> None:
    plan = planned("image,phrase\na/1.png,a dog; a cat\n", "a cup", "", names="a/1.png 2.png")
    assert asked(plan) == {"a/1.png": ("a cup", "a dog; a cat"), "2.png": ("a cup",)}
    assert plan.question_count == 3
    assert faults(plan) == []


@pytest.mark.parametrize(
    "table",
    [
        'Phrase;IMAGE\r\n"a, b";2.png\r\n',
        "\ufeffimage\tphrase\n./2.png\ta, b\n",
        'other,image,phrase\n\nx,2.png,"a, b"\n',
    ],
)
def test_separators_marks_and_further_columns_are_understood(table: str) -> None:
    assert asked(planned(table))["2.png"] == ("a, b",)


def test_each_row_that_cannot_be_asked_is_named_with_its_line() -> None:
    plan = planned(
        "image,phrase\n2.png,a dog\n3.png,a dog\n2.png,\n1.png,a cup\n,a cup\n2.png,a dog\n2.png," + "x" * 1001
    )
    assert faults(plan) == [
        "q.csv, line 3: there is no image “3.png”",
        "q.csv, line 4: the phrase is empty",
        "q.csv, line 5: several images are called “1.png”: a/1.png, b/1.png; write the folder too",
        "q.csv, line 6: names no image",
        "q.csv, line 7: “a dog” is asked of this image already; it is asked once",
        "q.csv, line 8: the phrase is too long",
        "a/1.png: no phrase and no line of a CSV is about this image; it is not asked",
        "b/1.png: no phrase and no line of a CSV is about this image; it is not asked",
    ]


def test_an_image_may_be_named_without_its_folder_where_that_is_clear() -> None:
    assert asked(planned("image,phrase\n1.png,a dog\n", names="deep/down/1.png 2.png")) == {
        "deep/down/1.png": ("a dog",)
    }


def test_a_phrase_typed_twice_or_too_long_is_named() -> None:
    plan = planned("", "a dog", " a dog ", "x" * 1001, names="2.png")
    assert faults(plan) == [
        "phrase 2: “a dog” is there already; it is asked once",
        "phrase 3: expected at most 1000 characters, got 1001; shorten the phrase",
    ]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("file,text\n1.png,a dog\n", "expected the columns image and phrase, got file, text"),
        ("image,phrase\n1.png,hütte".encode("latin-1"), "expected UTF-8 text"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_and_the_rest_is_asked(table: str | bytes, reason: str) -> None:
    plan = planned(table, "a cup", names="2.png")
    assert asked(plan) == {"2.png": ("a cup",)}
    (fault,) = faults(plan)
    assert fault.startswith(f"q.csv: cannot be read as a CSV: {reason}")


def test_nothing_to_ask_is_told_with_what_was_wrong() -> None:
    with pytest.raises(BatchError, match=r"^There is no image yet\. Add images, or a zip of images\.$"):
        planned("", "a cup", names="")
    with pytest.raises(BatchError, match="There is no phrase yet"):
        planned("", " ")
    with pytest.raises(
        BatchError, match=r"cannot be used: q\.csv, line 2 \(there is no image “3\.png”\), and 1 more\."
    ):
        planned("image,phrase\n3.png,a\n4.png,a\n")


def test_limits_are_told_with_their_numbers_before_anything_is_asked() -> None:
    with pytest.raises(BatchError, match=r"at most 3 phrases an image, got 4 for a/1\.png"):
        planned("", "a", "b", "c", "d")
    with pytest.raises(BatchError, match=r"at most 7 questions \(images times phrases\), got 9"):
        planned("", "a", "b", "c")
    with pytest.raises(BatchError, match="expected at most 7 lines of phrases, got 8"):
        planned("", *["a"] * 8)
    with pytest.raises(BatchError, match=r"q\.csv: expected at most 7 lines, got more; split the CSV"):
        planned("image,phrase\n" + "2.png,a\n" * 8)
