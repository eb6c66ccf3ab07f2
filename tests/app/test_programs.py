"""The doors for programs, from outside: plain HTTP, Gradio's protocol, and the document that describes both."""

import json
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jsonschema
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from openapi_spec_validator import validate
from PIL import Image
from pycocotools import mask as coco_mask

from tests.webui.fakes import GRID, TOOL_NAMES, channel_mask, fake_comparison, three_colours
from webui.blocks import build_demo
from workbench.datasets.scenes import scene
from workbench.export.results import png_bytes

IMAGE = "data:image/png;base64," + b64encode(png_bytes(three_colours())).decode()
ASKED = {"image": IMAGE, "phrase": "a square"}


@pytest.fixture(scope="module")
def document(address: str) -> dict[str, Any]:
    with urlopen(f"{address}gradio_api/openapi.json") as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def post(url: str, body: object, content_type: str = "application/json") -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urlopen(Request(url, content, {"Content-Type": content_type}), timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def form(fields: Mapping[str, str], image: bytes) -> bytes:
    parts = [f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}' for key, text in fields.items()]
    head = '--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return "\r\n".join([*parts, head]).encode() + image + b"\r\n--edge--\r\n"


def test_a_mask_comes_back_over_plain_http(address: str) -> None:
    status, answer = post(f"{address}programs/segment", ASKED | {"strategy": "clip-text"})
    assert (status, answer["verdict"]) == (200, "found")
    assert np.array_equal(coco_mask.decode(answer["mask_rle"]) == 1, channel_mask(three_colours(), 1))


def test_a_form_with_a_file_asks_the_same(address: str) -> None:
    fields = {"phrase": "a square; absent", "strategy": "point-query", "options": '{"grid_size": 3}'}
    body = form(fields, png_bytes(three_colours()))
    status, answer = post(f"{address}programs/segment", body, "multipart/form-data; boundary=edge")
    assert status == 200
    assert [one["verdict"] for one in answer["by_phrase"]] == ["found", "absent"]


def test_a_drawn_scene_can_be_asked_about_by_its_address(address: str) -> None:
    _, drawn = post(f"{address}programs/draw_scene", {"seed": 7})
    _, answer = post(f"{address}programs/segment", {"image": drawn["picture_url"], "phrase": "anything"})
    assert answer["image_size"] == [512, 512]
    truth = scene(7, 512, is_plain=True)
    first = drawn["expressions"][0]
    assert first["phrase"] == truth.expressions[0].text
    assert np.array_equal(coco_mask.decode(first["mask_rle"]) == 1, truth.mask(truth.expressions[0]))


def test_a_box_and_points_refine_the_phrase(address: str) -> None:
    marks = {"box": [0, 0, 40, 240], "points": [[200, 200, 1]]}
    _, answer = post(f"{address}programs/segment", ASKED | marks)
    mask = coco_mask.decode(answer["mask_rle"]) == 1
    assert mask[200, 200]
    assert not mask[30, 60]


def test_strategies_are_compared_in_the_order_asked(address: str) -> None:
    _, answer = post(f"{address}programs/compare_strategies", ASKED | {"strategies": ["point-query", "evf-sam"]})
    assert [one["strategy"] for one in answer["answers"]] == ["point-query", "evf-sam"]
    assert answer["agreement_iou"]["evf-sam"] == {"point-query": 0, "evf-sam": 1}


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("segment", {}, 422, "misses the argument 'image'"),
        ("segment", ASKED | {"colour": 1}, 422, "no argument 'colour': expected image, phrase"),
        ("segment", ASKED | {"phrase": ""}, 422, "expected a phrase"),
        ("segment", ASKED | {"image": "x.png"}, 422, "expected an image"),
        ("segment", ASKED | {"strategy": "nothing"}, 422, "expected one of evf-sam"),
        ("segment", ASKED | {"strategy": 3}, 422, "as text, got 3"),
        ("segment", ASKED | {"options": [1]}, 422, "expected options as a JSON object"),
        ("segment", ASKED | {"options": []}, 422, "expected options as a JSON object"),
        ("segment", ASKED | {"options": False}, 422, "expected options as a JSON object"),
        ("segment", ASKED | {"box": [1, 2]}, 422, "expected a box"),
        ("segment", ASKED | {"points": [[1, 2, 5]]}, 422, "label 1"),
        ("segment", ASKED | {"points": [[9999, 2, 1]]}, 422, "inside the 320 x 240 image"),
        ("explain_attention", ASKED | {"layer": 99}, 422, "layer 1 to 3"),
        ("explain_attention", ASKED | {"strategy": "clip-text"}, 422, "ask evf-sam"),
        ("draw_scene", {"seed": -1}, 422, "expected a seed"),
        ("segment", b"{", 400, "expected a JSON object"),
        ("segment", [1], 400, "got list"),
        ("nothing", {}, 404, "expected one of list_strategies"),
    ],
)
def test_a_mistake_is_one_sentence_with_a_status(
    address: str, name: str, body: object, status: int, words: str
) -> None:
    got, answer = post(f"{address}programs/{name}", body)
    assert (got, list(answer)) == (status, ["detail"])
    assert words in answer["detail"]
    assert "\n" not in answer["detail"]


def test_no_file_of_the_server_is_read_for_a_program(address: str, tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    private.write_bytes(png_bytes(three_colours()))
    file = {"path": str(private), "meta": {"_type": "gradio.FileData"}}
    for body in (ASKED | {"image": file}, ASKED | {"image": str(private)}, ASKED | {"options": {"a": file}}):
        status, answer = post(f"{address}programs/segment", body)
        assert status == 422
        assert "expected" in answer["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("v2/segment", {"image": IMAGE}, 422, "misses the argument 'phrase'"),
        ("v2/nothing", {}, 404, "unknown endpoint 'nothing'"),
        ("segment", {"data": [IMAGE]}, 422, "list of 6 arguments"),
        ("v2/segment", {"image": {"path": "/etc/hostname", "meta": {}}, "phrase": "a"}, 422, "upload it first"),
    ],
)
def test_gradios_own_protocol_says_what_does_not_fit(
    address: str, path: str, body: object, status: int, words: str
) -> None:
    got, answer = post(f"{address}gradio_api/call/{path}", body)
    assert got == status
    assert words in answer["detail"]


def test_gradios_client_gets_the_same_answers(address: str, tmp_path: Path) -> None:
    client = Client(address, verbose=False, httpx_kwargs={"timeout": 90}, download_files=tmp_path / "got")
    file = tmp_path / "a.png"
    file.write_bytes(png_bytes(three_colours()))
    picture, figures = client.predict(handle_file(file), "a square", layer=2, head=1, api_name="/explain_attention")
    assert Image.open(picture).size == (640, 480)
    assert np.shape(figures["map"]) == (GRID, GRID)
    answer = client.predict(image=handle_file(file), phrase="a square", api_name="/segment")
    assert answer["mask_rle"] == post(f"{address}programs/segment", ASKED)[1]["mask_rle"]
    with pytest.raises(AppError, match="unknown strategy"):
        client.predict(handle_file(file), "a square", "nothing", api_name="/segment")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_broken_file_reaches_the_client_as_a_plain_message(address: str, tmp_path: Path, content: bytes) -> None:
    client = Client(address, verbose=False, httpx_kwargs={"timeout": 90}, download_files=tmp_path / "got")
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(AppError, match="expected an image"):
        client.predict(handle_file(tmp_path / "broken.png"), "a square", api_name="/segment")


def test_two_visitors_at_once_never_see_each_others_image_or_result(address: str, tmp_path: Path) -> None:
    def visit(index: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        visitor = Client(address, verbose=False, httpx_kwargs={"timeout": 90}, download_files=tmp_path / f"got{index}")
        picture = tmp_path / f"{index}.png"
        picture.write_bytes(png_bytes(three_colours(shift=index * 25)))
        seen = []
        for turn in range(4):
            phrase = f"turn {turn} of visitor " + "number " * index + str(index)
            answer = visitor.predict(handle_file(picture), phrase, api_name="/compare_strategies")
            assert answer["phrases"] == [phrase]
            _, figures = visitor.predict(handle_file(picture), phrase, layer=1, head=1, api_name="/explain_attention")
            seen.append((answer, figures))
        return seen

    with ThreadPoolExecutor(2) as pool:
        visits = list(pool.map(visit, (0, 1)))
    maps = []
    for index, seen in enumerate(visits):
        image = three_colours(shift=index * 25)
        for answer, figures in seen:
            for channel, one in enumerate(answer["answers"]):
                assert np.array_equal(coco_mask.decode(one["mask_rle"]) == 1, channel_mask(image, channel))
            maps.append((index, figures["map"]))
    assert all((one == other) == (i == j) for i, one in maps for j, other in maps)


def test_the_document_is_openapi_and_names_every_public_endpoint(address: str, document: dict[str, Any]) -> None:
    validate(document)
    public = Client(address, verbose=False, httpx_kwargs={"timeout": 90}).view_api(return_format="dict")[
        "named_endpoints"
    ]
    assert {f"/gradio_api/call/v2{name}" for name in public} <= set(document["paths"])
    assert {f"/programs/{name}" for name in TOOL_NAMES} <= set(document["paths"])


def test_the_document_types_what_goes_in_and_what_comes_out(address: str, document: dict[str, Any]) -> None:
    bodies = dict.fromkeys(("segment", "compare_strategies", "explain_attention"), ASKED)
    for name, body in {**bodies, "list_strategies": {}, "draw_scene": {"seed": 1}}.items():
        operation = document["paths"][f"/programs/{name}"]["post"]
        asked = operation["requestBody"]["content"]["application/json"]["schema"]
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
        inside = {"components": document["components"]}
        jsonschema.validate(body, {**inside, **asked})
        jsonschema.validate(post(f"{address}programs/{name}", body)[1], {**inside, **answered})


def test_every_argument_and_answer_is_described(document: dict[str, Any]) -> None:
    for name in TOOL_NAMES:
        for side in ("arguments", "answer"):
            properties = document["components"]["schemas"][f"{name}_{side}"]["properties"]
            assert [field for field, schema in properties.items() if not schema.get("description")] == [], (name, side)


def test_every_program_that_runs_models_waits_in_the_pages_queue() -> None:
    demo = build_demo(fake_comparison()[0])
    waiting = {fn.api_name for fn in demo.fns.values() if fn.concurrency_id == "models" and fn.concurrency_limit == 1}
    assert {"segment", "compare_strategies", "explain_attention"} <= waiting
