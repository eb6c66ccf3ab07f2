"""BEiT-3 multiway encoder: image patches and words in one sequence, with separate weights for each kind of token.

Shapes: B pairs of image and phrase, N = 1 + h*w vision tokens ([CLS] first, then patches row by row), T text tokens,
S = N + T, D the width, A heads. Module names are those of the released weights.

Source: BEiT-3, arXiv:2208.10442; EVF-SAM, arXiv:2406.20076, section 3.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from evfsam.encoders.sizes import CheckedSizes, check_inputs, checked_layers
from evfsam.errors import ConfigurationError
from evfsam.late_attention import AttentionScores, LateAttention

TokenPair = tuple[torch.Tensor, torch.Tensor]
"""Vision tokens (B, N, D) and text tokens (B, T, D) of one sequence."""

_LAYER_NORM_EPS = 1e-5
_CONVOLUTION_STAGES = (3, 4)
_CONVOLUTION_STRIDE = 16  # of the first of these, pixels; the other is laid over it
_NO_VISION = "BEiT-3: expected text alone, got images; this encoder was built without vision"
_FIRST_POSITION = 2  # rows 0 and 1 of both position tables exist in the released weights and are never read


@dataclass(frozen=True)
class Beit3Config(CheckedSizes):
    """Sizes of a BEiT-3; the defaults are those of BEiT-3 large.

    Attributes:
        image_size: side of the square input image, pixels; a multiple of `patch_size`.
        patch_size: side of a patch, pixels.
        vocab_size: rows of the word embedding.
        embed_dim, head_count, ffn_dim, layer_count: width, attention heads, feed-forward width, layers.
        text_position_count: rows of the text position table, the two unused ones included.
        embedding_init_std: standard deviation of fresh word embeddings and position tables; matters only for
            training from nothing.
        convolutions: timm's name of a network whose frozen features are added to the patches; "" for pixels alone.

    Raises:
        ConfigurationError: a size is not positive, or one does not divide the other.
    """

    image_size: int = 224
    patch_size: int = 16
    vocab_size: int = 64010
    embed_dim: int = 1024
    head_count: int = 16
    ffn_dim: int = 4096
    layer_count: int = 24
    text_position_count: int = 1024
    embedding_init_std: float = 0.3
    convolutions: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.convolutions and self.patch_size % _CONVOLUTION_STRIDE:
            raise ConfigurationError(
                "BEiT-3: expected a multiple of {stride} for patch_size with convolutions, whose features lie so far "
                "apart, got {size}; correct config.json",
                stride=_CONVOLUTION_STRIDE,
                size=self.patch_size,
            )

    @property
    def max_text_tokens(self) -> int:
        """Longest phrase the text position table has rows for, specials included."""
        return self.text_position_count - _FIRST_POSITION

    @property
    def feature_widths(self) -> tuple[int, int]:
        """Widths of an image token and of a text token."""
        return self.embed_dim, self.embed_dim

    @classmethod
    def title(cls) -> str:
        """What it is called."""
        return "BEiT-3"


@dataclass(frozen=True, eq=False)
class Beit3Output:
    """What the encoder made of image and phrase.

    Attributes:
        last_hidden_state: (B, S, D) after the final LayerNorm.
        hidden_states: the embeddings and the output of every layer before the final LayerNorm, L + 1 tensors
            (B, S, D); empty unless asked for.
        attentions: probabilities (B, A, S, S) float32 of the layers asked for, query axis then key axis; worked out
            when they are read.
    """

    last_hidden_state: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...]
    attentions: LateAttention

    @property
    def fused_cls(self) -> torch.Tensor:
        """(B, D): the vision [CLS] token, which has read the phrase."""
        return self.last_hidden_state[:, 0]


class Multiway(nn.Module):
    """Two copies of a module: A for vision tokens, B for text tokens."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.A = build()
        self.B = build()

    def forward(self, tokens: TokenPair) -> TokenPair:
        """Apply each copy to its own kind of token."""
        return self.A(tokens[0]), self.B(tokens[1])

    def drop_vision(self) -> None:
        """Let go of the copy for vision tokens, where there are none."""
        self.A = nn.Identity()


def _add(left: TokenPair, right: TokenPair) -> TokenPair:
    return left[0] + right[0], left[1] + right[1]


def _joined(tokens: TokenPair) -> torch.Tensor:
    """(B, S, D) of vision tokens (B, N, D), or (1, N, D) for all phrases, and text tokens (B, T, D)."""
    return torch.cat([tokens[0].expand(len(tokens[1]), -1, -1), tokens[1]], dim=1)


class SelfAttention(nn.Module):
    """Attention of every token to every token; projections and inner LayerNorm are multiway."""

    def __init__(self, embed_dim: int, head_count: int) -> None:
        super().__init__()
        self.head_count = head_count
        self.q_proj = Multiway(lambda: nn.Linear(embed_dim, embed_dim))
        self.k_proj = Multiway(lambda: nn.Linear(embed_dim, embed_dim))
        self.v_proj = Multiway(lambda: nn.Linear(embed_dim, embed_dim))
        self.out_proj = Multiway(lambda: nn.Linear(embed_dim, embed_dim))
        self.inner_attn_ln = Multiway(lambda: nn.LayerNorm(embed_dim, eps=_LAYER_NORM_EPS))

    def _heads(self, tokens: TokenPair) -> torch.Tensor:
        joined = _joined(tokens)
        return joined.view(*joined.shape[:2], self.head_count, -1).transpose(1, 2)

    def forward(self, tokens: TokenPair, key_mask: torch.Tensor | None) -> tuple[TokenPair, AttentionScores]:
        """Mix the tokens.

        Args:
            tokens: normalised vision and text tokens.
            key_mask: (B, 1, 1, S) or (B, 1, S, S) bool, True where a token may be attended to; None for all.

        Returns:
            The mixed tokens, and what their attention probabilities are made of, beside the output's own path.
        """
        q, k, v = self._heads(self.q_proj(tokens)), self._heads(self.k_proj(tokens)), self._heads(self.v_proj(tokens))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask).transpose(1, 2).flatten(2)
        vision_count = tokens[0].shape[1]
        mixed = self.out_proj(self.inner_attn_ln((context[:, :vision_count], context[:, vision_count:])))
        return mixed, AttentionScores(q.detach(), k.detach(), key_mask)


class FeedForward(nn.Module):
    """Two linear layers with GELU and a LayerNorm over the inner width between them."""

    def __init__(self, embed_dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, embed_dim)
        self.ffn_layernorm = nn.LayerNorm(ffn_dim, eps=_LAYER_NORM_EPS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (B, n, D) to (B, n, D). GELU's kernels compute in float32 whatever the storage type."""
        hidden: torch.Tensor = self.fc2(self.ffn_layernorm(F.gelu(self.fc1(tokens))))
        return hidden


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer: attention, then the expert of each kind of token."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.embed_dim, config.head_count)
        self.self_attn_layer_norm = Multiway(lambda: nn.LayerNorm(config.embed_dim, eps=_LAYER_NORM_EPS))
        self.ffn = Multiway(lambda: FeedForward(config.embed_dim, config.ffn_dim))
        self.final_layer_norm = Multiway(lambda: nn.LayerNorm(config.embed_dim, eps=_LAYER_NORM_EPS))

    def forward(self, tokens: TokenPair, key_mask: torch.Tensor | None) -> tuple[TokenPair, AttentionScores]:
        """Apply the layer; arguments and results as in `SelfAttention.forward`."""
        mixed, scores = self.self_attn(self.self_attn_layer_norm(tokens), key_mask)
        tokens = _add(tokens, mixed)
        return _add(tokens, self.ffn(self.final_layer_norm(tokens))), scores


class FrozenConvolutions(nn.Module):
    """What a network of convolutions sees in each patch, its last stage laid over the one before; it never learns.

    Args:
        name: of the network, as timm calls it.
        grid: patches from top to bottom and from left to right.

    Raises:
        ConfigurationError: timm does not know it.

    Source:
        ViT, arXiv:2010.11929, section 3.1 (hybrid architecture): patches may be taken from a CNN's features.
    """

    def __init__(self, name: str, grid: tuple[int, int]) -> None:
        super().__init__()
        from timm import create_model, is_model  # takes a second, and only small checkpoints have convolutions

        if not is_model(name):
            raise ConfigurationError(
                "BEiT-3: expected convolutions that timm knows, such as tf_efficientnet_lite2, got {name!r}; correct "
                "config.json",
                name=name,
            )
        self.grid = grid
        self.stages = create_model(name, features_only=True, out_indices=_CONVOLUTION_STAGES)
        self.norm = nn.BatchNorm2d(sum(self.stages.feature_info.channels()), affine=False)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenConvolutions":  # noqa: ARG002
        """Stay in evaluation mode: the statistics of the batch normalisation are frozen too."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, side, side) to (B, channels, h, w), each channel standardised."""
        fine, coarse = self.stages(pixel_values.contiguous(memory_format=torch.channels_last))
        laid = F.adaptive_avg_pool2d(fine, self.grid), F.interpolate(coarse, self.grid, mode="bilinear")
        seen: torch.Tensor = self.norm(torch.cat(laid, 1))
        return seen


class VisionEmbedding(nn.Module):
    """Patches as tokens, with [CLS] before them. `mask_token` only serves the released pre-training.

    Frozen convolutions know what things are called and little of their colours; pixels tell those.
    """

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.embed_dim, kernel_size=config.patch_size, stride=config.patch_size)
        self.convolutions = FrozenConvolutions(config.convolutions, config.patch_grid) if config.convolutions else None
        if self.convolutions is not None:
            self.seen_proj = nn.Conv2d(self.convolutions.norm.num_features, config.embed_dim, kernel_size=1)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, side, side) to (B, N, D)."""
        patches = self.proj(pixel_values)
        if self.convolutions is not None:
            patches = patches + self.seen_proj(self.convolutions(pixel_values))
        tokens = patches.flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)


class Encoder(nn.Module):
    """Position tables, layers and the final LayerNorm."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        vision_rows = config.patch_grid[0] * config.patch_grid[1] + 1 + _FIRST_POSITION
        rows = iter((vision_rows, config.text_position_count))
        self.embed_positions = Multiway(lambda: nn.Embedding(next(rows), config.embed_dim))
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layer_count))
        self.layer_norm = Multiway(lambda: nn.LayerNorm(config.embed_dim, eps=_LAYER_NORM_EPS))

    def forward(
        self,
        tokens: TokenPair,
        padding_mask: torch.Tensor | None,
        keep_states: bool,
        attention_layers: frozenset[int],
        fused_layers: int | None,
    ) -> Beit3Output:
        """Add positions, run the layers; arguments as in `Beit3Encoder.forward`."""
        tokens = self._placed("A", tokens[0]), self._placed("B", tokens[1])
        joint_mask = None
        if padding_mask is not None:
            tokens = tokens[0], tokens[1].masked_fill(padding_mask[..., None], 0.0)
            joint_mask = F.pad(~padding_mask, (tokens[0].shape[1], 0), value=True)[:, None, None]
        fused_count = len(self.layers) if fused_layers is None else fused_layers
        parted_mask = None
        if fused_count < len(self.layers) and tokens[0].shape[1]:
            parted_mask = parted_attention_mask(tokens[0].shape[1], tokens[1].shape[1], joint_mask, tokens[0].device)
        states = [_joined(tokens)] if keep_states else []
        attentions = {}
        for index, layer in enumerate(self.layers):
            key_mask = joint_mask if index < fused_count or parted_mask is None else parted_mask
            tokens, scores = layer(tokens, key_mask)
            if index in attention_layers:
                attentions[index] = scores
            if keep_states:
                states.append(torch.cat(tokens, dim=1))
        return Beit3Output(torch.cat(self.layer_norm(tokens), dim=1), tuple(states), LateAttention(attentions))

    def _placed(self, way: str, tokens: torch.Tensor) -> torch.Tensor:
        if not tokens.shape[1]:
            return tokens
        table: torch.Tensor = getattr(self.embed_positions, way).weight
        return tokens + table[_FIRST_POSITION : _FIRST_POSITION + tokens.shape[1]]


def parted_attention_mask(
    vision_count: int, text_count: int, joint_mask: torch.Tensor | None, device: torch.device
) -> torch.Tensor:
    """Return the mask of a layer in which image and phrase do not meet.

    Args:
        vision_count: vision tokens; they come first.
        text_count: text tokens.
        joint_mask: (B, 1, 1, S) bool, True on what is no padding; None where nothing is padded.
        device: where the mask goes.

    Returns:
        (B or 1, 1, S, S) bool, True where the query may attend to the key.
    """
    is_text = torch.arange(vision_count + text_count, device=device) >= vision_count
    parted = (is_text[:, None] == is_text)[None, None]
    return parted if joint_mask is None else parted & joint_mask


class Beit3Encoder(nn.Module):
    """BEiT-3 from pixels and token ids to fused tokens, without output head.

    Args:
        config: sizes.
        has_vision: False leaves out everything that only images need; `forward` then takes text alone.
    """

    def __init__(self, config: Beit3Config, *, has_vision: bool = True) -> None:
        super().__init__()
        self.config = config
        self.text_embed = nn.Embedding(config.vocab_size, config.embed_dim)
        self.vision_embed = VisionEmbedding(config) if has_vision else None
        self.encoder = Encoder(config)
        if not has_vision:
            for module in self.modules():
                if isinstance(module, Multiway):
                    module.drop_vision()
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Start linear layers as the released code does, tables as the configuration says."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.embedding_init_std)
        if self.vision_embed is not None:
            nn.init.normal_(self.vision_embed.cls_token, std=0.02)

    @property
    def _token_shape(self) -> tuple[int, int]:
        """(N, D) of an image's tokens."""
        height, width = self.config.patch_grid
        return 1 + height * width, self.config.embed_dim

    def look(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return what no phrase changes: an image's patches as tokens, (B, N, D), without their positions.

        Args:
            pixel_values: (B, 3, side, side) from `EvfSamProcessor.encoder_pixels`.

        Raises:
            ConfigurationError: the encoder was built without vision.
        """
        if self.vision_embed is None:
            raise ConfigurationError(_NO_VISION)
        tokens: torch.Tensor = self.vision_embed(pixel_values)
        return tokens

    def forward(
        self,
        pixel_values: torch.Tensor | None,
        input_ids: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        attention_layers: Sequence[int] = (),
        *,
        fused_layers: int | None = None,
    ) -> Beit3Output:
        """Fuse images and phrases.

        Args:
            pixel_values: (B, 3, side, side) from `EvfSamProcessor.encoder_pixels`, or (B / k, 3, side, side) for k
                phrases each, one after the other, whose patches are then embedded once; or what `look` made of them.
                None reads the phrases alone.
            input_ids: (B, T) token ids, specials included, padded on the right.
            padding_mask: (B, T) bool, True on padding; None where nothing is padded or padding shall count as words.
            output_hidden_states: whether to keep the embeddings and every layer's output.
            attention_layers: layers whose probabilities to return, negative from the last. Changes no output.
            fused_layers: how many of the first layers let image and phrase attend to each other; None for all. In
                the layers after them each attends to itself alone.

        Raises:
            ConfigurationError: images, ids or layers do not fit the configuration.
        """
        if pixel_values is not None and self.vision_embed is None:
            raise ConfigurationError(_NO_VISION)
        check_inputs("BEiT-3", self.config, pixel_values, input_ids, is_grouped=True, tokens=self._token_shape)
        layers = checked_layers("BEiT-3", attention_layers, self.config.layer_count)
        text = self.text_embed(input_ids)
        if pixel_values is None or self.vision_embed is None:
            vision = text[:, :0]
        else:
            is_embedded = pixel_values.shape[1:] == self._token_shape
            vision = pixel_values if is_embedded else self.vision_embed(pixel_values)
            count = len(input_ids) // len(vision)
            if len(vision) > 1:  # one image stays one until the first layer's words tell its tokens apart
                vision = vision.repeat_interleave(count, 0)
        output: Beit3Output = self.encoder((vision, text), padding_mask, output_hidden_states, layers, fused_layers)
        return output
