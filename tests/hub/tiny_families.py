"""Tiny random multimodal language models of the real transformers classes, with their processors and chat templates."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartTokenizer,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    Molmo2Config,
    Molmo2ForConditionalGeneration,
    Molmo2ImageProcessor,
    Molmo2Processor,
    Molmo2VideoProcessor,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from tests.hub.tiny_tokens import MERGES, byte_vocabulary, qwen_tokenizer
from tests.hub.tiny_vision import loud

QWEN_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


def chatml(image: str, *, end: str = "") -> str:
    """A ChatML template whose image placeholder is `image`; `end` follows where the model would speak."""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{image}{{% else %}}{{{{ part['text'] }}}}{{% endif %}}"
        "{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n" + end + "{% endif %}"
    )


QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
THOUGHT_OFF = (
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}"
)


def qwen3_vl(**sizes: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A Qwen3-VL; `sizes` replace those of its text half."""
    tokenizer = qwen_tokenizer(*QWEN_MARKS)
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=16, merge_size=2, min_pixels=32 * 32, max_pixels=128 * 128),
        tokenizer,
        Qwen3VLVideoProcessor(),
        chat_template=chatml(QWEN_IMAGE),
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    text = {**TEXT, "head_dim": 8, "rope_parameters": rope, **sizes, **_ids(tokenizer)}
    config = Qwen3VLConfig(
        text_config=text,
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": text["hidden_size"],
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **_qwen_marks(tokenizer),
    )
    return _built(Qwen3VLForConditionalGeneration, config), processor


def save_qwen3_vl(directory: Path) -> None:
    """A two-layer Qwen3-VL."""
    _save(directory, *qwen3_vl())


def save_qwen3_5(directory: Path) -> None:
    """A Qwen3.5: one layer of linear and one of full attention, and a template that can think."""
    tokenizer = qwen_tokenizer(*QWEN_MARKS, "<think>", "</think>")
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=16, merge_size=2, min_pixels=32 * 32, max_pixels=128 * 128),
        tokenizer,
        Qwen3VLVideoProcessor(),
        chat_template=chatml(QWEN_IMAGE, end=THOUGHT_OFF),
    )
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
        "partial_rotary_factor": 0.5,
    }
    text = {
        **TEXT,
        "head_dim": 16,
        "rope_parameters": rope,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        **_ids(tokenizer),
    }
    config = Qwen3_5Config(
        text_config=text,
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [],
        },
        **_qwen_marks(tokenizer),
    )
    _save(directory, _built(Qwen3_5ForConditionalGeneration, config), processor)


def save_qwen2_5_vl(directory: Path) -> None:
    """A two-layer Qwen2.5-VL, which counts pixels of the image as its processor resized it."""
    tokenizer = qwen_tokenizer(*QWEN_MARKS)
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(patch_size=14, merge_size=2, min_pixels=28 * 28, max_pixels=112 * 112),
        tokenizer,
        Qwen2VLVideoProcessor(),
        chat_template=chatml(QWEN_IMAGE),
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": rope, **_ids(tokenizer)},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "out_hidden_size": 32,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        **_qwen_marks(tokenizer),
    )
    _save(directory, _built(Qwen2_5_VLForConditionalGeneration, config), processor)


def save_internvl(directory: Path) -> None:
    """A two-layer InternVL over tiles of 28 pixels."""
    marks = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = qwen_tokenizer("<ref>", "</ref>", "<box>", "</box>", **marks)
    image_processor = GotOcr2ImageProcessor(size={"height": 56, "width": 56}, min_patches=1, max_patches=2)
    processor = InternVLProcessor(
        image_processor,
        tokenizer,
        InternVLVideoProcessor(),
        image_seq_length=4,
        chat_template=chatml("<IMG_CONTEXT>\n"),
    )
    config = InternVLConfig(
        text_config={"model_type": "qwen3", **TEXT, "head_dim": 8, **_ids(tokenizer)},
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": [56, 56],
            "patch_size": [14, 14],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    _save(directory, _built(InternVLForConditionalGeneration, config), processor)


def save_llava_next(directory: Path) -> None:
    """A two-layer LLaVA-NeXT without adapters."""
    tokenizer = qwen_tokenizer("<image>")
    image_processor = LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=[[28, 56], [56, 28]]
    )
    processor = LlavaNextProcessor(
        image_processor,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chatml("<image>\n"),
    )
    config = LlavaNextConfig(
        text_config={"model_type": "llama", **TEXT, **_ids(tokenizer)},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=[[28, 56], [56, 28]],
    )
    _save(directory, _built(LlavaNextForConditionalGeneration, config), processor)


def save_florence_2(directory: Path) -> None:
    """A Florence-2 of one layer a stage, with all 1,000 location tokens."""
    tokenizer = BartTokenizer(
        vocab=byte_vocabulary(("<s>", "<pad>", "</s>", "<unk>", "<mask>")),
        merges=list(MERGES),
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens([f"<loc_{index}>" for index in range(1000)], special_tokens=True)
    image_processor = CLIPImageProcessor(
        size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64}, do_center_crop=False
    )
    image_processor.image_seq_length = 5
    config = Florence2Config(
        text_config={
            "model_type": "bart",
            "vocab_size": len(tokenizer),
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 256,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "decoder_start_token_id": tokenizer.eos_token_id,
            "forced_eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depths": [1, 1, 1, 1],
            "embed_dim": [8, 16, 16, 32],
            "num_heads": [2, 2, 2, 2],
            "num_groups": [2, 2, 2, 2],
            "window_size": 4,
            "projection_dim": 32,
            "drop_path_rate": 0.0,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(directory, _built(Florence2ForConditionalGeneration, config), Florence2Processor(image_processor, tokenizer))


def save_molmo2(directory: Path) -> None:
    """A two-layer Molmo2."""
    marks = ("<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<frame_start>", "<im_end>", "<frame_end>")
    tokenizer = qwen_tokenizer("<|image|>", "<|video|>", "<im_low>", *marks)
    processor = Molmo2Processor(
        Molmo2ImageProcessor(
            size={"height": 56, "width": 56}, patch_size=14, max_crops=2, overlap_margins=[1, 1], pooling_size=[2, 2]
        ),
        Molmo2VideoProcessor(),
        tokenizer,
        chat_template=chatml("<|image|>"),
    )
    numbers = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = Molmo2Config(
        text_config={**TEXT, "head_dim": 8, "additional_vocab_size": 8, **_ids(tokenizer)},
        vision_config={**vision, "head_dim": 16, "num_hidden_layers": 2, "image_size": [56, 56], "patch_size": 14},
        adapter_config={**vision, "head_dim": 16, "vision_feature_layer": [1, 0], "text_hidden_size": 32},
        image_start_token_id=numbers["<im_start>"],
        low_res_image_start_token_id=numbers["<low_res_im_start>"],
        image_end_token_id=numbers["<im_end>"],
        image_patch_id=numbers["<im_patch>"],
        frame_start_token_id=numbers["<frame_start>"],
        frame_end_token_id=numbers["<frame_end>"],
    )
    _save(directory, _built(Molmo2ForConditionalGeneration, config), processor)


def _ids(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.pad_token_id,
    }


def _qwen_marks(tokenizer: Any) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, tokenizer.convert_tokens_to_ids(list(QWEN_MARKS)), strict=True))


def _built(model_class: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model = model_class(config).eval()
    loud(model)
    return model


def _save(directory: Path, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
