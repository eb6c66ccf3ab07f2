"""Real transformers classes at a size that builds in milliseconds, with weights drawn from a fixed seed."""

from functools import cache

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from baselines.clip.text import ClipTextSamConfig, ClipTextSamModel
from baselines.point_query import dialects
from baselines.point_query.strategy import grid_points
from evfsam.sam.sam import SamConfig, SamMaskBackbone, build_sam

IMAGE_SIZE = 64
PATCH_SIZE = 16
CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}:"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)
WORDS = " ".join(
    [
        dialects.box_question("the red cup and both cats"),
        dialects.points_question((0, 0, 1, 1), [(0, 0)]),
        dialects.prompt_points_question("cup"),
        dialects.points_answer([True, False]).replace("No", " No"),
        dialects.NO_OBJECT,
        "inside outside user assistant 0 1 2 3 4 5 6 7 8 9 + ,",
    ]
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer whose digits are single tokens, as the small language model has it."""
    splitter = pre_tokenizers.Split(Regex(r"Yes|No|\d|[A-Za-z]+|[^\w\s]|\n| "), behavior="isolated")
    pieces = [piece for piece, _ in splitter.pre_tokenize_str(WORDS)]
    special = ["<unk>", "<pad>", "<s>", "</s>", "<image>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*special, *pieces]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        padding_side="right",
    )


def tiny_llava(seed: int = 0, std: float = 0.25) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A two-layer LLaVA over 64-pixel images and its processor."""
    tokenizer = tiny_tokenizer()
    image_processor = CLIPImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
    )
    processor = LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=32,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>")
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "position" not in name:
                parameter.normal_(std=std)
    return model, processor


def tiny_qwen(seed: int = 0) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """A two-layer Qwen3-VL, whose positions have three axes and whose image tokens vary with the image's size."""
    tokenizer = tiny_tokenizer()
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    start, end, image, video = tokenizer.convert_tokens_to_ids(marks)
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=PATCH_SIZE, merge_size=2, min_pixels=32 * 32, max_pixels=128 * 128),
        tokenizer,
        Qwen3VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "rope_parameters": rope,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": PATCH_SIZE,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
    return model, processor


BOX = (100, 200, 600, 800)
PHRASE = "the red cup"
ABSENT_PHRASE = "both cats"


def lies_on_object(point: tuple[int, int]) -> bool:
    """What the taught model holds to be on the object: the left part of the box."""
    return point[0] < 300


@cache
def taught_llava(steps: int = 70) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A tiny LLaVA that has learnt a few dialogues by heart in some seconds, so that real answers can be asserted."""
    model, processor = tiny_llava(std=0.1)
    batches = [_lesson(processor, dialogues) for dialogues in _lessons()]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / steps)
        for batch in batches:
            model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), processor


def _lessons() -> list[list[list[dict[str, object]]]]:
    """Batches of dialogues of one length; the last turn of each is the model's."""
    box_answer = dialects.assistant_turn(dialects.boxes_answer([BOX]))
    first = dialects.user_turn(dialects.box_question(PHRASE), with_image=True)
    absent = dialects.user_turn(dialects.box_question(ABSENT_PHRASE), with_image=True)
    generate = dialects.user_turn(dialects.prompt_points_question(PHRASE), with_image=True)
    group = dialects.PromptGroup(BOX, ((200, 300), (200, 700)), ((550, 250),))
    grid = grid_points(BOX, 5)
    alone = [
        [
            first,
            box_answer,
            dialects.user_turn(dialects.points_question(BOX, [point])),
            dialects.assistant_turn(dialects.points_answer([lies_on_object(point)])),
        ]
        for point in grid
    ]
    listed = [
        first,
        box_answer,
        dialects.user_turn(dialects.points_question(BOX, grid[:9])),
        dialects.assistant_turn(dialects.points_answer(lies_on_object(point) for point in grid[:9])),
    ]
    return [
        [[first, box_answer]],
        [[absent, dialects.assistant_turn(dialects.NO_OBJECT)]],
        [[generate, dialects.assistant_turn(dialects.prompt_points_answer([group]))]],
        alone,
        [listed],
    ]


def _lesson(processor: LlavaProcessor, dialogues: list[list[dict[str, object]]]) -> dict[str, torch.Tensor]:
    """Inputs and labels of dialogues of one length; only the last turn counts."""
    images = [Image.fromarray(np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 127, np.uint8))] * len(dialogues)
    asked = [processor.apply_chat_template(turns[:-1], add_generation_prompt=True) for turns in dialogues]
    answers = [turns[-1]["content"][0]["text"] + "</s>" for turns in dialogues]
    texts = [question + answer for question, answer in zip(asked, answers, strict=True)]
    inputs = processor(images=images, text=texts, return_tensors="pt")
    answer_length = len(processor.tokenizer(answers[0])["input_ids"])
    labels = inputs["input_ids"].clone()
    labels[:, :-answer_length] = -100
    return {"labels": labels, **inputs}


def tiny_sam(seed: int = 0) -> SamMaskBackbone:
    """A two-layer SAM for 64-pixel images; its weights are random but loud enough to draw something."""
    config = SamConfig(
        image_size=64,
        vit_patch_size=8,
        encoder_embed_dim=32,
        encoder_depth=2,
        encoder_num_heads=2,
        encoder_global_attn_indexes=(1,),
        window_size=4,
        prompt_embed_dim=32,
        mask_in_chans=4,
        decoder_mlp_dim=32,
        decoder_num_heads=2,
        iou_head_hidden_dim=32,
    )
    torch.manual_seed(seed)
    return SamMaskBackbone(build_sam(config), config)


def tiny_clip_text(seed: int = 0) -> tuple[ClipTextSamModel, PreTrainedTokenizerFast]:
    """A two-layer CLIP before the tiny SAM, and a tokenizer that ends its phrases."""
    tokenizer = tiny_tokenizer()
    template = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    tokenizer.backend_tokenizer.post_processor = template
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=16, bos_token_id=2, eos_token_id=3, pad_token_id=1, **sizes
    )
    vision = CLIPVisionConfig(image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, **sizes)
    torch.manual_seed(seed)
    model = ClipTextSamModel(ClipTextSamConfig(text, vision, tiny_sam().config))
    model.sam.load_state_dict(tiny_sam().sam.state_dict())
    with torch.no_grad():
        for parameter in (*model.text_encoder.parameters(), *model.image_encoder.parameters()):
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
    return model, tokenizer
