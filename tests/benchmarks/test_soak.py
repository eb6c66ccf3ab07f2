"""The soak itself, over fake strategies: what it counts as mixed up, as lost and as too much memory."""

import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import SoakQuestion, SoakTally, draw_question, resident_mb, soak
from tests.webui.fakes import fake_comparison
from webui.blocks import build_demo, launch_arguments

ASKED = SoakQuestion("segment", b"{}", (100, 130), "the bus, 3 of 2")


def answer(size: tuple[int, int] = (100, 130), phrase: str = "the bus, 3 of 2") -> dict[str, Any]:
    return {"image_size": list(size), "phrase": phrase, "mask_rle": {"size": list(size), "counts": ""}}


def test_no_two_clients_send_a_picture_of_the_same_size_or_the_same_phrase() -> None:
    rng = random.Random(0)
    drawn = [draw_question(client, number, rng) for client in range(8) for number in range(8)]
    assert len({question.phrase for question in drawn}) == len(drawn)
    assert {question.size[1] for question in drawn} == {128 + client for client in range(8)}
    assert {question.kind for question in drawn} >= {"segment", "compare_strategies", "unusable"}


def test_an_answer_to_another_question_is_told() -> None:
    assert ASKED.fault(answer()) == ""
    for other in (answer(size=(100, 131)), answer(phrase="the bus, 2 of 2")):
        assert "for (100, 130) and 'the bus, 3 of 2'" in ASKED.fault(other)
    several = SoakQuestion("compare_strategies", b"{}", ASKED.size, ASKED.phrase)
    assert several.fault({"image_size": [100, 130], "answers": [answer(), answer()]}) == ""
    assert several.fault({"image_size": [100, 130], "answers": [answer(), answer(phrase="x")]}) != ""
    scene = SoakQuestion("draw_scene", b'{"seed": 7}', ASKED.size, ASKED.phrase)
    assert (scene.fault({"seed": 7}), scene.fault({"seed": 8})) == ("", "scene 8 for 7")


def test_memory_may_grow_by_100_mb_after_five_minutes() -> None:
    readings = [(0, 100), (299, 500), (300, 700), (330, 560), (420, 710), (421, 100), (900, 990)]
    tally = SoakTally(resident_mb=[*readings, (1079, 100), (1080, 800), (1170, 810), (1200, 610)])
    assert (tally.growth_mb(), tally.is_good()) == (100, True), "one low reading says nothing"
    tally.resident_mb[-3] = (1080, 801)
    assert (tally.growth_mb(), tally.is_good()) == (101, False)
    del tally.resident_mb[2:]
    assert tally.growth_mb() == 0, "a burst of a minute says nothing of what is kept"


@pytest.mark.parametrize(
    ("status", "headers", "fault"), [(500, {}, ""), (503, {}, ""), (200, {}, "another's mask"), (None, {}, "timed out")]
)
def test_one_fault_is_enough(status: int | None, headers: dict[str, str], fault: str) -> None:
    tally = SoakTally()
    tally.count(503, {"Retry-After": "5"}, "")
    tally.count(422, {}, "")
    assert tally.is_good()
    if status is None:
        tally.lose(fault)
    else:
        tally.count(status, headers, fault)
    assert not tally.is_good()


def test_a_server_that_has_ended_is_told() -> None:
    ended = subprocess.Popen(["true"])
    while Path(f"/proc/{ended.pid}/stat").read_text(encoding="ascii").split()[2] != "Z":
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError, match="has ended"):
        resident_mb(ended.pid)
    ended.wait()


def test_clients_get_answers_of_their_own_from_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo = build_demo(fake_comparison()[0])
    _, url, _ = demo.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, _frontend=False, **launch_arguments()
    )
    try:
        tally = soak(url, os.getpid(), clients=3, seconds=4, every=1)
    finally:
        demo.close()
    assert (tally.mixed, tally.lost, tally.without_retry) == ([], [], 0)
    assert tally.statuses[200] > 0
    assert tally.statuses[500] == 0
    assert all(megabytes > 10 for _, megabytes in tally.resident_mb)
    assert "MB, " in capsys.readouterr().out
