"""Every metric against scikit-learn or torchmetrics on random tables (ties, unknown labels), or a closed form."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from synthorax.classifiers import metrics
from synthorax.classifiers.calibration import (
    fit_temperature,
    negative_log_likelihood,
    reliability_figure,
    reliability_table,
    with_temperature,
)
from synthorax.classifiers.evaluation import METRICS, evaluate
from synthorax.errors import InputError


def random_table(seed):
    """``(N, 3)`` with 0, 1, NaN, and probabilities of which some seeds have only a few different ones."""
    draw = np.random.default_rng(seed)
    n = int(draw.integers(30, 300))
    y = (draw.random((n, 3)) < draw.uniform(0.1, 0.9, 3)).astype(float)
    p = np.clip(draw.random((n, 3)) * 0.8 + 0.2 * y, 0, 1)
    if seed % 2:
        p = np.round(p * draw.integers(3, 31)) / 31  # never on the edge of one of 15 bins
    y[draw.random((n, 3)) < 0.2] = np.nan
    return y, p


def by_torchmetrics(function, y, p, **options):
    found = function(torch.tensor(p), torch.tensor(y).long(), **options)
    return float(found[0] if isinstance(found, tuple) else found)


def entropy_of_scipy(y, p):
    from scipy.stats import entropy

    return entropy([p, 1 - p]).mean()


REFERENCES = {
    "auroc": sk.roc_auc_score,
    "auprc": sk.average_precision_score,
    "f1": lambda y, p: sk.f1_score(y, p >= 0.4),
    "brier": sk.brier_score_loss,
    "entropy": entropy_of_scipy,
    "ece": partial(by_torchmetrics, tm.binary_calibration_error, n_bins=15),
    "sensitivity_at_90_specificity_roc": partial(
        by_torchmetrics, tm.binary_sensitivity_at_specificity, min_specificity=0.9
    ),
    "sensitivity": lambda y, p: sk.recall_score(y, p >= 0.4),
    "specificity": lambda y, p: sk.recall_score(1 - y, p < 0.4),
}
OURS = dict(METRICS) | {"sensitivity": metrics.sensitivity, "specificity": metrics.specificity}


def test_every_metric_has_a_reference_or_a_closed_form():
    assert OURS.keys() - REFERENCES.keys() == {"ece_equal_mass"}


@pytest.mark.parametrize("name", REFERENCES)
def test_agrees_on_random_tables(name):
    metric = OURS[name]
    options = {"thresholds": [0.4] * 3} if metric in metrics.THRESHOLDED else {}
    for seed in range(100):
        targets, probabilities = random_table(seed)
        found = metrics.per_label(metric, targets, probabilities, **options)
        for label in range(3):
            known = ~np.isnan(targets[:, label]) if name != "entropy" else slice(None)
            expected = REFERENCES[name](targets[known, label], probabilities[known, label])
            assert found[label] == pytest.approx(expected, abs=1e-6), (name, seed, label)


def test_the_table_holds_the_same_figures():
    targets, probabilities = random_table(0)
    table = evaluate(targets, probabilities, "abc", range(len(targets)), [0.4] * 3, n_resamples=2)
    for name in METRICS:
        known = ~np.isnan(targets) if name != "entropy" else np.ones(targets.shape, bool)
        found = table.filter(metric=name, label="macro")["estimate"][0]
        if name in REFERENCES:
            values = [REFERENCES[name](targets[k, i], probabilities[k, i]) for i, k in enumerate(known.T)]
            assert found == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize(
    ("y", "p", "bins", "value"),
    [
        pytest.param([0, 1, 0, 1], [0.1, 0.2, 0.6, 0.9], 2, (0.7 + 0.5) / 4, id="two and two"),
        pytest.param([0, 1, 1, 1], [0.2, 0.2, 0.2, 0.9], 2, (1.4 + 0.1) / 4, id="ties stay together"),
        pytest.param([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], 15, 0, id="one score, right on average"),
    ],
)
def test_equal_mass_calibration_error_by_hand(y, p, bins, value):
    found = metrics.equal_mass_calibration_error(np.array(y, float), np.array(p), n_bins=bins)
    assert found == pytest.approx(value, abs=1e-12)


def test_equal_mass_bins_of_different_scores_are_those_of_array_split():
    y, p = np.random.default_rng(5).integers(0, 2, 150).astype(float), np.random.default_rng(6).random(150)
    order = np.argsort(p)
    expected = sum(abs((y - p)[part].sum()) for part in np.array_split(order, 15)) / 150
    assert metrics.equal_mass_calibration_error(y, p) == pytest.approx(expected, abs=1e-12)


def test_threshold_at_specificity_by_hand_and_on_random_tables():
    y, p = np.array([0.0] * 10 + [1] * 3), np.array([*np.arange(10) / 10, 0.85, 0.88, 0.3])
    assert metrics.threshold_at_specificity(y, p) == pytest.approx((0.8 + 0.85) / 2), "one of ten alarms"
    assert metrics.sensitivity_at_specificity(y, p) == pytest.approx(2 / 3)
    for seed in range(50):
        targets, probabilities = random_table(seed)
        for y, p in zip(targets.T, probabilities.T, strict=True):
            y, p = y[~np.isnan(y)], p[~np.isnan(y)]
            found = metrics.threshold_at_specificity(y, p)
            assert metrics.specificity(y, p, threshold=found) >= 0.9
            expected = metrics.sensitivity_at_specificity(y, p)
            assert metrics.sensitivity(y, p, threshold=found) == pytest.approx(expected, abs=1e-12)
    assert metrics.threshold_at_specificity(np.ones(2), np.array([0.1, 0.2])) == 1.0
    certain = metrics.threshold_at_specificity(np.array([0.0, 1]), np.array([1.0, 1]))
    assert metrics.specificity(np.zeros(1), np.ones(1), threshold=certain) == 1


@pytest.mark.parametrize("share_right", [0.6, 0.8, 0.99])
def test_temperature_in_closed_form(share_right):
    """Where every film is called with the same certainty, the best one is the share that is right."""
    right = np.arange(1000) // 2 < 500 * share_right
    y = (np.arange(1000) % 2).astype(float)
    p = np.where(right == (y == 1), 0.95, 0.05)
    expected = np.log(0.95 / 0.05) / np.log(share_right / (1 - share_right))
    found = fit_temperature(y[:, None], p[:, None])
    assert found == pytest.approx(expected, rel=1e-4)
    cooled = with_temperature(p[:, None], found)
    assert cooled.max() == pytest.approx(share_right, abs=1e-4)
    assert metrics.expected_calibration_error(y, cooled[:, 0]) == pytest.approx(0, abs=1e-4)
    assert negative_log_likelihood(y[:, None], cooled) < negative_log_likelihood(y[:, None], p[:, None])


def test_temperature_keeps_order_leaves_unknown_out_and_ends_somewhere():
    targets, probabilities = random_table(2)
    warm = with_temperature(probabilities, 3.0)
    assert np.array_equal(warm.argsort(0, kind="stable"), probabilities.argsort(0, kind="stable"))
    keep = ~np.isnan(targets).any(1)
    targets[~keep], probabilities[~keep] = np.nan, 1.0
    assert fit_temperature(targets, probabilities) == fit_temperature(targets[keep], probabilities[keep])
    assert negative_log_likelihood(targets, probabilities) == pytest.approx(
        sk.log_loss(targets[keep].ravel(), probabilities[keep].ravel()), abs=1e-9
    )
    assert fit_temperature(np.array([[0.0], [1]]), np.array([[0.4], [0.6]])) == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(InputError, match="no validation film has a known label"):
        fit_temperature(np.full((2, 1), np.nan), np.full((2, 1), 0.5))


def test_reliability_figure_has_a_panel_a_label_and_a_dot_a_bin():
    targets, probabilities = random_table(4)
    table = reliability_table(targets, probabilities, ["a & b", "c", "d"])
    figure = str(reliability_figure(table))
    assert figure.count("<circle") == (table["n"] > 0).sum() and "a &amp; b" in figure
    assert table.filter(label="c")["n"].sum() == (~np.isnan(targets[:, 1])).sum()
