"""How a point query is put: the options, their ranges, and which of them a model family can follow."""

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from baselines.point_query.dialects import Dialect, ObjectCount
from baselines.strategy_options import check_number
from evfsam.errors import ConfigurationError

Form = Literal["pqpp", "ppg"]
PromptUse = Literal["box", "points", "both", "positives"]
TurnStyle = Literal["independent", "joint"]
Sampling = Literal["grid", "random"]
Presence = Literal["dialect", "ask", "skip"]

_LARGEST_GRID: Final = 20


@dataclass(frozen=True)
class PointQueryOptions:
    """How the question is put.

    Attributes:
        form: "pqpp" asks for a box, then of points; "ppg" asks for points, and boxes where the family has them, in one
            answer.
        prompt: what SAM gets: the "box" alone, the "points" of the grid alone, "both", or the "positives": the points
            on the object alone.
        grid_size: points along each side of the box, 1..20.
        sampling: "grid" asks the centres of grid_size x grid_size cells of the box, "random" as many points drawn
            evenly in it (SAM4MLLM's table 6).
        sampling_seed: of the random points, 0 or more; the same seed draws the same points in the same box.
        threshold: answers at least this confident are kept, in [0.5, 1].
        count: how many boxes the question says it expects.
        turns: "independent" asks each point in its own turn, "joint" all points in one list.
        max_new_tokens: bound of a spoken answer, 8..1024.
        presence: whether to "ask" first if the object is there, "skip" that, or do as the "dialect" does by itself.
        presence_threshold: P(yes) from which on the object counts as there, in [0, 1].
        absence_threshold: probability of "No object found." from which on a box is not believed, in [0, 1], for
            families whose answer to the box question is weighed; 1 believes every box. The default was chosen with the
            mini suite: on validation scenes 88 % of what is absent and 94 % of what is there were told rightly
            (photographic ones: 75 % and 86 %); 0.35 tells 89 % and 92 % (81 % and 77 %).

    Raises:
        ConfigurationError: a value is out of range or of the wrong kind.
    """

    form: Form = "pqpp"
    prompt: PromptUse = "both"
    grid_size: int = 5
    sampling: Sampling = "grid"
    sampling_seed: int = 0
    threshold: float = 0.9
    count: ObjectCount = "0+"
    turns: TurnStyle = "independent"
    max_new_tokens: int = 512
    presence: Presence = "dialect"
    presence_threshold: float = 0.5
    absence_threshold: float = 0.5

    def __post_init__(self) -> None:
        choices = {
            "form": Form,
            "prompt": PromptUse,
            "sampling": Sampling,
            "count": ObjectCount,
            "turns": TurnStyle,
            "presence": Presence,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ConfigurationError(
                    "expected {name} of {choices}, got {value!r}",
                    name=name,
                    choices=get_args(allowed),
                    value=getattr(self, name),
                )
        check_number(self, "grid_size", 1, _LARGEST_GRID, is_whole=True)
        check_number(self, "sampling_seed", 0, 2**31 - 1, is_whole=True)
        check_number(self, "max_new_tokens", 8, 1024, is_whole=True)
        check_number(self, "threshold", 0.5, 1)
        check_number(self, "presence_threshold", 0, 1)
        check_number(self, "absence_threshold", 0, 1)


def default_options(dialect: Dialect) -> PointQueryOptions:
    """Return the options that a family can follow, nearest to those of the paper."""
    options = PointQueryOptions()
    if dialect.box_question is None:
        return replace(options, form="ppg", prompt="points")
    if dialect.points_question is None:
        return replace(options, prompt="box")
    return options


def check_options(options: PointQueryOptions, dialect: Dialect) -> None:
    """Refuse options that the family cannot follow.

    Raises:
        ConfigurationError: naming an option that it can.
    """
    if options.form == "pqpp" and dialect.box_question is None:
        raise ConfigurationError("{title} names no box; use form='ppg'", title=dialect.title)
    if options.form == "ppg" and dialect.prompt_points_question is None:
        raise ConfigurationError("{title} is not asked for points outright; use form='pqpp'", title=dialect.title)
    if options.form == "pqpp" and options.prompt != "box" and dialect.points_question is None:
        raise ConfigurationError("{title} answers no question about points; use prompt='box'", title=dialect.title)
    if options.form == "ppg" and options.prompt == "box" and dialect.box_question is None:
        raise ConfigurationError("{title} names no box; use prompt='points'", title=dialect.title)
    if options.presence == "ask" and dialect.presence_question is None:
        raise ConfigurationError("{title} is not asked about presence apart; use presence='skip'", title=dialect.title)
