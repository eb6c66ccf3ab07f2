"""What a batch leaves behind: masks, overlays, a line an answer, figures and a manifest; kept at every moment.

`masks.jsonl` is both the result and the record of what is done: a line counts once its newline is there.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from errno import EACCES, EAGAIN
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from PIL import Image

from evfsam.types import BoxXyxy, RgbImage, Segmentation
from workbench.batch.batch_files import BatchError, Fault
from workbench.batch.own_results import (
    BATCH_FORMAT,
    FAULTS_NAME,
    FIGURES_NAME,
    JOURNAL_NAME,
    LOCK_NAME,
    MANIFEST_NAME,
)
from workbench.export.file_writing import UnwritableError, as_json_value, json_bytes, write_whole, write_zip
from workbench.export.results import coco_rle, installed_versions, mask_box, png_bytes
from workbench.metrics.masks import Mask
from workbench.pictures.rendering import overlay
from workbench.pictures.shown_pictures import shown_pair
from workbench.text_fitting import file_slug, spreadsheet_cell

_QUALITY: Final = 90


@dataclass(frozen=True)
class BatchAnswer:
    """One strategy's answer to one phrase about one image; the figures of a line, without the mask.

    Attributes:
        image: name of the image.
        image_sha256: of the file's bytes.
        height, width: pixels.
        phrase, strategy: who was asked what.
        verdict, reason: "found", "absent" or "failed", and why.
        pred_iou: SAM's own guess, where there is one.
        area_share: of the image, in [0, 1].
        box: around the mask, XYXY in pixels; None of an empty one.
        seconds: the answer's, shared evenly among phrases asked together.
        mask, overlay: files in the folder; "" where the strategy failed.
    """

    image: str
    image_sha256: str
    height: int
    width: int
    phrase: str
    strategy: str
    verdict: str
    reason: str = ""
    pred_iou: float | None = None
    area_share: float = 0.0
    box: BoxXyxy | None = None
    seconds: float = 0.0
    mask: str = ""
    overlay: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What was asked; equal keys, equal questions."""
        return self.image, self.image_sha256, self.phrase, self.strategy


@dataclass(frozen=True)
class ReadImage:
    """A decoded image of a batch: its name, the SHA-256 of its file, and (H, W, 3) uint8 pixels."""

    name: str
    sha256: str
    pixels: RgbImage


class BatchFolder:
    """A folder of results; opened again, it holds what was done.

    Failed answers are forgotten when it is opened, so that they are asked again.

    Args:
        directory: made where it is missing.
        settings: JSON values that decide every answer: suite, strategies, options, weights, device, number type.

    Attributes:
        answers: in the order in which they came.
        done: their keys.

    Raises:
        BatchError: the folder holds a batch with other settings, or something else, or another process works in it.
        UnwritableError: it cannot be written.
    """

    def __init__(self, directory: Path, settings: Mapping[str, object]) -> None:
        self.directory = directory
        self._settings = as_json_value(dict(settings))
        self._check_settings()
        self._claim = _claimed(directory)
        self.answers: list[BatchAnswer] = self._rewritten(lambda answer: answer.verdict != "failed")
        self.done: set[tuple[str, str, str, str]] = {answer.key for answer in self.answers}
        self._write_manifest(())

    def add(self, image: ReadImage, phrase: str, strategy: str, seconds: float, segmentation: Segmentation) -> None:
        """Write one answer: its pictures, then its line.

        Raises:
            UnwritableError: something cannot be written.
        """
        mask = segmentation.mask
        height, width = mask.shape
        has_failed = segmentation.verdict.kind == "failed"
        stem = _stem(image, phrase, strategy)
        names = ("", "") if has_failed else (f"masks/{stem}.png", f"overlays/{stem}.jpg")
        if not has_failed:
            write_whole(self.directory / names[0], png_bytes(mask.astype(np.uint8) * 255))
            write_whole(self.directory / names[1], _overlay_jpeg(image.pixels, mask, strategy))
        answer = BatchAnswer(
            image=image.name,
            image_sha256=image.sha256,
            height=height,
            width=width,
            phrase=phrase,
            strategy=strategy,
            verdict=segmentation.verdict.kind,
            reason=segmentation.verdict.reason,
            pred_iou=segmentation.pred_iou,
            area_share=segmentation.area_share,
            box=mask_box(mask),
            seconds=seconds,
            mask=names[0],
            overlay=names[1],
        )
        line = {**asdict(answer), "rle": None if has_failed else coco_rle(mask)}
        self._append(json.dumps(as_json_value(line), ensure_ascii=False))
        self.answers.append(answer)
        self.done.add(answer.key)

    def supersede(self, image: str, sha256: str) -> int:
        """Take away the answers about another picture that had an image's name; returns how many there were.

        Raises:
            UnwritableError: the journal cannot be written.
        """
        stale = [answer for answer in self.answers if answer.image == image and answer.image_sha256 != sha256]
        if not stale:
            return 0
        keys = {answer.key for answer in stale}
        self.answers = self._rewritten(lambda answer: answer.key not in keys)
        self.done -= keys
        for name in (name for answer in stale for name in (answer.mask, answer.overlay) if name):
            (self.directory / name).unlink(missing_ok=True)
        return len(stale)

    def finish(self, faults: Sequence[Fault], counts: Mapping[str, int]) -> None:
        """Write figures, faults and the manifest over everything that is there by now.

        Args:
            faults: all that could not be used.
            counts: how much was asked, by name.

        Raises:
            UnwritableError: something cannot be written.
        """
        write_whole(self.directory / FIGURES_NAME, _figures(self.answers))
        write_whole(self.directory / FAULTS_NAME, _csv(("place", "reason"), ([f.place, f.reason] for f in faults)))
        self._write_manifest(faults, counts)

    def write_zip(self, path: Path) -> Path:
        """Pack the folder's files, as the manifest lists them, into one zip.

        Raises:
            BatchError: the zip cannot be written.
        """
        named = [MANIFEST_NAME, *(name for name, _ in self._files())]
        try:
            write_zip(path, ((name, (self.directory / name).read_bytes()) for name in named))
        except OSError as error:
            raise BatchError(
                "cannot write {path}: {reason}; make room and try again", path=path.name, reason=error.strerror or error
            ) from error
        return path

    def _files(self) -> list[tuple[str, str]]:
        """Name and content of every file but the manifest."""
        tables = [
            (JOURNAL_NAME, "a JSON object an answer, the mask as COCO RLE"),
            (FIGURES_NAME, "the same figures as a table, without masks"),
            (FAULTS_NAME, "what could not be used"),
        ]
        pictures = [
            (name, f"{what} of “{answer.phrase}” in {answer.image} by {answer.strategy}")
            for answer in self.answers
            for name, what in ((answer.mask, "mask"), (answer.overlay, "overlay"))
            if name
        ]
        return [(name, what) for name, what in (*tables, *pictures) if (self.directory / name).is_file()]

    def _write_manifest(self, faults: Sequence[Fault], counts: Mapping[str, int] | None = None) -> None:
        files = [_listed(self.directory / name, name, what) for name, what in (self._files() if counts else ())]
        content = {
            "format": BATCH_FORMAT,
            "settings": self._settings,
            "versions": installed_versions(),
            "counts": dict(counts or {}),
            "faults": [asdict(fault) for fault in faults],
            "files": files,
        }
        write_whole(self.directory / MANIFEST_NAME, json_bytes(as_json_value(content)))

    def _check_settings(self) -> None:
        manifest, journal = self.directory / MANIFEST_NAME, self.directory / JOURNAL_NAME
        if not manifest.exists():
            if journal.exists():
                raise BatchError(
                    "{directory} has {name} without {other}; choose another folder",
                    directory=self.directory,
                    name=JOURNAL_NAME,
                    other=MANIFEST_NAME,
                )
            return
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BatchError(
                "{manifest} cannot be read: {reason}; choose another folder", manifest=manifest, reason=error
            ) from error
        if not isinstance(content, dict) or content.get("format") != BATCH_FORMAT:
            raise BatchError(
                "{directory} holds something else than a batch; choose another folder", directory=self.directory
            )
        if content.get("settings") != self._settings:
            raise BatchError(
                "{directory} holds a batch with other strategies, options, weights, device or number type; "
                "choose another folder",
                directory=self.directory,
            )

    def _rewritten(self, is_kept: Callable[[BatchAnswer], bool]) -> list[BatchAnswer]:
        """Read the journal; lines that were cut short, and those not to be kept, leave it."""
        journal = self.directory / JOURNAL_NAME
        if not journal.exists():
            return []
        answers, lines = [], []
        content = journal.read_bytes()
        for line in content.splitlines(keepends=True):
            answer = _read_line(line)
            if answer is not None and is_kept(answer):
                answers.append(answer)
                lines.append(line)
        if (kept := b"".join(lines)) != content:
            write_whole(journal, kept)
        return answers

    def _append(self, line: str) -> None:
        path = self.directory / JOURNAL_NAME
        try:
            with path.open("ab", buffering=0) as file:
                whole = file.tell()
                try:
                    _write_all(file, line.encode("utf-8", "backslashreplace") + b"\n")
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(whole)  # else the next line would be one with what was written of this one
                    raise
        except OSError as error:
            raise BatchError(
                "cannot write {path}: {reason}; make room, then go on: what is done is kept",
                path=path.name,
                reason=error.strerror or error,
            ) from error


def _claimed(directory: Path) -> IO[bytes]:
    """Keep other processes from a folder for as long as this one lives, where the system can.

    Raises:
        BatchError: another process has it.
        UnwritableError: it cannot be written.
    """
    path = directory / LOCK_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise UnwritableError(
            "cannot write {path}: {reason}; choose another folder", path=path, reason=error.strerror or error
        ) from error
    try:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by the process: in it, a folder may be opened again
    except ImportError:  # Windows; two processes there are told apart by nobody
        return file
    except OSError as error:
        if error.errno in (EACCES, EAGAIN):
            file.close()
            raise BatchError(
                "another process is at work in {directory}; wait for it, or choose another folder with --out",
                directory=directory,
            ) from error
    return file  # some network file systems know no locks


def _write_all(file: IO[bytes], content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _listed(path: Path, name: str, what: str) -> dict[str, object]:
    content = path.read_bytes()
    return {"name": name, "bytes": len(content), "sha256": sha256(content).hexdigest(), "content": what}


def _read_line(line: bytes) -> BatchAnswer | None:
    if not line.endswith(b"\n"):
        return None
    try:
        content: dict[str, Any] = json.loads(line)
        values = {field.name: content[field.name] for field in fields(BatchAnswer)}
        box = None if values["box"] is None else tuple(values["box"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return BatchAnswer(**{**values, "box": box})


def _stem(image: ReadImage, phrase: str, strategy: str) -> str:
    """Return a file name that a person can read and no other answer has."""
    digest = sha256(f"{image.name}\0{image.sha256}\0{phrase}".encode("utf-8", "backslashreplace")).hexdigest()[:10]
    words = [slug for text in (Path(image.name).stem, phrase) if (slug := file_slug(text))]
    return ".".join((*words, digest, strategy))


def _overlay_jpeg(image: RgbImage, mask: Mask, strategy: str) -> bytes:
    picture, shown = shown_pair(image, mask)
    buffer = io.BytesIO()
    Image.fromarray(overlay(picture, shown, strategy)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _figures(answers: Iterable[BatchAnswer]) -> bytes:
    names = [field.name for field in fields(BatchAnswer) if field.name != "box"]
    corners = ("x1", "y1", "x2", "y2")
    rows = ([*(getattr(answer, name) for name in names), *(answer.box or ("",) * 4)] for answer in answers)
    return _csv((*names, *corners), rows)


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    # The mark in front tells spreadsheets that this is UTF-8.
    return text.getvalue().encode("utf-8-sig", "backslashreplace")
