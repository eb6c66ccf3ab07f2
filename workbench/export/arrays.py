"""Logits and attention of a strategy as one npz file, whose bytes depend on nothing but the numbers."""

import io
import zipfile
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.export.exported_run import ExportedMask, ExportedRun

_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


def npz_bytes(run: ExportedRun, strategy: str) -> bytes:
    """Write the numbers behind one strategy's masks; read them with `numpy.load`.

    For every phrase, from 1: `mask_logits_1` (H, W) float32, `mask_1` and `raw_mask_1` (H, W) bool. Where SAM was
    asked: `low_res_logits_1_1` (M, 4h, 4w) float32 and `pred_ious_1_1` (M,); the second number is the prompt's. Where
    there is attention: `attention_1` (L, A, S, S) float16, `patch_grid_1` (h, w) and `text_tokens_1`, texts.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for mask in run.masks_of(strategy):
            for name, values in _arrays(mask):
                content = io.BytesIO()
                np.lib.format.write_array(content, values, allow_pickle=False)
                entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_TIME)
                archive.writestr(entry, content.getvalue(), compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _arrays(mask: ExportedMask) -> Iterator[tuple[str, NDArray[np.generic]]]:
    number, segmentation = mask.number, mask.segmentation
    yield f"mask_logits_{number}", segmentation.mask_logits.float().cpu().numpy()
    yield f"mask_{number}", mask.mask
    yield f"raw_mask_{number}", mask.raw
    for place, prediction in enumerate(segmentation.predictions, start=1):
        yield f"low_res_logits_{number}_{place}", prediction.low_res_logits.float().cpu().numpy()
        yield f"pred_ious_{number}_{place}", prediction.pred_ious.float().cpu().numpy()
    attention = segmentation.attention
    if attention is not None:
        # Half precision: the published model has 24 layers of 16 heads, 70 MB a phrase in single precision.
        yield f"attention_{number}", attention.probabilities.cpu().numpy().astype(np.float16)
        yield f"patch_grid_{number}", np.array(attention.patch_grid)
        yield f"text_tokens_{number}", np.array(attention.text_tokens, dtype=np.str_)
