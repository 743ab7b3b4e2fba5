"""Intervals by patient, and whether two models differ.

Films of one patient resemble each other, so a resample draws *patients* with replacement and takes all
their films. A resample is a row of counts (how often each film is in it), and a statistic is any function
from counts to values: ``lambda w: auroc(y, p, w)``. Two models are compared on the same resamples, hence
paired.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from synthorax.errors import InputError
from synthorax.seeds import generator

#: ``(B, N)`` counts -> ``(B,)`` values, or ``(B, K)`` for several figures at once.
Statistic = Callable[[np.ndarray], np.ndarray]

N_RESAMPLES = 1000
#: Bounds the memory of a bootstrap: so many resamples of all films are in work at once.
_ROWS_AT_ONCE = 250
#: Below this many seeds the smallest two-sided Wilcoxon p exceeds .05 (five seeds: .0625).
WILCOXON_MINIMUM_SEEDS = 6


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile interval over patients.

    ``n_undefined`` resamples had no value (e.g. no positive film) and are left out of the interval.
    """

    estimate: float
    ci_low: float
    ci_high: float
    n_images: int
    n_patients: int
    n_undefined: int = 0

    def __str__(self) -> str:
        return f"{self.estimate:.3f} ({self.ci_low:.3f} to {self.ci_high:.3f})"


@dataclass(frozen=True)
class Difference(Interval):
    """Second minus first on the same films, with a two-sided p-value."""

    p_value: float = float("nan")

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out 0; False too where there is no interval."""
        return bool(self.ci_low > 0 or self.ci_high < 0)

    @property
    def verdict(self) -> str:
        """``higher``, ``lower`` or ``no difference shown`` (which is not: 'no difference')."""
        return ("higher" if self.estimate > 0 else "lower") if self.is_shown else "no difference shown"

    def __str__(self) -> str:
        return f"{self.estimate:+.3f} ({self.ci_low:+.3f} to {self.ci_high:+.3f}), {self.verdict}"


def patient_resamples(
    patient_ids: Sequence[str], n_resamples: int = N_RESAMPLES, seed: int = 0
) -> np.ndarray:
    """``(B, N)`` int32 counts: how often each film is in each resample of the patients.

    Depends on the seed and on the patients in the order of their first film, not on ``n_resamples``: more
    resamples only add rows.
    """
    index, n_patients = _patients(patient_ids)
    draw = generator("bootstrap", seed)
    counts = draw.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples)
    return counts.astype(np.int32)[:, index]


@dataclass(frozen=True)
class Replicates:
    """A statistic on all films and on each resample of the patients.

    ``estimate`` is ``()`` or ``(K,)``, ``values`` ``(B,)`` or ``(B, K)``; an index takes one figure, a slice several.
    """

    estimate: np.ndarray
    values: np.ndarray
    n_images: int
    n_patients: int

    def __getitem__(self, index: int | slice) -> "Replicates":
        return Replicates(self.estimate[..., index], self.values[..., index], self.n_images, self.n_patients)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Replicates":
        """A function of the figures, e.g. their mean over labels, of the estimate and of every resample."""
        return Replicates(function(self.estimate), function(self.values), self.n_images, self.n_patients)

    def minus(self, other: "Replicates") -> "Replicates":
        """The paired difference; both must come from the same patients and seed."""
        return Replicates(
            self.estimate - other.estimate, self.values - other.values, self.n_images, self.n_patients
        )

    def interval(self, level: float = 0.95) -> Interval:
        """The percentile interval of a single figure."""
        return Interval(*self._fields(level))

    def difference(self, level: float = 0.95) -> Difference:
        """The percentile interval of a difference and its p-value.

        p is twice the smaller share of resampled differences on either side of 0, (count + 1) / (B + 1) so
        that it is never 0: the test that belongs to the interval.
        """
        defined = self.values[~np.isnan(self.values)]
        tail = min((defined <= 0).sum(), (defined >= 0).sum())
        p_value = min(1.0, 2 * (tail + 1) / (len(defined) + 1)) if len(defined) else np.nan
        return Difference(*self._fields(level), p_value=float(p_value))

    def _fields(self, level: float) -> tuple[float, float, float, int, int, int]:
        defined = self.values[~np.isnan(self.values)]
        tails = [0.5 - level / 2, 0.5 + level / 2]
        low, high = np.quantile(defined, tails) if len(defined) else (np.nan, np.nan)
        undefined = len(self.values) - len(defined)
        return float(self.estimate), float(low), float(high), self.n_images, self.n_patients, undefined


def bootstrap(
    statistic: Statistic, patient_ids: Sequence[str], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Replicates:
    """The statistic on all films and on each resample of the patients.

    Args:
        statistic: from ``(B, N)`` counts to ``(B,)`` values, or ``(B, K)`` for several figures at once.
        patient_ids: ``(N,)`` the patient of each film.
        n_resamples: how many; more makes the interval's ends steadier.
        seed: of the resamples. The same patients and seed give the same resamples, so two models pair.

    Raises:
        InputError: no films, or a film without patient.
    """
    resamples = patient_resamples(patient_ids, n_resamples, seed)
    estimate = np.asarray(statistic(np.ones((1, len(patient_ids)))))[0]
    rows = range(0, n_resamples, _ROWS_AT_ONCE)
    values = np.concatenate(
        [np.asarray(statistic(resamples[i : i + _ROWS_AT_ONCE].astype(float))) for i in rows]
    )
    return Replicates(estimate, values, len(patient_ids), len(set(patient_ids)))


def bootstrap_interval(
    statistic: Statistic, patient_ids: Sequence[str], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Interval:
    """95 % percentile bootstrap interval of a statistic, by patient; arguments as in :func:`bootstrap`.

    Too narrow when patients are few (under about 20) or the statistic lies at its bound (AUROC 1.0).
    """
    return bootstrap(statistic, patient_ids, n_resamples=n_resamples, seed=seed).interval()


def mean_interval(
    values: np.ndarray, patient_ids: Sequence[str], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of ``(N,)`` values with its :func:`bootstrap_interval`."""

    def mean(w: np.ndarray) -> np.ndarray:
        return w @ values / w.sum(-1)

    return bootstrap_interval(mean, patient_ids, n_resamples=n_resamples, seed=seed)


def bootstrap_difference(
    first: Statistic,
    second: Statistic,
    patient_ids: Sequence[str],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap of ``second - first`` on the same films, by patient; 95 % interval and two-sided p."""
    both = bootstrap(lambda w: second(w) - first(w), patient_ids, n_resamples=n_resamples, seed=seed)
    return both.difference()


def delong(
    y: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    patient_ids: Sequence[str] | None = None,
    level: float = 0.95,
) -> Difference:
    """AUROC of ``second`` minus that of ``first`` with DeLong's variance (DeLong et al. 1988), paired.

    Films count as independent, so a patient may have only one.

    Args:
        y: ``(N,)`` 0 or 1, at least two films of each.
        first, second: ``(N,)`` scores of the two models on the same films.
        patient_ids: ``(N,)``; checked for repeats where given.
        level: of the normal interval.

    Raises:
        InputError: fewer than two films of a kind, or a patient with several films.
    """
    from scipy.stats import norm

    y = np.asarray(y)
    if patient_ids is not None and len(set(patient_ids)) < len(patient_ids):
        raise InputError(
            f"{len(patient_ids)} films come from {len(set(patient_ids))} patients; DeLong's test takes films "
            "as independent. Keep one film a patient or use bootstrap_difference."
        )
    if min((y == 1).sum(), (y == 0).sum()) < 2:
        raise InputError(
            f"{(y == 1).sum()} positive and {(y == 0).sum()} negative films; DeLong's test needs two of each."
        )
    placements = [_placements(y, np.asarray(scores, dtype=float)) for scores in (first, second)]
    estimate = placements[1][0].mean() - placements[0][0].mean()
    variance = sum(np.var(b - a, ddof=1) / len(a) for a, b in zip(*placements, strict=True))
    error = float(np.sqrt(variance))
    z = estimate / error if error > 0 else (np.inf * np.sign(estimate) if estimate else 0.0)
    reach = norm.ppf(0.5 + level / 2) * error
    return Difference(
        float(estimate),
        float(estimate - reach),
        float(estimate + reach),
        n_images=len(y),
        n_patients=len(y),
        p_value=float(2 * norm.sf(abs(z))),
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted for all of a family being looked at (Holm 1979), in the given order; NaN stays out of it.

    The k-th smallest of m (k from 0) is multiplied by m - k; none becomes smaller than one before it, none exceeds 1.
    """
    p = np.asarray(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def smallest_detectable(difference: Replicates, power: float = 0.8, level: float = 0.95) -> float:
    """The true difference that a test of this size would find with this power: (z_level + z_power) x standard error.

    Args:
        difference: of two models, from :meth:`Replicates.minus`; its deviation over resamples is the standard error
            (NaN where fewer than two are defined).
        power: share of such studies that would find it.
        level: of the two-sided interval.
    """
    from scipy.stats import norm

    defined = difference.values[~np.isnan(difference.values)]
    error = defined.std(ddof=1) if len(defined) > 1 else np.nan
    return float((norm.ppf(0.5 + level / 2) + norm.ppf(power)) * error)


@dataclass(frozen=True)
class SeedSummary:
    """Differences of the same comparison over training seeds; ``p_value`` is None below six seeds."""

    values: tuple[float, ...]
    mean: float
    sd: float
    p_value: float | None


def over_seeds(differences: Sequence[float]) -> SeedSummary:
    """Mean, deviation and every seed's value; a two-sided Wilcoxon signed-rank test from six seeds up."""
    from scipy.stats import wilcoxon

    values = np.asarray(differences, dtype=float)
    p_value = None
    if len(values) >= WILCOXON_MINIMUM_SEEDS:
        p_value = float(wilcoxon(values).pvalue) if values.any() else 1.0
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return SeedSummary(tuple(map(float, values)), float(values.mean()), sd, p_value)


def _patients(patient_ids: Sequence[str]) -> tuple[np.ndarray, int]:
    missing = [row for row, patient in enumerate(patient_ids) if patient is None]
    if missing or not len(patient_ids):
        found = f"patient_id of film {missing[0]} is missing" if missing else "there are no films"
        raise InputError(f"{found}; intervals resample patients. Give every film its patient_id.")
    order = {patient: None for patient in patient_ids}
    place = {patient: index for index, patient in enumerate(order)}
    return np.array([place[patient] for patient in patient_ids]), len(place)


def _placements(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's V10 and V01: each film's share of the other kind that it is ranked right against."""
    from scipy.stats import rankdata

    positive, negative = scores[y == 1], scores[y == 0]
    overall = rankdata(np.concatenate([positive, negative]))
    v10 = (overall[: len(positive)] - rankdata(positive)) / len(negative)
    v01 = 1 - (overall[len(positive) :] - rankdata(negative)) / len(positive)
    return v10, v01
