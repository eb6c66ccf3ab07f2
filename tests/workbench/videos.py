"""Small video files, and an EVF-SAM2 too small to know anything."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np

from evfsam.types import RgbImage
from tests.evfsam.tiny import SAM2, tiny_model, tiny_processor


def grey_frame(index: int, size: tuple[int, int] = (48, 64)) -> RgbImage:
    """A frame that tells its number: grey level 16 + 8 * index, with a bright square that moves."""
    frame = np.full((*size, 3), 16 + 8 * index % 200, dtype=np.uint8)
    frame[4:12, 2 + index % 40 : 10 + index % 40] = 250
    return frame


def number_of(frame: RgbImage) -> int:
    return round((float(frame[-8:].mean()) - 16) / 8)


def write_video(
    path: Path,
    count: int = 10,
    size: tuple[int, int] = (48, 64),
    rate: Fraction = Fraction(25),
    codec: str = "libx264",
    turn: int = 0,
    gop: int = 5,
    aspect: Fraction = Fraction(1),
    options: Mapping[str, str] = MappingProxyType({}),
    container_options: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write a video with key frames `gop` apart and B-frames between; `aspect` is that of a pixel."""
    with av.open(str(path), "w", options=dict(container_options)) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = 2
        stream.codec_context.bit_rate = 4_000_000
        stream.codec_context.sample_aspect_ratio = aspect
        stream.options = {"crf": "1"} if codec == "libx264" else dict(options)
        if turn:
            stream.set_display_rotation(turn)
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey_frame(index, size), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_tone(path: Path) -> Path:
    """Write a file with sound alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def save_tiny_evf_sam2(directory: Path) -> Path:
    """Save an EVF-SAM2 with random weights that always holds its object for visible."""
    model = tiny_model(family="sam2", sam=SAM2).requires_grad_(False)
    model.visual_model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5)
    model.save_pretrained(directory)
    tiny_processor(model).save_pretrained(directory)
    return directory
