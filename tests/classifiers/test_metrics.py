"""Values against hand-made closed forms and scikit-learn."""

from functools import partial

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as sk

from synthorax.classifiers import metrics
from synthorax.classifiers.calibration import reliability
from synthorax.classifiers.evaluation import METRICS, compare, evaluate
from synthorax.errors import InputError

Y = np.array([0.0, 0, 1, 1])
P = np.array([0.1, 0.4, 0.35, 0.8])


@pytest.fixture
def table():
    draw = np.random.default_rng(0)
    y = (draw.random((200, 3)) < [0.5, 0.2, 0.1]).astype(float)
    p = np.round(np.clip(draw.random((200, 3)) * 0.7 + 0.3 * y, 0, 1), 2)
    return y, p


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        pytest.param(metrics.auroc, 3 / 4, id="auroc: 3 of 4 pairs in order"),
        pytest.param(metrics.auprc, 0.5 * 1 + 0.5 * 2 / 3, id="auprc"),
        pytest.param(partial(metrics.f1, threshold=0.35), 2 * 2 / (2 * 2 + 1), id="f1: threshold included"),
        pytest.param(partial(metrics.expected_calibration_error, n_bins=2), (0.15 + 0.2) / 4, id="ece"),
        pytest.param(metrics.brier, (0.01 + 0.16 + 0.65**2 + 0.04) / 4, id="brier"),
    ],
)
def test_hand_made_values(metric, value):
    assert metric(Y, P) == pytest.approx(value, abs=1e-12)


def test_entropy_is_in_nats():
    assert metrics.entropy(Y[:2], np.array([0.5, 0.5])) == pytest.approx(np.log(2))
    assert metrics.entropy(Y[:2], np.array([0.0, 1.0])) == pytest.approx(0)
    assert metrics.entropy(Y[:1], np.array([0.2])) == pytest.approx(-0.2 * np.log(0.2) - 0.8 * np.log(0.8))


def test_agrees_with_scikit_learn_with_ties_and_weights(table):
    targets, probabilities = table
    w = np.random.default_rng(1).integers(0, 4, (5, len(targets)))
    for y, p in zip(targets.T, probabilities.T, strict=True):
        for row in w:
            assert metrics.auroc(y, p, row) == pytest.approx(
                sk.roc_auc_score(y, p, sample_weight=row), abs=1e-12
            )
            expected = sk.average_precision_score(y, p, sample_weight=row)
            assert metrics.auprc(y, p, row) == pytest.approx(expected, abs=1e-12)
            expected = sk.f1_score(y, p >= 0.6, sample_weight=row)
            assert metrics.f1(y, p, row, threshold=0.6) == pytest.approx(expected, abs=1e-12)
            expected = sk.brier_score_loss(y, p, sample_weight=row)
            assert metrics.brier(y, p, row) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_weights_are_repeated_films(metric, table):
    y, p = table[0][:, 0], table[1][:, 0]
    w = np.random.default_rng(2).integers(0, 3, len(y))
    assert metric(y, p, w) == pytest.approx(metric(np.repeat(y, w), np.repeat(p, w)), abs=1e-12)
    assert metric(y, p, np.stack([w, w])) == pytest.approx(np.repeat(metric(y, p, w), 2), abs=1e-12)


def test_ece_agrees_with_scikit_learns_reliability_curve(table):
    from sklearn.calibration import calibration_curve

    p, y = np.random.default_rng(3).random(200), table[0][:, 0]
    observed, predicted = calibration_curve(y, p, n_bins=15, strategy="uniform")
    share = np.histogram(p, 15, (0, 1))[0] / 200
    expected = (share[share > 0] * np.abs(observed - predicted)).sum()
    assert metrics.expected_calibration_error(y, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "y", [np.zeros(3), np.ones(3), np.zeros(0)], ids=["no positive", "no negative", "no film"]
)
def test_undefined_is_nan_not_zero(y):
    p = np.linspace(0, 1, len(y))
    assert np.isnan(metrics.auroc(y, p))
    assert np.isnan(metrics.auprc(y, p)) == (not y.any())
    assert np.isnan(metrics.f1(y, p)) == (not y.any())


def test_threshold_maximises_f1(table):
    y, p = table[0][:, 1], table[1][:, 1]
    best = metrics.best_f1_threshold(y, p)
    tries = np.unique(p)
    assert metrics.f1(y, p, threshold=best) == max(metrics.f1(y, p, threshold=t) for t in tries)
    assert metrics.best_f1_threshold(Y, P) == pytest.approx((0.35 + 0.1) / 2)
    assert metrics.best_f1_threshold(np.zeros(4), P) == 0.5


def test_unknown_labels_are_left_out_not_absent(table):
    targets, probabilities = table
    unknown = targets.copy()
    unknown[::3, 0] = np.nan
    rows = np.arange(len(targets)) % 3 != 0
    found = metrics.per_label(metrics.auroc, unknown, probabilities)
    assert found[0] == metrics.auroc(targets[rows, 0], probabilities[rows, 0])
    assert found[1] == metrics.auroc(targets[:, 1], probabilities[:, 1])
    whole = metrics.per_label(metrics.entropy, unknown, probabilities)
    assert np.array_equal(whole, metrics.per_label(metrics.entropy, targets, probabilities))


def test_label_without_positives_is_excluded_and_counted(table):
    targets, probabilities = table[0].copy(), table[1]
    targets[:, 2] = 0
    patients = [f"p{i // 2}" for i in range(len(targets))]
    frame = evaluate(targets, probabilities, ["a", "b", "c"], patients, [0.5] * 3, n_resamples=50)
    macro = frame.row(by_predicate=(pl.col("metric") == "auroc") & (pl.col("label") == "macro"), named=True)
    expected = np.mean([sk.roc_auc_score(targets[:, i], probabilities[:, i]) for i in range(2)])
    assert macro["estimate"] == pytest.approx(expected)
    assert (macro["n_labels"], macro["n_labels_left_out"], macro["n_patients"]) == (2, 1, 100)
    assert macro["ci_low"] < macro["estimate"] < macro["ci_high"]
    empty = frame.row(by_predicate=(pl.col("metric") == "auroc") & (pl.col("label") == "c"), named=True)
    assert (empty["estimate"], empty["ci_low"]) == (None, None)


def test_a_model_does_not_differ_from_itself_and_does_from_noise(table):
    targets, probabilities = table
    patients = [str(i) for i in range(len(targets))]
    options = {"first_thresholds": [0.5] * 3, "second_thresholds": [0.5] * 3, "n_resamples": 200}
    same = compare(targets, probabilities, probabilities, ["a", "b", "c"], patients, **options)
    assert set(same["verdict"]) == {"no difference shown"} and set(same["p_value"]) == {1.0}
    noise = np.random.default_rng(4).random(probabilities.shape)
    worse = compare(targets, probabilities, noise, ["a", "b", "c"], patients, **options)
    row = worse.row(by_predicate=(pl.col("metric") == "auroc") & (pl.col("label") == "macro"), named=True)
    assert row["verdict"] == "lower" and row["p_value"] < 0.05
    assert row["difference"] == pytest.approx(row["second"] - row["first"])


def test_reliability_counts_every_known_film_once():
    frame = reliability(np.array([0, 1, 1, np.nan]), np.array([0.05, 0.05, 1.0, 0.5]), n_bins=10)
    assert frame["n"].sum() == 3 and frame.height == 10
    assert frame.row(0, named=True)["observed_rate"] == 0.5 and frame["mean_probability"][9] == 1.0


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        ([[2]], [[0.5]], "target of film 0, label 0 is 2; expected 0, 1 or NaN"),
        (
            [[1]],
            [[3.2]],
            "probability of film 0, label 0 is 3.2; expected 0 to 1. Pass prob",
        ),
        ([[1, 0]], [[0.5]], r"targets have shape \(1, 2\) and probabilities \(1, 1\)"),
    ],
)
def test_messages(targets, probabilities, message):
    with pytest.raises(InputError, match=message):
        metrics.per_label(metrics.auroc, np.array(targets, float), np.array(probabilities, float))


def test_evaluate_names_the_mismatch(table):
    with pytest.raises(InputError, match="200 films x 3 labels, but there are 200 patient_ids and 2 label"):
        evaluate(*table, ["a", "b"], ["p"] * 200, [0.5] * 3)
