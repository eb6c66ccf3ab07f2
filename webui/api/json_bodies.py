"""JSON as strangers send it: read within bounds, or refused in one sentence."""

import json
import math
from collections.abc import Mapping
from typing import Final

from webui.api.refusals import RequestError
from workbench.text_fitting import named_once

MOST_VALUES: Final = 50_000
"""Values in one body, counted by the marks before them: a value costs Python some sixty times its byte in JSON."""
_DEEPEST: Final = 50
_MOST_DIGITS: Final = 15
"""Whole numbers of so many digits are exact in every reader of JSON."""


def parse_json(body: bytes) -> object:
    """Read a body as JSON; an empty one as an empty object.

    Raises:
        RequestError: it is no JSON, or holds what no endpoint can use: NaN, numbers beyond all bounds, half a surrogate
            pair, a name twice, too many values, or values nested too deep.
    """
    count = sum(body.count(mark) for mark in (b",", b"[", b"{"))
    if count > MOST_VALUES:
        raise RequestError(
            413, f"expected JSON of at most {MOST_VALUES} values, got about {count}; send less at a time"
        )
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text or "{}",
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_exact,
            object_pairs_hook=named_once,
        )
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"expected JSON in UTF-8, got bytes that are none at {error.start}; encode it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"expected a JSON object, got what is no JSON: {str(error)[:200]}") from error
    _check_depth(value)
    if "\\u" in text:
        _check_text(value)
    return value


def _no_number(word: str) -> object:
    raise RequestError(400, f"expected numbers, got {word}, which JSON does not know; leave it out or send null")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise RequestError(422, f"expected a number below 1e308, got {digits[:40]}; send a smaller one")
    return number


def _exact(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise RequestError(422, f"expected a whole number of at most {_MOST_DIGITS} digits, got {digits[:20]}…")
    return int(digits)


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, Mapping | list)
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
        if not level:
            return
    raise RequestError(422, f"expected values nested at most {_DEEPEST} deep, got more; flatten them")


def _check_text(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        raise RequestError(
            422, f"expected text, got half a surrogate pair ({half}); send the whole character"
        ) from error
