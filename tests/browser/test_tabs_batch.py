"""Many images and phrases, in a real browser, over fake strategies."""

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from pycocotools import mask as coco_mask

from tests.webui.fakes import channel_mask, three_colours

pytestmark = pytest.mark.browser

SIZE = (120, 160)


def packed(path: Path, count: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            buffer = io.BytesIO()
            Image.fromarray(three_colours(SIZE, shift=index)).save(buffer, "PNG")
            archive.writestr(f"photos/{index}.png", buffer.getvalue())
        archive.writestr("photos/broken.png", b"no image")
        archive.writestr("../outside.png", b"no image either")
    return path


def opened_batch(page: Page, archive: Path, phrases: str) -> None:
    page.get_by_role("tab", name="Batch").click()
    page.set_input_files("#batch-files input[type=file]", archive)
    expect(page.locator("#batch-plan")).to_contain_text("leads out of the zip")
    page.fill("#batch-phrases textarea", phrases)


def downloaded(page: Page) -> zipfile.ZipFile:
    with page.expect_download() as download:
        page.click("#batch-download")
    return zipfile.ZipFile(download.value.path())


def test_a_zip_and_phrases_become_a_table_a_gallery_and_one_zip(page: Page, tmp_path: Path) -> None:
    opened_batch(page, packed(tmp_path / "photos.zip", 2), "a square\nan absent square")
    expect(page.locator("#batch-plan")).to_contain_text("3 images, 6 questions, 3 strategies: 18 answers.")
    page.click("#batch-ask")
    expect(page.locator("#batch-status progress")).to_be_visible()
    expect(page.locator("#batch-status")).to_contain_text("left.")
    expect(page.locator("#batch-status")).to_contain_text("Done: all 12 answers are there")
    expect(page.locator("#batch-faults li")).to_have_count(2)
    expect(page.locator("#batch-faults")).to_contain_text("photos/broken.png expected an image")
    table = page.locator("#batch-table")
    expect(table.locator("thead th")).to_have_text(["Image", "Phrase", "EVF-SAM", "CLIP text", "Point query"])
    expect(table.locator("tbody tr")).to_have_count(4)
    expect(table.locator("td[data-verdict]")).to_have_count(12)
    asked = table.locator("tr", has_text="photos/1.png").filter(has_text="an absent square")
    expect(asked.locator("td").first).to_contain_text("Not in the image")
    expect(page.locator("#batch-pictures img")).to_have_count(12)
    expect(page.locator("#batch-pictures img").first).to_have_attribute(
        "alt", "“a square” in photos/0.png by EVF-SAM: Found"
    )
    with downloaded(page) as archive:
        lines = [json.loads(line) for line in archive.read("masks.jsonl").splitlines()]
        assert len(lines) == 12
        line = next(each for each in lines if (each["image"], each["strategy"]) == ("photos/1.png", "clip-text"))
        expected = channel_mask(three_colours(SIZE, shift=1), 1)
        with archive.open(line["mask"]) as file:
            assert np.array_equal(np.asarray(Image.open(file)), expected * np.uint8(255))
        rle = {"size": line["rle"]["size"], "counts": line["rle"]["counts"].encode()}
        assert np.array_equal(coco_mask.decode(rle), expected)
        figures = list(csv.DictReader(archive.read("figures.csv").decode("utf-8-sig").splitlines()))
        assert [row["phrase"] for row in figures].count("an absent square") == 6
        listed = {file["name"] for file in json.loads(archive.read("manifest.json"))["files"]}
        assert listed == set(archive.namelist()) - {"manifest.json"}
        assert sum(name.startswith("overlays/") for name in listed) == 12


def test_a_stopped_batch_keeps_what_is_done_and_goes_on(page: Page, tmp_path: Path) -> None:
    opened_batch(page, packed(tmp_path / "photos.zip", 4), "a square")
    page.click("#batch-ask")
    answers = page.locator("#batch-table td[data-verdict]")
    expect(answers.first).to_be_visible()
    page.click("#batch-stop")
    expect(page.locator("#batch-status")).to_contain_text("Stopped: ")
    kept = answers.count()
    assert 0 < kept < 12
    with downloaded(page) as archive:
        assert len(archive.read("masks.jsonl").splitlines()) == kept
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#batch-status")).to_contain_text("Done: all 12 answers are there")
    expect(answers).to_have_count(12)


def test_a_batch_that_cannot_be_asked_says_why(page: Page) -> None:
    page.get_by_role("tab", name="Batch").click()
    expect(page.locator("#batch-limits")).to_contain_text("Up to 50 images")
    page.click("#batch-ask")
    expect(page.locator("#batch-status [role=alert]")).to_contain_text("There is no image yet")
