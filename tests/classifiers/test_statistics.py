"""Intervals that cover, tests with known answers."""

from functools import partial

import numpy as np
import pytest

from synthorax.classifiers import metrics
from synthorax.classifiers.statistics import (
    bootstrap,
    bootstrap_difference,
    bootstrap_interval,
    delong,
    holm,
    over_seeds,
    patient_resamples,
    smallest_detectable,
)
from synthorax.errors import InputError


def weighted_mean(values, w):
    return (w @ values) / w.sum(-1)


def test_resamples_are_of_patients():
    patients = ["a", "b", "a", "c", "b", "a"]
    counts = patient_resamples(patients, 50, seed=3)
    assert (counts[:, 0] == counts[:, 2]).all() and (counts[:, 1] == counts[:, 4]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all()
    assert np.array_equal(counts[:20], patient_resamples(patients, 20, seed=3))
    assert not np.array_equal(counts, patient_resamples(patients, 50, seed=4))


def test_interval_of_a_mean_matches_the_normal_one():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap_interval(partial(weighted_mean, values), [str(i) for i in range(400)], n_resamples=2000)
    reach = 1.96 * values.std() / 20
    assert found.estimate == pytest.approx(values.mean())
    assert found.ci_low == pytest.approx(values.mean() - reach, abs=0.015)
    assert found.ci_high == pytest.approx(values.mean() + reach, abs=0.015)


def test_coverage_with_several_films_a_patient():
    """Patient effects shared by three films: resampling patients covers; resampling films does not."""
    draw = np.random.default_rng(1)
    patients, films = np.repeat(np.arange(60), 3), np.arange(180)
    covered = {"patients": 0, "films": 0}
    for trial in range(120):
        values = draw.normal(size=60)[patients] + 0.2 * draw.normal(size=180)
        for name, ids in {"patients": patients, "films": films}.items():
            found = bootstrap_interval(
                partial(weighted_mean, values), ids.tolist(), n_resamples=200, seed=trial
            )
            covered[name] += found.ci_low <= 0 <= found.ci_high
    assert covered["patients"] / 120 > 0.88
    assert covered["films"] / 120 < 0.82


def test_paired_difference_is_sharper_than_two_intervals():
    draw = np.random.default_rng(2)
    y = (draw.random(300) < 0.4).astype(float)
    first = y + draw.normal(size=300)
    second = first + 0.3 * y + 0.1 * draw.normal(size=300)
    patients = [str(i) for i in range(300)]
    found = bootstrap_difference(
        partial(metrics.auroc, y, first), partial(metrics.auroc, y, second), patients
    )
    alone = bootstrap_interval(partial(metrics.auroc, y, first), patients)
    assert found.is_shown and found.verdict == "higher" and found.p_value < 0.01
    assert found.ci_high - found.ci_low < alone.ci_high - alone.ci_low
    same = bootstrap_difference(partial(metrics.auroc, y, first), partial(metrics.auroc, y, first), patients)
    assert str(same) == "+0.000 (+0.000 to +0.000), no difference shown" and same.p_value == 1.0


def test_undefined_resamples_are_counted():
    y = np.array([1.0, 0, 0, 0])
    found = bootstrap_interval(partial(metrics.auroc, y, np.array([0.9, 0.1, 0.2, 0.95])), list("abcd"))
    assert 200 < found.n_undefined < 450  # P(the positive's patient is missing) = (3/4)^4 = .32


def test_delong_by_hand():
    """Three positives, three negatives; V10 and V01 counted by hand from the definition."""
    y = np.array([1, 1, 1, 0, 0, 0])
    first = np.array([3.0, 5, 6, 1, 2, 4])  # V10 = 2/3, 1, 1; V01 = 1, 1, 2/3; AUROC 8/9
    second = np.array([2.0, 5, 3, 1, 4, 3])  # V10 = 1/3, 1, 1/2; V01 = 1, 1/3, 1/2; AUROC 11/18
    found = delong(y, first, second)
    s10 = np.var([1 / 3 - 2 / 3, 0, 1 / 2 - 1], ddof=1)
    s01 = np.var([0, 1 / 3 - 1, 1 / 2 - 2 / 3], ddof=1)
    z = (11 / 18 - 8 / 9) / np.sqrt(s10 / 3 + s01 / 3)
    assert found.estimate == pytest.approx(11 / 18 - 8 / 9)
    assert found.ci_high - found.estimate == pytest.approx(1.959964 * np.sqrt(s10 / 3 + s01 / 3), abs=1e-6)
    from scipy.stats import norm

    assert found.p_value == pytest.approx(2 * norm.cdf(z))


def test_delong_agrees_with_the_bootstrap_and_holds_its_level():
    draw = np.random.default_rng(5)
    y = (draw.random(300) < 0.5).astype(float)
    first, second = y + draw.normal(size=300), y + draw.normal(size=300)
    closed = delong(y, first, second)
    patients = [str(i) for i in range(300)]
    drawn = bootstrap_difference(
        partial(metrics.auroc, y, first), partial(metrics.auroc, y, second), patients
    )
    assert closed.estimate == pytest.approx(drawn.estimate)
    assert closed.ci_high - closed.ci_low == pytest.approx(drawn.ci_high - drawn.ci_low, rel=0.12)
    rejected = 0
    for _ in range(300):
        y = np.repeat([0.0, 1.0], 40)
        rejected += delong(y, y + draw.normal(size=80), y + draw.normal(size=80)).p_value < 0.05
    assert 0.015 < rejected / 300 < 0.095


def test_delong_of_equal_scores_is_no_difference():
    y, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.3, 0.9])
    found = delong(y, scores, scores)
    assert (found.estimate, found.p_value, found.is_shown) == (0.0, 1.0, False)


def test_wilcoxon_only_from_six_seeds():
    five = over_seeds([0.1, 0.2, 0.3, 0.4, 0.5])
    assert five.p_value is None and five.mean == pytest.approx(0.3) and len(five.values) == 5
    assert over_seeds([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).p_value == pytest.approx(2 / 2**6)
    assert over_seeds([0.0] * 6).p_value == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: patient_resamples(["a", None]),
            "patient_id of film 1 is missing; intervals resample",
        ),
        (lambda: patient_resamples([]), "there are no films"),
        (
            lambda: delong(np.array([0, 1, 1]), np.ones(3), np.ones(3)),
            "2 positive and 1 negative films; DeLong's test needs two of each",
        ),
        (
            lambda: delong(np.array([0, 0, 1, 1]), np.ones(4), np.ones(4), patient_ids=["a", "a", "b", "c"]),
            "4 films come from 3 patients; DeLong's test takes films as independent",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_holm_agrees_with_statsmodels_and_leaves_undefined_ones_out():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).random(40) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([0.01, float("nan"), 0.04, 0.03]) == pytest.approx(
        [0.03, float("nan"), 0.06, 0.06], nan_ok=True
    )
    assert len(holm([])) == 0


def test_smallest_detectable_is_found_in_four_tests_of_five():
    draw = np.random.default_rng(1)
    n, sigma = 100, 2.0
    values = draw.normal(size=n) * sigma
    found = smallest_detectable(
        bootstrap(partial(weighted_mean, values), [str(i) for i in range(n)], n_resamples=4000)
    )
    assert found == pytest.approx((1.96 + 0.8416) * values.std() / np.sqrt(n), rel=0.05)
    means = draw.normal(found, values.std() / np.sqrt(n), size=20_000)
    assert (np.abs(means) > 1.96 * values.std() / np.sqrt(n)).mean() == pytest.approx(0.8, abs=0.04)
