"""Write the example pictures of the page, their phrases and their licences: `python -m examples.make_examples`.

Scenes are of the validation split, so no example was trained on. Needs the development requirements, for the sample
photographs of scikit-image.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from PIL import Image
from skimage import data

from workbench.datasets.expressions import KINDS, Expression, ExpressionKind
from workbench.datasets.scenes import Scene, scene

SCENE_SIZE: Final = 384
PHOTOGRAPH_SIDE: Final = 640
_PHRASES: Final = 6
_SCENES: Final[tuple[tuple[ExpressionKind, int, str], ...]] = (
    ("colour", 10_000_055, "Two buses: name the colour"),
    ("category", 10_000_026, "One of a kind: name it"),
    ("position", 10_000_056, "Three crabs: say where"),
    ("ordinal", 10_000_029, "Four hats: count from a side"),
    ("size", 10_000_039, "Two turtles: say how big"),
    ("relation", 10_000_006, "Two giraffes: say beside what"),
    ("several", 10_000_037, "Elephants and cacti: several at once"),
    ("semantic", 10_000_024, "All of a kind, with [semantic]"),
    ("absent", 10_000_002, "Penguins: ask for what is not there"),
)
_SCENE_SOURCE: Final = "drawn by this project (workbench.datasets.scenes) with sprites of Fluent Emoji 3D by Microsoft"
_SCENE_LICENCE: Final = "sprites MIT; photographs in backgrounds CC0 or public domain"


@dataclass(frozen=True)
class ExampleEntry:
    """One line of examples.json.

    Attributes:
        file: name of the picture in this folder.
        title: for people.
        phrases: worth trying; on a scene, phrases whose mask is known.
        scene_seed: what a scene was drawn from; None for photographs.
        licence, source: of the picture.
    """

    file: str
    title: str
    phrases: tuple[str, ...]
    scene_seed: int | None
    licence: str
    source: str


_KEPT: Final = (
    ExampleEntry(
        file="photo-windmill.jpg",
        title="Photograph: a windmill",
        phrases=("the windmill", "the building", "the tower", "the giraffe"),
        scene_seed=None,
        licence="public domain",
        source="Chesterton Windmill, by G-Man, from GCompris (Debian's gcompris-qt-data 3.1-2)",
    ),
    ExampleEntry(
        file="photo-moose.jpg",
        title="Photograph: a moose",
        phrases=("the moose", "the animal", "the bus"),
        scene_seed=None,
        licence="public domain",
        source="Male moose, by Ryan Hagerty of the U.S. Fish and Wildlife Service, from GCompris (as above)",
    ),
)
"""Photographs that stay in the folder as they are."""


def chosen_phrases(drawn: Scene, kind: ExpressionKind) -> tuple[str, ...]:
    """Return phrases of a scene: two of the kind it stands for, then one of each kind after it, the absent one last."""
    shown = [e for e in drawn.expressions if e.kind == kind][:2]
    others: dict[ExpressionKind, Expression] = {}
    for expression in drawn.expressions:
        if expression.kind not in (kind, "absent"):
            others.setdefault(expression.kind, expression)
    absent = [e for e in drawn.expressions if e.kind == "absent" and kind != "absent"][:1]
    start = sum(KINDS.index(other) < KINDS.index(kind) for other in others)
    in_turn = [*list(others.values())[start:], *list(others.values())[:start]]
    middle = in_turn[: _PHRASES - len(shown) - len(absent)]
    return tuple(expression.text for expression in [*shown, *middle, *absent])


def write_scenes(folder: Path) -> list[ExampleEntry]:
    """Draw the scenes as PNG files."""
    entries = []
    for kind, seed, title in _SCENES:
        drawn = scene(seed, SCENE_SIZE, per_kind=2, is_plain=True)
        name = f"scene-{kind}.png"
        Image.fromarray(drawn.image).save(folder / name, optimize=True)
        entries.append(ExampleEntry(name, title, chosen_phrases(drawn, kind), seed, _SCENE_LICENCE, _SCENE_SOURCE))
    return entries


def write_photographs(folder: Path) -> list[ExampleEntry]:
    """Write the photographs as JPEG files, their longer side at most `PHOTOGRAPH_SIDE` pixels."""
    photographs = (
        (
            data.chelsea(),
            ExampleEntry(
                file="photo-cat.jpg",
                title="Photograph: a cat",
                phrases=("the cat", "the left eye of the cat", "the cat's nose", "the dog"),
                scene_seed=None,
                licence="CC0",
                source='"Chelsea" by Stéfan van der Walt, from scikit-image (skimage.data.chelsea)',
            ),
        ),
        (
            data.coffee(),
            ExampleEntry(
                file="photo-coffee.jpg",
                title="Photograph: a cup of coffee",
                phrases=("the cup", "the spoon", "the saucer", "the cat"),
                scene_seed=None,
                licence="CC0",
                source="Rachel Michetti, courtesy of Pikolo Espresso Bar, from scikit-image (skimage.data.coffee)",
            ),
        ),
        (
            data.astronaut(),
            ExampleEntry(
                file="photo-astronaut.jpg",
                title="Photograph: an astronaut",
                phrases=("the woman", "the helmet", "the rocket", "the pizza"),
                scene_seed=None,
                licence="public domain",
                source="Eileen Collins, by NASA, from scikit-image (skimage.data.astronaut)",
            ),
        ),
    )
    for pixels, entry in photographs:
        picture = Image.fromarray(pixels)
        picture.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE))
        picture.save(folder / entry.file, quality=90, optimize=True)
    return [*(entry for _, entry in photographs), *_KEPT]


def readme(entries: Sequence[ExampleEntry]) -> str:
    """Return the text of this folder's README.md."""
    lines = [
        "# Examples",
        "",
        "Pictures and phrases that the page offers. Scenes are of the validation split: no model was trained on them,",
        "and what each phrase means is known, so the page measures the IoU. The photographs have no known masks;",
        "of the mini suite point query knows some things in them. A cut-out of the moose is among the pictures that it",
        "learnt from; the others it never saw.",
        "",
        "`python -m examples.make_examples` writes this folder anew; `examples.json` lists it for the page.",
        "",
        "| file | what | source | licence |",
        "|---|---|---|---|",
    ]
    for entry in entries:
        seed = "" if entry.scene_seed is None else f", seed {entry.scene_seed}"
        lines.append(f"| `{entry.file}` | {entry.title} | {entry.source}{seed} | {entry.licence} |")
    lines += [
        "",
        "`clip-moving.mp4` is a moving scene of the validation split, drawn by this project with the same sprites and",
        f"backgrounds: {_SCENE_LICENCE}. `python -m examples.make_clip` writes it.",
        "",
        "Licence text of the sprites: `workbench/datasets/sprites/LICENSE`. Sources of the backgrounds:",
        "`workbench/datasets/backgrounds/README.md`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write pictures, examples.json and README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    entries = [*write_scenes(folder), *write_photographs(folder)]
    listing = json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False)
    (folder / "examples.json").write_text(listing + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(entries), encoding="utf-8")


if __name__ == "__main__":
    main()
