"""Fairness against closed forms on hand-made tables; the null of a gap against the hypergeometric law."""

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import hypergeom
from sklearn import metrics as sk

from synthorax.classifiers.fairness import _exchanged, any_finding, fairness
from synthorax.classifiers.groups import groups_of
from synthorax.cli import run
from synthorax.errors import InputError

SMALL = {"least_patients": 1, "n_resamples": 50, "n_permutations": 20}


def one(table, **where):
    return table.filter(*(pl.col(name) == value for name, value in where.items())).row(0, named=True)


def test_rates_and_gap_by_hand():
    """Two labels, threshold .5; F: 1 of 4 ill films called normal, M: 3 of 4, X: too few patients."""

    def called(hits):
        return [[0.1, 0.9]] * hits + [[0.2, 0.3]] * (4 - hits)

    ill = [[1, 0]] * 4
    targets = np.array(ill + ill + [[0, 0]] * 4 + [[1, 0]] * 2 + [[0, np.nan]], dtype=float)
    p = np.array(called(3) + called(1) + [[0.9, 0.1], [0.1, 0.1], [0.1, 0.2], [0.1, 0.3]] + [[0.9, 0.9]] * 3)
    sex = ["F"] * 4 + ["M"] * 4 + ["F", "F", "M", "M"] + ["X", "X", "X"]
    patients = [f"p{i}" for i in range(12)] + ["x", "x", "y"]
    found = fairness(
        targets, p, ["a", "b"], patients, [0.5, 0.5], {"sex": sex}, **{**SMALL, "least_patients": 2}
    )
    row = one(found.groups, group="F", metric="underdiagnosis")
    assert (row["estimate"], row["n_images"], row["n_patients"], row["n_positive"]) == (0.25, 6, 6, 4)
    assert one(found.groups, group="F", metric="overdiagnosis")["estimate"] == 0.5
    few = one(found.groups, group="X", metric="underdiagnosis")
    assert (few["estimate"], few["is_too_small"], few["n_images"], few["n_patients"], few["n_resting_on"]) == (None, True, 2, 1, 1)  # fmt: skip
    gap = one(found.gaps, metric="underdiagnosis")
    assert (gap["gap"], gap["worst_group"], gap["worst"], gap["best_group"]) == (0.5, "M", 0.75, "F")
    assert (gap["n_groups"], gap["n_too_small"]) == (2, 1) and gap["ci_low"] <= 0.5 <= gap["ci_high"]
    sensitivity = one(found.groups, group="M", metric="sensitivity", label="a")
    assert sensitivity["estimate"] == 0.0, "called by the other label's threshold only"
    assert any_finding(np.array([[np.nan, 1], [np.nan, 0], [0, 0]])).tolist()[::2] == [1.0, 0.0]
    assert np.isnan(any_finding(np.array([[np.nan, 0.0]])))[0], "unknown is not absent"


@pytest.fixture(scope="module")
def measured():
    """300 patients with two films, sex and site by patient, view by film; the model is blind in women at site B."""
    draw = np.random.default_rng(0)
    n = 600
    patients = [f"p{i // 2:03}" for i in range(n)]
    sex, site = np.repeat(np.array(["F", "M"])[draw.integers(0, 2, 300)], 2), np.repeat(np.array(["A", "B"])[draw.integers(0, 2, 300)], 2)  # fmt: skip
    view = np.array(["AP", "PA"])[np.arange(n) % 2]
    y = (draw.random((n, 2)) < 0.4).astype(float)
    blind = (sex == "F") & (site == "B")
    p = np.where(blind[:, None], draw.random((n, 2)), np.clip(0.5 * y + 0.7 * draw.random((n, 2)), 0, 1))
    groups = {"sex": sex, "site": site, "view_position": view, "race": ["unknown"] * n}
    options = {"n_resamples": 200, "n_permutations": 200}
    return y, p, groups, fairness(y, p, ["a", "b"], patients, [0.5, 0.5], groups, **options)


def test_figures_are_those_of_the_group_alone(measured):
    y, p, groups, found = measured
    for axis in ("sex", "site", "view_position"):
        for group in np.unique(groups[axis]):
            rows = np.asarray(groups[axis]) == group
            auroc = [sk.roc_auc_score(y[rows, k], p[rows, k]) for k in range(2)]
            where = {"axis": axis, "group": group}
            assert one(found.groups, **where, metric="auroc", label="b")["estimate"] == pytest.approx(
                auroc[1]
            )
            assert one(found.groups, **where, metric="auroc", label="macro")["estimate"] == pytest.approx(np.mean(auroc))  # fmt: skip
            recall = sk.recall_score(y[rows, 0], p[rows, 0] >= 0.5)
            assert one(found.groups, **where, metric="sensitivity", label="a")["estimate"] == pytest.approx(recall)  # fmt: skip
            normal = sk.recall_score(y[rows].max(1), (p[rows] < 0.5).all(1))
            assert one(found.groups, **where, metric="underdiagnosis")["estimate"] == pytest.approx(normal)


def test_the_crossing_finds_whom_no_axis_shows_alone(measured):
    gap = one(measured[3].gaps, axis="sex x site", metric="auroc", label="macro")
    assert gap["worst_group"] == "F, B" and gap["q_value"] < 0.05 and gap["ci_low"] > gap["null_95"]
    even = one(measured[3].gaps, axis="view_position", metric="auroc", label="macro")
    assert even["p_value"] > 0.05 and even["gap"] > 0, "a gap where there is none"
    assert "race" not in set(measured[3].gaps["axis"]) and "race x sex" not in set(measured[3].groups["axis"])
    assert one(measured[3].groups, axis="race", metric="auroc", label="macro")["n_patients"] == 300


def test_the_null_of_a_gap_is_the_hypergeometric_one():
    """40 positive films of 40 patients, 24 called, in groups of 20: the called in one group are drawn without return."""
    y, p = np.ones((40, 1)), (np.arange(40) < 24).astype(float)[:, None]
    groups = {"sex": np.array(["F", "M"])[np.arange(40) % 2]}
    found = fairness(
        y, p, ["a"], range(40), [0.5], groups, least_patients=1, n_resamples=2, n_permutations=3000
    )
    called = np.arange(4, 21)
    gaps, law = np.abs(called - (24 - called)) / 20, hypergeom(40, 24, 20).pmf(called)
    gap = one(found.gaps, metric="sensitivity")
    assert gap["gap"] == 0 and gap["p_value"] == 1
    deviation = np.sqrt((law * gaps**2).sum() - (law * gaps).sum() ** 2)
    assert gap["null_mean"] == pytest.approx((law * gaps).sum(), abs=5 * deviation / np.sqrt(3000))


def test_patients_exchange_their_groups_whole():
    patients, codes = ["a", "a", "b", "c", "c", "c"], np.array([0, 0, 1, 2, 3, 2])
    found = _exchanged(codes, patients, 200, np.random.default_rng(0))
    assert {tuple(row[:2]) for row in found} == {(0, 0), (1, 1), (2, 3)}
    assert {tuple(row[3:]) for row in found} == {(0, 0, 0), (1, 1, 1), (2, 3, 2)}


def test_groups_of_a_manifest():
    manifest = pl.DataFrame({
        "image_id": list("abcdef"), "sex": ["F", None, "M", "M", "M", "M"], "age": [18.9, 19, 40.5, 41, 66, None],
        "race": pl.Series([None] * 6, dtype=pl.String), "view_position": ["PA"] * 6, "source": ["nih"] * 6,
    })  # fmt: skip
    found = groups_of(manifest)
    assert found["age_group"].to_list() == ["up to 18", "19-40", "19-40", "41-65", "over 65", "unknown"]
    assert found["sex"][1] == found["race"][0] == "unknown" and found["site"][0] == "nih"
    assert groups_of(manifest.with_columns(site=pl.lit("ward")))["site"][0] == "ward"


def test_messages():
    with pytest.raises(InputError, match="axis 'sex' has 2 groups for 1 films; expected one for each"):
        fairness([[1]], [[0.5]], ["a"], ["p"], [0.5], {"sex": ["F", "M"]})
    with pytest.raises(InputError, match="there are 0 axes and 1 patient_ids"):
        fairness([[1]], [[0.5]], ["a"], ["p"], [0.5], {})


def test_the_command_writes_tables_and_page(tables, tmp_path, monkeypatch, capsys):
    code = "def brightness(films):\n    return films[:, 24:].mean((1, 2)).clip(0, 1)\n"
    (tmp_path / "my_fair_model.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "fairness", "my_fair_model:brightness", "--names", "Pleural Effusion", "--out", str(tmp_path / "out")]  # fmt: skip
    words += ["--studies", f"{tables}/studies.parquet", "--concepts", f"{tables}/concepts.parquet"]
    assert run([*words, "--least-patients", "10", "--resamples", "50", "--permutations", "20"]) == 0
    assert "sex            auroc           gap 0.0" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "fairness.json").read_text())
    assert {row["axis"] for row in summary["groups"]} >= {"sex", "age_group", "race", "view_position", "site", "sex x view_position"}  # fmt: skip
    assert pl.read_csv(tmp_path / "out" / "groups.csv").height == len(summary["groups"])
    page = (tmp_path / "out" / "fairness.html").read_text()
    assert "too small" in page and "Research only" in page and "Simulated" not in page
