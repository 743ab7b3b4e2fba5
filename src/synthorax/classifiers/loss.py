"""Binary cross-entropy over the labels that are known, and two ways to make rare labels count."""

import math
from typing import TYPE_CHECKING

import numpy as np

from synthorax.seeds import generator

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


def rows_by_class(targets: np.ndarray, *seed: object) -> np.ndarray:
    """As many rows as films, ``(N,)``: each label's positives, and the films without any, take equal parts of them.

    Within a class no film comes again before all have come. Classes without films are left out.
    """
    rng, positive = generator(*seed), targets == 1
    classes = [np.flatnonzero(column) for column in (*positive.T, ~positive.any(1)) if column.any()]
    parts = np.array_split(np.arange(len(targets)), len(classes))
    drawn = []
    for films, part in zip(classes, parts, strict=True):
        rounds = [rng.permutation(films) for _ in range(math.ceil(len(part) / len(films)))]
        drawn.append(np.concatenate(rounds)[: len(part)] if rounds else films[:0])
    return np.concatenate(drawn)
