"""The figures of one answer at the size the page shows, for the page and for files alike: mask, evidence, attention."""

from evfsam.attention import cls_to_image
from evfsam.types import RgbImage, Segmentation
from workbench.comparison import StrategyResult
from workbench.pictures.phrase_overlay import phrase_overlay
from workbench.pictures.rendering import evidence, heat_map, overlay
from workbench.pictures.shown_pictures import shown_pair


def mask_figure(image: RgbImage, result: StrategyResult) -> RgbImage:
    """Draw the answer's mask over the image, the rest darkened; of several phrases, each in a colour of its own.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        result: one strategy's.

    Returns:
        (h, w, 3) uint8 at the size of `pictures.shown_pictures.shown_pair`.
    """
    if not result.answers:
        return overlay(*shown_pair(image, result.segmentation.mask), result.key, is_rest_dimmed=True)
    pairs = [shown_pair(image, answer.segmentation.mask) for answer in result.answers]
    return phrase_overlay(pairs[0][0], [mask for _, mask in pairs], is_rest_dimmed=True)


def evidence_figure(image: RgbImage, result: StrategyResult) -> RgbImage | None:
    """Draw the box and the points that SAM was given; None where it got neither, and the mask's figure says it all.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        result: one strategy's.

    Returns:
        As `mask_figure`, or None.
    """
    if not any(prompt.box is not None or prompt.points for prompt in result.segmentation.prompts):
        return None
    return evidence(image, result.segmentation, result.key)


def certainty_figure(image: RgbImage, segmentation: Segmentation) -> RgbImage:
    """Draw how probable the decoder held each pixel, the logits' sigmoid, with the mask's outline.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        segmentation: an answer with a mask.

    Returns:
        As `mask_figure`.
    """
    picture, mask = shown_pair(image, segmentation.mask)
    step = max(1, max(segmentation.size) // max(picture.shape[:2]))
    logits = segmentation.mask_logits[::step, ::step].float()
    return heat_map(picture, logits.sigmoid().cpu().numpy(), mask, peak=1.0)


def attention_figure(image: RgbImage, segmentation: Segmentation) -> RgbImage:
    """Draw where [CLS] looked in the last layer, all heads summed, with the mask's outline.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        segmentation: an answer with attention.

    Returns:
        As `mask_figure`.
    """
    assert segmentation.attention is not None
    picture, mask = shown_pair(image, segmentation.mask)
    return heat_map(picture, cls_to_image(segmentation.attention), mask)
