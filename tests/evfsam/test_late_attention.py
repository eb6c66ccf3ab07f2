"""Attention is worked out for whoever reads it, and is then what it would have been at once."""

import pickle

import pytest
import torch

from evfsam import late_attention
from evfsam.late_attention import (
    AttentionScores,
    LateAttention,
    LateAttentionRecord,
    attention_probabilities,
    on_cpu_at_once,
)

LAYERS, PAIRS, HEADS, TOKENS, WIDTH = 2, 3, 2, 7, 4
PADDED = torch.tensor([7, 5, 6])
"""Tokens of each pair that are no padding."""


def random_attention() -> LateAttention:
    drawn = torch.Generator().manual_seed(0)
    mask = (torch.arange(TOKENS) < PADDED[:, None])[:, None, None]
    shape = (PAIRS, HEADS, TOKENS, WIDTH)
    return LateAttention(
        {
            layer: AttentionScores(torch.randn(shape, generator=drawn), torch.randn(shape, generator=drawn), mask)
            for layer in range(LAYERS)
        }
    )


def record_of(attention: LateAttention, pair: int) -> LateAttentionRecord:
    return LateAttentionRecord(attention.of_pair(pair), int(PADDED[pair]), (2, 2), (40, 60), ("<s>", "</s>"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pairs of each call that works probabilities out."""
    calls: list[int] = []

    def noting(q: torch.Tensor, k: torch.Tensor, key_mask: torch.Tensor | None) -> torch.Tensor:
        calls.append(len(q))
        return attention_probabilities(q, k, key_mask)

    monkeypatch.setattr(late_attention, "attention_probabilities", noting)
    return calls


def test_a_pair_reads_what_the_whole_batch_has_without_its_padding() -> None:
    attention = random_attention()
    for pair in range(PAIRS):
        count = int(PADDED[pair])
        expected = torch.stack([attention[layer][pair, :, :count, :count] for layer in range(LAYERS)])
        torch.testing.assert_close(record_of(attention, pair).probabilities, expected, rtol=0, atol=1e-6)


def test_a_mask_that_all_pairs_share_serves_each_of_them() -> None:
    mask = torch.eye(TOKENS, dtype=torch.bool)[None, None]
    queries = torch.randn(PAIRS, HEADS, TOKENS, WIDTH)
    (of_last,) = LateAttention({0: AttentionScores(queries, queries, mask)}).of_pair(PAIRS - 1)
    torch.testing.assert_close(of_last.probabilities()[0], torch.eye(TOKENS).expand(HEADS, -1, -1))


def test_tensors_of_any_shapes_come_to_the_cpu_in_one_piece_and_unchanged() -> None:
    shapes = ((1, 2, 7, 4), (1, 2, 5, 4), (1, 2, 7, 4))
    there = [torch.randn(shape, dtype=torch.bfloat16) for shape in shapes]
    assert all(one is other for one, other in zip(on_cpu_at_once(there), there, strict=True)), "nothing to bring"
    copies: list[int] = []

    class Elsewhere(torch.Tensor):
        """Says that it is on a GPU, and counts what is brought from there."""

        @property
        def device(self) -> torch.device:  # type: ignore[override]
            return torch.device("cuda")

        def cpu(self) -> torch.Tensor:  # type: ignore[override]
            copies.append(self.numel())
            return self.as_subclass(torch.Tensor)

    brought = on_cpu_at_once([each.as_subclass(Elsewhere) for each in there])
    assert copies == [sum(each.numel() for each in there)]
    for one, other in zip(brought, there, strict=True):
        assert type(one) is torch.Tensor
        assert torch.equal(one, other)


def test_nothing_is_worked_out_before_it_is_read_and_then_once_for_the_pair_alone(made: list[int]) -> None:
    record = record_of(random_attention(), 1)
    assert record.nbytes >= LAYERS * HEADS * 5 * 5 * 4
    assert made == []
    assert record.probabilities is record.probabilities
    assert made == [1] * LAYERS


@pytest.mark.parametrize("is_read", [False, True])
def test_the_rows_of_cls_are_made_alone_and_are_the_same(made: list[int], is_read: bool) -> None:
    expected = record_of(random_attention(), 1).probabilities[:, :, 0]
    record = record_of(random_attention(), 1)
    if is_read:
        assert record.probabilities.shape[-1] == 5
    before = len(made)
    torch.testing.assert_close(record.of_cls(), expected, rtol=0, atol=1e-6)
    assert ("probabilities" in vars(record)) is is_read
    assert len(made) - before == (0 if is_read else LAYERS)


def test_a_mask_with_rows_keeps_that_of_cls() -> None:
    mask = torch.eye(TOKENS, dtype=torch.bool)[None, None]
    queries = torch.randn(1, HEADS, TOKENS, WIDTH)
    record = LateAttentionRecord(
        LateAttention({0: AttentionScores(queries, queries, mask)}).of_pair(0),
        TOKENS,
        (2, 2),
        (40, 60),
        ("<s>", "</s>"),
    )
    assert torch.equal(record.of_cls(), torch.eye(TOKENS)[0].expand(1, HEADS, -1))


def test_what_it_comes_to_is_known_before_it_is_read() -> None:
    record = record_of(random_attention(), 2)
    expected = record.nbytes
    held = sum(scores.queries.nbytes + scores.keys.nbytes for scores in random_attention().of_pair(2))
    assert expected == record.probabilities.nbytes + held
    assert record.nbytes == expected


def test_it_may_go_to_another_process_and_become_a_plain_record() -> None:
    record = record_of(random_attention(), 0)
    plain = pickle.loads(pickle.dumps(record)).at_once()
    assert type(plain) is not LateAttentionRecord
    assert (plain.patch_grid, plain.original_size, plain.text_tokens) == ((2, 2), (40, 60), ("<s>", "</s>"))
    assert torch.equal(plain.probabilities, record.probabilities)
    assert plain.at_once() is plain
