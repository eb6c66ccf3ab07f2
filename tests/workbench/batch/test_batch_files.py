"""Zips, folders and uploads of a batch: what can be used is read, what cannot is named, nothing is unpacked to disk."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from evfsam.errors import ImageFormatError
from workbench.batch.batch_files import PAGE_LIMITS, BatchError, Limits, Sources, read_sources
from workbench.batch.zips import directory_bytes

SMALL = Limits(images=3, phrases=2, questions=4, entries=6, file_megabytes=1, megabytes=2)


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(path: Path, limits: Limits = SMALL) -> Sources:
    return read_sources([(path.name, path)], limits)


def reasons(sources: Sources) -> dict[str, str]:
    return {fault.place: fault.reason for fault in sources.faults}


def test_images_in_nested_folders_keep_their_path_and_tables_are_told_apart(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"x/y/1.png": b"one", "x\\2.JPG": b"two", "x/q.csv": b"image,phrase\n"})
    sources = read(path)
    assert [(image.name, image.read()) for image in sources.images] == [("x/y/1.png", b"one"), ("x/2.JPG", b"two")]
    assert [(table.name, table.content) for table in sources.tables] == [("x/q.csv", b"image,phrase\n")]
    assert sources.faults == ()


def test_a_folder_is_read_like_a_zip_of_it(tmp_path: Path) -> None:
    for name in ("in/x/1.png", "in/2.jpg", "in/notes.txt", "in/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    sources = read(tmp_path / "in")
    assert [image.name for image in sources.images] == ["2.jpg", "x/1.png"]
    assert list(reasons(sources)) == ["in", "notes.txt"]


@pytest.mark.parametrize("name", ["../1.png", "x/../../1.png", "/etc/1.png", "C:\\1.png", "..\\1.png"])
def test_a_name_that_leads_out_of_the_zip_is_named_and_not_read(tmp_path: Path, name: str) -> None:
    sources = read(zipped(tmp_path / "a.zip", {name: b"x", "good.png": b"x"}))
    assert [image.name for image in sources.images] == ["good.png"]
    (reason,) = reasons(sources).values()
    assert reason == "its name leads out of the zip; it was not read"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_what_a_system_adds_is_counted_in_one_line(tmp_path: Path) -> None:
    files = {"__MACOSX/._1.png": b"x", "x/._1.png": b"x", "x/.DS_Store": b"x", "x/1.png": b"x"}
    sources = read(zipped(tmp_path / "a.zip", files))
    assert [image.name for image in sources.images] == ["x/1.png"]
    assert reasons(sources) == {"a.zip": "passed over 3 files that a system adds, such as __MACOSX/._1.png"}


def test_other_files_links_and_inner_zips_are_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"read.me": b"x", "in.zip": b"x"})
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    sources = read(path)
    assert sources.images == ()
    assert reasons(sources) == {
        "a.zip: read.me": "is neither an image (PNG, JPEG, WebP, BMP, TIFF, GIF, PPM) nor a CSV",
        "a.zip: in.zip": "is a zip inside another; put its images in by themselves",
        "a.zip: link.png": "is a link, not a file; it was not followed",
    }


def test_a_second_image_of_the_same_name_is_named(tmp_path: Path) -> None:
    first, second = (zipped(tmp_path / f"{name}.zip", {"1.png": name.encode()}) for name in ("a", "b"))
    sources = read_sources([(path.name, path) for path in (first, second)], SMALL)
    assert [image.read() for image in sources.images] == [b"a"]
    assert reasons(sources) == {"1.png": "another image has this name already; rename one of them"}


def test_a_bomb_is_refused_by_its_size_before_anything_is_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bomb.zip", {"1.png": bytes(3_000_000), "2.png": b"x"})
    assert path.stat().st_size < 10_000
    sources = read(path)
    assert [image.name for image in sources.images] == ["2.png"]
    assert reasons(sources) == {"bomb.zip: 1.png": "expected at most 1 MB a file, got 3 MB; make it smaller"}


def test_an_entry_that_lies_about_its_size_gives_no_more_than_it_claims(tmp_path: Path) -> None:
    path = zipped(tmp_path / "liar.zip", {"1.png": bytes(3_000_000)})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    struct.pack_into("<L", content, at + 24, 1000)
    path.write_bytes(content)
    (image,) = read(path).images
    with pytest.raises(ImageFormatError, match="is damaged inside the zip"):
        image.read()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_unpacked_only_as_a_whole_is_not_unpacked(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("1.png", bytes(900_000))
    (image,) = read(tmp_path / "a.zip").images
    with pytest.raises(ImageFormatError, match="is packed in an unusual way"):
        image.read()


def test_tables_count_among_the_bytes(tmp_path: Path) -> None:
    tables = {f"{index}.csv": b"image,phrase" + bytes(900_000) for index in range(3)}
    with pytest.raises(BatchError, match="expected at most 2 MB of files in one batch, got 3 MB unpacked"):
        read(zipped(tmp_path / "tables.zip", tables))


def test_too_many_images_or_bytes_are_told_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="expected at most 3 images in one batch, got 4; split them"):
        read(zipped(tmp_path / "a.zip", {f"{index}.png": b"x" for index in range(4)}))
    with pytest.raises(BatchError, match="expected at most 2 MB of files in one batch, got 3 MB unpacked"):
        read(zipped(tmp_path / "b.zip", {f"{index}.png": bytes(900_000) for index in range(3)}))
    with pytest.raises(BatchError, match=r"c\.zip: expected at most 6 files in a zip, got 7; split it"):
        read(zipped(tmp_path / "c.zip", {f"{index}.txt": b"x" for index in range(7)}))


def test_a_list_of_contents_that_is_too_long_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {f"{'x' * 200}{index}.png": b"x" for index in range(20)})
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(BatchError, match="expected at most 6 files in a zip, got far more"):
        read(path)


def test_the_length_of_a_zips_list_is_found_with_and_without_its_64_bit_record(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"1.png": b"x"})
    content = path.read_bytes()
    plain = directory_bytes(path)
    assert plain == 46 + len("1.png")
    end = content.index(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 99_999, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    path.write_bytes(content[:end] + record + locator + content[end:])
    assert directory_bytes(path) == 99_999


def test_damaged_and_empty_zips_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    assert "is not a zip that can be read" in reasons(read(tmp_path / "broken.zip"))["broken.zip"]
    assert reasons(read(zipped(tmp_path / "none.zip", {}))) == {"none.zip": "is an empty zip; put images into it"}


def test_a_name_in_utf8_without_its_mark_is_read_as_it_was_meant(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"hütte.png": b"x"})
    content = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(signature) + offset
        content = content[:at] + b"\0\0" + content[at + 2 :]
    path.write_bytes(content)
    assert [image.name for image in read(path).images] == ["hütte.png"]


def test_a_file_that_is_gone_by_the_time_it_is_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    (image,) = read(tmp_path / "1.png").images
    (tmp_path / "1.png").unlink()
    with pytest.raises(ImageFormatError, match="cannot be read any more"):
        image.read()


def test_the_page_takes_files_as_large_as_it_says() -> None:
    assert (PAGE_LIMITS.images, PAGE_LIMITS.phrases, PAGE_LIMITS.file_megabytes) == (50, 16, 25)
