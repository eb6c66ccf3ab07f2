"""What a segmented clip is taken away as: a playable video, PNG masks in a zip, and COCO run lengths as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.export.file_writing import as_json_value, json_bytes, write_whole, zip_bytes
from workbench.export.results import coco_rle, png_bytes
from workbench.pictures.rendering import overlay
from workbench.video.clip_run import ClipProgress
from workbench.video.clips import ClipPart, open_part
from workbench.video.video_files import VideoWriter


@dataclass(frozen=True)
class ClipFiles:
    """The files of a segmented clip.

    Attributes:
        video: MP4 (H.264), the masks laid over the frames, without sound.
        masks: zip of one PNG a frame, white on black, named by the frame's number in the clip.
        run_lengths: JSON with the masks in COCO's compressed RLE, and each frame's time.
    """

    video: Path
    masks: Path
    run_lengths: Path


def clip_files(directory: Path) -> ClipFiles:
    """Return the names that `write_clip` gives the files of a directory."""
    return ClipFiles(directory / "overlay.mp4", directory / "masks.zip", directory / "masks-rle.json")


def write_clip(directory: Path, finished: ClipProgress) -> Iterator[int]:
    """Write the frames that have a mask; yields the number of frames of the video that are written.

    Raises:
        EvfSamError: while iterating: the clip is gone, or a file cannot be written.
    """
    files = clip_files(directory)
    order, low = finished.order, min(finished.masks)
    with open_part(order.path, order.first + low, len(finished.masks)) as part:
        masks = [finished.masks[low + index] for index in range(len(part))]
        with VideoWriter(files.video, part) as writer:
            for index, packed in enumerate(masks):
                writer.write(overlay(part[index], packed.mask, order.strategy, is_labelled=False))
                yield index + 1
        write_whole(files.masks, _masks_zip(finished, part))
        write_whole(files.run_lengths, json_bytes(_run_lengths(finished, part)))


def _masks_zip(finished: ClipProgress, part: ClipPart) -> bytes:
    low = min(finished.masks)
    masks = ((part.first + index, finished.masks[low + index].mask) for index in range(len(part)))
    return zip_bytes((f"mask-{number:06d}.png", png_bytes(mask.astype(np.uint8) * 255)) for number, mask in masks)


def _run_lengths(finished: ClipProgress, part: ClipPart) -> object:
    order, low = finished.order, min(finished.masks)
    frames = [
        {
            "frame": part.first + index,
            "seconds": round(float(part.clip_seconds(index)), 6),
            "area": finished.masks[low + index].area,
            "segmentation": coco_rle(finished.masks[low + index].mask),
        }
        for index in range(len(part))
    ]
    content = {
        "phrase": order.phrase.strip(),
        "strategy": order.strategy,
        "carries_memory": finished.latest.carries_memory,
        "prompt_frame": order.first + order.prompt_frame,
        "size": part.size,
        "frames_per_second": float(part.rate),
        "frames": frames,
    }
    return as_json_value(content)
