"""The Space: what the Hub reads at the top of README.md is what it accepts, and names what the code loads."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from huggingface_hub import metadata_load
from packaging.requirements import Requirement

from workbench.suites.full import default_model_ids
from workbench.suites.model_lock import find_model

ROOT = Path(__file__).parents[1]
FIELDS = {
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "pinned"),
    *("short_description", "thumbnail", "models", "datasets", "tags", "license", "suggested_hardware", "header"),
    *("fullWidth", "base_path", "disable_embedding", "startup_duration_timeout", "preload_from_hub", "custom_headers"),
    *("hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes", "hf_oauth_authorized_org"),
}
"""Documented at https://huggingface.co/docs/hub/spaces-config-reference; the Hub ignores others or refuses them."""
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = {
    *("cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "l40sx1", "l40sx4", "l40sx8"),
    *("a10g-small", "a10g-large", "a10g-largex2", "a10g-largex4", "a100-large", "a100x4", "a100x8"),
}
LONGEST_DESCRIPTION = 60
COMMIT = re.compile(r"[0-9a-f]{40}")


@pytest.fixture(scope="module")
def front() -> dict[str, object]:
    assert (ROOT / "README.md").read_text(encoding="utf-8").startswith("---\n"), "the front matter comes first"
    values = metadata_load(ROOT / "README.md")  # the Hub's own reader
    assert isinstance(values, dict)
    return values


def preloaded(front: dict[str, object]) -> list[tuple[str, list[str], str]]:
    lines = front["preload_from_hub"]
    assert isinstance(lines, list)
    parts = [str(line).split(" ") for line in lines]
    return [(model, files.split(","), commit) for model, files, commit in parts]


def test_only_documented_fields_with_values_of_their_kind(front: dict[str, object]) -> None:
    assert set(front) <= FIELDS
    assert {"title", "sdk", "sdk_version", "python_version", "app_file", "models", "tags", "license"} <= set(front)
    strings = [key for key in front if key not in ("models", "tags", "preload_from_hub", "pinned")]
    assert [key for key in strings if not isinstance(front[key], str)] == [], "a version without quotes is a number"
    for key in ("models", "tags"):
        values = front[key]
        assert isinstance(values, list)
        assert values
        assert all(isinstance(value, str) for value in values)
        assert len(set(values)) == len(values)


def test_values_are_ones_that_the_hub_knows(front: dict[str, object]) -> None:
    assert front["sdk"] == "gradio"
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert front["suggested_hardware"] in HARDWARE
    assert front["license"] == "apache-2.0"
    assert re.fullmatch(r"\d+(m|h)", str(front["startup_duration_timeout"]))
    assert len(str(front["short_description"])) <= LONGEST_DESCRIPTION
    assert front["python_version"] == "3.12.12", "ZeroGPU takes a release by its whole number"


def required(lock: str, name: str) -> Requirement:
    (line,) = re.findall(rf"^{name}[>=].*", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)
    return Requirement(line)


@pytest.mark.parametrize(("name", "oldest", "newest"), [("torch", "2.8", "2.11"), ("torchvision", "0.23", "0.26")])
def test_torch_is_a_release_that_zerogpu_works_with_and_the_lock_leaves(name: str, oldest: str, newest: str) -> None:
    """ZeroGPU knows torch 2.8 to 2.11; what is installed first must satisfy the lock, or it would be replaced."""
    first = required("pre-requirements.txt", name).specifier
    lock = required("requirements.txt", name).specifier
    for version in (f"{oldest}.0", f"{newest}.0", f"{newest}.0+cu128"):
        assert first.contains(version)
        assert lock.contains(version)
    minor = int(newest.split(".")[1])
    assert not first.contains(newest.replace(str(minor), str(minor + 1)) + ".0")


def test_the_entry_point_exists_and_the_page_was_tested_on_that_gradio(front: dict[str, object]) -> None:
    assert (ROOT / str(front["app_file"])).is_file()
    locked = required("requirements.txt", "gradio").specifier
    assert str(locked) == f"=={front['sdk_version']}", "the Space installs sdk_version beside the lock"


def test_every_listed_model_is_one_that_the_code_loads_and_none_is_missing(front: dict[str, object]) -> None:
    listed = front["models"]
    assert isinstance(listed, list)
    assert sorted(listed) == sorted(default_model_ids())


def test_preloaded_files_are_those_of_the_lock_file_at_its_commit(front: dict[str, object]) -> None:
    for model_id, files, commit in preloaded(front):
        locked = find_model(model_id)
        assert COMMIT.fullmatch(commit)
        assert commit == locked.revision
        assert [name for name in files if not any(fnmatch(name, pattern) for pattern in locked.files)] == []
        assert "config.json" in files
        assert any(name.endswith((".safetensors", ".bin")) for name in files)


def test_everything_is_preloaded_but_gated_models_which_a_build_cannot_fetch(front: dict[str, object]) -> None:
    free = [model_id for model_id in default_model_ids() if not find_model(model_id).is_gated]
    assert sorted(model_id for model_id, _, _ in preloaded(front)) == sorted(free)


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def image() -> list[tuple[str, str]]:
    return instructions(ROOT / "Dockerfile")


def arguments_of(image: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for found, rest in image if found == word]


def test_one_argument_chooses_between_cpu_and_gpu(image: list[tuple[str, str]]) -> None:
    assert image[0] == ("ARG", "TARGET=cpu")
    assert any("FROM" in found and "TARGET" in rest for found, rest in image)
    stages = {rest.split(" AS ")[-1] for rest in arguments_of(image, "FROM")}
    assert {"base-cpu", "base-gpu"} <= stages
    sources = {rest.split("=", 1)[1] for rest in arguments_of(image, "ENV") if rest.startswith("TORCH_INDEX=")}
    assert {source.rsplit("/", 1)[-1][:2] for source in sources} == {"cp", "cu"}


def test_the_container_serves_as_an_ordinary_user(image: list[tuple[str, str]]) -> None:
    user = arguments_of(image, "USER")[-1]
    assert user not in ("root", "0")
    assert any("useradd" in rest and user in rest for rest in arguments_of(image, "RUN"))
    after = [found for found, _ in image[[found for found, _ in image].index("USER") + 1 :]]
    assert "RUN" not in after, "what runs at build time runs before the user is set"


def test_the_container_is_asked_for_a_sign_of_life_at_the_port_it_serves(image: list[tuple[str, str]]) -> None:
    (health,) = arguments_of(image, "HEALTHCHECK")
    (port,) = arguments_of(image, "EXPOSE")
    assert f"127.0.0.1:{port}" in health
    assert "--start-period" in health
    settings = " ".join(arguments_of(image, "ENV"))
    assert "GRADIO_SERVER_NAME=0.0.0.0" in settings
    assert f"GRADIO_SERVER_PORT={port}" in settings


def test_the_container_runs_the_app_in_exec_form_and_keeps_models_on_a_volume(image: list[tuple[str, str]]) -> None:
    (entry,) = arguments_of(image, "ENTRYPOINT")
    assert entry == '["python", "app.py"]'
    assert arguments_of(image, "CMD") == ['["--suite", "auto"]']
    (volume,) = arguments_of(image, "VOLUME")
    assert f"HF_HOME={volume}" in " ".join(arguments_of(image, "ENV"))


def test_what_the_app_needs_is_copied_and_nothing_else(image: list[tuple[str, str]]) -> None:
    copied = {path.rstrip("/") for rest in arguments_of(image, "COPY") for path in rest.split()[:-1]}
    needed = {"app.py", "evfsam", "baselines", "workbench", "webui", "checkpoints", "examples", "requirements.txt"}
    assert {path for path in copied if not path.startswith("--")} == needed
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", "tests", "training", "**/__pycache__"} <= set(ignored)
    assert not needed & set(ignored)
