"""The folder of pictures as it is written: files that exist, and an index that tells all of them."""

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from training.pictures import build as builder
from training.pictures.pieces import Piece
from training.pictures.sources import Source
from workbench.datasets.vocabulary import NOUNS

PIECES = [
    Piece("toys", "package/assets/round.png", "basketball", "photograph"),
    Piece("toys", "package/assets/red.svg", "soccer ball", "drawing"),
    Piece("elsewhere", "cat.png", "cat", "photograph"),
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one package of two cut-outs and one background, and lists that name them."""
    picture = io.BytesIO()
    Image.new("RGBA", (400, 300), (220, 120, 20, 255)).save(picture, "PNG")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9" fill="#d01010"/></svg>'
    (tmp_path / "cache").mkdir()
    package = tmp_path / "cache" / "toys-1.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name, content in (("round.png", picture.getvalue()), ("red.svg", svg)):
            entry = tarfile.TarInfo(f"package/assets/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    source = Source("toys", "npm", "toys", "1", sha256(package.read_bytes()).hexdigest(), "MIT", "someone")
    (tmp_path / "backgrounds.json").write_text(json.dumps({"toys": {"package/assets/round.png": ["tree"]}}))
    monkeypatch.setattr(builder, "pinned_sources", lambda: {"toys": source})
    monkeypatch.setattr(builder, "read_pieces", lambda: PIECES)
    monkeypatch.setattr(builder, "_BACKGROUNDS", tmp_path / "backgrounds.json")
    return tmp_path / "cache"


def test_the_index_tells_every_file_and_only_sources_at_hand(tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "pictures"
    (out / "cutouts").mkdir(parents=True)
    (out / "cutouts" / "stale.webp").write_bytes(b"")
    counts = builder.build(out, cache)
    assert counts == {"photograph": 1, "render": 0, "drawing": 1, "background": 1}
    index = json.loads((out / "index.json").read_text())
    ball, drawn = index["cutouts"]
    assert (ball["name"], ball["style"], ball["colour"], ball["licence"]) == ("basketball", "photo", "orange", "MIT")
    assert (drawn["name"], drawn["style"], drawn["colour"], drawn["split"]) == ("soccer ball", "drawn", "red", "train")
    assert index["backgrounds"][0]["contains"] == ["tree"]
    named = {entry["file"] for part in index.values() for entry in part}
    assert named == {str(file.relative_to(out)) for file in out.rglob("*.*") if file.name != "index.json"}
    with Image.open(out / ball["file"]) as image:
        assert image.mode == "RGB"  # fully opaque, so WebP keeps no alpha
        assert image.size == (192, 144)


def test_the_repository_s_backgrounds_name_nouns_that_exist() -> None:
    data = json.loads(builder._BACKGROUNDS.read_text(encoding="utf-8"))
    assert sum(map(len, data.values())) >= 60
    assert all(set(names) <= set(NOUNS) for files in data.values() for names in files.values())


def test_the_package_of_convolutions_is_laid_beside_the_pictures(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "convolutions-1.whl").write_bytes(b"weights")
    source = Source("convolutions", "pypi", "some-model", "1", sha256(b"weights").hexdigest(), "Apache-2.0", "someone")
    pictures = builder.pinned_sources()
    monkeypatch.setattr(builder, "pinned_sources", lambda: {**pictures, "convolutions": source})
    builder.build(tmp_path / "pictures", cache)
    assert (tmp_path / "pictures" / source.file_name).read_bytes() == b"weights"
    builder.build(tmp_path / "without", cache, without=["convolutions"])
    assert not (tmp_path / "without" / source.file_name).exists()
