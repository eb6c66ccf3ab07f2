"""From a Hub id to a directory, and every refusal of the Hub in words a person can act on."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from evfsam.errors import CheckpointError
from evfsam.weights.hub import weights_directory
from tests.hub.tiny_hub import CLIP, SAM, SAM3, commit_of, lay_down, snapshot_of


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    assert weights_directory(tmp_path) == tmp_path
    assert weights_directory(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("prefix", ["", "hf-hub:"])
def test_a_hub_id_is_found_in_the_cache(hub: Path, prefix: str) -> None:
    lay_down(hub, SAM)
    assert weights_directory(prefix + SAM) == snapshot_of(hub, SAM)
    assert weights_directory(SAM, revision=commit_of(SAM)) == snapshot_of(hub, SAM)


def test_what_is_not_cached_says_how_to_get_it(hub: Path) -> None:
    del hub
    words = r"nobody/nothing is not whole in the cache .*, and the Hub was not .*HF_HUB_OFFLINE"
    with pytest.raises(CheckpointError, match=words):
        weights_directory("nobody/nothing")


@pytest.mark.parametrize("source", ["no id", "a/b/c", "", Path("no-such-directory"), "../secrets/x"])
def test_what_is_neither_directory_nor_id_is_refused(source: str | Path) -> None:
    with pytest.raises(CheckpointError, match="expected a checkpoint directory or a Hub id"):
        weights_directory(source)


def answer(status: int) -> Any:
    """What the Hub's errors want to know of a response."""
    return SimpleNamespace(status_code=status, headers={}, request=SimpleNamespace(url="https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            GatedRepoError("x", response=answer(403)),
            r"facebook/sam3 is gated, and there is no token: accept its terms at .* then set HF_TOKEN",
        ),
        (RepositoryNotFoundError("x", response=answer(404)), "the Hub shows no repository facebook/sam3; check the"),
        (RevisionNotFoundError("x", response=answer(404)), "facebook/sam3 has no revision None on the Hub"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: facebook/sam3 could not be stored"),
        (ConnectionError("reset by peer"), r"the download of facebook/sam3 broke off \(reset by peer\)"),
        (
            HfHubHTTPError("502 Bad Gateway", response=answer(502)),
            r"the download of facebook/sam3 broke off \(502 Bad Gateway\)",
        ),
    ],
)
def test_refusals_of_the_hub_are_put_into_words(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, **options: object) -> str:
        assert name == SAM3
        assert not options.get("local_files_only")
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=message):
        weights_directory(SAM3)


def test_no_pickle_and_no_code_is_ever_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    def download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    weights_directory(CLIP, revision="abc")
    assert asked["name"] == CLIP
    assert asked["revision"] == "abc"
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list)
    assert not any(pattern.endswith((".py", ".bin", ".pt", ".pth", "*")) for pattern in patterns)
