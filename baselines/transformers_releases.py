"""What the releases of transformers that the project allows name differently: read and told here, nowhere else.

From 5.24 on a model takes its key/value cache as `cache`, before as `past_key_values`; and LLaVA keeps its image tokens
in `image_outputs`, one tensor an image, before in `image_hidden_states`, one tensor of all.
"""

import inspect
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache


def cache_argument(model: PreTrainedModel, cache: Cache) -> dict[str, Cache]:
    """Return the cache under the name by which this model's `forward` and `generate` take it.

    Args:
        model: whose `forward` declares the name; the other one would be taken too, with a warning to whoever runs it.
        cache: of keys and values.
    """
    is_named_cache = "cache" in inspect.signature(type(model).forward).parameters
    return {"cache" if is_named_cache else "past_key_values": cache}


def llava_image_tokens(output: Any) -> torch.Tensor:
    """Return (B * N, D): the images' tokens one after another, as a LLaVA's language model was given them.

    Args:
        output: of a LLaVA's forward pass that was given B images.
    """
    outputs = getattr(output, "image_outputs", None)
    tokens: torch.Tensor = output.image_hidden_states if outputs is None else torch.cat(list(outputs.pooler_output))
    return tokens.flatten(0, -2)
