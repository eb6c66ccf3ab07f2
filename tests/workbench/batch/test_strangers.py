"""What lies in other people's folders, zips and tables is taken for what it is, or told."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.webui.fakes import fake_comparison, three_colours
from workbench.batch.batch_files import COMMAND_LIMITS, BatchError, BatchImage, BatchTable, Sources, read_sources
from workbench.batch.batch_folder import BatchFolder
from workbench.batch.batch_plan import BatchPlan, ImageNames, plan_batch
from workbench.batch.batch_run import BatchRun, open_batch

SIZE = (40, 60)
KEYS = ["evf-sam"]


def found(path: Path, results: Path | None = None) -> Sources:
    return read_sources([(path.name, path)], COMMAND_LIMITS, results=results)


def names(sources: Sources) -> list[str]:
    return [image.name for image in sources.images]


def reasons(sources: Sources | BatchPlan) -> dict[str, str]:
    return {fault.place: fault.reason for fault in sources.faults}


def finished(images: Path, out: Path, *phrases: str) -> BatchRun:
    plan = plan_batch(found(images, results=out), phrases or ("a square",), COMMAND_LIMITS)
    run = open_batch(out, fake_comparison()[0], plan, KEYS)
    list(run.work())
    run.finish()
    return run


@pytest.mark.parametrize("place", ["results", "deep/er", "."])
def test_the_same_batch_again_takes_none_of_its_results_for_a_source(images: Path, place: str) -> None:
    out = images / place
    first = finished(images, out)
    (out / "masks" / ".0123456789abcdef.part.png").write_bytes(b"left by a writer that was killed")
    again = finished(images, out)
    assert (again.progress.total_count, again.folder.answers) == (2, first.folder.answers)
    assert again.faults == ()


def test_results_of_other_runs_are_passed_over_and_told(images: Path, tmp_path: Path) -> None:
    finished(images, images / "earlier")
    compared = images / "compared"
    compared.mkdir()
    (compared / "result.json").write_text(json.dumps({"format": 1, "suite": "mini", "strategies": {"evf-sam": {}}}))
    for name in ("evf-sam-mask.png", "evf-sam-mask-2.png", "evf-sam-overlay.png", "my-own.png"):
        Image.new("RGB", (4, 4)).save(compared / name)
    sources = found(images, results=tmp_path / "elsewhere")
    assert names(sources) == ["0.png", "1.png", "compared/my-own.png"]
    # Of the batch: two masks, two overlays, figures, faults, journal, manifest, lock; of the comparison: four.
    assert reasons(sources)["images"].startswith("passed over 13 files that an earlier run wrote, such as compared/")
    with zipfile.ZipFile(tmp_path / "earlier.zip", "w") as archive:
        for path in sorted((images / "earlier").rglob("*")):
            archive.write(path, path.relative_to(images))
        archive.write(images / "0.png", "0.png")
    assert names(found(tmp_path / "earlier.zip")) == ["0.png"]


def test_folders_of_others_that_look_alike_are_sources(images: Path) -> None:
    (images / "masks").mkdir()
    Image.new("L", (4, 4)).save(images / "masks" / "0.png")
    for content in ('{"format": "other"}', "[1]", "no json", "\ud800"):
        (images / "manifest.json").write_bytes(content.encode("utf-8", "surrogatepass"))
        assert names(found(images)) == ["0.png", "1.png", "masks/0.png"]


def test_links_are_followed_and_those_that_lead_nowhere_or_back_are_told(images: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "inner").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(real / "inner" / "x.png")
    (images / "a link").symlink_to(real)
    (images / "back").symlink_to(images)
    (images / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (images / "inside").mkdir()
    Image.new("RGB", (4, 4)).save(images / "inside" / "y.png")
    (images / "again").symlink_to(images / "inside")
    os.mkfifo(images / "pipe.png")
    sources = found(images)
    assert names(sources) == ["0.png", "1.png", "a link/inner/x.png", "inside/y.png"]
    assert reasons(sources) == {
        "broken.png": "is a link that leads nowhere",
        "pipe.png": "is no plain file",
        "again": "leads to the same folder as inside; its images are asked once",
        "back": "leads to the same folder as .; its images are asked once",
    }


def zip_of_names(path: Path, *raw_names: bytes, extra: bytes = b"") -> Path:
    """A zip whose names are written as bytes without a word about their encoding, as old programs do."""
    with zipfile.ZipFile(path, "w") as archive:
        for raw in raw_names:
            entry = zipfile.ZipInfo(raw.decode("cp437"))
            entry.extra = extra
            archive.writestr(entry, b"x")
    content = path.read_bytes()
    for raw in raw_names:  # Python writes UTF-8 and says so
        content = content.replace(raw.decode("cp437").encode(), raw)
    for signature, flags, length, name in ((b"PK\x03\x04", 6, 26, 30), (b"PK\x01\x02", 8, 28, 46)):
        parts = content.split(signature)
        for index, raw in enumerate(raw_names, 1):
            part = bytearray(parts[index])
            part[flags - 4 : flags - 2] = b"\0\0"
            part[length - 4 : length - 2] = len(raw).to_bytes(2, "little")
            assert bytes(part[name - 4 : name - 4 + len(raw)]) == raw
            parts[index] = bytes(part)
        content = signature.join(parts)
    end = content.index(b"PK\x05\x06")
    first = content.index(b"PK\x01\x02")
    content = content[: end + 12] + (end - first).to_bytes(4, "little") + first.to_bytes(4, "little") + b"\0\0"
    path.write_bytes(patched_offsets(content))
    return path


def patched_offsets(content: bytes) -> bytes:
    """Set where each entry begins, after names have become shorter."""
    starts = [at for at in range(len(content)) if content.startswith(b"PK\x03\x04", at)]
    entries = [at for at in range(len(content)) if content.startswith(b"PK\x01\x02", at)]
    changed = bytearray(content)
    for start, entry in zip(starts, entries, strict=True):
        changed[entry + 42 : entry + 46] = start.to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("猫咪.png".encode("gbk"), "猫咪.png"),
        ("照片/红色的杯子 1.png".encode("gbk"), "照片/红色的杯子 1.png"),
        ("朱镕基.png".encode("gbk"), "朱镕基.png"),
        ("hütte.png".encode("cp437"), "hütte.png"),
        ("señor café.png".encode("cp437"), "señor café.png"),
        ("größe.png".encode(), "größe.png"),
        ("猫咪.png".encode(), "猫咪.png"),
    ],
)
def test_names_in_a_zip_are_read_as_they_were_meant(raw: bytes, name: str, tmp_path: Path) -> None:
    sources = found(zip_of_names(tmp_path / "a.zip", raw))
    assert names(sources) == [name]
    assert sources.images[0].read() == b"x"


@pytest.mark.parametrize(
    ("name", "encoding"), [("фото.png", "cp866"), ("고양이.png", "cp949"), ("圖片.png", "big5"), ("ねこ.png", "cp932")]
)
def test_a_table_finds_a_name_by_its_bytes_where_its_encoding_is_guessed_wrong(
    name: str, encoding: str, tmp_path: Path
) -> None:
    sources = found(zip_of_names(tmp_path / "a.zip", name.encode(encoding)))
    table = BatchTable("q.csv", f"image,phrase\n{name},the cat\n".encode())
    plan = plan_batch(Sources(sources.images, (table,)), (), COMMAND_LIMITS)
    assert (plan.question_count, plan.faults) == (1, ())


def test_a_damaged_list_of_contents_is_told_and_the_rest_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ü.png", b"x")
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xff\xff"))
    assert "is not a zip that can be read" in reasons(found(path))["a.zip"]


def asked(table: str | bytes, *known: str) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    content = table.encode() if isinstance(table, str) else table
    images = tuple(BatchImage(name, bytes) for name in known or ("a.png", "b.png"))
    plan = plan_batch(Sources(images, (BatchTable("q.csv", content),)), ("any",), COMMAND_LIMITS)
    return {each.image.name: each.phrases[1:] for each in plan.images}, reasons(plan)


@pytest.mark.parametrize(
    ("table", "place", "reason"),
    [
        ("image,phrase\na.png,the cat, on the left\nb.png,x", "q.csv, line 2", "has 3 cells where the head has 2"),
        ("image,phrase,\na.png,the cat, left\nb.png,x", "q.csv, line 2", "has 3 cells where the head has 2"),
        ('image,phrase\na.png,"the cat\nc.png,y\n"\nb.png,x', "q.csv, lines 2 to 4", "a cell goes over several lines"),
        ('image,phrase\na.png,"the "big" cat"\nb.png,x', "q.csv, line 2", "cannot be read as a line of a CSV"),
    ],
)
def test_a_line_of_which_a_part_would_be_lost_is_named_and_not_asked(table: str, place: str, reason: str) -> None:
    questions, faults = asked(table)
    assert questions == {"a.png": (), "b.png": ("x",)}
    assert list(faults) == [place]
    assert faults[place].startswith(reason)


def test_a_quotation_mark_that_is_never_closed_names_all_lines_behind_it() -> None:
    questions, faults = asked('image,phrase\nb.png,x\na.png,"the cat\nb.png,y\nb.png,z')
    assert questions == {"a.png": (), "b.png": ("x",)}
    assert list(faults) == ["q.csv, lines 3 to 5"]


@pytest.mark.parametrize(
    "table",
    [
        "sep=;\nimage;phrase\na.png;x, y\n",
        '"sep=;"\r\nimage;phrase\r\na.png;x, y\r\n',
        "SEP=\t\nimage\tphrase\na.png\tx, y\n",
        '\ufeffsep=,\nimage,phrase\na.png,"x, y",,\n',
        "image\tphrase\na.png\tx, y\n".encode("utf-16"),
    ],
)
def test_tables_as_spreadsheets_write_them_are_read(table: str | bytes) -> None:
    questions, faults = asked(table)
    assert questions["a.png"] == ("x, y",)
    assert faults == {}


def test_the_line_that_names_the_separator_is_counted() -> None:
    assert list(asked("sep=;\nimage;phrase\nc.png;x\n")[1]) == ["q.csv, line 3"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("image,phrase,Phrase\na.png,x,y\n", "expected the column phrase once, got it 2 times"),
        ("\n \n", "expected the columns image and phrase, got an empty file"),
        ('"image,phrase\na.png,x\n', "a cell goes over several lines"),
        ("image,phrase\na.png,größe\n".encode("cp1252"), "expected UTF-8 text, got other bytes in line 2"),
    ],
)
def test_a_table_without_what_it_needs_is_named(table: str | bytes, reason: str) -> None:
    assert reason in asked(table)[1]["q.csv"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("c/a.png", ["a.png"]),
        ("./c/a.png", ["a.png"]),
        ("C:\\photos\\c\\a.png", ["a.png"]),
        ("/home/ann/x/b.png", ["x/b.png"]),
        ("b.png", ["x/b.png", "y/b.png"]),
        ("deep/c.png", ["z/deep/c.png"]),
        ("za.png", []),
        ("d.png", []),
    ],
)
def test_an_image_is_found_by_the_end_of_its_path(written: str, meant: list[str]) -> None:
    known = ImageNames(BatchImage(name, bytes) for name in ("a.png", "x/b.png", "y/b.png", "z/deep/c.png"))
    assert known.meant_by(written) == meant


def test_tables_for_spreadsheets_hold_no_formulas_and_files_no_names_of_devices(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("=cmd|calc!A1.png", "con.png", "aux.png"):
        Image.fromarray(three_colours(SIZE, shift=1)).save(folder / name)
    (folder / "@bad.png").write_bytes(b"no image")
    out = tmp_path / "out"
    finished(folder, out, '=HYPERLINK("http://e.example","x")', "nul")
    for name in ("figures.csv", "faults.csv"):
        rows = csv.reader(io.StringIO((out / name).read_text(encoding="utf-8-sig")))
        assert [cell for row in rows for cell in row if cell[:1] in tuple("=+-@")] == []
    stems = {path.name.split(".")[0] for path in (out / "masks").iterdir()}
    assert stems == {"cmd-calc-a1", "con-", "aux-"}


def test_answers_about_a_picture_that_was_replaced_go_and_it_is_said(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = {answer.mask for answer in finished(images, out, "a square", "a circle").answers}
    Image.fromarray(three_colours(SIZE, shift=5)).save(images / "0.png")
    again = finished(images, out, "a square", "a circle")
    assert again.notes == ("0.png is another picture than before: 2 answers about the one before went away",)
    rows = list(csv.DictReader(io.StringIO((out / "figures.csv").read_text(encoding="utf-8-sig"))))
    assert sorted((row["image"], row["phrase"]) for row in rows) == [
        (image, phrase) for image in ("0.png", "1.png") for phrase in ("a circle", "a square")
    ]
    assert len((out / "masks.jsonl").read_text().splitlines()) == 4
    written = {f"masks/{path.name}" for path in (out / "masks").iterdir()}
    assert written == {answer.mask for answer in again.answers}
    assert len(before - written) == 2


def test_a_replaced_picture_that_cannot_be_read_leaves_no_stale_rows(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished(images, out)
    (images / "0.png").write_bytes(b"no image")
    again = finished(images, out)
    assert [answer.image for answer in again.folder.answers] == ["1.png"]
    assert again.progress.skipped_count == 1


def test_what_else_is_in_the_folder_is_not_counted_as_this_batch(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished(images, out, "a square")
    again = finished(images, out, "a circle")
    assert (len(again.answers), len(again.folder.answers)) == (2, 4)


OTHER_PROCESS = """
import sys
from pathlib import Path
from workbench.batch.batch_folder import BatchFolder
folder = BatchFolder(Path(sys.argv[1]), {})
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_that_a_folder_is_in_use(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    out = tmp_path / "out"
    command = [sys.executable, "-c", OTHER_PROCESS, str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(BatchError, match=r"another process is at work in .*out; wait for it"):
            BatchFolder(out, {})
        process.communicate("")
    BatchFolder(out, {})


def test_a_line_that_found_no_room_is_taken_back(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    run = finished(images, out)
    whole = (out / "masks.jsonl").read_bytes()

    def full(file: io.FileIO, content: bytes) -> None:
        file.write(content[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workbench.batch.batch_folder._write_all", full)
    with pytest.raises(BatchError, match="No space left on device; make room, then go on: what is done is kept"):
        run.folder._append("a line")
    assert (out / "masks.jsonl").read_bytes() == whole


def test_mask_pictures_of_a_batch_are_whole(images: Path, tmp_path: Path) -> None:
    run = finished(images, tmp_path / "out")
    for answer in run.answers:
        assert np.asarray(Image.open(tmp_path / "out" / answer.mask)).shape == SIZE
