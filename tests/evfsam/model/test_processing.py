from pathlib import Path

import pytest
import torch

from evfsam.errors import CheckpointError, GeometryError, PhraseError
from evfsam.geometry import upsample_logits
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from tests.evfsam.tiny import BEIT3, MAX_TOKENS, SAM, noise_image


def test_one_image_and_several_phrases_are_prepared(processor: EvfSamProcessor) -> None:
    inputs = processor(noise_image(30, 50), ["left", "zebra top left"])
    assert inputs.pixel_values.shape == (1, 3, 64, 64)
    assert inputs.encoder_pixel_values.shape == (1, 3, 32, 32)
    assert inputs.input_ids.shape == inputs.attention_mask.shape == (2, 8)
    (frame,) = inputs.frames
    assert (frame.original_size, frame.input_size) == ((30, 50), (38, 64))


def test_what_it_prepares_is_what_the_model_takes(model: EvfSamModel, processor: EvfSamProcessor) -> None:
    inputs = processor(noise_image(30, 50), "left")
    output = model(
        model.encode_image_features(inputs.pixel_values).image_embeddings,
        inputs.encoder_pixel_values,
        inputs.input_ids,
        inputs.frames,
        attention_mask=inputs.attention_mask,
    )
    torch.testing.assert_close(upsample_logits(output.low_res_logits[0], inputs.frames[0])[:, 0], output.mask_logits[0])


def test_a_saved_processor_prepares_alike(processor: EvfSamProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    loaded = EvfSamProcessor.from_pretrained(tmp_path)
    assert loaded.tokenizer.max_tokens == MAX_TOKENS
    image = noise_image(30, 50)
    ours, theirs = vars(processor(image, "left")), vars(loaded(image, "left"))
    assert theirs.pop("frames") == ours.pop("frames")
    torch.testing.assert_close(theirs, ours)


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(processor: EvfSamProcessor) -> None:
    config = EvfSamConfig(beit3={**BEIT3, "vocab_size": 51}, sam=SAM)
    with pytest.raises(CheckpointError, match="the tokenizer has 52 ids, but the model only 51 word embeddings"):
        EvfSamProcessor(processor.tokenizer, config)


def test_images_of_several_sizes_are_segmented_together_as_they_are_alone(
    model: EvfSamModel, processor: EvfSamProcessor
) -> None:
    images = [noise_image(30, 50), noise_image(41, 20, seed=1), noise_image(64, 64, seed=2)]
    phrases = ["left; zebra top left", ["zebra"], "right"]
    together = model.segment(processor.batch(images, phrases))
    assert [tuple(logits.shape) for logits in together.mask_logits] == [(2, 30, 50), (1, 41, 20), (1, 64, 64)]
    for number, (image, asked) in enumerate(zip(images, phrases, strict=True)):
        alone = model.segment(processor.batch([image], [asked]))
        torch.testing.assert_close(together.mask_logits[number], alone.mask_logits[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("phrases", [[], ["left"], ["left", "right", "top"]])
def test_a_batch_needs_phrases_for_each_image(processor: EvfSamProcessor, phrases: list[str]) -> None:
    with pytest.raises(GeometryError, match=f"phrases for each of 2 images, got {len(phrases)}"):
        processor.batch([noise_image(30, 50)] * 2, phrases)
    with pytest.raises(PhraseError):
        processor.batch([noise_image(30, 50)], [[]])
