import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from evfsam.types import Segmentation, Verdict
from webui.tabs.compare.viewer import LEVELS_PER_LOGIT, MIDDLE, readout, value_map


def segmentation(logits: torch.Tensor) -> Segmentation:
    return Segmentation(Verdict("found"), logits)


def test_a_level_is_above_the_middle_exactly_in_the_mask_and_tells_the_logit() -> None:
    logits = torch.tensor([[-1e9, -float("inf"), -2.5, -0.01, 0.0, 0.01, 3.25, 1e9, float("nan")]])
    levels = value_map(segmentation(logits))
    assert np.array_equal(levels > MIDDLE, segmentation(logits).mask)
    assert levels[0, 2] == MIDDLE - 2.5 * LEVELS_PER_LOGIT
    assert levels[0, 6] == MIDDLE + 3.25 * LEVELS_PER_LOGIT
    assert (levels[0, 0], levels[0, 1], levels[0, 7]) == (0, 0, 255)


def test_values_of_a_large_image_are_sampled_not_mixed() -> None:
    logits = torch.where(torch.arange(2000) < 1000, -8.0, 8.0).expand(900, 2000)
    levels = value_map(segmentation(logits))
    assert levels.shape == (230, 512)
    assert set(np.unique(levels)) == {MIDDLE - 32, MIDDLE + 32}


def test_the_line_holds_values_size_and_an_escaped_title() -> None:
    line = readout(segmentation(torch.ones(3, 5)), "<b>")
    assert "<b>" not in line
    assert 'data-width="5" data-height="3"' in line
    picture = re.search(r'base64,([^"]+)"', line)
    assert picture is not None
    assert np.asarray(Image.open(BytesIO(b64decode(picture[1])))).shape == (3, 5)
