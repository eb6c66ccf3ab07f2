"""What the open model families are asked. Each wording is the one its makers show; the point questions are ours.

Point questions end with the point, so that the questions about one box share everything before it.
"""

from collections.abc import Sequence

from baselines.point_query.dialects.conventions import CoordinateGrid, SpokenBox, SpokenPoint
from baselines.point_query.dialects.sam4mllm import ObjectCount


def user_turn(text: str, *, with_image: bool = False) -> dict[str, object]:
    """Return a user's message for a chat template; the image stands before the text."""
    image: list[dict[str, str]] = [{"type": "image"}] if with_image else []
    return {"role": "user", "content": [*image, {"type": "text", "text": text}]}


def system_turn(text: str) -> dict[str, object]:
    """Return what a model is told before the dialogue, for a chat template."""
    return {"role": "system", "content": [{"type": "text", "text": text}]}


def assistant_turn(text: str) -> dict[str, object]:
    """Return the model's message for a chat template."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def presence_question(phrase: str) -> str:
    """Ask whether the image shows what the phrase describes."""
    return f'Does this image show "{phrase}"? Answer with one word, Yes or No.'


def qwen_box_question(phrase: str, count: ObjectCount) -> str:
    """Ask for boxes as a JSON list; the count is put into words."""
    what = {"1": "the one object", "1+": "every object", "0+": "every object"}[count]
    none = " If there is none, answer []." if count == "0+" else ""
    return (
        f'Locate {what} that this describes: "{phrase}". Report bbox coordinates in JSON format, '
        f'such as [{{"bbox_2d": [x1, y1, x2, y2], "label": "..."}}].{none}'
    )


def internvl_box_question(phrase: str, count: ObjectCount) -> str:
    """Ask for the box of a referring expression; the family knows no count."""
    del count
    return f"Please provide the bounding box coordinate of the region this sentence describes: <ref>{phrase}</ref>"


def florence_box_question(phrase: str, count: ObjectCount) -> str:
    """Ask for boxes of an open vocabulary; the family knows no count."""
    del count
    return f"Locate {phrase} in the image."


def molmo_points_question(phrase: str, count: ObjectCount) -> str:
    """Ask for one point an object; the family knows no count."""
    del count
    return f"Point to {phrase}."


def point_question(phrase: str, box: SpokenBox, points: Sequence[SpokenPoint], grid: CoordinateGrid) -> str:
    """Ask of one point, or of a list of them, whether they lie on the object in the box."""
    shown = ", ".join(str(number) for number in grid.written(box))
    listed = ", ".join("({}, {})".format(*grid.written(point)) for point in points)
    where = f'the object described by "{phrase}" in the box [{shown}]'
    if len(points) == 1:
        return f"Does this point lie on {where}? Answer with one word, Yes or No. The point: {listed}"
    return (
        f"Which of these {len(points)} points lie on {where}? Answer with one word a point, Yes or No, in the order "
        f"of the points and with nothing else. The points: {listed}"
    )
