from pathlib import Path

import pytest
import torch
from PIL import Image

from evfsam.types import Segmentation
from tests.webui.fakes import fake_comparison, three_colours
from webui.bounded_store import GoneError, NoRoomError
from webui.run_cache import FinishedRun, RunStore
from webui.tabs.compare.runs import ask_strategies


@pytest.fixture
def finished(tmp_path: Path) -> FinishedRun:
    path = tmp_path / "picture.png"
    Image.fromarray(three_colours()).save(path)
    *_, last = ask_strategies(fake_comparison()[0], {"path": str(path)}, "a square", ["evf-sam", "clip-text"])
    return FinishedRun(last, {}, None)


def test_a_run_is_found_under_its_key_and_keys_differ(finished: FinishedRun) -> None:
    shelf = RunStore()
    first, second = shelf.put(finished), shelf.put(finished)
    assert first != second
    assert shelf.get(first) is finished


def test_the_run_not_looked_at_for_longest_makes_room(finished: FinishedRun) -> None:
    shelf = RunStore(max_bytes=2 * finished.nbytes)
    first, second = shelf.put(finished), shelf.put(finished)
    shelf.get(first)
    shelf.put(finished)
    assert len(shelf) == 2
    assert shelf.get(first) is finished
    with pytest.raises(GoneError, match="Press Compare to run it again"):
        shelf.get(second)


def test_a_run_that_is_too_large_is_not_kept_and_says_so(finished: FinishedRun) -> None:
    shelf = RunStore(max_bytes=finished.nbytes)
    kept = shelf.put(finished)
    small = RunStore(max_bytes=finished.nbytes - 1)
    words = r"takes \d+ MiB, more than the \d+ MiB .* Ask fewer phrases"
    with pytest.raises(NoRoomError, match=words) as refusal:
        small.put(finished)
    assert shelf.get(kept) is finished
    assert len(small) == 0
    with pytest.raises(GoneError, match=words):
        small.get(refusal.value.key)


def test_what_answers_share_counts_once_and_masks_count_as_bits(finished: FinishedRun) -> None:
    image = three_colours()
    pixels = image.shape[0] * image.shape[1]
    answers = [result.segmentation for result in finished.progress.results]
    attention = next(one.attention for one in answers if one.attention is not None)
    held = {id(t.untyped_storage()): t.untyped_storage().nbytes() for one in answers for t in held_by(one)}
    expected = image.nbytes + 4 * -(-pixels // 8) + sum(held.values())
    assert finished.nbytes == expected
    assert sum(held.values()) > attention.probabilities.untyped_storage().nbytes()


def held_by(one: Segmentation) -> list[torch.Tensor]:
    tensors = [one.given_logits, *(each.low_res_logits for each in one.predictions)]
    tensors += [one.attention.probabilities] if one.attention is not None else []
    return [tensor for tensor in tensors if tensor is not None]
