"""Cut-outs: what the lists name is known, nothing is in two splits, and each way of making one keeps its promise."""

import json
import struct
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from evfsam.errors import ConfigurationError
from training.pictures.build import dominant_colour
from training.pictures.folder import background_splits, file_stem, splits
from training.pictures.pieces import EMOJI_SOURCES, SIDES, Piece, picture, read_pieces
from training.pictures.renders import read_model, render
from training.pictures.sources import pinned_sources, read_resources
from workbench.datasets.cutouts import SHIPPED
from workbench.datasets.vocabulary import NOUNS

PIECES = read_pieces()


def test_every_name_has_pictures_and_every_picture_a_known_name_and_source() -> None:
    assert {piece.name for piece in PIECES} == set(NOUNS)
    assert {piece.source for piece in PIECES} <= set(pinned_sources())
    assert len({file_stem(piece) for piece in PIECES}) == len(PIECES)


def test_there_are_photographs_and_styles_enough() -> None:
    photographs = [piece for piece in PIECES if piece.kind != "drawing"]
    assert len(photographs) >= 500
    assert len({piece.name for piece in photographs}) >= 120


def test_no_photograph_and_no_emoji_is_in_two_splits() -> None:
    split_of = splits(PIECES)
    where = defaultdict(set)
    for piece in PIECES:
        where[piece.original].add(split_of[piece.key])
    assert all(len(found) == 1 for found in where.values())


def test_what_is_held_out_follows_the_counts() -> None:
    split_of = splits(PIECES)
    found: dict[tuple[str, str], list[Piece]] = defaultdict(list)
    for piece in PIECES:
        found[piece.name, piece.kind].append(piece)
    for (name, kind), pieces in found.items():
        held = {split_of[piece.key] for piece in pieces} - {"train"}
        if kind == "render" or len({piece.original for piece in pieces}) < 2:
            assert not held, (name, kind)
        if kind == "photograph" and len({piece.original for piece in pieces}) >= 2:
            assert "test" in held, name
    assert {split_of[p.key] for p in PIECES if p.source == "fluent-3d"} == {"train"}


def test_the_drawn_test_pictures_of_the_project_are_of_a_style_that_no_training_sees() -> None:
    split_of = splits(PIECES)
    assert {split_of[p.key] for p in PIECES if p.source == "fluent-flat"} == {"test"}
    trained = {p.name for p in PIECES if p.kind == "drawing" and split_of[p.key] == "train"}
    assert {p.name for p in PIECES if p.source == "fluent-flat"} <= trained
    shipped = json.loads((SHIPPED / "index.json").read_text(encoding="utf-8"))["cutouts"]
    held_out = [entry["source"] for entry in shipped if entry["split"] == "test"]
    assert sum(source == "fluent-flat" for source in held_out) > 300


def test_a_new_picture_of_one_name_moves_nothing_of_another() -> None:
    before = splits(PIECES)
    after = splits([*PIECES, Piece("tuxpaint", "new.png", "dog", "photograph")])
    moved = {piece.name for piece in PIECES if before[piece.key] != after[piece.key]}
    assert moved <= {"dog"}


def test_backgrounds_are_held_out_too() -> None:
    counts = list(background_splits(str(n) for n in range(70)).values())
    assert (counts.count("train"), counts.count("val"), counts.count("test")) == (50, 10, 10)


def test_emoji_are_found_however_the_set_spells_them(tmp_path: Path) -> None:
    assets = tmp_path / "package" / "assets"
    assets.mkdir(parents=True)
    Image.new("RGBA", (300, 200), "red").save(assets / "1f5dd-fe0f.webp")
    made = picture(Piece("fluent-3d", "1f5dd", "key", "drawing"), tmp_path)
    assert made is not None
    assert max(made.size) == SIDES["drawing"]
    assert picture(Piece("fluent-3d", "1f600", "key", "drawing"), tmp_path) is None
    assert "fluent-3d" in EMOJI_SOURCES


def test_an_object_in_a_box_is_cut_out_of_a_photograph(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-12, 12, (200, 300, 3))
    image = Image.new("RGB", (300, 200), (40, 90, 160))
    ImageDraw.Draw(image).ellipse((100, 50, 199, 149), fill=(210, 60, 40))
    pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    made = picture(Piece("toys", "scene.png", "soccer ball", "photograph", 0, (0.28, 0.2, 0.72, 0.8)), tmp_path)
    assert made is not None
    assert abs(made.width - 100) <= 6
    assert abs(made.height - 100) <= 6
    opaque = np.asarray(made)[..., 3] > 127
    assert abs(opaque.mean() - np.pi / 4) < 0.05


CUBE = """mtllib cube.mtl
v -1 -1 -1\nv 1 -1 -1\nv 1 1 -1\nv -1 1 -1\nv -1 -1 1\nv 1 -1 1\nv 1 1 1\nv -1 1 1
usemtl front\nf 5 6 7 8
usemtl back\nf 1 4 3 2
"""


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    (tmp_path / "cube.mtl").write_text("newmtl front\nKd 1 0 0\nnewmtl back\nKd 0 0 1\n", encoding="utf-8")
    (tmp_path / "cube.obj").write_text(CUBE, encoding="utf-8")
    return tmp_path / "cube.obj"


def test_a_model_shows_the_side_that_faces_the_camera(cube: Path) -> None:
    model = read_model(cube)
    for azimuth, channel in ((0.0, 0), (180.0, 2)):
        pixels = np.asarray(render(model, azimuth, 0.0, 64))
        opaque = pixels[..., 3] > 250
        assert opaque.mean() > 0.2
        seen = pixels[opaque]
        assert (seen[:, channel] > 100).all()
        assert (seen[:, 2 - channel] < 40).all()


def test_a_model_leaves_no_holes(cube: Path) -> None:
    pixels = np.asarray(render(read_model(cube), 0.0, 0.0, 64))
    rows, columns = np.nonzero(pixels[..., 3] > 127)
    inside = pixels[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max(), 3]
    assert (inside > 250).all()


def resource_file(name: str, content: bytes, *, flags: int = 0) -> bytes:
    """A Qt resource file of version 1 with one file."""
    encoded = name.encode("utf-16-be")
    names = struct.pack(">HI", len(name), 0) + encoded
    tree = struct.pack(">IHII", 0, 2, 1, 1) + struct.pack(">IHHHI", 0, flags, 0, 0, 0)
    stored = struct.pack(">I", len(content)) + zlib.compress(content) if flags & 1 else content
    data = struct.pack(">I", len(stored)) + stored
    head = 20
    return b"qres" + struct.pack(">4I", 1, head, head + len(tree), head + len(tree) + len(data)) + tree + data + names


def test_qt_resources_are_read_plain_and_compressed(tmp_path: Path) -> None:
    for flags in (0, 1):
        (tmp_path / "one.rcc").write_bytes(resource_file("cat.webp", b"miaow" * 9, flags=flags))
        assert list(read_resources(tmp_path / "one.rcc")) == [("cat.webp", b"miaow" * 9)]


def test_other_files_and_other_compression_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.rcc").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(ConfigurationError, match="begins with 'qres'"):
        list(read_resources(tmp_path / "one.rcc"))
    (tmp_path / "two.rcc").write_bytes(resource_file("cat.webp", b"miaow", flags=4))
    with pytest.raises(ConfigurationError, match="Zstandard"):
        list(read_resources(tmp_path / "two.rcc"))


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((220, 30, 25), "red"),
        ((240, 130, 20), "orange"),
        ((240, 220, 40), "yellow"),
        ((40, 150, 50), "green"),
        ((40, 90, 210), "blue"),
        ((120, 40, 180), "purple"),
        ((245, 150, 190), "pink"),
        ((110, 65, 30), "brown"),
        ((20, 20, 22), "black"),
        ((250, 250, 248), "white"),
        ((128, 130, 127), "grey"),
    ],
)
def test_clear_colours_are_named(rgb: tuple[int, int, int], word: str) -> None:
    assert dominant_colour(Image.new("RGBA", (40, 40), (*rgb, 255))) == word


def test_a_picture_of_two_colours_has_no_colour() -> None:
    image = Image.new("RGBA", (40, 40), (220, 30, 25, 255))
    image.paste((40, 90, 210, 255), (0, 0, 20, 40))
    assert dominant_colour(image) is None
