import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import webui
from evfsam.errors import PhraseError, Sentence
from webui.i18n.translate import (
    CATALOGUES,
    LANGUAGES,
    catalogue,
    in_language,
    preferred_language,
    translate,
    translate_message,
)
from workbench.batch.batch_files import BatchError
from workbench.batch.csv_rows import TableError

SOURCES = sorted(Path(webui.__file__).parent.rglob("*.py"))
PLACEHOLDER = re.compile(r"\{(\w*)[^{}]*\}")
TRANSLATED = [language for language in LANGUAGES if language != "en"]


def said_in_code() -> Iterator[tuple[str, str]]:
    """Yield place and sentence of every `translate`; an empty one where the code does not tell what may be said."""
    for source in SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        assigned = dict(assignments_in(tree))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "translate":
                sentences = list(sentences_of(call.args[0], assigned)) or [""]
                yield from ((f"{source.name}:{call.lineno}", sentence) for sentence in sentences)


def assignments_in(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def sentences_of(node: ast.expr, assigned: dict[str, ast.expr]) -> Iterator[str]:
    """Yield what an expression may be: a literal, what is assigned to a name, or the values of a table."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in assigned:
        yield from sentences_of(assigned[node.id], {})
    elif isinstance(node, ast.IfExp):
        yield from sentences_of(node.body, assigned)
        yield from sentences_of(node.orelse, assigned)
    elif isinstance(node, ast.Subscript):
        yield from sentences_of(node.value, assigned)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from sentences_of(value, assigned)


ROOT = Path(webui.__file__).parents[1]
UNTOLD = (
    *("workbench/cli/", "workbench/datasets/"),
    *("workbench/evaluation/", "workbench/reporting/", "webui/api/", "webui/command.py"),
)
"""What only programs and the command line are told: it stays English."""
ENTRY_POINTS = ("webui/launch.py", "webui/process.py", "webui/blocks.py")
ASKED_BY_THE_PAGE = {
    *(f"workbench.datasets.{name}" for name in ("scenes", "known_phrases", "grammar", "naming", "typos", "vocabulary")),
    "workbench.evaluation.measured_answers",
    *(f"workbench.reporting.{name}" for name in ("browsing", "showcase", "tables")),
    "webui.api.refusals",
}
"""Modules of these folders that the page may ask: nothing that a visitor enters makes them refuse."""


SPEAKERS = {"Sentence": 0, "Verdict": 1, "Fault": 1}
"""What takes a message, besides errors, and at which place."""


def messages_in_code() -> Iterator[tuple[str, str]]:
    """Yield place and template of every message that a visitor can meet; an empty one where values are written in."""
    rooms = ("evfsam", "baselines", "workbench", "webui")
    paths = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    places = SPEAKERS | dict.fromkeys(errors_in(trees.values()), 0)
    for name, tree in trees.items():
        assigned = dict(assignments_in(tree))
        for call in ast.walk(tree):
            who = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
            is_told = not name.startswith(UNTOLD) or who in ("Sentence", "PhraseError", "EmptyPhraseError")
            if who in places and is_told and isinstance(call, ast.Call) and len(call.args) > places[who]:
                message = call.args[places[who]]
                found = [""] if isinstance(message, ast.JoinedStr) else sentences_of(message, assigned)
                yield from ((f"{name}:{call.lineno}", template) for template in found)


def errors_in(trees: Iterable[ast.Module]) -> set[str]:
    """Return the names of `EvfSamError` and of all that derive from it."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"EvfSamError"}
    while more := {name for name, parents in bases.items() if parents & found} - found:
        found |= more
    return found


def entries(language: str) -> list[tuple[str, str, str]]:
    files = sorted((CATALOGUES / language).glob("*.json"))
    read = [(file.name, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return [(name, key, told) for name, content in read for key, told in content.items()]


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_said_in_the_code_has_a_translation(language: str) -> None:
    missing = [f"{name}: {sentence}" for name, sentence in said_in_code() if not catalogue(language).get(sentence)]
    assert missing == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_that_a_visitor_can_meet_has_a_translation_and_every_translation_a_message(language: str) -> None:
    messages = [(place, template) for place, template in messages_in_code() if template]
    assert len(messages) > 250
    assert [f"{place}: {template}" for place, template in messages if template not in catalogue(language)] == []
    assert set(catalogue(language, "messages")) - {template for _, template in messages} == set()


def test_messages_keep_their_values_apart() -> None:
    assert [place for place, template in messages_in_code() if not template] == []


def test_the_page_asks_nothing_whose_messages_stay_english() -> None:
    asked = set()
    for source in SOURCES:
        name = source.relative_to(ROOT).as_posix()
        if not name.startswith((*UNTOLD, *ENTRY_POINTS)):
            imports = (node for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
            asked |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    untold = {module for module in asked if f"{module.replace('.', '/')}.py".startswith(UNTOLD)}
    assert untold == ASKED_BY_THE_PAGE


@pytest.mark.parametrize("language", TRANSLATED)
def test_placeholders_are_the_same_on_both_sides(language: str) -> None:
    for name, key, told in entries(language):
        assert sorted(set(PLACEHOLDER.findall(key))) == sorted(set(PLACEHOLDER.findall(told))), f"{name}: {key}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_sentence_is_not_translated_in_two_ways(language: str) -> None:
    counted = Counter(key for key, _ in {(key, told) for _, key, told in entries(language)})
    assert [key for key, count in counted.items() if count > 1] == []


def test_the_chinese_is_chinese() -> None:
    names = {"logit"}
    plain = [key for _, key, told in entries("zh") if not re.search(r"[\u4e00-\u9fff]", told) and key not in names]
    assert [key for key in plain if re.search(r"[A-Za-z]{3}", PLACEHOLDER.sub("", key))] == []


def test_english_is_said_as_it_is_written_and_chinese_from_the_catalogue() -> None:
    assert translate("Compare") == "Compare"
    with in_language("zh"):
        assert translate("Compare") == "比较"
        assert translate("nobody translated {this}", this="that") == "nobody translated that"
    assert translate("Compare") == "Compare"


def test_a_link_wins_over_the_page_it_came_from_the_cookie_and_the_browser() -> None:
    browser = {"accept-language": "zh-CN,zh;q=0.9", "host": "here"}
    remembered = {**browser, "cookie": "other=1; language=en"}
    linked = {**remembered, "referer": "http://here/?lang=zh"}
    assert preferred_language("", browser) == "zh"
    assert preferred_language("", remembered) == "en"
    assert preferred_language("", linked) == "zh"
    assert preferred_language("v=1&lang=en", linked) == "en"


def test_only_this_page_may_say_where_a_request_came_from() -> None:
    assert preferred_language("", {"referer": "http://elsewhere/?lang=zh", "host": "here"}) == "en"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("", "en"), ("de, zh-Hant;q=0.5, en;q=0.4", "zh"), ("en, zh;q=0.9", "en"), ("fr;q=1, ;q=x, *", "en")],
)
def test_the_most_welcome_language_is_spoken(accepted: str, language: str) -> None:
    assert preferred_language("lang=xx", {"accept-language": accepted}) == language


def test_a_message_is_retold_by_its_template_with_its_values() -> None:
    error = PhraseError("expected at most {most} characters, got {got}; shorten the phrase", most=200, got=201)
    assert translate_message(str(error)) == "expected at most 200 characters, got 201; shorten the phrase"
    with in_language("zh"):
        assert translate_message(str(error)) == "最多 200 个字符，收到 201 个；请缩短提示词"
        assert translate_message("a sentence that nobody knows") == "a sentence that nobody knows"
        assert translate_message(Sentence("{words} nobody knows", words="a sentence")) == "a sentence nobody knows"


def test_a_message_within_a_message_is_retold_and_a_visitors_own_words_are_not() -> None:
    inner = Sentence("there is no image “{name}”", name="both")
    outer = TableError("cannot be read as a CSV: {reason}", reason=BatchError(inner))
    with in_language("zh"):
        assert translate_message(str(outer)) == "无法读作 CSV：没有图像“both”"
