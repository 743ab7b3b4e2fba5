"""Differences between methods: of these readers, and of readers like them.

The first interval resamples patients and keeps the readers: it speaks of these readers alone. The second takes readers as
drawn too, by the mixed model of Obuchowski and Rockette (Commun Stat Simul 24:285-308, 1995) with the degrees of freedom
of Hillis (Stat Med 26:596-619, 2007):

    d_r       a reader's difference between the methods, d its mean over R readers
    cov       covariance of two readers' d_r over resampled patients, mean over pairs, not below 0
    MS        variance of the d_r (R - 1), not below the resampled var(d_r) - cov, which is there with like readers too
    var(d)    (MS + R cov) / R
    df        (MS + R cov)^2 / (MS^2 / (R - 1))

Two readers who differ leave next to nothing to say about others (df near 1): that is the truth about two readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthorax.classifiers.statistics import Difference, bootstrap_difference, patient_resamples

LEVEL = 0.95


@dataclass(frozen=True)
class Compared:
    """``second - first`` for these readers, and for readers like them: the mean of the readers' differences.

    ``like_them`` is None below two readers who judged both methods.
    """

    these: Difference
    like_them: Difference | None
    n_readers: int


def compare(
    scores: np.ndarray,
    is_second: np.ndarray,
    patients: Sequence[str],
    readers: Sequence[int],
    *,
    seed: int = 0,
) -> Compared:
    """Mean score of the second method minus that of the first.

    Args:
        scores: ``(N,)`` one an answer.
        is_second: bool ``(N,)``: the answer is about a film of the second method, else of the first.
        patients: ``(N,)`` whose film it is.
        readers: ``(N,)`` whose answer it is.
        seed: of the resamples.
    """
    arms = (~is_second, is_second)

    def mean_of(here: np.ndarray):
        def statistic(weights: np.ndarray) -> np.ndarray:
            return _means(weights[:, here] @ scores[here], weights[:, here].sum(1))

        return statistic

    these = bootstrap_difference(mean_of(arms[0]), mean_of(arms[1]), patients, seed=seed)
    both = sorted(set(np.asarray(readers)[arms[0]]) & set(np.asarray(readers)[arms[1]]))
    if len(both) < 2:
        return Compared(these, None, len(both))
    return Compared(these, _like_them(scores, arms, patients, np.asarray(readers), both, seed), len(both))


def _means(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.divide(sums, n, out=np.full(np.shape(n), np.nan), where=n > 0)


def _like_them(
    scores: np.ndarray, arms: Sequence[np.ndarray], patients: Sequence[str], readers: np.ndarray,
    both: Sequence[int], seed: int,
) -> Difference:  # fmt: skip
    from scipy.stats import t as student

    names = list(dict.fromkeys(patients))
    place = np.array([names.index(patient) for patient in patients])
    weights = np.vstack([np.ones(len(names)), patient_resamples(names, seed=seed)])
    sides = []
    for arm in arms:  # (resamples + 1, readers): each reader's mean of this method
        sums, n = np.zeros((2, len(names), len(both)))
        for column, reader in enumerate(both):
            here = arm & (readers == reader)
            np.add.at(sums[:, column], place[here], scores[here])
            np.add.at(n[:, column], place[here], 1)
        sides.append(_means(weights @ sums, weights @ n))
    differences = sides[1] - sides[0]
    observed, resampled = differences[0], differences[1:]
    resampled = resampled[~np.isnan(resampled).any(1)]
    n_readers, estimate = len(both), float(observed.mean())
    matrix = np.cov(resampled.T)
    own = float(np.trace(matrix)) / n_readers
    cov = max(0.0, float((matrix.sum() - np.trace(matrix)) / (n_readers * (n_readers - 1))))
    ms = max(float(observed.var(ddof=1)), own - cov)
    whole = ms + n_readers * cov
    error = np.sqrt(whole / n_readers)
    df = whole**2 / (ms**2 / (n_readers - 1)) if ms > 0 else np.inf
    reach = error * float(student.ppf(0.5 + LEVEL / 2, df))
    p_value = float(2 * student.sf(abs(estimate) / error, df)) if error > 0 else float(estimate == 0)
    return Difference(estimate, estimate - reach, estimate + reach, len(scores), len(names),
                      len(weights) - 1 - len(resampled), p_value)  # fmt: skip
