"""Weights are told apart by their content, whatever their size."""

from pathlib import Path

from tests.workbench.doubles import suite_of
from workbench.suites.registry import directory_digest, directory_name


def test_other_weights_make_another_digest_and_notes_beside_them_do_not(tmp_path: Path) -> None:
    entry = suite_of(tmp_path, light="load_bright").strategies["light"]
    weights = tmp_path / "light" / "model.safetensors"
    weights.write_bytes(b"first")
    before = entry.digest
    (tmp_path / "light" / "notes.txt").write_text("loaded once")
    assert entry.digest == before
    weights.write_bytes(b"other")
    assert entry.digest != before


def test_large_weights_of_one_size_are_told_apart(tmp_path: Path) -> None:
    digests = []
    for last in (b"a", b"b"):
        path = tmp_path / f"{last.decode()}/model.safetensors"
        path.parent.mkdir()
        with path.open("wb") as file:
            file.truncate(300 * 2**20)  # a hole, which takes no room on the disk
            file.seek(0, 2)
            file.write(last)
        digests.append(directory_digest(path.parent))
    assert digests[0] != digests[1]


def test_a_directory_is_named_without_the_machine_around_it(tmp_path: Path) -> None:
    assert directory_name(tmp_path / "mini" / "evf-sam") == "mini/evf-sam"
