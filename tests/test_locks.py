"""The locks: what the README's commands install is one environment within the ranges of pyproject.toml."""

import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.txt", "requirements-train.txt", "requirements-dev.txt")
"""Each brings the one before it."""
OWN_CHOICE = ("torch", "torchvision")
"""Locked to a highest release instead of to one: see the head of requirements.txt."""


def ranges(part: str) -> dict[str, Requirement]:
    """Direct requirements by canonical name: of the app for "", else of an optional part."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"][part] if part else project["dependencies"]
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def locked(lock: str) -> dict[str, Requirement]:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]
    assert len({each.name for each in wanted}) == len(wanted), f"{lock} names something twice"
    return {canonicalize_name(each.name): each for each in wanted}


def locked_version(name: str, requirement: Requirement) -> str:
    """The version that a fresh environment gets."""
    if requirement.url:
        archive = re.search(rf"/{name}-([\d.]+)\.tar\.gz#sha256=[0-9a-f]{{64}}$", requirement.url)
        assert archive, f"{requirement} names no archive with its digest"
        return archive[1]
    bounds = {each.operator: each.version for each in requirement.specifier}
    assert set(bounds) == ({">=", "<="} if name in OWN_CHOICE else {"=="}), f"{requirement} is no lock"
    return bounds["<="] if name in OWN_CHOICE else bounds["=="]


ALL_LOCKED = {name: locked_version(name, each) for lock in LOCKS for name, each in locked(lock).items()}


def test_the_upload_of_a_third_party_is_held_to_its_digest_and_the_readme_says_so() -> None:
    assert str(locked("requirements.txt")["sam2"].url).endswith(
        "/sam2-1.1.0.tar.gz#sha256=7e0ea252d43c10d853e3acfce0b5770ac683c30481bd6de311300e9d44f45b74"
    )
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "`sam2` on PyPI is a third party's upload" in readme
    assert "held to its SHA-256" in readme


@pytest.mark.parametrize("part", ["", "train", "dev"])
def test_every_direct_requirement_has_both_bounds(part: str) -> None:
    for name, requirement in ranges(part).items():
        assert {each.operator for each in requirement.specifier} == {">=", "<"}, f"{name} lacks a bound"


def test_each_lock_stands_on_the_one_before_and_repeats_nothing() -> None:
    names = [set(locked(lock)) for lock in LOCKS]
    assert len(set.union(*names)) == sum(map(len, names))
    for before, lock in itertools.pairwise(LOCKS):
        assert f"\n-r {before}\n" in (ROOT / lock).read_text(encoding="utf-8")


@pytest.mark.parametrize(("part", "locks"), [("", LOCKS[:1]), ("train", LOCKS[:2]), ("dev", LOCKS)])
def test_every_direct_requirement_is_locked_within_its_range(part: str, locks: tuple[str, ...]) -> None:
    there = {name for lock in locks for name in locked(lock)}
    for name, requirement in ranges(part).items():
        assert name in there, f"{name} is not locked: run .ci/lock"
        assert requirement.specifier.contains(ALL_LOCKED[name]), f"{name}=={ALL_LOCKED[name]} is not {requirement}"


def test_what_the_locked_packages_need_is_locked_too_and_fits() -> None:
    """Followed as far as packages are installed here: torch chooses CUDA's packages and setuptools by itself."""
    for name in ALL_LOCKED.keys() - set(OWN_CHOICE):
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system
        for need in map(Requirement, needs):
            if (need.marker and not need.marker.evaluate({"extra": ""})) or need.name == "setuptools":
                continue
            needed = canonicalize_name(need.name)
            assert needed in ALL_LOCKED, f"{name} needs {need}, which is not locked: run .ci/lock"


def test_what_the_lock_says_that_sam2_needs_is_what_it_needs() -> None:
    """`.ci/lock` tells uv, which would install the whole of torch to find it out."""
    told = re.search(
        r"<<'TOLD'\n(.*?)^TOLD$", (ROOT / ".ci" / "lock").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert told
    (entry,) = tomllib.loads(told[1])["dependency-metadata"]
    assert entry["version"] == ALL_LOCKED["sam2"] == importlib.metadata.version("sam2")
    needs = [need for need in importlib.metadata.requires("sam2") or () if "extra ==" not in need]
    assert sorted(map(str, map(Requirement, entry["requires-dist"]))) == sorted(map(str, map(Requirement, needs)))


def test_the_highest_torch_is_taken_for_cpus_and_for_cuda_alike() -> None:
    for name in OWN_CHOICE:
        requirement, version = locked("requirements.txt")[name], ALL_LOCKED[name]
        for build in ("", "+cpu", "+cu128", "+cu130"):
            assert requirement.specifier.contains(version + build)


def test_this_environment_is_one_that_the_ranges_allow() -> None:
    direct = {**ranges(""), **ranges("train"), **ranges("dev")}
    for name, requirement in direct.items():
        version = importlib.metadata.version(name)
        assert requirement.specifier.contains(version), f"{name} {version} is installed, which is not {requirement}"


def test_ci_installs_the_lock_or_on_demand_the_newest_in_range() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert '"") requirements=(-r requirements-dev.txt)' in script
    (program,) = re.findall(r"-c '\n(.*?)'", script, re.DOTALL)
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = {**ranges(""), **ranges("train"), **ranges("dev")}
    assert sorted(map(str, map(Requirement, said.splitlines()))) == sorted(map(str, wanted.values()))


def test_ci_refuses_an_option_that_it_does_not_know() -> None:
    done = subprocess.run(["bash", ROOT / ".ci" / "run", "--oldest"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: .ci/run [--newest], got: --oldest\n"
