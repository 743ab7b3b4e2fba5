"""CARS's tables 1 and 2 for one model, and for two models on the same films, with intervals by patient."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import polars as pl

from synthorax.classifiers import metrics
from synthorax.classifiers.statistics import N_RESAMPLES, Replicates, bootstrap
from synthorax.errors import InputError

#: Column name -> metric; CARS's five and more. ``ece``: per label, 15 equal-width bins on the positive
#: probability, then the mean over labels; other estimators carry their name. Entropy: binary, in nats, mean over
#: films, then over labels.
METRICS: Mapping[str, metrics.Metric] = {
    "auroc": metrics.auroc,
    "auprc": metrics.auprc,
    "f1": metrics.f1,
    "entropy": metrics.entropy,
    "ece": metrics.expected_calibration_error,
    "brier": metrics.brier,
    "ece_equal_mass": metrics.equal_mass_calibration_error,
    "sensitivity_at_90_specificity_roc": metrics.sensitivity_at_specificity,
}
#: Measured at a threshold that validation films gave: name -> metric.
AT_SPECIFICITY: Mapping[str, metrics.Metric] = {
    "sensitivity_at_90_specificity_validation": metrics.sensitivity,
    "specificity_reached_90_validation": metrics.specificity,
}


def evaluate(
    targets: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    patient_ids: Sequence[str],
    thresholds: Sequence[float],
    *,
    at_specificity: Sequence[float] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pl.DataFrame:
    """Each metric of each label and its macro mean, with 95 % intervals.

    Args:
        targets: ``(N, L)`` 0, 1 or NaN (unknown: that film is left out of that label).
        probabilities: ``(N, L)`` in [0, 1].
        labels: ``(L,)`` names.
        patient_ids: ``(N,)``.
        thresholds: ``(L,)`` for F1, fitted on *validation* films (:func:`~.metrics.thresholds_of`).
        at_specificity: ``(L,)`` thresholds from :func:`~.metrics.threshold_at_specificity` on validation films; adds
            :data:`AT_SPECIFICITY`.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Rows ``metric, label`` (``macro`` first) with ``estimate, ci_low, ci_high, n_images, n_known,
        n_patients, n_positive, n_labels, n_labels_left_out, n_undefined``. A label without value (no positive
        film, say) is left out of the macro mean and counted.
    """
    targets, probabilities = metrics.checked(targets, probabilities)
    _check_names(targets, labels, patient_ids)
    rows = []
    tasks = [(name, metric, thresholds) for name, metric in METRICS.items()]
    if at_specificity is not None:
        tasks += [(name, metric, at_specificity) for name, metric in AT_SPECIFICITY.items()]
    for name, metric, where in tasks:
        replicates = _bootstrap(metric, targets, probabilities, where, patient_ids, n_resamples, seed)
        defined = ~np.isnan(replicates.estimate)
        for label, columns, figure in _figures(replicates, labels, defined):
            interval = figure.interval()
            rows.append(
                {
                    "metric": name,
                    "label": label,
                    "estimate": _null(interval.estimate),
                    "ci_low": _null(interval.ci_low),
                    "ci_high": _null(interval.ci_high),
                    "n_images": interval.n_images,
                    "n_known": int((~np.isnan(targets[:, columns])).any(axis=1).sum()),
                    "n_patients": interval.n_patients,
                    "n_positive": int(np.nansum(targets[:, columns])),
                    "n_labels": int(defined[columns].sum()),
                    "n_labels_left_out": int((~defined[columns]).sum()),
                    "n_undefined": interval.n_undefined,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def compare(
    targets: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    labels: Sequence[str],
    patient_ids: Sequence[str],
    *,
    first_thresholds: Sequence[float],
    second_thresholds: Sequence[float],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pl.DataFrame:
    """``second - first`` on the same films: paired bootstrap over patients, for each metric and label.

    Args:
        targets: ``(N, L)`` 0, 1 or NaN.
        first, second: ``(N, L)`` probabilities of the two models.
        labels: ``(L,)`` names.
        patient_ids: ``(N,)``.
        first_thresholds, second_thresholds: ``(L,)`` for F1, each fitted on validation with its own model.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Rows ``metric, label`` (``macro`` first) with ``first, second, difference, ci_low, ci_high, p_value,
        verdict, n_images, n_patients, n_undefined``; verdict is ``higher``, ``lower`` or
        ``no difference shown``. p-values are not adjusted for the number of rows.
    """
    targets, first = metrics.checked(targets, first)
    targets, second = metrics.checked(targets, second)
    _check_names(targets, labels, patient_ids)
    rows = []
    for name, metric in METRICS.items():
        one = _bootstrap(metric, targets, first, first_thresholds, patient_ids, n_resamples, seed)
        two = _bootstrap(metric, targets, second, second_thresholds, patient_ids, n_resamples, seed)
        defined = ~np.isnan(one.estimate) & ~np.isnan(two.estimate)
        pairs = zip(_figures(one, labels, defined), _figures(two, labels, defined), strict=True)
        for (label, _, a), (_, _, b) in pairs:
            difference = b.minus(a).difference()
            rows.append(
                {
                    "metric": name,
                    "label": label,
                    "first": _null(float(a.estimate)),
                    "second": _null(float(b.estimate)),
                    "difference": _null(difference.estimate),
                    "ci_low": _null(difference.ci_low),
                    "ci_high": _null(difference.ci_high),
                    "p_value": _null(difference.p_value),
                    "verdict": difference.verdict,
                    "n_images": difference.n_images,
                    "n_patients": difference.n_patients,
                    "n_undefined": difference.n_undefined,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _bootstrap(
    metric, targets, probabilities, thresholds, patient_ids, n_resamples: int, seed: int
) -> Replicates:
    """A metric of every label, on all films and on each resample."""
    options = {"thresholds": thresholds} if metric in metrics.THRESHOLDED else {}
    statistic = partial(metrics.per_label, metric, targets, probabilities, **options)
    return bootstrap(statistic, patient_ids, n_resamples=n_resamples, seed=seed)


def _figures(replicates: Replicates, labels: Sequence[str], defined: np.ndarray) -> list[tuple]:
    """(name, its columns, its replicates): the macro mean, then each label."""
    whole = replicates.map(partial(metrics.macro, defined=defined))
    each = [(label, [index], replicates[index]) for index, label in enumerate(labels)]
    return [("macro", list(range(len(labels))), whole), *each]


def _check_names(targets: np.ndarray, labels: Sequence[str], patient_ids: Sequence[str]) -> None:
    if targets.shape != (len(patient_ids), len(labels)):
        raise InputError(
            f"the table is {targets.shape[0]} films x {targets.shape[1]} labels, but there are "
            f"{len(patient_ids)} patient_ids and {len(labels)} label names; give one for each."
        )


def _null(value: float) -> float | None:
    return None if np.isnan(value) else value
