"""JSON of strangers: what Python's reader passes over in silence is refused."""

from collections.abc import Sequence


def named_once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Make an object of JSON, of which each name stands once; an `object_pairs_hook` of `json.loads`.

    Raises:
        ValueError: a name stands twice; the later value would replace the first without a word.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:60]!r} twice in one object")
    return made
