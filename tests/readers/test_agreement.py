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


@pytest.mark.parametrize(
    ("seed", "n_readers", "n_categories", "missing", "ac1", "percent", "alpha"),
    [
        (0, 2, 2, 0.0, 0.1505309182, 0.5750000000, 0.1601000625),
        (1, 2, 2, 0.1, 0.1785242775, 0.5882352941, 0.1857638889),
        (2, 3, 4, 0.0, 0.2784458834, 0.4583333333, 0.2818012999),
        (3, 3, 4, 0.2, 0.4365657819, 0.5765765766, 0.4300502810),
        (4, 4, 3, 0.3, 0.2336155384, 0.4819819820, 0.1896176186),
        (5, 5, 5, 0.1, 0.4762608724, 0.5800000000, 0.4645748208),
        (6, 2, 5, 0.4, -0.0493512182, 0.1538461538, -0.0700389105),
        (7, 6, 3, 0.5, 0.2069049605, 0.4685714286, 0.2367781589),
    ],
)
def test_equal_to_irrcac_with_and_without_missing_answers(
    seed, n_readers, n_categories, missing, ac1, percent, alpha
):
    """Values of irrCAC 0.4.4 (Gwet's own package) on these tables; it wants numpy 1, so it cannot run beside us:
    ``CAC(pd.DataFrame(np.where(r < 0, np.nan, r)), categories=list(range(n_categories)), digits=10).gwet()``.
    """
    found = agreement(random_ratings(seed, 40, n_readers, n_categories, missing), "abcde"[:n_categories])
    assert found["ac1"] == pytest.approx(ac1, abs=1e-9)
    assert found["percent_agreement"] == pytest.approx(percent, abs=1e-9)
    assert found["alpha"] == pytest.approx(alpha, abs=1e-9)


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
