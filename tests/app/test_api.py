"""Round trips of a real client over loopback."""

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.webui.fakes import GRID, channel_mask, three_colours
from workbench.datasets.scenes import scene
from workbench.export.results import coco_rle

ALL = ["evf-sam", "clip-text", "point-query"]


@pytest.fixture(scope="module")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(address, verbose=False, download_files=tmp_path_factory.mktemp("got"))


def save(path: Path, shift: int = 0) -> Path:
    Image.fromarray(three_colours(shift=shift)).save(path)
    return path


def test_compare_takes_image_phrase_and_strategies(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert {"/compare", "/random_scene", "/attention"} <= set(endpoints)
    names = [parameter["parameter_name"] for parameter in endpoints["/compare"]["parameters"]]
    assert names == ["image", "phrase", "strategies"]


def test_the_last_output_of_compare_is_result_json(client: Client, tmp_path: Path) -> None:
    outputs = client.predict(handle_file(save(tmp_path / "a.png")), "a square", ALL, api_name="/compare")
    archive, result = outputs[0], outputs[-1]
    with zipfile.ZipFile(archive) as opened:
        assert json.loads(opened.read("result.json")) == result
    assert result["phrase"] == "a square"
    for channel, key in enumerate(ALL):
        assert result["strategies"][key]["mask_rle"] == coco_rle(channel_mask(three_colours(), channel))


def test_answers_stream_one_by_one(client: Client, tmp_path: Path) -> None:
    job = client.submit(handle_file(save(tmp_path / "a.png")), "a square", ALL, api_name="/compare")
    job.result()
    assert [len(output[-1]["strategies"]) for output in job.outputs()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("phrase", "strategies", "words"),
    [("", ALL, "expected a phrase"), ("x" * 10_000, ALL, "1000 characters"), ("a square", ["nothing"], "nothing")],
)
def test_a_mistake_reaches_the_client_as_a_plain_message(
    client: Client, tmp_path: Path, phrase: str, strategies: list[str], words: str
) -> None:
    with pytest.raises(AppError, match=words):
        client.predict(handle_file(save(tmp_path / "a.png")), phrase, strategies, api_name="/compare")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_broken_file_reaches_the_client_as_a_plain_message(client: Client, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(AppError, match="expected an image"):
        client.predict(handle_file(tmp_path / "broken.png"), "a square", ALL, api_name="/compare")


def test_a_file_outside_the_uploads_is_not_read(client: Client) -> None:
    stolen = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises((AppError, ValueError)):
        client.predict(stolen, "a square", ALL, api_name="/compare")


def test_a_random_scene_comes_with_phrases_that_are_measured(client: Client) -> None:
    picture, figures = client.predict(api_name="/random_scene")
    drawn = scene(figures["seed"], 512)
    assert np.array_equal(np.asarray(Image.open(picture)), drawn.image)
    assert figures["phrases"]
    *_, result = client.predict(handle_file(picture), figures["phrases"][0], ALL, api_name="/compare")
    assert all("iou_with_reference" in answer for answer in result["strategies"].values())


def test_attention_is_that_of_the_clients_last_comparison(address: str, tmp_path: Path) -> None:
    client = Client(address, verbose=False, download_files=tmp_path / "got")
    with pytest.raises(AppError, match="call /compare"):
        client.predict(3, 0, api_name="/attention")
    client.predict(handle_file(save(tmp_path / "a.png")), "a square", ["evf-sam"], api_name="/compare")
    picture, figures = client.predict(2, 1, api_name="/attention")
    assert Image.open(picture).size == (640, 480)
    assert np.shape(figures["map"]) == (GRID, GRID)
    assert 0 <= figures["attention_share_in_mask"] <= 1
    with pytest.raises(AppError, match="layer 1 to 3"):
        client.predict(99, 0, api_name="/attention")


def test_two_visitors_at_once_never_see_each_others_image_or_result(address: str, tmp_path: Path) -> None:
    def visit(index: int) -> list[tuple[dict[str, object], dict[str, object]]]:
        visitor = Client(address, verbose=False, download_files=tmp_path / f"got{index}")
        picture = save(tmp_path / f"{index}.png", shift=index * 25)
        seen = []
        for turn in range(4):
            phrase = f"turn {turn} of visitor " + "number " * index + str(index)
            job = visitor.submit(handle_file(picture), phrase, ALL, api_name="/compare")
            job.result()
            assert all(output[-1]["phrase"] == phrase for output in job.outputs())
            _, figures = visitor.predict(1, 1, api_name="/attention")
            seen.append((job.outputs()[-1][-1], figures))
        return seen

    with ThreadPoolExecutor(2) as pool:
        visits = list(pool.map(visit, (0, 1)))
    maps = []
    for index, seen in enumerate(visits):
        image = three_colours(shift=index * 25)
        for result, figures in seen:
            for channel, key in enumerate(ALL):
                assert result["strategies"][key]["mask_rle"] == coco_rle(channel_mask(image, channel))
            maps.append((index, figures["map"]))
    assert all((one == other) == (i == j) for i, one in maps for j, other in maps)


def test_several_phrases_get_a_mask_each(client: Client, tmp_path: Path) -> None:
    picture = handle_file(save(tmp_path / "a.png"))
    archive, *_, result = client.predict(picture, "a square; absent", ["evf-sam"], api_name="/compare")
    assert result["phrases"] == ["a square", "absent"]
    first, second = result["strategies"]["evf-sam"]["answers"]
    assert first["mask_rle"] == coco_rle(channel_mask(three_colours(), 0))
    assert second["verdict"] == "absent"
    with zipfile.ZipFile(archive) as opened:
        assert {"evf-sam-mask-1.png", "evf-sam-mask-2.png"} <= set(opened.namelist())
