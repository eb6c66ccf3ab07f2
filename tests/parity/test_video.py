"""Nine frames followed with SAM-2's memory, against the stored outputs of the reference, with holes filled and not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from evfsam.preprocess import stretched_pixels
from evfsam.types import RgbImage
from evfsam.video.tracking import FrameMask, track_prompt
from tests.parity.golden_outputs import EMBEDDING_TOLERANCE, LOGIT_TOLERANCE, compare_stored, golden_part, load_golden

_COUNT = 9
_MEMORY_NOISE = 0.01  # measured up to 0.005, of logits up to 6


@dataclass(frozen=True, eq=False)
class VideoRun:
    frames: list[RgbImage]
    results: list[FrameMask]
    outputs: Mapping[str, torch.Tensor]


@pytest.fixture(scope="module", params=[0, 8], ids=["holes kept", "holes filled"])
def run(request: pytest.FixtureRequest) -> VideoRun:
    folder = golden_part("tiny_sam2") / "video"
    if not folder.is_dir():
        pytest.skip("the stored outputs hold no video")
    golden = load_golden("tiny_sam2")
    outputs = load_file(folder / f"outputs_fill{request.param}.safetensors")
    frames = [np.array(Image.open(path).convert("RGB")) for path in sorted((folder / "frames").glob("*.jpg"))]
    encoder_pixels = golden.encoder_pixels(frames[0])[None]
    with torch.no_grad():
        prompts, _ = golden.model.fuse(encoder_pixels, outputs["input_ids"])
    model = golden.model
    results = track_prompt(frames, prompts, model.visual_model, model.config.sam_config, hole_area=request.param)
    return VideoRun(frames, list(results), outputs)


def test_frames_are_prepared_alike(run: VideoRun) -> None:
    pixels = torch.stack([stretched_pixels(frame, 1024, resize="bicubic")[0] for frame in run.frames])
    compare_stored(pixels, run.outputs, "sam_frames", **EMBEDDING_TOLERANCE)


def test_the_frame_with_the_phrase_agrees(run: VideoRun) -> None:
    first = run.results[0]
    compare_stored(first.low_res_logits[None, None], run.outputs, "frame0/low_res_pred_masks", **LOGIT_TOLERANCE)
    compare_stored(first.mask_logits[None, None], run.outputs, "frame0/video_res_logits", **LOGIT_TOLERANCE)


def test_every_followed_frame_agrees(run: VideoRun) -> None:
    """Memories are kept as bfloat16: rounding the other way moves logits, and logits near 0 open or close a hole."""
    assert [result.index for result in run.results] == list(range(_COUNT))
    for result in run.results[1:]:
        stored = run.outputs[f"frame{result.index}/low_res_pred_masks_stride5"]
        difference = (result.low_res_logits[None, None, ::5, ::5] - stored).abs()
        assert (difference > _MEMORY_NOISE).float().mean() < 2e-3, result.index
        stored = run.outputs[f"frame{result.index}/video_res_logits_stride3"]
        difference = (result.mask_logits[None, None, ::3, ::3] - stored).abs()
        assert (difference > _MEMORY_NOISE).float().mean() < 2e-3, result.index


def test_the_masks_agree(run: VideoRun) -> None:
    for result in run.results:
        stored = run.outputs[f"frame{result.index}/mask"][0].numpy()
        assert (result.mask != stored).mean() < 1e-3
