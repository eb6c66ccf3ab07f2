from collections.abc import Mapping

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from webui.i18n.pages import LanguageMiddleware, SpokenBlocks, in_all_languages
from webui.i18n.translate import in_language, translate

DOCUMENT = '<!doctype html><html lang="en"><head></head><body><q lang="en">a bus</q>…</body></html>'


def build() -> SpokenBlocks:
    with SpokenBlocks(title=translate("Compare"), analytics_enabled=False) as demo:
        gr.HTML(f"<h1>{translate('Results')}</h1>")
        image, told = gr.Textbox(label=translate("Image")), gr.Textbox(label=translate("Result"))
        gr.Button(translate("Compare")).click(
            lambda text: text, image, told, api_name="compare", js=f"() => '{translate('Stop')}'"
        )
    return demo


@pytest.fixture(scope="module")
def spoken() -> SpokenBlocks:
    return in_all_languages(build)


def test_a_request_reads_the_page_in_its_language_with_the_same_components_and_events(spoken: SpokenBlocks) -> None:
    english = spoken.config
    with in_language("zh"):
        chinese = spoken.config
    assert (english["title"], chinese["title"]) == ("Compare", "比较")
    assert [each["props"].get("label") for each in chinese["components"]][1:3] == ["图像", "结果"]
    assert chinese["components"][0]["props"]["value"] == "<h1>结果</h1>"
    assert chinese["dependencies"][0]["js"] == "() => '停止'"
    assert [each["id"] for each in english["components"]] == [each["id"] for each in chinese["components"]]
    assert english["dependencies"][0]["targets"] == chinese["dependencies"][0]["targets"]


def test_what_programs_are_told_of_the_endpoints_is_english_whoever_asks_first(spoken: SpokenBlocks) -> None:
    with in_language("zh"):
        told = spoken.get_api_info()
    assert told["named_endpoints"]["/compare"]["parameters"][0]["label"] == "Image"


def answered(path: str, headers: Mapping[str, str]) -> Response:
    async def page(_request: Request) -> Response:
        return HTMLResponse(DOCUMENT)

    async def data(_request: Request) -> Response:
        return JSONResponse({"said": translate("Compare")})

    routes = [Route("/", page), Route("/data", data)]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(LanguageMiddleware)])).get(path, headers=headers)


def test_a_document_is_marked_with_its_language_before_anything_runs_in_it() -> None:
    answer = answered("/?lang=zh", {"accept": "text/html"})
    assert '<html lang="zh-CN"><head><script>' in answer.text
    assert '"tag": "zh-CN"' in answer.text
    assert answer.text.endswith('<q lang="en">a bus</q>…</body></html>'), "what is quoted keeps its language"
    assert answer.headers["content-language"] == "zh-CN"
    assert answer.headers["vary"] == "Accept-Language, Cookie"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_an_english_document_has_no_words_of_gradio_to_replace() -> None:
    answer = answered("/", {"accept": "text/html", "accept-language": "de"})
    assert '<html lang="en">' in answer.text
    assert '"words": {}' in answer.text


def test_what_a_page_asks_for_is_said_in_the_language_of_that_page() -> None:
    assert answered("/data", {"referer": "http://testserver/?lang=zh"}).json() == {"said": "比较"}
    assert answered("/data", {}).json() == {"said": "Compare"}
