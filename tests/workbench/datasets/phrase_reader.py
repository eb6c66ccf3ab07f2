"""Reads phrases about a scene by itself: which objects does this mean, and is that clear?

Written from what the words mean in English, and from the vocabulary; it knows nothing of how phrases are made. What is
not clear, or cannot be read, is an AssertionError.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import hypot

from workbench.datasets.comparisons import MARGIN, NEAR, NEAR_RATIO, SIZE_RATIO
from workbench.datasets.vocabulary import COLOURS, GROUPS, NOUNS

ROUNDING = 1e-9


@dataclass(frozen=True)
class Thing:
    """What a phrase can speak of: lengths are shares of the image's side, areas of the image."""

    index: int
    category: str
    colour: str | None
    x: float
    y: float
    height: float
    area: float


Found = list[Thing]

_ALL = {"thing": "things", "object": "objects", "one": "ones"}
_PLURALS: Mapping[str, str] = {noun.plural: name for name, noun in NOUNS.items() if noun.plural != name} | {
    plural: word for word, plural in (*GROUPS.items(), *_ALL.items())
}
_SINGULARS = {word for noun in NOUNS.values() for word in (noun.name, *noun.synonyms)} | set(GROUPS) | set(_ALL)
_COLOURS = {word: colour.name for colour in COLOURS.values() for word in (colour.name, *colour.synonyms)}
_NUMBERS = {
    word: number
    for number, words in enumerate(
        ("two 2 both", "three 3", "four 4", "five 5", "six 6", "seven 7", "eight 8"), start=2
    )
    for word in words.split()
}
_RANKS = {
    word: rank
    for rank, words in enumerate(("first 1st", "second 2nd", "third 3rd", "fourth 4th", "fifth 5th"))
    for word in words.split()
}
_SIDES = {
    "left": "left", "leftmost": "left", "left-most": "left", "far left": "left",
    "right": "right", "rightmost": "right", "right-most": "right", "far right": "right",
    "top": "top", "upper": "top", "topmost": "top", "uppermost": "top", "highest": "top",
    "bottom": "bottom", "lower": "bottom", "bottommost": "bottom", "lowest": "bottom",
}  # fmt: skip
_LARGE = {"big", "large", "biggest", "largest", "tallest", "bigger", "larger", "taller"}
_SMALL = {"small", "little", "tiny", "smallest", "tiniest", "smaller"}
_BESIDES = {
    "left of": "left", "to left of": "left", "on left of": "left",
    "right of": "right", "to right of": "right", "on right of": "right",
    "above": "top", "higher than": "top", "over": "top",
    "below": "bottom", "lower than": "bottom", "under": "bottom", "beneath": "bottom", "underneath": "bottom",
}  # fmt: skip


def either(words: Iterable[str]) -> str:
    """A pattern for one of the words, longest first."""
    return "(?:" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + ")"


N, M, THIRD, P = (
    f"(?P<{name}>{either(words)})"
    for name, words in (("n", _SINGULARS), ("m", _SINGULARS), ("o", _SINGULARS), ("p", _PLURALS))
)
COLOUR, SIDE, RANK = (
    f"(?P<{name}>{either(words)})" for name, words in (("colour", _COLOURS), ("side", _SIDES), ("rank", _RANKS))
)
EDGE = "(?P<side>left|right|top|bottom)"
AT = "(?:on|to|at) (?P<side>left|right|top|bottom)(?: side|-hand side)?(?: of (?:picture|image))?"
SIZE = f"(?P<size>{either(_LARGE | _SMALL)})"
BESIDE = f"(?P<beside>{either(_BESIDES)})"
COUNT = f"(?P<count>{either(_NUMBERS)})"
WHICH = "(?:that is |which is |that's |located |you see )?"
IS = "(?:that is|which is|that's|in)"
NOT = "(?:that is not|which is not|that isn't|which isn't|not)"
ALL = "(?:all of these |all of |all |any |these |every one of )?"
NEAR_WORDS = "(?:right )?(?:next to|beside|near|close to|closest to)"
MIDDLE = "(?:middle|centre|center)"
CORNER = "(?P<vertical>top|upper|bottom|lower) (?P<horizontal>left|right)"


def covered(things: Sequence[Thing], word: str) -> Found:
    """Things that a singular word covers."""
    if word in _ALL:
        return list(things)
    nouns = (NOUNS[thing.category] for thing in things)
    return [t for t, noun in zip(things, nouns, strict=True) if word in (noun.name, *noun.synonyms, *noun.groups)]


def covered_by_plural(things: Sequence[Thing], word: str) -> Found:
    return covered(things, _PLURALS[word])


def single(found: Found, phrase: str) -> Found:
    assert len(found) <= 1, f"{phrase!r} could mean {len(found)} objects"
    return found


def coloured(found: Found, colour: str, phrase: str) -> Found:
    assert all(thing.colour is not None for thing in found), f"{phrase!r}: some have no clear colour"
    return [thing for thing in found if thing.colour == _COLOURS[colour]]


def depth(thing: Thing, side: str) -> float:
    return {"left": -thing.x, "right": thing.x, "top": -thing.y, "bottom": thing.y}[side]


def clearly_ranked(found: Found, side: str, phrase: str) -> Found:
    ranked = sorted(found, key=lambda thing: -depth(thing, side))
    for one, other in pairwise(ranked):
        assert depth(one, side) - depth(other, side) >= MARGIN - ROUNDING, f"{phrase!r} compares too close"
    return ranked


def furthest(found: Found, side: str, phrase: str) -> Found:
    """The one furthest to a side; a single one must be in that half."""
    side = _SIDES.get(side, side)
    if not found:
        return []
    if len(found) == 1:
        middle = 0.5 if side in ("right", "bottom") else -0.5
        assert depth(found[0], side) - middle >= MARGIN - ROUNDING, f"{phrase!r} is said of a single one elsewhere"
        return found
    best, second = sorted(found, key=lambda thing: -depth(thing, side))[:2]
    assert depth(best, side) - depth(second, side) >= MARGIN - ROUNDING, f"{phrase!r} compares too close"
    return [best]


def extreme(found: Found, size: str, phrase: str) -> Found:
    if not found:
        return []
    assert len(found) >= 2, f"{phrase!r} compares one object with itself"
    ranked = sorted(found, key=lambda thing: thing.height, reverse=size in _LARGE)
    for other in ranked[1:]:
        large, small = (ranked[0], other) if size in _LARGE else (other, ranked[0])
        for one, two in ((large.height, small.height), (large.area, small.area)):
            assert one >= SIZE_RATIO * two - ROUNDING, f"{phrase!r} compares too close"
    return ranked[:1]


def anchor_of(things: Sequence[Thing], word: str, phrase: str) -> Thing:
    anchors = covered(things, word)
    assert len(anchors) == 1, f"{phrase!r}: {len(anchors)} objects could be the other one"
    return anchors[0]


def beside(found: Found, word: str, anchor: Thing, phrase: str) -> Found:
    side = _BESIDES[word]
    offsets = {thing.index: depth(thing, side) - depth(anchor, side) for thing in found}
    assert all(abs(offset) >= MARGIN - ROUNDING for offset in offsets.values()), f"{phrase!r} compares too close"
    there = [thing for thing in found if offsets[thing.index] > 0]
    assert len(there) == 1 or not found, f"{phrase!r} could mean {len(there)} objects"
    if word in ("over", "under", "beneath", "underneath"):
        assert all(abs(thing.x - anchor.x) <= 0.25 + ROUNDING for thing in there), f"{phrase!r}: to the side of it"
    return there


# --------------------------------------------------------------------------------------------------------- the readings

Reading = Callable[[Sequence[Thing], re.Match[str]], Found]


def only(things: Sequence[Thing], match: re.Match[str]) -> Found:
    return single(covered(things, match["n"]), match.string)


def only_coloured(things: Sequence[Thing], match: re.Match[str]) -> Found:
    return single(coloured(covered(things, match["n"]), match["colour"], match.string), match.string)


def at_side(things: Sequence[Thing], match: re.Match[str]) -> Found:
    return furthest(covered(things, match["n"]), match["side"], match.string)


def at_side_of_plural(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered_by_plural(things, match["p"])
    assert len(found) != 1, f"{match.string!r} is said of one"
    return furthest(found, match["side"], match.string)


def in_corner(things: Sequence[Thing], match: re.Match[str]) -> Found:
    vertical, horizontal = _SIDES[match["vertical"]], match["horizontal"]
    centred = [
        (thing, depth(thing, vertical) - (0.5 if vertical == "bottom" else -0.5),
         depth(thing, horizontal) - (0.5 if horizontal == "right" else -0.5))
        for thing in covered(things, match["n"])
    ]  # fmt: skip
    quarter = [(thing, min(a, b)) for thing, a, b in centred if a > ROUNDING and b > ROUNDING]
    assert len(quarter) == 1, f"{match.string!r} could mean {len(quarter)} objects"
    assert quarter[0][1] >= MARGIN, f"{match.string!r}: hardly a corner"
    return [quarter[0][0]]


def middle_of_row(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered(things, match["n"])
    assert len(found) in (3, 5), f"{match.string!r} is said of {len(found)} objects"
    return [clearly_ranked(found, "left", match.string)[len(found) // 2]]


def middle_of_picture(things: Sequence[Thing], match: re.Match[str]) -> Found:
    offsets = sorted((max(abs(t.x - 0.5), abs(t.y - 0.5)), t.index, t) for t in covered(things, match["n"]))
    assert offsets[0][0] <= 0.15 + ROUNDING, f"{match.string!r}: nothing is there"
    assert all(offset >= 0.3 - ROUNDING for offset, _, _ in offsets[1:]), f"{match.string!r} compares too close"
    return [offsets[0][2]]


def nth(things: Sequence[Thing], match: re.Match[str]) -> Found:
    ranked = clearly_ranked(covered(things, match["n"]), match["side"], match.string)
    assert 3 <= len(ranked) <= 5, f"{match.string!r} is said of {len(ranked)} objects"
    return [ranked[_RANKS[match["rank"]]]]


def of_size(things: Sequence[Thing], match: re.Match[str]) -> Found:
    return extreme(covered(things, match["n"]), match["size"], match.string)


def of_size_of_two(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered(things, match["n"])
    assert len(found) in (0, 2), f"{match.string!r} is said of {len(found)}"
    return extreme(found, match["size"], match.string)


def of_size_of_plural(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered_by_plural(things, match["p"])
    two = match["size"] in ("bigger", "larger", "taller", "smaller")
    assert len(found) in (0, 2) or not two, f"{match.string!r} is said of {len(found)}"
    return extreme(found, match["size"], match.string)


def others_than(things: Sequence[Thing], match: re.Match[str]) -> tuple[Found, Thing]:
    """What a relation compares, and the thing that it is beside."""
    anchor = anchor_of(things, match["m"], match.string)
    found = covered(things, match["n"])
    assert anchor not in found or match["n"] in _ALL, f"{match.string!r} could speak of itself"
    return [thing for thing in found if thing is not anchor], anchor


def related(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found, anchor = others_than(things, match)
    return beside(found, match["beside"], anchor, match.string)


def nearest(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found, anchor = others_than(things, match)
    ranked = sorted((hypot(t.x - anchor.x, t.y - anchor.y), t.index, t) for t in found)
    assert ranked[0][0] <= NEAR + ROUNDING, f"{match.string!r}: it is far off"
    for distance, _, _ in ranked[1:]:
        assert distance >= NEAR_RATIO * ranked[0][0] - ROUNDING, f"{match.string!r}: others are near"
    return [ranked[0][2]]


def between(things: Sequence[Thing], match: re.Match[str]) -> Found:
    first, second = (anchor_of(things, match[name], match.string) for name in ("m", "o"))
    found = covered(things, match["n"])
    assert len({first, second} - set(found)) == 2, f"{match.string!r} speaks of a thing twice"
    span = complex(second.x - first.x, second.y - first.y)
    # along the line from the one to the other, 0 to 1, and beside it
    places = [(thing, complex(thing.x - first.x, thing.y - first.y) / span) for thing in found]
    inside = [t for t, at in places if abs(at.real - 0.5) <= 0.3 + ROUNDING
              and abs(at.imag) * abs(span) <= 0.12 + ROUNDING]  # fmt: skip
    for thing, at in places:
        is_off = at.real < 0 or at.real > 1 or abs(at.imag) * abs(span) >= 0.24 - ROUNDING
        assert thing in inside or is_off, f"{match.string!r}: others might be between"
    assert len(inside) == 1, f"{match.string!r} could mean {len(inside)} objects"
    return inside


def every(things: Sequence[Thing], match: re.Match[str]) -> Found:
    return covered(things, match["n"])


def every_plural(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered_by_plural(things, match["p"])
    count = match["count"] if "count" in match.re.groupindex else None
    assert count is None or len(found) in (0, _NUMBERS[count]), f"{match.string!r} is said of {len(found)}"
    return found


def every_coloured(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = coloured(covered_by_plural(things, match["p"]), match["colour"], match.string)
    count = match["count"] if "count" in match.re.groupindex else None
    assert len(found) >= 2, f"{match.string!r} is said of {len(found)}"
    assert count is None or len(found) == _NUMBERS[count], f"{match.string!r} is said of {len(found)}"
    return found


def every_at_side(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found, side = covered_by_plural(things, match["p"]), match["side"]
    middle = 0.5 if side in ("right", "bottom") else -0.5
    assert all(abs(depth(thing, side) - middle) >= MARGIN - ROUNDING for thing in found), f"{match.string!r}: unclear"
    there = [thing for thing in found if depth(thing, side) > middle]
    count = match["count"] if "count" in match.re.groupindex else None
    assert 2 <= len(there) < len(found), f"{match.string!r} is said of {len(there)} of {len(found)}"
    assert count is None or len(there) == _NUMBERS[count], f"{match.string!r} is said of {len(there)}"
    return there


def listed(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = []
    for name, word in match.groupdict().items():
        named = covered_by_plural(things, word) if name == "p" else [anchor_of(things, word, match.string)]
        assert named, f"{match.string!r} names what is not there"
        assert not set(named) & set(found), f"{match.string!r} names things twice"
        found += named
    return found


def not_coloured(things: Sequence[Thing], match: re.Match[str]) -> Found:
    is_plural = "p" in match.re.groupindex
    found = covered_by_plural(things, match["p"]) if is_plural else covered(things, match["n"])
    having = coloured(found, match["colour"], match.string)
    rest = [thing for thing in found if thing not in having]
    assert having, f"{match.string!r}: none has the colour"
    assert len(rest) >= 1 + is_plural, f"{match.string!r} is said of {len(rest)} of {len(found)}"
    return rest if is_plural else single(rest, match.string)


def not_at_side(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered(things, match["n"])
    assert len(found) == 2, f"{match.string!r} is said of {len(found)}"
    (there,) = furthest(found, match["side"], match.string)
    return [thing for thing in found if thing is not there]


def all_but(things: Sequence[Thing], match: re.Match[str]) -> Found:
    groups = match.groupdict()
    found = covered_by_plural(things, groups["p"]) if groups.get("p") else covered(things, groups.get("n") or "thing")
    left_out = anchor_of(things, match["m"], match.string)
    assert left_out in found, f"{match.string!r} leaves out what is no part of it"
    assert len(found) >= 2, f"{match.string!r} leaves nothing"
    return [thing for thing in found if thing is not left_out]


def coloured_at_side(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered(things, match["n"])
    having = coloured(found, match["colour"], match.string)
    best = furthest(having if len(having) > 1 else found, match["side"], match.string)
    assert len(found) >= 2, f"{match.string!r} compares one object with itself"
    assert set(best) <= set(having), f"{match.string!r}: the colour is another one's"
    return best


def coloured_of_size(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered(things, match["n"])
    having = coloured(found, match["colour"], match.string)
    best = extreme(having if len(having) > 1 else found, match["size"], match.string)
    assert set(best) <= set(having), f"{match.string!r}: the colour is another one's"
    return best


def of_size_at_side(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found = covered(things, match["n"])
    one, other = extreme(found, match["size"], match.string), furthest(found, match["side"], match.string)
    assert one == other, f"{match.string!r}: size and side are those of different ones"
    return one


def coloured_related(things: Sequence[Thing], match: re.Match[str]) -> Found:
    found, anchor = others_than(things, match)
    return beside(coloured(found, match["colour"], match.string), match["beside"], anchor, match.string)


READINGS: list[tuple[str, Reading]] = [
    (rf"(?:only |this )?{N}(?: here| in (?:this )?(?:picture|image|photo))?", only),
    (rf"{COLOUR} (?:coloured )?{N}", only_coloured),
    (rf"{N} {IS} {COLOUR}", only_coloured),
    (rf"{SIDE} {N}", at_side),
    (rf"{N} {WHICH}{AT}", at_side),
    (rf"{N} on far (?P<side>left|right)", at_side),
    (rf"{N} furthest to (?P<side>left|right)", at_side),
    (rf"{N} in (?P<side>left|right|upper|top|lower|bottom) half", at_side),
    (rf"{SIDE} of {P}", at_side_of_plural),
    (rf"{CORNER} {N}", in_corner),
    (rf"{N} {WHICH}(?:in|at) {CORNER}(?: corner)?(?: of picture)?", in_corner),
    (rf"{MIDDLE} {N}", middle_of_row),
    (rf"{N} {WHICH}in {MIDDLE}", middle_of_row),
    (rf"{N} {WHICH}(?:in|at) {MIDDLE} of (?:picture|image|photo)", middle_of_picture),
    (rf"{RANK} {N} (?:counting )?from {EDGE}", nth),
    (rf"{N} {WHICH}{RANK} from {EDGE}", nth),
    (rf"(?P<size>bigger|larger|taller|smaller) {N}", of_size_of_two),
    (rf"{N} {WHICH}(?P<size>bigger|larger|taller|smaller)", of_size_of_two),
    (rf"{SIZE} {N}(?: of all)?", of_size),
    (rf"{N} {WHICH}{SIZE}", of_size),
    (rf"{SIZE} (?:one )?of (?:two )?{P}", of_size_of_plural),
    (rf"{N} {WHICH}{BESIDE} {M}", related),
    (rf"{N} {WHICH}{NEAR_WORDS} {M}", nearest),
    (rf"{N} {WHICH}(?:in )?between {M} and {THIRD}", between),
    (rf"(?:each and every|every|each|any) {N}(?: in picture)?", every),
    (rf"{ALL}{P}(?: in picture)?", every_plural),
    (rf"{ALL}{COUNT} (?:of )?{P}", every_plural),
    (rf"(?:both )?{N} (?:and|as well as) {M}", listed),
    (rf"{N}, {M} and {THIRD}", listed),
    (rf"{N} and {M} and {THIRD}", listed),
    (rf"(?:all )?{P} and {N}", listed),
    (rf"{N} and {P}", listed),
    (rf"{ALL}(?:{COUNT} )?{COLOUR} {P}", every_coloured),
    (rf"{ALL}{P} that are {COLOUR}", every_coloured),
    (rf"{ALL}(?:{COUNT} )?{P} (?:that are |which are )?{AT}", every_at_side),
    (rf"\[semantic\] {N}", every),
    (rf"{N} {NOT} {COLOUR}", not_coloured),
    (rf"non-{COLOUR} {N}", not_coloured),
    (rf"{ALL}{P} (?:that are not|which are not|that aren't) {COLOUR}", not_coloured),
    (rf"{N} {NOT} {AT}", not_at_side),
    (rf"(?:all )?{P} (?:except|but|other than) {M}", all_but),
    (rf"every {N} (?:except|but) {M}", all_but),
    (rf"(?:everything|all) (?:except|but) {M}", all_but),
    (rf"everything (?:that is not|that isn't) {M}", all_but),
    (rf"{COLOUR} {N} {WHICH}{AT}", coloured_at_side),
    (rf"{SIDE} {COLOUR} {N}", coloured_at_side),
    (rf"{SIZE} {COLOUR} {N}", coloured_of_size),
    (rf"{COLOUR} {N} {WHICH}{SIZE}", coloured_of_size),
    (rf"{SIZE} {N} {IS} {COLOUR}", coloured_of_size),
    (rf"{SIZE} {N} {WHICH}{AT}", of_size_at_side),
    (rf"{N} {AT} that is {SIZE}", of_size_at_side),
    (rf"{COLOUR} {N} {WHICH}{BESIDE} {M}", coloured_related),
]

_ASKED = (
    "(?:segment|find|show me|show|highlight|select|mark|locate|see|get|give me|cut out|point to|look for|pick|outline"
    "|detect|identify|segment only|point out)"
)
_SENTENCES = [
    r"(?:tell me|can you tell me|show me) where (?P<x>.*) (?:is|are)",
    r"(?:where is|where's|where are|which one is|which ones are) (?P<x>.*)",
    r"(?:is there|do you see) (?P<x>.*)",
    rf"(?:please |can you |could you |would you )?{_ASKED} (?P<x>.*)",
    r"(?:i want to see|i want|i need|i would like|i am looking for|i'm looking for) (?P<x>.*)",
    r"(?:mask of|mask for|photo of|picture of|image of|pixels of|what about|just) (?P<x>.*)",
]


@cache
def _patterns() -> list[tuple[re.Pattern[str], Reading]]:
    return [(re.compile(pattern), reading) for pattern, reading in READINGS]


def unframed(text: str) -> list[str]:
    """What may be the phrase in a sentence, articles left out: the whole of it, and without what stands around it."""
    text = re.sub(r"\b(?:the|an|a) ", "", text.lower().removesuffix(".").removesuffix("?"))
    text = re.sub(r",? please$", "", text)
    inner = [text]
    for sentence in _SENTENCES:
        if match := re.fullmatch(sentence, text):
            inner.append(match["x"])
    return inner + [phrase.removeprefix("only ") for phrase in inner]


@cache
def lexicon() -> frozenset[str]:
    """Every word that this reader knows."""
    written = " ".join([pattern for pattern, _ in READINGS] + _SENTENCES + ["the a an please"])
    return frozenset(re.findall(r"[a-z]+", re.sub(r"\\.|\?P<\w+>", " ", written)))


def corrected(text: str) -> str:
    """The text with each unknown word replaced by the only known one that is one slip away."""

    def known(match: re.Match[str]) -> str:
        word = match[0]
        if word in lexicon():
            return word
        meant = [other for other in lexicon() if is_one_slip_away(word, other)]
        assert len(meant) == 1, f"{text!r}: {word!r} could be any of {meant}"
        return meant[0]

    return re.sub(r"[a-z]{4,}", known, text.lower())


def is_one_slip_away(word: str, other: str) -> bool:
    """Whether a letter is swapped with its neighbour, left out, doubled or another one."""
    if len(word) == len(other):
        apart = [i for i, (a, b) in enumerate(zip(word, other, strict=True)) if a != b]
        is_swap = len(apart) == 2 and apart[1] == apart[0] + 1 and word[apart[0]] == other[apart[1]]
        return len(apart) == 1 or (is_swap and word[apart[1]] == other[apart[0]])
    short, long = sorted((word, other), key=len)
    return len(long) == len(short) + 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def meant_by(text: str, things: Sequence[Thing]) -> set[int]:
    """Indices of the things that a text means."""
    read = []
    for phrase in dict.fromkeys(unframed(corrected(text))):
        for pattern, reading in _patterns():
            if match := pattern.fullmatch(phrase):
                read.append({thing.index for thing in reading(things, match)})
    assert read, f"no reading of {text!r}"
    assert all(found == read[0] for found in read), f"{text!r} can be read in several ways: {read}"
    return read[0]
