"""Binary cross-entropy over the labels that are known."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def masked_bce(
    logits: "torch.Tensor", targets: "torch.Tensor", positive_weights: "torch.Tensor"
) -> "torch.Tensor":
    """Mean over the known (film, label) pairs of -[v y log s(z) + (1 - y) log(1 - s(z))].

    v is the label's positive weight, s the logistic function. An unknown label (NaN) has weight and gradient
    zero; a batch that knows nothing has loss 0.

    Args:
        logits: ``(B, L)``.
        targets: ``(B, L)`` 0, 1 or NaN.
        positive_weights: ``(L,)``.
    """
    from torch.nn import functional

    known = ~targets.isnan()
    losses = functional.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(0.0), pos_weight=positive_weights, reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)


def positive_weights_of(targets: np.ndarray, maximum: float) -> np.ndarray:
    """Negatives per positive of each label, known ones only, at most ``maximum``; 1 without both."""
    positives, negatives = (targets == 1).sum(0), (targets == 0).sum(0)
    ratio = np.divide(
        negatives, positives, out=np.ones(len(positives)), where=(positives > 0) & (negatives > 0)
    )
    return np.minimum(ratio, maximum)
