"""Marks read off a known mask: what a person would click on or draw a box around, who knows what is meant."""

import numpy as np
from scipy import ndimage

from evfsam.types import PromptPoint, SamPrompt
from workbench.export.results import mask_box
from workbench.metrics.masks import ReferenceMask, wanted_pixels
from workbench.names import MarkKind


def known_marks(kind: MarkKind, reference: ReferenceMask) -> SamPrompt:
    """Return what is marked beside the phrase that a mask belongs to; nothing where the mask is empty.

    Args:
        kind: "box" is the least box around the object; "click" is the pixel of it that is furthest from its outline,
            the image's border counted as such.
        reference: the known mask.

    Source:
        SAM, arXiv:2304.02643, section 7.1 (where the one point of its evaluation lies).
    """
    wanted = wanted_pixels(reference)
    if kind == "box" or not wanted.any():
        return SamPrompt(box=mask_box(wanted))
    depths = ndimage.distance_transform_edt(np.pad(wanted, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depths.argmax()), wanted.shape)
    return SamPrompt(points=(PromptPoint(float(column) + 0.5, float(row) + 0.5, 1),))
