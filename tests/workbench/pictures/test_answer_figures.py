import numpy as np
import torch

from evfsam.types import Segmentation, Verdict
from workbench.pictures.answer_figures import certainty_figure
from workbench.pictures.colours import HEAT_STOPS


def test_the_certainty_of_each_pixel_is_brightest_where_the_logit_is_highest() -> None:
    image = np.full((60, 80, 3), 90, np.uint8)
    logits = torch.full((60, 80), -8.0)
    logits[20:40, 20:60] = 8.0
    drawn = certainty_figure(image, Segmentation(Verdict("found"), logits))
    inside, outside = drawn[drawn.shape[0] // 2, drawn.shape[1] // 2], drawn[2, 2]
    grey = np.array([90, 90, 90])
    np.testing.assert_allclose(inside, 0.2 * grey + 0.8 * np.array(HEAT_STOPS[-1]), atol=2)
    np.testing.assert_allclose(outside, 0.65 * grey + 0.35 * np.array(HEAT_STOPS[0]), atol=2)
