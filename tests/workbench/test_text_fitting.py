"""Text of other people does nothing where it is written."""

from pathlib import PureWindowsPath
from xml.etree import ElementTree

import pytest

from workbench.text_fitting import (
    TextEncodingError,
    decoded_text,
    file_slug,
    spreadsheet_cell,
    visible,
    visible_lines,
    xml_text,
)


def test_what_steers_a_terminal_is_shown_instead_of_sent() -> None:
    assert visible("\x1b]0;title\x07a\x9bb") == "\\x1b]0;title\\x07a\\x9bb"
    assert visible("a\u202egpj.exe\u2028b") == "a\\u202egpj.exe\\u2028b"
    assert visible("half \ud83d of it") == "half \\ud83d of it"
    assert visible("über 猫咪 👩\u200d🚀 “x”") == "über 猫咪 👩\u200d🚀 “x”", "letters and their joiners stay"
    assert visible_lines("a\x1b\nb") == "a\\x1b\nb"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "＝1", "＠x"])
def test_a_cell_that_would_be_a_formula_is_text(text: str) -> None:
    assert spreadsheet_cell(text).startswith("'")


def test_other_cells_stay_as_they_are() -> None:
    assert spreadsheet_cell("the dog = mine") == "the dog = mine"
    assert spreadsheet_cell("a\x1b") == "a\\x1b"


def test_characters_that_no_xml_may_hold_are_replaced() -> None:
    text = "a\x00\x0b\x1f\x7f\ufffe\uffff\ud800\tb\n👩"
    assert xml_text(text) == "a\ufffd\ufffd\ufffd\x7f\ufffd\ufffd\ufffd\tb\n👩"
    element = ElementTree.Element("x")
    element.text = xml_text(text)
    ElementTree.fromstring(ElementTree.tostring(element))


@pytest.mark.parametrize("name", ["con", "AUX", "nul", "PRN", "com1", "LPT9", "CONIN$", "clock$"])
def test_a_file_is_never_called_as_a_device(name: str) -> None:
    assert PureWindowsPath(f"{name}.png").is_reserved() or name == "clock$"
    assert not PureWindowsPath(f"{file_slug(name)}.the-bus.png").is_reserved()


def test_other_names_stay_short_and_readable() -> None:
    assert file_slug("The Red Cup!") == "the-red-cup"
    assert file_slug("console") == "console"
    assert file_slug("猫") == ""
    assert len(file_slug("x" * 99)) == 32


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_without_its_mark(encoding: str) -> None:
    assert decoded_text("Häuschen 猫".encode(encoding)) == "Häuschen 猫"


@pytest.mark.parametrize("content", ["a\nhütte".encode("latin-1"), b"a\n\xff\xfe", "a\n猫咪的".encode("gbk")])
def test_bytes_that_are_no_text_are_told_with_their_line(content: bytes) -> None:
    with pytest.raises(TextEncodingError, match="expected UTF-8 text, got other bytes in line 2; save it again"):
        decoded_text(content)
