"""Both ends of the range of transformers: what the installed release does, and what the others are known to do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.cache_utils import DynamicCache

from baselines.point_query import dialects
from baselines.point_query.dialogue import Message
from baselines.point_query.language_model import LanguageModel
from baselines.transformers_releases import cache_argument, llava_image_tokens
from tests.baselines.tiny_models import BOX, PHRASE, tiny_llava, tiny_qwen

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
FIRST: list[Message] = [dialects.user_turn(dialects.box_question(PHRASE), with_image=True)]
TALK: list[Message] = [*FIRST, dialects.assistant_turn(dialects.boxes_answer([BOX])), dialects.user_turn("Is it?")]


class Until523:
    def forward(self, input_ids: object, past_key_values: object = None) -> None: ...


class From524:
    def forward(self, input_ids: object, cache: object = None) -> None: ...


@pytest.mark.parametrize(("model", "name"), [(Until523(), "past_key_values"), (From524(), "cache")])
def test_the_cache_goes_under_the_name_that_the_model_declares(model: object, name: str) -> None:
    cache = DynamicCache()
    assert cache_argument(model, cache) == {name: cache}  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("make", [tiny_llava, tiny_qwen])
def test_a_conversation_uses_nothing_that_the_installed_release_will_drop(make: object) -> None:
    language = LanguageModel(*make())  # type: ignore[operator]
    with language.conversation(IMAGE) as conversation:
        assert isinstance(conversation.ask(FIRST, max_new_tokens=2), str)
        assert len(conversation.ask_each([TALK, [*TALK[:-1], dialects.user_turn("Or not?")]]).p_yes) == 2
        conversation.ask_list(TALK, count=2)


def test_image_tokens_are_those_that_the_language_model_is_given() -> None:
    model, processor = tiny_llava()
    pixels = processor.image_processor(images=[IMAGE, IMAGE[::-1].copy()], return_tensors="pt")["pixel_values"]
    vision = model.config.vision_config
    places = torch.full((2, (vision.image_size // vision.patch_size) ** 2), model.config.image_token_id)
    given: list[torch.Tensor] = []
    model.model.language_model.register_forward_pre_hook(
        lambda _module, _args, named: given.append(named["inputs_embeds"]), with_kwargs=True
    )
    with torch.inference_mode():
        output = model.model(input_ids=places, pixel_values=pixels)
    tokens = llava_image_tokens(output)
    assert tokens.shape == (2 * places.shape[1], model.config.text_config.hidden_size)
    assert torch.equal(tokens, given[0].flatten(0, 1))
    assert not torch.equal(*tokens.chunk(2))


@pytest.mark.parametrize("shape", [(2, 3, 4), (6, 4)])
def test_image_tokens_of_both_ends_of_the_range_are_alike(shape: tuple[int, ...]) -> None:
    tokens = torch.arange(24.0).reshape(6, 4)
    until_523 = SimpleNamespace(image_hidden_states=tokens.reshape(shape))
    from_524 = SimpleNamespace(image_outputs=SimpleNamespace(pooler_output=list(tokens.reshape(2, 3, 4))))
    assert torch.equal(llava_image_tokens(until_523), tokens)
    assert torch.equal(llava_image_tokens(from_524), tokens)
