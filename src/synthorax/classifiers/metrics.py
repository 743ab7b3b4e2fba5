"""What a multi-label classifier is worth: discrimination, thresholds, calibration, confidence.

Every metric here is of one label and takes *weights*: with weights of one it is the usual metric, with the
counts of a bootstrap resample it is that resample's, and a whole ``(B, N)`` table of counts gives all ``B``
replicates in one matrix product. That is why they are written out; ``scikit-learn`` agrees with them, which
the tests check. Labels that nobody gave are NaN; :func:`per_label` leaves those films out of that label,
never counts them as absent.

Notation: y = target in {0, 1}, p = probability, w = weight of a film, N = films, L = labels.
"""

from collections.abc import Callable, Sequence

import numpy as np

from synthorax.errors import InputError

Metric = Callable[..., np.ndarray]

#: Equal-width bins of the positive probability. CARS leaves the number open.
ECE_BINS = 15
#: The fixed specificity at which sensitivity is given.
SPECIFICITY = 0.9


def auroc(y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve, ties counted half; NaN without a film of each kind.

    Args:
        y: ``(N,)`` 0 or 1.
        p: ``(N,)`` scores, any scale.
        w: ``(..., N)`` weights >= 0, ones by default.

    Returns:
        ``(...)``, one value a row of weights.
    """
    hits, alarms = _cumulative(y, p, w)
    positives, negatives = hits[..., -1], alarms[..., -1]
    area = (np.diff(alarms) * (hits[..., 1:] + hits[..., :-1]) / 2).sum(-1)
    return _ratio(area, positives * negatives)


def auprc(y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    """Average precision, sum over thresholds of (gain in recall) x precision; NaN without a positive film."""
    hits, alarms = _cumulative(y, p, w)
    called = (hits + alarms)[..., 1:]
    precision = np.divide(hits[..., 1:], called, out=np.zeros_like(called), where=called > 0)
    return _ratio((np.diff(hits) * precision).sum(-1), hits[..., -1])


def f1(y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None, *, threshold: float = 0.5) -> np.ndarray:
    """2TP / (2TP + FP + FN), called positive where p >= threshold; NaN without a positive film."""
    w = _weights(y, w)
    called = p >= threshold
    positives = w @ y
    return np.where(
        positives > 0, _ratio(2 * (w @ (y * called)), w @ called.astype(float) + positives), np.nan
    )


def sensitivity(
    y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None, *, threshold: float = 0.5
) -> np.ndarray:
    """Share of the positive films that are called positive (p >= threshold); NaN without one."""
    w = _weights(y, w)
    return _ratio(w @ (y * (p >= threshold)), w @ y)


def specificity(
    y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None, *, threshold: float = 0.5
) -> np.ndarray:
    """Share of the negative films that are not called positive; NaN without one."""
    w = _weights(y, w)
    return _ratio(w @ ((1 - y) * (p < threshold)), w @ (1 - y))


def sensitivity_at_specificity(
    y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None, *, least: float = SPECIFICITY
) -> np.ndarray:
    """Largest sensitivity on the ROC curve where specificity is ``least`` or more; NaN without a film of each kind.

    The threshold is found on the very films that are measured, so it flatters where they are few; compare
    :func:`threshold_at_specificity`.
    """
    hits, alarms = _cumulative(y, p, w)
    positives, negatives = hits[..., -1:], alarms[..., -1:]
    allowed = alarms <= (1 - least) * negatives * (1 + 1e-12)
    found = _ratio(np.where(allowed, hits, 0).max(-1), positives[..., 0])
    return np.where(negatives[..., 0] > 0, found, np.nan)


#: Metrics that take a threshold.
THRESHOLDED = (f1, sensitivity, specificity)


def entropy(y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    """Mean binary entropy of the predictions in nats (0 to ln 2): low = confident, which is not: right.

    ``y`` is unused.
    """
    w = _weights(p, w)
    q = np.clip(p, np.finfo(float).tiny, 1.0)
    r = np.clip(1 - p, np.finfo(float).tiny, 1.0)
    return _ratio(w @ -(p * np.log(q) + (1 - p) * np.log(r)), w.sum(-1))


def expected_calibration_error(
    y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None, *, n_bins: int = ECE_BINS
) -> np.ndarray:
    """ECE on the positive probability: bins' share x |observed rate - mean p|, over equal-width bins.

    Bin b holds b/n <= p < (b+1)/n, the last one also p = 1. With share, rate and mean over the same bin this
    is sum_b |sum_{i in b} w_i (y_i - p_i)| / sum_i w_i. Biased upwards when films are few.
    """
    w = _weights(y, w)
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    gap = np.zeros((len(y), n_bins))
    gap[np.arange(len(y)), bins] = y - p
    return _ratio(np.abs(w @ gap).sum(-1), w.sum(-1))


def equal_mass_calibration_error(
    y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None, *, n_bins: int = ECE_BINS
) -> np.ndarray:
    """ECE over bins of equally many films instead of equal width (Nixon et al. 2019): a film is in bin
    floor(n_bins x share of films with a smaller p); films of one p stay together."""
    w = _weights(y, w)
    order = np.argsort(p, kind="stable")
    starts = np.flatnonzero(np.diff(p[order], prepend=-np.inf))
    mass, gap = (np.add.reduceat((w * x)[..., order], starts, axis=-1) if len(y) else w for x in (1, y - p))
    below = np.cumsum(mass, -1) - mass
    total = w.sum(-1)
    bins = np.floor(n_bins * _ratio(below, np.broadcast_to(total[..., None], below.shape)) + 1e-9)
    errors = [np.abs(np.where(bins == b, gap, 0).sum(-1)) for b in range(n_bins)]
    return _ratio(np.sum(errors, 0), total)


def brier(y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    """Mean squared distance of probability and target (0 to 1, lower is better)."""
    w = _weights(y, w)
    return _ratio(w @ (y - p) ** 2, w.sum(-1))


def best_f1_threshold(y: np.ndarray, p: np.ndarray) -> float:
    """The threshold with the largest F1, halfway between neighbouring scores; 0.5 where no film is positive.

    Among equals the highest threshold is taken (fewest films called positive).
    """
    from sklearn.metrics import precision_recall_curve

    if not y.any():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(y, p)
    score = _ratio(2 * precision * recall, precision + recall)[:-1]
    score = np.nan_to_num(score)
    best = np.flatnonzero(score == score.max())[-1]
    below = thresholds[best - 1] if best > 0 else 0.0
    return float((thresholds[best] + below) / 2)


def threshold_at_specificity(y: np.ndarray, p: np.ndarray, least: float = SPECIFICITY) -> float:
    """The smallest threshold with a specificity of ``least`` or more, halfway to the score below; 1 without a negative.

    Fit on validation films; on others the specificity that is reached differs from ``least`` and is given beside.
    """
    scores, negatives = np.unique(p), np.sort(p[y == 0])
    if not len(negatives):
        return 1.0
    reached = np.searchsorted(negatives, scores) / len(negatives) >= least
    if not reached.any():
        return float(np.nextafter(scores[-1], 2))
    first = int(reached.argmax())
    below = scores[first - 1] if first else 0.0
    return float((scores[first] + below) / 2)


def thresholds_of(
    targets: np.ndarray,
    probabilities: np.ndarray,
    rule: Callable[[np.ndarray, np.ndarray], float] = best_f1_threshold,
) -> np.ndarray:
    """``(L,)`` thresholds by a rule, each from the films whose label is known: fit on validation only."""
    targets, probabilities = checked(targets, probabilities)
    pairs = zip(targets.T, probabilities.T, strict=True)
    return np.array([rule(y[~np.isnan(y)], p[~np.isnan(y)]) for y, p in pairs])


def per_label(
    metric: Metric,
    targets: np.ndarray,
    probabilities: np.ndarray,
    w: np.ndarray | None = None,
    *,
    thresholds: Sequence[float] | None = None,
) -> np.ndarray:
    """A metric of each label over the films where that label is known.

    Args:
        metric: one of this file's.
        targets: ``(N, L)`` 0, 1 or NaN (unknown).
        probabilities: ``(N, L)`` in [0, 1].
        w: ``(..., N)`` weights.
        thresholds: ``(L,)`` for metrics that take one.

    Returns:
        ``(..., L)``; NaN where a label has too few known films for the metric.
    """
    targets, probabilities = checked(targets, probabilities)
    w = np.ones(len(targets)) if w is None else np.asarray(w, dtype=float)
    columns = []
    for index, (y, p) in enumerate(zip(targets.T, probabilities.T, strict=True)):
        options = {} if thresholds is None else {"threshold": thresholds[index]}
        known = np.ones(len(y), bool) if metric is entropy else ~np.isnan(y)
        columns.append(metric(y[known], p[known], w[..., known], **options))
    return np.stack(columns, axis=-1)


def macro(values: np.ndarray, defined: np.ndarray | None = None) -> np.ndarray:
    """Mean over labels.

    Args:
        values: ``(..., L)``.
        defined: ``(L,)`` bool, the labels that count, so that every bootstrap replicate averages the same
            ones. By default those that are not NaN in ``values`` itself.

    Returns:
        ``(...)``; NaN where a counted label is NaN, or where none counts.
    """
    values = np.asarray(values, dtype=float)
    defined = ~np.isnan(values) if defined is None else np.broadcast_to(defined, values.shape)
    return _ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1))


def checked(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 ``(N, L)``.

    Raises:
        InputError: shapes differ, a target is none of 0, 1, NaN, or a probability lies outside [0, 1].
    """
    targets, probabilities = np.asarray(targets, dtype=float), np.asarray(probabilities, dtype=float)
    if targets.ndim != 2 or targets.shape != probabilities.shape:
        raise InputError(
            f"targets have shape {targets.shape} and probabilities {probabilities.shape}; "
            "expected two equal (films, labels) tables."
        )
    odd = ~(np.isnan(targets) | (targets == 0) | (targets == 1))
    if odd.any():
        row, label = np.argwhere(odd)[0]
        raise InputError(
            f"target of film {row}, label {label} is {targets[row, label]:g}; expected 0, 1 or NaN (unknown)."
        )
    odd = ~((probabilities >= 0) & (probabilities <= 1))
    if odd.any():
        row, label = np.argwhere(odd)[0]
        raise InputError(
            f"probability of film {row}, label {label} is {probabilities[row, label]:g}; expected 0 to 1. "
            "Pass probabilities, not logits."
        )
    return targets, probabilities


def _weights(y: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    return np.ones(len(y)) if w is None else np.asarray(w, dtype=float)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, NaN where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _cumulative(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives called, from the strictest threshold down; ties move together."""
    w = _weights(y, w)
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.diff(p[order], append=np.inf))
    hits, alarms = (np.cumsum((w * kind)[..., order], -1)[..., ends] for kind in (y, 1 - y))
    start = np.zeros((*w.shape[:-1], 1))
    return np.concatenate([start, hits], -1), np.concatenate([start, alarms], -1)
