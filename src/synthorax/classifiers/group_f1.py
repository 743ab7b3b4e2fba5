"""ChexGen's measure of bias: F1 weighted over labels, by group of patients, on real films and on their synthetic twins.

    F1_w = sum_l n_l F1_l / sum_l n_l,    n_l = positive films of label l

Unlike the figures of ``fairness`` it moves with the prevalence, so groups of unlike findings differ in it even for a fair
model: compare it between two sets of the same cases, or two models on the same films.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthorax.classifiers.groups import UNKNOWN
from synthorax.classifiers.metrics import f1, per_label
from synthorax.classifiers.statistics import N_RESAMPLES, Interval, Replicates, bootstrap
from synthorax.errors import InputError

#: Groups of fewer patients are left out.
LEAST_PATIENTS = 20


def weighted_f1(
    y: np.ndarray, p: np.ndarray, thresholds: Sequence[float], w: np.ndarray | None = None
) -> np.ndarray:
    """F1 weighted over labels by their positive films, as scikit-learn's ``average="weighted"``; NaN without any.

    Args:
        y: ``(N, L)`` 0, 1 or NaN (unknown: not in that label).
        p: ``(N, L)`` probabilities.
        thresholds: ``(L,)``.
        w: ``(..., N)`` weights, ones by default.
    """
    w = np.ones(len(y)) if w is None else w
    figures, positives = per_label(f1, y, p, w, thresholds=thresholds), w @ (y == 1).astype(float)
    total = positives.sum(-1)
    return np.divide(np.nansum(figures * positives, -1), total, out=np.full(total.shape, np.nan), where=total > 0)  # fmt: skip


@dataclass(frozen=True)
class GroupF1:
    """One model on one set of cases: the groups' names, and F1 by group, ``(G,)`` with its bootstrap replicates."""

    names: tuple[str, ...]
    figures: Replicates

    @property
    def worst(self) -> Interval:
        """The worst group's F1."""
        return self.figures.map(lambda values: np.nanmin(values, -1)).interval()

    @property
    def gap(self) -> Interval:
        """The best group's minus the worst's; above 0 by chance too."""
        return self.figures.map(_gap).interval()

    def of(self, name: str) -> Interval:
        """A group's F1."""
        return self.figures.map(lambda values: values[..., self.names.index(name)]).interval()


def _gap(values: np.ndarray) -> np.ndarray:
    return np.nanmax(values, -1) - np.nanmin(values, -1)


def group_f1(
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Sequence[float],
    patient_ids: Sequence[str],
    groups: Sequence[str],
    *,
    least_patients: int = LEAST_PATIENTS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> GroupF1:
    """F1 by group, with a bootstrap by patient; sets of the same patients and seed are paired.

    Args:
        targets, probabilities: ``(N, L)``.
        thresholds: ``(L,)``, fitted on other films.
        patient_ids, groups: ``(N,)``; a group whose name has ``unknown`` in it, and one of fewer than ``least_patients``
            patients or without any positive film, is left out.
        n_resamples, seed: of the bootstrap.

    Raises:
        InputError: fewer than two groups are left.
    """
    column, patients = np.asarray(groups, dtype=str), np.asarray(patient_ids, dtype=str)
    names = [
        name
        for name in np.unique(column)
        if UNKNOWN not in name.split(", ")
        and len(np.unique(patients[column == name])) >= least_patients
        and (targets[column == name] == 1).any()
    ]
    if len(names) < 2:
        raise InputError(f"{len(names)} groups have {least_patients} patients and a finding among them; expected two or more to compare. Give more films, or fewer --least-patients.")  # fmt: skip
    rows = [np.flatnonzero(column == name) for name in names]

    def statistic(w: np.ndarray) -> np.ndarray:
        return np.stack(
            [weighted_f1(targets[some], probabilities[some], thresholds, w[:, some]) for some in rows], -1
        )

    found = bootstrap(statistic, patient_ids, n_resamples=n_resamples, seed=seed)
    return GroupF1(tuple(map(str, names)), found)


@dataclass(frozen=True)
class Agreement:
    """Pearson's r of the groups' F1 between two sets, its p (groups taken as independent) and bootstrap interval."""

    r: float
    p_value: float
    ci_low: float
    ci_high: float
    n_groups: int


def agreement(first: GroupF1, second: GroupF1) -> Agreement | None:
    """Do two sets of the same cases rank the groups alike? None below three common groups, where r says nothing.

    Args:
        first, second: of the same patients, resamples and seed, so that a case and its twin are drawn together.
    """
    from scipy.stats import pearsonr

    common = [name for name in first.names if name in second.names]
    if len(common) < 3:
        return None
    a, b = (_picked(found, common) for found in (first, second))
    r, p_value = pearsonr(a.estimate, b.estimate)
    x, z = (v - v.mean(-1, keepdims=True) for v in (a.values, b.values))
    norm = np.sqrt((x**2).sum(-1) * (z**2).sum(-1))
    drawn = np.divide((x * z).sum(-1), norm, out=np.full(len(norm), np.nan), where=norm > 0)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Agreement(float(r), float(p_value), float(low), float(high), len(common))


def _picked(found: GroupF1, names: Sequence[str]) -> Replicates:
    places = [found.names.index(name) for name in names]
    return found.figures.map(lambda values: values[..., places])


def crossed(columns: Mapping[str, Sequence[str]], axes: Sequence[str]) -> list[str]:
    """Each film's group in a crossing of axes: 'F, 41-65'."""
    return [", ".join(parts) for parts in zip(*(columns[axis] for axis in axes), strict=True)]
