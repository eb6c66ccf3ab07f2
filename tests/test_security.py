"""SECURITY.md names the bounds that the code has, and files that are there."""

import re
from pathlib import Path

import pytest

from evfsam.image_files import MAX_PIXELS
from evfsam.phrases import MAX_PHRASE_LENGTH, MAX_PHRASES
from webui import bounded_store, fetching, file_quota, run_cache, visits
from webui.api import door, functions, guard, images, json_bodies, routes
from webui.tabs.batch import store as batch_store
from workbench import embedding_cache, heap, limits, placement
from workbench.comparison import MOST_POINTS
from workbench.export import formats
from workbench.video import clips, decoding

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = {cells[0]: cells[1:] for cells in re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", TEXT, re.MULTILINE)}
MB, MIB, GIB = 10**6, 2**20, 2**30
BOUNDS = {
    "a body of JSON": (
        f"{guard.LARGEST_BODY // MB} MB",
        f"an image in it {guard.LARGEST_IMAGE_BODY // MB} MB",
        f"{json_bodies.MOST_VALUES:,} values, {json_bodies._DEEPEST} deep",
    ),
    "an upload": (f"{limits.LARGEST_FILE_MB} MB a file", f"{guard.LARGEST_UPLOAD // MB} MB a request"),
    "bodies being read together": (f"{guard.MOST_AT_ONCE // MB} MB",),
    "a slow body": (f"{guard._LEAST_RATE // 1000} kB/s", f"after {guard._GRACE_SECONDS:.0f} s"),
    "an address to fetch": (
        f"{limits.LARGEST_FILE_MB} MB unpacked",
        f"{fetching.FETCH_SECONDS:.0f} s",
        f"{images._MOST_FETCHES} at once",
    ),
    "an image": (f"{MAX_PIXELS // MB} megapixels", f"{limits.LARGEST_FILE_MB} MB"),
    "a form": (f"{routes._MOST_FIELDS} fields",),
    "a question": (
        f"{MAX_PHRASES} phrases of {MAX_PHRASE_LENGTH:,} characters",
        f"{MOST_POINTS} points",
        f"{functions._MOST_OPTIONS} options",
    ),
    "questions that wait": (f"{door.MOST_WAITING},",),
    "turns at the models": (f"up to {placement._MOST_RUNS}",),
    "processes that answer beside the server's own": (f"every {placement._PROCESS_BYTES // GIB} GiB",),
    "files to take away": (f"{formats.LARGEST_EXPORT // MB} MB at a time",),
    "a clip": (
        f"{clips.FRAME_LIMIT} frames",
        f"{clips.MOST_PIXELS // MB} megapixels",
        f"{decoding.MOST_FRAMES_OF_MOST_PIXELS} times",
    ),
    "runs kept": (
        f"{run_cache.DEFAULT_MAX_BYTES // GIB} GiB",
        f"batches {batch_store.DEFAULT_MAX_BYTES // GIB} GiB",
        f"{bounded_store.IN_USE_SECONDS / 60:.0f} minutes",
    ),
    "what models see in pictures": (
        f"{embedding_cache.DEFAULT_MOST}, and {embedding_cache.DEFAULT_MAX_BYTES // MIB} MiB",
    ),
    "visits": (f"{visits.MOST_VISITS};",),
    "files of visitors": (f"{file_quota.QUOTA_BYTES // 10**9} GB",),
    "memory that is free and still held": (f"every {heap.EVERY_SECONDS:.0f} s",),
}


@pytest.mark.parametrize("what", BOUNDS)
def test_a_bound_is_told_as_the_code_has_it(what: str) -> None:
    assert [bound for bound in BOUNDS[what] if bound not in ROWS[what][0]] == []


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`([\w./]+/[\w./]*)`", TEXT)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []
