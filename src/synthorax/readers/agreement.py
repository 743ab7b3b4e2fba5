"""How far readers agree beyond chance.

    percent agreement   p_a = mean over items of the share of reader pairs that agree
    Cohen's kappa       each pair of readers (scikit-learn); quadratic weights where the scale is ordered
    Fleiss' kappa       all readers, items that all of them judged (statsmodels)
    Gwet's AC1          (p_a - p_e) / (1 - p_e), p_e = sum_k pi_k (1 - pi_k) / (q - 1)
    Krippendorff's alpha

Kappa falls where one answer is rare although readers hardly differ (94 % 'real' in CARS's Table 5); AC1 does not,
which is why both stand in the table. Gwet, Br J Math Stat Psychol 61:29-48 (2008).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthorax.errors import InputError


def agreement(ratings: np.ndarray, categories: Sequence[str], is_ordered: bool = False) -> dict[str, Any]:
    """Every figure of the module's head for one question.

    Args:
        ratings: int ``(items, readers)``, index into ``categories``, or -1 where a reader did not answer.
        categories: all possible answers, also those that nobody gave.
        is_ordered: the categories are a scale.

    Returns:
        ``n_items`` judged by two readers or more, ``percent_agreement`` in [0, 1], ``cohen`` (pair of column numbers ->
        kappa), ``fleiss``, ``ac1``, ``alpha``. None where a figure is undefined (no item, or a single answer throughout).
    """
    from krippendorff import alpha as krippendorff_alpha
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import fleiss_kappa

    counts = _counts(ratings, len(categories))
    whole = counts[counts.sum(1) == ratings.shape[1]] if ratings.shape[1] > 1 else counts[:0]
    used = np.unique(ratings[ratings >= 0])
    cohen = {}
    for a, b in itertools.combinations(range(ratings.shape[1]), 2):
        both = ratings[(ratings[:, a] >= 0) & (ratings[:, b] >= 0)][:, [a, b]]
        varied = len(np.unique(both)) > 1
        kappa = (
            cohen_kappa_score(
                *both.T, labels=range(len(categories)), weights="quadratic" if is_ordered else None
            )
            if varied
            else None
        )
        cohen[a, b] = kappa if kappa is None else float(kappa)
    is_varied = len(used) > 1
    is_whole_varied = len(whole) > 0 and (whole.sum(0) > 0).sum() > 1
    values = np.where(ratings < 0, np.nan, ratings).T.astype(float)
    paired = bool(len(counts))
    return {
        "n_items": len(counts),
        "percent_agreement": float(_pair_agreement(counts).mean()) if paired else None,
        "cohen": cohen,
        "fleiss": float(fleiss_kappa(whole)) if is_whole_varied else None,
        "ac1": gwet_ac1(ratings, len(categories)) if paired else None,
        "alpha": float(
            krippendorff_alpha(values, level_of_measurement="ordinal" if is_ordered else "nominal", value_domain=list(range(len(categories))))
        )
        if paired and is_varied
        else None,
    }  # fmt: skip


def gwet_ac1(ratings: np.ndarray, n_categories: int) -> float:
    """Gwet's AC1 for any number of readers, missing answers allowed (2008).

    Args:
        ratings: int ``(items, readers)`` in [0, n_categories), -1 = no answer.
        n_categories: q, 2 or more.

    Raises:
        InputError: fewer than two categories, or no item with two answers.
    """
    counts, paired = _counts(ratings, n_categories, at_least=1), _counts(ratings, n_categories)
    if n_categories < 2 or not len(paired):
        raise InputError(
            f"AC1 of {n_categories} categories over {len(paired)} items with two answers is undefined; "
            "expected two categories and one such item at least."
        )
    pi = (counts / counts.sum(1, keepdims=True)).mean(0)
    by_chance = float((pi * (1 - pi)).sum()) / (n_categories - 1)
    return float((_pair_agreement(paired).mean() - by_chance) / (1 - by_chance))


def _counts(ratings: np.ndarray, n_categories: int, at_least: int = 2) -> np.ndarray:
    """``(items, categories)``: how many readers gave each answer; only items with so many answers."""
    counts = np.stack([(ratings == k).sum(1) for k in range(n_categories)], axis=1)
    return counts[counts.sum(1) >= at_least]


def _pair_agreement(counts: np.ndarray) -> np.ndarray:
    n = counts.sum(1)
    return (counts * (counts - 1)).sum(1) / (n * (n - 1))
