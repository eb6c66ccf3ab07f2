import pytest
import torch
from torch import nn

from evfsam.encoders.beit3 import Beit3Config, Beit3Encoder
from evfsam.errors import ConfigurationError
from tests.evfsam.tiny import BEIT3


@pytest.fixture(scope="module")
def encoder() -> Beit3Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Beit3Encoder(Beit3Config.from_dict(BEIT3)).eval().requires_grad_(False)


def inputs(count: int = 2, length: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.randint(
        4, 52, (count, length), generator=generator
    )


def test_vision_tokens_come_first_and_cls_leads(encoder: Beit3Encoder) -> None:
    output = encoder(*inputs())
    assert output.last_hidden_state.shape == (2, 1 + 16 + 6, 32)
    torch.testing.assert_close(output.fused_cls, output.last_hidden_state[:, 0])


def test_asking_for_attention_changes_no_bit(encoder: Beit3Encoder) -> None:
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[1, 4:] = True
    for mask in (None, padding):
        plain = encoder(*inputs(), mask).last_hidden_state
        asked = encoder(*inputs(), mask, output_hidden_states=True, attention_layers=(0, 1)).last_hidden_state
        assert torch.equal(plain, asked)


def test_attention_comes_for_the_layers_asked_for(encoder: Beit3Encoder) -> None:
    attentions = encoder(*inputs(), attention_layers=(-1,)).attentions
    assert list(attentions) == [1]
    assert attentions[1].shape == (2, 4, 23, 23)
    torch.testing.assert_close(attentions[1].sum(-1), torch.ones(2, 4, 23))


def test_attention_is_what_the_output_used(encoder: Beit3Encoder) -> None:
    """The probabilities are computed beside the fused kernel; applied to the values they must give its output."""
    attention = encoder.encoder.layers[0].self_attn
    tokens = torch.randn(1, 5, 32), torch.randn(1, 3, 32)
    key_mask = torch.tensor([True] * 6 + [False] * 2)[None, None, None]
    mixed, scores = attention(tokens, key_mask)
    probabilities = scores.probabilities()
    values = torch.cat(attention.v_proj(tokens), dim=1).view(1, 8, 4, 8).transpose(1, 2)
    context = (probabilities @ values).transpose(1, 2).flatten(2)
    expected = attention.out_proj(attention.inner_attn_ln((context[:, :5], context[:, 5:])))
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    assert probabilities[..., 6:].eq(0).all()


def test_masked_padding_leaves_the_words_alone(encoder: Beit3Encoder) -> None:
    pixels, ids = inputs()
    short = encoder(pixels, ids[:, :4]).last_hidden_state
    padding = torch.tensor([[False] * 4 + [True] * 2] * 2)
    padded = encoder(pixels, ids, padding).last_hidden_state
    torch.testing.assert_close(padded[:, : 1 + 16 + 4], short, atol=1e-5, rtol=1e-5)


def test_what_stands_in_the_padding_does_not_matter(encoder: Beit3Encoder) -> None:
    pixels, ids = inputs()
    padding = torch.tensor([[False] * 4 + [True] * 2] * 2)
    other = ids.clone()
    other[:, 4:] = 1
    assert torch.equal(
        encoder(pixels, ids, padding).last_hidden_state, encoder(pixels, other, padding).last_hidden_state
    )


def test_each_kind_of_token_has_its_own_expert(encoder: Beit3Encoder) -> None:
    names = dict(encoder.named_parameters())
    for part in ("self_attn.q_proj", "ffn", "final_layer_norm", "self_attn.inner_attn_ln"):
        suffix = "fc1.weight" if part == "ffn" else "weight"
        assert f"encoder.layers.0.{part}.A.{suffix}" in names
        assert f"encoder.layers.0.{part}.B.{suffix}" in names


def test_the_image_reaches_the_words_and_back(encoder: Beit3Encoder) -> None:
    pixels, ids = inputs(1)
    before = encoder(pixels, ids).last_hidden_state
    assert not torch.allclose(encoder(pixels + 1, ids).last_hidden_state[:, 17:], before[:, 17:])
    assert not torch.allclose(encoder(pixels, ids.flip(1)).fused_cls, before[:, 0])


def test_it_trains_under_bfloat16_autocast() -> None:
    encoder = Beit3Encoder(Beit3Config.from_dict(BEIT3))
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[1, 4:] = True
    with torch.autocast("cpu", torch.bfloat16):
        output = encoder(*inputs(), padding, attention_layers=(0,))
    output.last_hidden_state.float().square().mean().backward()
    assert output.attentions[0].dtype == torch.float32
    without = {name for name, parameter in encoder.named_parameters() if parameter.grad is None}
    assert without == {"vision_embed.mask_token"}
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("pixels", "ids", "layers", "message"),
    [
        ((1, 3, 32, 16), (1, 4), (), r"images \(B, 3, 32, 32\), got \(1, 3, 32, 16\)"),
        ((2, 3, 32, 32), (1, 4), (), r"token ids \(2, T\), got \(1, 4\)"),
        ((1, 3, 32, 32), (1, 39), (), "at most 38 tokens, got 39"),
        ((1, 3, 32, 32), (1, 4), (2, -3), r"layers from -2 to 1, got \[2, -3\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    encoder: Beit3Encoder, pixels: tuple[int, ...], ids: tuple[int, ...], layers: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        encoder(torch.zeros(pixels), torch.zeros(ids, dtype=torch.long), attention_layers=layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_count": 5}, "embed_dim 32 is not a multiple of head_count 5"),
        ({"patch_size": 7}, "image_size 32 is not a multiple of patch_size 7"),
        ({"layer_count": 0}, "layer_count above 0, got 0"),
        ({"layers": 3}, r"unknown fields \['layers'\]"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Beit3Config.from_dict({**BEIT3, **change})


def test_the_longest_phrase_allowed_is_encoded(encoder: Beit3Encoder) -> None:
    assert encoder(torch.zeros(1, 3, 32, 32), torch.full((1, 38), 5)).last_hidden_state.isfinite().all()


CONVOLUTIONS = {**BEIT3, "image_size": 64, "patch_size": 16, "convolutions": "tf_efficientnet_lite0"}


def test_patches_of_convolutions_are_learnt_and_the_convolutions_are_not() -> None:
    torch.manual_seed(0)
    encoder = Beit3Encoder(Beit3Config.from_dict(CONVOLUTIONS)).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    pixels, (_, ids) = torch.randn(2, 3, 64, 64), inputs()
    output = encoder(pixels, ids)
    assert output.last_hidden_state.shape == (2, 1 + 16 + 6, 32)
    output.last_hidden_state.square().sum().backward()
    learnt = {name for name, value in encoder.named_parameters() if value.grad is not None}
    assert {"vision_embed.proj.weight", "vision_embed.seen_proj.weight"} <= learnt
    frozen = [name for name in before if ".convolutions." in name]
    assert frozen
    assert not learnt & set(frozen)
    for name in frozen:  # statistics of the batch among them
        assert torch.equal(before[name], encoder.state_dict()[name]), name


def test_what_convolutions_see_moves_the_answer_where_it_is() -> None:
    torch.manual_seed(0)
    embed = Beit3Encoder(Beit3Config.from_dict({**CONVOLUTIONS, "image_size": 256})).eval().vision_embed
    assert embed is not None
    assert embed.convolutions is not None
    plain = torch.zeros(1, 3, 256, 256)
    marked = plain.clone()
    marked[:, :, 192:, 192:] = 1
    moved = (embed.convolutions(marked) - embed.convolutions(plain)).abs().sum(1)[0]
    assert float(moved[12:, 12:].mean()) > 1.5 * float(moved[:4, :4].mean())
    nn.init.zeros_(embed.proj.weight)
    added = (embed(marked) - embed(plain)).detach().abs().sum(-1)[0, 1:].unflatten(0, (16, 16))
    assert float(added[12:, 12:].mean()) > 1.5 * float(added[:4, :4].mean())


def test_patches_may_be_larger_than_what_convolutions_tell_apart() -> None:
    torch.manual_seed(0)
    sizes = Beit3Config.from_dict({**CONVOLUTIONS, "patch_size": 32})
    embed = Beit3Encoder(sizes).eval().vision_embed
    assert embed is not None
    assert embed.convolutions is not None
    pixels = torch.randn(1, 3, 64, 64)
    assert embed(pixels).shape == (1, 1 + 4, 32)
    assert embed.convolutions(pixels).shape[-2:] == (2, 2)


def test_sizes_that_do_not_fit_convolutions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected a multiple of 16 for patch_size"):
        Beit3Config.from_dict({**CONVOLUTIONS, "patch_size": 8})
    with pytest.raises(ConfigurationError, match="timm knows"):
        Beit3Encoder(Beit3Config.from_dict({**CONVOLUTIONS, "convolutions": "no-such-network"}))


def test_an_image_is_embedded_once_for_its_phrases(encoder: Beit3Encoder) -> None:
    pixels, ids = inputs(2)[0], inputs(6)[1]
    together = encoder(pixels, ids).last_hidden_state
    apart = encoder(pixels.repeat_interleave(3, 0), ids).last_hidden_state
    torch.testing.assert_close(together, apart)
    with pytest.raises(ConfigurationError, match="one row of ids for each image"):
        encoder(pixels, ids[:5])
