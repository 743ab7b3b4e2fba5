"""Agreement statistics against reference implementations, on random tables and on published ones."""

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa, to_table

from synthorax.errors import InputError
from synthorax.readers import agreement, gwet_ac1


def random_ratings(seed, n_items=40, n_readers=3, n_categories=4, missing=0.0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(n_categories, size=(n_items, 1))
    noise = rng.integers(n_categories, size=(n_items, n_readers))
    ratings = np.where(rng.random((n_items, n_readers)) < 0.6, truth, noise)
    return np.where(rng.random(ratings.shape) < missing, -1, ratings)


@pytest.mark.parametrize("seed", range(10))
def test_equal_to_the_reference_implementations(seed):
    ratings = random_ratings(seed)
    found = agreement(ratings, "abcd")
    table, _ = aggregate_raters(ratings, n_cat=4)
    assert found["fleiss"] == pytest.approx(fleiss_kappa(table))
    assert found["alpha"] == pytest.approx(krippendorff.alpha(ratings.T, level_of_measurement="nominal"))
    for (a, b), kappa in found["cohen"].items():
        assert kappa == pytest.approx(cohen_kappa_score(ratings[:, a], ratings[:, b]))
        assert kappa == pytest.approx(cohens_kappa(to_table(ratings[:, [a, b]], bins=4)[0]).kappa)
        assert np.mean(ratings[:, a] == ratings[:, b]) == pytest.approx(
            agreement(ratings[:, [a, b]], "abcd")["percent_agreement"]
        )


@pytest.mark.parametrize("seed", range(5))
def test_ordered_scales_take_quadratic_weights_and_ordinal_alpha(seed):
    ratings = random_ratings(seed, n_readers=2, missing=0.1)
    found = agreement(ratings, "abcd", is_ordered=True)
    both = ratings[(ratings >= 0).all(1)]
    assert found["cohen"][0, 1] == pytest.approx(
        cohens_kappa(to_table(both, bins=4)[0], wt="quadratic").kappa
    )
    values = np.where(ratings < 0, np.nan, ratings).T
    assert found["alpha"] == pytest.approx(krippendorff.alpha(values, level_of_measurement="ordinal"))


@pytest.mark.parametrize("seed", range(5))
def test_ac1_is_kappa_with_gwets_chance(seed):
    """(p_a - p_e) / (1 - p_e) with p_a read back from statsmodels' uniform kappa, which shares it."""
    ratings = random_ratings(seed)
    table, _ = aggregate_raters(ratings, n_cat=4)
    p_a = fleiss_kappa(table, method="uniform") * (1 - 1 / 4) + 1 / 4
    pi = table.sum(0) / table.sum()
    p_e = (pi * (1 - pi)).sum() / 3
    assert gwet_ac1(ratings, 4) == pytest.approx((p_a - p_e) / (1 - p_e))


def test_ac1_of_the_published_table_where_kappa_collapses():
    """118 + 5 + 2 + 0 of 125 items (Gwet 2008, the paradox of high agreement and low kappa)."""
    ratings = np.array([[0, 0]] * 118 + [[0, 1]] * 5 + [[1, 0]] * 2)
    found = agreement(ratings, "ab")
    assert found["percent_agreement"] == pytest.approx(0.944)
    assert found["ac1"] == pytest.approx((0.944 - 0.054432) / (1 - 0.054432))
    assert found["cohen"][0, 1] == pytest.approx(-0.0234, abs=1e-4)


def test_what_is_undefined_is_none_and_not_zero():
    alone = agreement(np.array([[0], [1]]), "ab")
    assert (alone["n_items"], alone["percent_agreement"], alone["fleiss"], alone["cohen"]) == (
        0,
        None,
        None,
        {},
    )
    same = agreement(np.zeros((5, 2), int), "ab")
    assert (same["percent_agreement"], same["fleiss"], same["alpha"], same["cohen"][0, 1]) == (1.0, None, None, None)  # fmt: skip
    assert same["ac1"] == 1.0


def test_ac1_of_nothing_says_so():
    with pytest.raises(InputError, match="AC1 of 2 categories over 0 items with two answers is undefined"):
        gwet_ac1(np.array([[0, -1]]), 2)
