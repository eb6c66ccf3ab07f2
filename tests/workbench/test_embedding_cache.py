"""One embedding a key, within a bound, whatever the threads do."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import torch

from evfsam.errors import ConfigurationError
from evfsam.types import ImageEmbedding
from workbench.embedding_cache import EmbeddingCache

THREADS = 8
PATIENCE_S = 30


def embedding(byte_count: int = 4) -> ImageEmbedding:
    return ImageEmbedding(torch.zeros(byte_count, dtype=torch.uint8), (1, 1), (1, 1), "encoder", 0.0)


def test_eight_threads_compute_each_key_once() -> None:
    cache, started = EmbeddingCache(), Barrier(THREADS)
    computed: list[str] = []

    def ask(_: int) -> list[tuple[ImageEmbedding, bool]]:
        started.wait(PATIENCE_S)
        return [cache.get_or_compute(key, lambda key=key: (computed.append(key), embedding())[1]) for key in "abcd"]

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(ask, range(THREADS)))
    assert sorted(computed) == list("abcd")
    for column in zip(*answers, strict=True):
        assert len({id(found) for found, _ in column}) == 1
        assert [was_there for _, was_there in column].count(False) == 1


def test_waiting_for_one_key_does_not_hold_up_another() -> None:
    cache, is_free = EmbeddingCache(), Event()

    def slow() -> ImageEmbedding:
        assert is_free.wait(PATIENCE_S)
        return embedding()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get_or_compute, "slow", slow)
        cache.get_or_compute("fast", embedding)
        assert not waiting.done()
        is_free.set()
        assert waiting.result(PATIENCE_S)[1] is False


def test_a_failed_computation_reaches_its_caller_and_leaves_the_key_usable() -> None:
    cache = EmbeddingCache()
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("key", lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    assert cache.get_or_compute("key", embedding)[1] is False
    assert cache.get_or_compute("key", embedding)[1] is True


def test_those_who_wait_for_a_failing_computation_compute_anew() -> None:
    cache, is_under_way, may_fail = EmbeddingCache(), Event(), Event()

    def failing() -> ImageEmbedding:
        is_under_way.set()
        assert may_fail.wait(PATIENCE_S)
        raise RuntimeError("no")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get_or_compute, "key", failing)
        assert is_under_way.wait(PATIENCE_S)
        second = pool.submit(cache.get_or_compute, "key", embedding)
        may_fail.set()
        with pytest.raises(RuntimeError):
            first.result(PATIENCE_S)
        assert second.result(PATIENCE_S)[1] is False


def test_the_embedding_used_longest_ago_makes_room() -> None:
    cache = EmbeddingCache(max_bytes=10)
    for key in "ab":
        cache.get_or_compute(key, embedding)
    cache.get_or_compute("a", embedding)
    cache.get_or_compute("c", embedding)
    assert cache.nbytes == 8
    assert [cache.get_or_compute(key, embedding)[1] for key in "acb"] == [True, True, False]


def test_small_embeddings_are_bounded_in_number() -> None:
    cache = EmbeddingCache(most=2)
    for key in "abca":
        cache.get_or_compute(key, embedding)
    assert (len(cache), cache.nbytes) == (2, 8)
    assert [cache.get_or_compute(key, embedding)[1] for key in "cab"] == [True, True, False]


def test_an_embedding_above_the_bound_is_handed_out_but_not_kept() -> None:
    cache = EmbeddingCache(max_bytes=10)
    cache.get_or_compute("small", embedding)
    found, _ = cache.get_or_compute("large", lambda: embedding(11))
    assert found.nbytes == 11
    assert (len(cache), cache.nbytes) == (1, 4)


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_bytes of 0 or more, got -1"):
        EmbeddingCache(-1)
