"""Figures: the same as ``classifiers.compare`` for a seed, one interval for all seeds, tables in three forms."""

import csv

import numpy as np
import pytest

from synthorax.classifiers.evaluation import compare, evaluate
from synthorax.proof.cars import paper
from synthorax.proof.figures import COMPARED, measure, smallest_holm
from synthorax.proof.grid import Answers, Cell
from synthorax.proof.tables import Table, arrow, spread

LABELS = ("Cardiomegaly", "Pneumonia")
THRESHOLDS = {"baseline": (0.5, 0.4), "CARS": (0.45, 0.55)}
N = 90


def cell(arm, seed, lift=0.0):
    """Half-informed answers of 45 patients with two films each, some labels unknown."""
    targets = np.random.default_rng(0).integers(0, 2, (N, 2)).astype(float)
    targets[::17, 1] = np.nan
    p = (
        0.3
        + 0.2 * np.nan_to_num(targets)
        + np.random.default_rng([seed, arm == "CARS"]).uniform(-0.3, 0.3, (N, 2))
        + lift
    )
    answers = Answers(
        tuple(f"i{i}" for i in range(N)), tuple(f"p{i // 2}" for i in range(N)), targets, p.clip(0, 1)
    )
    return Cell(
        "small", seed, arm, "baseline" if arm == "CARS" else None, THRESHOLDS[arm], 10, 5, {"test": answers}
    )


@pytest.fixture(scope="module")
def measured():
    cells = [cell(arm, seed) for seed in range(6) for arm in ("baseline", "CARS")]
    return cells, *measure(cells, LABELS, 300)


def test_each_seed_is_what_the_classifiers_room_says(measured):
    cells, estimates, differences, _ = measured
    first, second = cells[2].tests["test"], cells[3].tests["test"]
    rest = (first.targets, first.probabilities, second.probabilities, LABELS, first.patient_ids)
    expected = compare(
        *rest, first_thresholds=THRESHOLDS["baseline"], second_thresholds=THRESHOLDS["CARS"], n_resamples=300
    )
    for metric in COMPARED:
        ours = differences.filter(metric=metric, seed=1).row(0, named=True)
        theirs = expected.filter(metric=metric, label="macro").row(0, named=True)
        for name in ("first", "second", "difference", "ci_low", "ci_high", "p_value"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-12), (metric, name)
    alone = evaluate(
        second.targets, second.probabilities, LABELS, second.patient_ids, THRESHOLDS["CARS"], n_resamples=300
    )
    ours = estimates.filter(arm="CARS", seed=1).sort("metric", "label")
    for name in ("estimate", "ci_low", "ci_high"):
        assert ours[name].to_list() == pytest.approx(alone.sort("metric", "label")[name].to_list(), abs=1e-12)


def test_over_seeds(measured):
    _, _, differences, comparisons = measured
    for row in comparisons.iter_rows(named=True):
        each = differences.filter(metric=row["metric"])["difference"]
        assert row["by_seed"] == each.to_list() and row["difference"] == pytest.approx(each.mean())
        assert row["sd"] == pytest.approx(each.std()) and row["ci_low"] <= row["difference"] <= row["ci_high"]
        assert row["p_wilcoxon"] is not None and row["p_holm"] >= row["p_value"]
        assert row["n_patients"] == N // 2
        mean_width = np.mean(
            [r["ci_high"] - r["ci_low"] for r in differences.filter(metric=row["metric"]).to_dicts()]
        )
        assert row["ci_high"] - row["ci_low"] < mean_width, "six seeds on the same patients say more than one"
    assert comparisons.height == len(COMPARED)
    few = measure([cell(arm, seed) for seed in range(5) for arm in ("baseline", "CARS")], LABELS, 50)[2]
    assert few["p_wilcoxon"].null_count() == few.height, "five seeds cannot reach .05"


def test_verdicts_know_which_way_is_better():
    cells = [cell("baseline", 0), cell("CARS", 0)]
    sharp = np.where(np.nan_to_num(cells[0].tests["test"].targets) == 1, 0.97, 0.03)
    answers = cells[1].tests["test"]
    cells[1] = Cell("small", 0, "CARS", "baseline", (0.5, 0.5), 10, 5, {"test": Answers(answers.image_ids, answers.patient_ids, answers.targets, sharp)})  # fmt: skip
    comparisons = measure(cells, LABELS, 200)[2]
    assert dict(comparisons.select("metric", "verdict").rows()) == dict.fromkeys(COMPARED, "better")
    assert (
        comparisons.filter(metric="ece")["difference"][0]
        < 0
        < comparisons.filter(metric="auroc")["difference"][0]
    )


def test_how_many_resamples_the_family_needs():
    assert smallest_holm(70, 100) > 1 > smallest_holm(70, 5000) and smallest_holm(70, 5000) < 0.05


def test_a_table_in_three_forms(tmp_path):
    table = Table(
        "t", "Change in %", ("arm", "", "Con-B"),
        (("CARS", "Δ F1", arrow(0.0871, True)), ("CoRPA", "Δ F1", arrow(-0.137)), ("none", "U_FP", arrow(0.0002)), ("sd", "", spread(0.75, 0.031))),
        n_heads=2,
    )  # fmt: skip
    table.write(tmp_path)
    with (tmp_path / "t.csv").open() as file:
        assert [row[2] for row in csv.reader(file)] == ["Con-B", "+0.087", "-0.137", "0.000", "0.750 ± 0.031"]
    lines = (tmp_path / "t.tex").read_text().splitlines()
    assert r"\caption{Change in \%.}" in lines and r"\begin{tabular}{llr}" in lines
    assert r"CARS & $\Delta$ F1 & \textbf{$\uparrow$ 0.087} \\" in lines
    assert r"none & U\_FP & 0.000 \\" in lines and lines.count(r"\midrule") == 1


def test_the_paper_s_figures_are_whole():
    figures = paper()
    assert all(len(row) == 7 for arm in figures["backbones"].values() for row in arm.values())
    gains = figures["backbones"]["CARS"]
    assert sum(value > 0 for value in gains["auprc"]) == 6 and sum(value < 0 for value in gains["ece"]) == 6
    assert all(
        value > 0 for value in figures["backbones"]["CoRPA"]["entropy"] + figures["backbones"]["CoRPA"]["ece"]
    )
