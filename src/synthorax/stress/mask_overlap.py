"""How well a mask covers another: Dice, and how far their contours lie apart.

    Dice    2 |A n B| / (|A| + |B|)
    d(a, B) distance from a contour pixel of A to the nearest contour pixel of B
    ASSD    mean of all d(a, B) and d(b, A): the average (symmetric) surface distance
    HD95    the greater of the two 95th percentiles of d(a, B) and of d(b, A)

Metrics Reloaded (Maier-Hein et al. 2024); RadEdit's figure 5 reports Dice and the 95th percentile. Distances are in px of a
film whose longer side is 512, so that films of other sizes compare.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from synthorax.quality.segmentation import dice

REFERENCE_PX = 512


class Overlap(NamedTuple):
    """Dice in [0, 1]; distances in px of 512, the film's diagonal where the predicted mask is empty."""

    dice: float
    assd_px: float
    hd95_px: float


def overlap(predicted: np.ndarray, truth: np.ndarray) -> Overlap:
    """Compare two masks of one film.

    Args:
        predicted: bool ``(H, W)``.
        truth: bool ``(H, W)``, not empty.
    """
    scale = REFERENCE_PX / max(truth.shape)
    if not predicted.any():
        diagonal = float(np.hypot(*truth.shape) * scale)
        return Overlap(0.0, diagonal, diagonal)
    contours = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted, truth)]
    to_truth = ndimage.distance_transform_edt(~contours[1])[contours[0]] * scale
    to_predicted = ndimage.distance_transform_edt(~contours[0])[contours[1]] * scale
    return Overlap(
        dice(truth, predicted),
        float(np.concatenate([to_truth, to_predicted]).mean()),
        float(max(np.percentile(to_truth, 95), np.percentile(to_predicted, 95))),
    )
