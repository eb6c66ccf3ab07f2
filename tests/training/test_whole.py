"""A writer that ends half-way leaves what was there before."""

from pathlib import Path

import pytest

from training.whole import whole_folder
from workbench.export.file_writing import whole_file


def write_shards(folder: Path, *names: str, is_killed: bool = False) -> None:
    with whole_folder(folder) as new:
        for name in names:
            (new / name).write_text("shard")
        if is_killed:
            raise KeyboardInterrupt


def write(path: Path, text: str, *, is_killed: bool = False) -> None:
    with whole_file(path) as new:
        new.write_text(text)
        if is_killed:
            raise KeyboardInterrupt


def test_a_folder_gives_way_to_a_whole_one_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_shards(folder, "1-of-2", "2-of-2")
    with pytest.raises(KeyboardInterrupt):
        write_shards(folder, "1-of-1", is_killed=True)
    assert sorted(each.name for each in folder.iterdir()) == ["1-of-2", "2-of-2"]
    write_shards(folder, "1-of-1")
    assert [each.name for each in folder.iterdir()] == ["1-of-1"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_gives_way_to_a_whole_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "tokenizer"
    write(path, "first")
    with pytest.raises(KeyboardInterrupt):
        write(path, "sec", is_killed=True)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]
