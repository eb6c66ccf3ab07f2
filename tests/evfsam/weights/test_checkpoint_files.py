import itertools
import json
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from evfsam.errors import CheckpointError
from evfsam.model.configuration import EvfSamConfig
from evfsam.weights.checkpoint_files import read_config, read_weights, save_weights, write_config
from evfsam.weights.loading import load_strictly
from tests.evfsam.tiny import BEIT3, SAM


def weights() -> dict[str, torch.Tensor]:
    return {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([0.5, -0.5])}


def test_weights_come_back(tmp_path: Path) -> None:
    save_weights(tmp_path, weights())
    torch.testing.assert_close(read_weights(tmp_path), weights())


def test_weights_may_be_read_by_whoever_may_read_other_new_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert save_weights(tmp_path, weights()).stat().st_mode == (tmp_path / "other").stat().st_mode


def test_only_floating_point_weights_are_stored_smaller(tmp_path: Path) -> None:
    save_weights(tmp_path, {**weights(), "steps": torch.tensor([70_000])}, torch.float16)
    stored = read_weights(tmp_path)
    assert stored["weight"].dtype == torch.float16
    assert stored["steps"].item() == 70_000


def test_views_and_shared_tensors_can_be_saved(tmp_path: Path) -> None:
    base = torch.arange(6.0).view(2, 3)
    save_weights(tmp_path, {"a": base, "b": base, "c": base.t()})
    torch.testing.assert_close(read_weights(tmp_path)["c"], base.t())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_not_finite_in_storage_are_not_saved(value: float, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'weight' is not in torch\.float16"):
        save_weights(tmp_path, {"weight": torch.tensor([value])}, torch.float16)
    assert not list(tmp_path.iterdir())


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    save_weights(tmp_path, weights())
    with pytest.raises(CheckpointError):
        save_weights(tmp_path, {"weight": torch.tensor([float("nan")])})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    torch.testing.assert_close(read_weights(tmp_path), weights())


def test_an_older_configuration_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, {"sides": 1})

    def write_half(path: Path, text: str, **_options: object) -> None:
        path.write_bytes(text[:9].encode())
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="no space left"):
        write_config(tmp_path, {"sides": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert read_config(tmp_path) == {"sides": 1}


def test_so_does_that_of_an_evf_sam(tmp_path: Path) -> None:
    EvfSamConfig(beit3=BEIT3, sam=SAM).save_pretrained(tmp_path)
    older = read_config(tmp_path)
    broken = EvfSamConfig(beit3=BEIT3, sam=SAM)
    broken.not_for_json = object()
    with pytest.raises(TypeError):
        broken.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert read_config(tmp_path) == older


class Killed(BaseException):
    """Stands in for the end of the process."""


def kill_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end instead of the step after so many that change a folder."""
    left = iter(range(steps))

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            if next(left, None) is None:
                raise Killed
            return change(*arguments, **options)

        return step

    for name in ("touch", "write_text", "replace", "unlink"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))


@pytest.mark.parametrize("before", [None, 8, 16])
@pytest.mark.parametrize("after", [None, 8, 16])
def test_a_save_that_is_cut_short_leaves_the_older_weights_or_the_new_ones(
    before: int | None, after: int | None, tmp_path: Path
) -> None:
    older, newer = ({name: torch.full((2,), value) for name in "abcd"} for value in (0.0, 1.0))
    found = []
    for steps in itertools.count():
        folder = tmp_path / str(steps)
        save_weights(folder, older, max_shard_bytes=before)
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            kill_after(steps, patch)
            save_weights(folder, newer, max_shard_bytes=after)
            break
        values = {value for tensor in read_weights(folder).values() for value in tensor.tolist()}
        assert len(values) == 1, f"old and new ones after {steps} steps"
        found += values
        save_weights(folder, newer, max_shard_bytes=after)
        assert {path.name for path in folder.iterdir()} == named_files(folder)
    assert found == sorted(found)
    torch.testing.assert_close(read_weights(folder), newer)


def test_what_failed_saves_leave_makes_no_room_scarce_for_the_next(tmp_path: Path) -> None:
    older, newer = ({name: torch.full((2,), value) for name in "abcd"} for value in (0.0, 1.0))
    save_weights(tmp_path, older, max_shard_bytes=8)
    most = 2 * len(list(tmp_path.iterdir()))
    for steps in (7, 9, 11, 13):
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            kill_after(steps, patch)
            save_weights(tmp_path, newer, max_shard_bytes=8)
        assert len(list(tmp_path.iterdir())) <= most
        torch.testing.assert_close(read_weights(tmp_path), older)


def named_files(folder: Path) -> set[str]:
    """The files that weights are read from."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return {"model.safetensors"}
    return {index.name, *json.loads(index.read_text())["weight_map"].values()}


def test_shards_are_joined(tmp_path: Path) -> None:
    for name, value in weights().items():
        save_file({name: value}, tmp_path / f"{name}.safetensors")
    index = {"weight_map": {name: f"{name}.safetensors" for name in weights()}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    torch.testing.assert_close(read_weights(tmp_path), weights())


@pytest.mark.parametrize(
    "content", ["{}", '{"weight_map": {"weight": "../other.safetensors"}}', '{"weight_map": {"weight": 3}}']
)
def test_an_index_only_names_files_beside_it(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match="does not map weights to files beside it"):
        read_weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"weight": "one.safetensors"}}')
    with pytest.raises(CheckpointError, match=r"index\.json names shards .* 1 missing: one\.safetensors"):
        read_weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    path = save_weights(tmp_path, weights())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="damaged, cut short or missing"):
        read_weights(tmp_path)


class Trap:
    """Leaves a mark when a pickle of it is run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("is_archive", [True, False])
def test_code_in_a_pickle_is_refused_and_never_run(is_archive: bool, tmp_path: Path) -> None:
    content = {**weights(), "extra": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=is_archive)
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin holds more than weights \(GLOBAL posix\.mkdir\).*safetensors"
    ):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        read_weights(tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_pickle_of_plain_tensors_is_read(is_archive: bool, tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=is_archive)
    torch.testing.assert_close(read_weights(tmp_path), weights())


@pytest.mark.parametrize("content", [{"model": weights()}, [torch.zeros(1)], {"a": 3}, {3: torch.zeros(1)}])
def test_a_pickle_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin does not map names to dense tensors"):
        read_weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 60, 700, -1])
def test_a_truncated_pickle_is_refused(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(weights(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is damaged, cut short or missing \(.+\); download"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_into_large_file_storage_is_told_apart(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointError, match=rf"{name} only points to the weights in Git LFS; run 'git lfs pull'"):
        read_weights(tmp_path)


def test_safetensors_are_preferred_to_a_pickle(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    save_weights(tmp_path, weights())
    assert read_weights(tmp_path).keys() == weights().keys()


def test_a_link_into_a_cache_that_lost_its_target_is_damage(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs" / "gone")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged, cut short or missing"):
        read_weights(tmp_path)


def test_a_directory_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors or pytorch_model\.bin in .*, found none"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, r"1 missing: bias"),
        ({"scale": torch.zeros(1)}, r"1 unexpected: scale"),
        ({"bias": torch.zeros(3)}, r"1 mis-shaped: bias \(expected \(2,\), got \(3,\)\)"),
        ({"bias": None, "scale": torch.zeros(1)}, r"1 missing: bias; 1 unexpected: scale"),
        ({f"extra{i}": torch.zeros(1) for i in range(7)}, r"7 unexpected: extra0, .*extra4 and 2 more"),
    ],
)
def test_keys_and_shapes_must_fit(change: dict[str, torch.Tensor | None], message: str) -> None:
    given = {name: value for name, value in {**weights(), **change}.items() if value is not None}
    module = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"here does not fit its configuration: {message}"):
        load_strictly(module, given, "here")
    torch.testing.assert_close(module.state_dict(), before)


def test_float16_storage_is_loaded_into_the_type_in_use(tmp_path: Path) -> None:
    save_weights(tmp_path, weights(), torch.float16)
    for dtype in (torch.float32, torch.bfloat16):
        module = nn.Linear(3, 2).to(dtype)
        load_strictly(module, load_file(tmp_path / "model.safetensors"), "here")
        assert module.weight.dtype == dtype
        torch.testing.assert_close(module.weight.float(), weights()["weight"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b"[1]", "holds a list, expected a"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
    ],
)
def test_a_damaged_configuration_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path)


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected config\.json in .*, found none"):
        read_config(tmp_path)
