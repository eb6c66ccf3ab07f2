"""What a visitor does with the results: look closely, compare with the plain image, read values, stop, come back."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.conftest import opened
from tests.browser.test_page import KEYS, ask, expect_three_answers, upload
from tests.webui.fakes import three_colours

pytestmark = pytest.mark.browser

RED_SQUARE = (10 + 60, 20 + 60)
"""A place inside the red square of the uploaded picture of 640 x 480 pixels."""
STOP_SOON = """
() => {
  const look = () => {
    const stop = document.querySelector('#stop');
    if (document.querySelector('#status').innerText.includes('of 3 answered') && !stop.disabled) stop.click();
    else setTimeout(look, 20);
  };
  look();
}
"""


@pytest.fixture(scope="module")
def visit(browser: Browser, fake_page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = tmp_path_factory.mktemp("visit") / "squares.png"
    Image.fromarray(three_colours((480, 640))).save(path)
    with opened(browser, fake_page) as page:
        upload(page, path)
        ask(page, "the red square")
        expect_three_answers(page)
        for key in KEYS:
            expect(page.locator(f"#overlay-{key} img")).to_be_visible()
        yield page


@pytest.fixture
def answered(visit: Page) -> Page:
    """Return to a page with three answers, at its whole view."""
    visit.get_by_role("button", name="Reset view").click()
    visit.mouse.move(5, 5)
    return visit


def frame(page: Page, key: str = "evf-sam") -> Locator:
    return page.locator(f"#overlay-{key} .image-frame")


def place(page: Page, x: float, y: float, key: str = "evf-sam") -> dict[str, float]:
    box = frame(page, key).bounding_box()
    assert box is not None
    return {"x": box["width"] * x / 640, "y": box["height"] * y / 480}


def transforms(page: Page) -> list[str]:
    shown = "#columns [id^=overlay-] img, #columns [id^=evidence-] img"
    return page.locator(shown).evaluate_all("(all) => all.map((one) => getComputedStyle(one).transform)")


def test_all_pictures_share_one_zoom_and_pan(answered: Page) -> None:
    whole = transforms(answered)
    assert len(whole) == 6
    frame(answered).hover(position=place(answered, *RED_SQUARE))
    answered.mouse.wheel(0, -100)
    assert transforms(answered) == whole, "a wheel without Ctrl scrolls the page"
    frame(answered).hover(position=place(answered, *RED_SQUARE))
    answered.keyboard.down("Control")
    answered.mouse.wheel(0, -100)
    answered.keyboard.up("Control")
    expect(answered.locator(".viewer output")).to_have_text("149 %")
    zoomed = transforms(answered)
    assert len(set(zoomed)) == 1
    assert zoomed != whole

    answered.mouse.down()
    answered.mouse.move(300, 400, steps=3)
    answered.mouse.up()
    assert transforms(answered) != zoomed
    assert len(set(transforms(answered))) == 1
    answered.get_by_role("button", name="Reset view").click()
    assert transforms(answered) == whole


def colour(page: Page, x: float, y: float) -> tuple[int, ...]:
    """Return the colour that EVF-SAM's picture shows at a pixel of the uploaded one."""
    at = place(page, x, y)
    return Image.open(BytesIO(frame(page).screenshot())).convert("RGB").getpixel((at["x"], at["y"]))


def is_near(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < 12


GREY, RED = (120, 120, 120), (230, 30, 30)
ON_GREY = (320, 440)


def test_outside_the_mask_the_picture_is_dimmed_until_wipe_or_opacity_show_the_plain_one(answered: Page) -> None:
    dimmed = (48, 48, 48)
    assert is_near(colour(answered, *ON_GREY), dimmed)
    for name in ("Show the plain image", "Opacity"):
        slider = answered.get_by_role("slider", name=name)
        expect(slider).to_have_value("100")
        slider.fill("0")
        assert is_near(colour(answered, *ON_GREY), GREY)
        assert is_near(colour(answered, *RED_SQUARE), RED)
        slider.fill("100")
        assert is_near(colour(answered, *ON_GREY), dimmed)


def test_the_mask_is_shown_alone_and_as_a_cut_out(answered: Page) -> None:
    show = answered.get_by_role("combobox", name="Show")
    show.select_option("Mask alone")
    assert is_near(colour(answered, *RED_SQUARE), (255, 255, 255))
    assert is_near(colour(answered, *ON_GREY), (0, 0, 0))
    show.select_option("Cut-out")
    assert is_near(colour(answered, *RED_SQUARE), RED)
    assert not is_near(colour(answered, *ON_GREY), GREY)
    show.select_option("Marked")


def test_what_was_meant_can_be_outlined_where_it_is_known(page: Page, answered: Page) -> None:
    expect(answered.get_by_label("What was meant")).to_be_hidden()
    page.locator("#examples button").first.click()
    expect_three_answers(page)
    for key in KEYS:
        expect(page.locator(f"#card-{key} [data-outcome]")).to_have_count(1)
    before = frame(page).screenshot()
    page.get_by_label("What was meant").check()
    assert frame(page).screenshot() != before


def test_pointing_at_one_picture_tells_the_value_of_each(answered: Page) -> None:
    frame(answered, "clip-text").hover(position=place(answered, *RED_SQUARE))
    expect(answered.locator("#readout-evf-sam")).to_contain_text("in the mask, logit +1.0")
    for key in ("clip-text", "point-query"):
        expect(answered.locator(f"#readout-{key}")).to_contain_text("not in the mask, logit −1.0")
    for corner, words in {
        (15, 25): "in the",
        (5, 15): "not in the",
        (125, 135): "in the",
        (135, 145): "not in the",
    }.items():
        frame(answered).hover(position=place(answered, *corner))
        expect(answered.locator("#readout-evf-sam")).to_contain_text(f": {words} mask")
    answered.mouse.move(5, 5)
    expect(answered.locator("#readout-evf-sam .readout")).not_to_contain_text("mask")


def test_the_keyboard_zooms_and_reads_values_aloud(answered: Page) -> None:
    answered.locator("#overlay-evf-sam .image-container > button").focus()
    answered.keyboard.press("+")
    expect(answered.locator(".viewer output")).to_have_text("150 %")
    answered.keyboard.press("ArrowRight")
    expect(answered.locator(".viewer [role=status]")).to_contain_text("EVF-SAM: not in the mask")
    expect(answered.locator("#readout-evf-sam")).to_contain_text("x 328, y 240")
    answered.keyboard.press("0")
    expect(answered.locator(".viewer output")).to_have_text("100 %")


def test_a_run_can_be_stopped_and_asked_again(page: Page, picture: Path) -> None:
    expect(page.locator("#stop")).to_be_disabled()
    upload(page, picture)
    page.evaluate(STOP_SOON)
    ask(page, "; ".join(f"square {number}" for number in range(12)))  # enough for a busy machine to stop it in time
    expect(page.locator("#status")).to_contain_text("Stopped.")
    expect(page.locator("#card-point-query")).to_contain_text("Stopped before it answered")
    expect(page.locator("#stop")).to_be_disabled()
    page.wait_for_timeout(1000)
    expect(page.locator("#card-point-query")).to_contain_text("Stopped before it answered")
    ask(page, "the red square")
    expect_three_answers(page)
    expect(page.locator("#stop")).to_be_disabled()


def test_a_question_that_the_server_does_not_take_is_said_and_stops_no_other(page: Page, picture: Path) -> None:
    held: list[Route] = []
    upload(page, picture)
    page.route("**/queue/join*", lambda route: held.append(route))
    ask(page, "the red square")
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped.")
    (question,) = held
    question.fulfill(status=503, json={"detail": "32 questions wait here, and no more can; try again in a while"})
    expect(page.locator("#status")).to_contain_text("The server could not take the question.")
    page.unroute("**/queue/join*")
    expect(page.locator("#stop")).to_be_disabled()
    ask(page, "the red square")
    expect_three_answers(page)


def test_strategies_and_options_are_remembered_in_the_browser(page: Page) -> None:
    page.locator("#strategies label", has_text="CLIP text").click()
    page.locator("#options > button").click()
    page.get_by_label("Box only").check()
    page.wait_for_timeout(500)
    again = page.context.new_page()
    again.goto(page.url)
    expect(again.get_by_role("checkbox", name="CLIP text")).not_to_be_checked()
    expect(again.get_by_role("checkbox", name="EVF-SAM")).to_be_checked()
    again.locator("#options > button").click()
    expect(again.get_by_label("Box only")).to_be_checked()


def test_answers_do_not_push_the_columns_down(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "the red square")
    expect(page.locator("#status")).to_contain_text("of 3 answered")
    expect(page.locator("#viewer")).to_be_visible()
    under_way = page.locator("#columns").bounding_box()
    expect_three_answers(page)
    at_the_end = page.locator("#columns").bounding_box()
    assert under_way is not None
    assert at_the_end is not None
    assert abs(under_way["y"] - at_the_end["y"]) < 1


def test_two_fingers_zoom_all_pictures(browser: Browser, fake_page: str, picture: Path) -> None:
    with opened(browser, fake_page, width=900, height=1000, has_touch=True) as page:
        upload(page, picture)
        ask(page, "the red square")
        expect_three_answers(page)
        expect(page.locator("#overlay-point-query img")).to_be_visible()
        frame(page).scroll_into_view_if_needed()
        box = frame(page).bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = page.context.new_cdp_session(page)
        for kind, gap in (("touchStart", 20), ("touchMove", 30), ("touchMove", 40), ("touchMove", 60), ("touchEnd", 0)):
            points = [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}] if gap else []
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        expect(page.locator(".viewer output")).not_to_have_text("100 %")
        zoomed = int(page.locator(".viewer output").inner_text().split()[0])
        assert 200 <= zoomed <= 320
        scales = {each.split(",")[0] for each in transforms(page)}
        assert len(scales) == 1
        assert scales != {"none"}
        assert page.evaluate("visualViewport.scale") == 1


TOO_SMALL = """
() => [...document.querySelectorAll('button, input, select, textarea, summary, a.file')].map((one) => {
  const label = ['checkbox', 'radio'].includes(one.type) ? one.closest('label') : null;
  const {width, height} = (label ?? one).getBoundingClientRect();
  return {one, width, height};
}).filter(({one, width, height}) => one.checkVisibility({visibilityProperty: true}) && (width < 24 || height < 24))
  .map(({one, width, height}) => `${one.outerHTML.slice(0, 80)}: ${width} x ${height}`)
"""


def test_on_a_phone_everything_that_is_pressed_has_24_pixels(browser: Browser, fake_page: str) -> None:
    with opened(browser, fake_page, width=390, height=844, has_touch=True) as page:
        page.click("#new-scene")
        expect_three_answers(page)
        assert page.evaluate(TOO_SMALL) == []
