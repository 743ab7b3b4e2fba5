"""From the cells' answers to figures: metrics, differences paired by patient, seeds, multiplicity, power."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from synthorax.classifiers import metrics
from synthorax.classifiers.evaluation import METRICS
from synthorax.classifiers.statistics import Replicates, bootstrap, holm, over_seeds, smallest_detectable
from synthorax.proof.grid import Answers, Cell

#: CARS's five, which are compared; the Brier score is given beside them.
COMPARED = ("auroc", "auprc", "f1", "entropy", "ece")
LOWER_IS_BETTER = ("entropy", "ece", "brier", "mae", "mse")
LEVEL = 0.05
MACRO = "macro"


def measure(
    cells: Sequence[Cell], labels: Sequence[str], n_resamples: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Three tables.

    Args:
        cells: of one protocol.
        labels: ``(L,)`` names.
        n_resamples: of the bootstrap over patients; all cells of a test share its resamples.

    Returns:
        ``estimates``: ``test, backbone, arm, seed, n_films, metric, label`` (``macro`` first) with ``estimate, ci_low,
        ci_high, n_images, n_patients``.

        ``differences``: macro, a row a comparison and seed: ``test, backbone, arm, against, metric, seed, first,
        second, difference, ci_low, ci_high, p_value``.

        ``comparisons``: macro, a row a comparison: the mean over seeds of ``first``, ``second`` and ``difference`` with
        its paired interval over patients (``ci_low, ci_high, p_value``; the two's own: ``first_ci_low`` ...), ``p_holm`` over all rows of this table, ``sd``
        over seeds, ``by_seed`` (every seed's value), ``p_wilcoxon`` (from six seeds up), ``detectable`` (smallest true
        difference that 80 % of such tests would find), ``verdict``, ``n_images, n_patients``.
    """
    measured = [
        Measured(test, cell.backbone, cell.arm, cell.seed, cell.against, cell.n_films, _figures(cell, test, labels, n_resamples))
        for cell in cells
        for test in cell.tests
    ]  # fmt: skip
    return tables_of(measured, COMPARED)


@dataclass(frozen=True)
class Measured:
    """A training's figures on one test.

    Attributes:
        test, backbone, arm, seed, against, n_films: as a cell's.
        figures: metric -> what of (``macro`` first: what is compared) -> its value on all resamples.
    """

    test: str
    backbone: str
    arm: str
    seed: int
    against: str | None
    n_films: int
    figures: Mapping[str, Mapping[str, Replicates]]


def tables_of(measured: Sequence[Measured], compared: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """The three tables of :func:`measure`, of any figures; those named are compared."""
    estimates: list[dict] = []
    differences: list[dict] = []
    comparisons: list[dict] = []
    for test, backbone in sorted(
        dict.fromkeys((one.test, one.backbone) for one in measured),
        key=lambda pair: _place(measured, pair[0]),
    ):
        some = [one for one in measured if (one.test, one.backbone) == (test, backbone)]
        drawn = {(one.arm, one.seed): one.figures for one in some}
        for one in some:
            keys = {"test": test, "backbone": backbone, "arm": one.arm, "seed": one.seed, "n_films": one.n_films}  # fmt: skip
            estimates += [{**keys, **row} for row in _estimates(one.figures)]
        for arm, against in dict.fromkeys((one.arm, one.against) for one in some if one.against):
            seeds = [one.seed for one in some if one.arm == arm]
            for metric in compared:
                first = [drawn[against, seed][metric][MACRO] for seed in seeds]
                second = [drawn[arm, seed][metric][MACRO] for seed in seeds]
                keys = {"test": test, "backbone": backbone, "arm": arm, "against": against, "metric": metric}  # fmt: skip
                differences += [
                    {**keys, "seed": seed, **_difference(a, b)}
                    for seed, a, b in zip(seeds, first, second, strict=True)
                ]
                each = [row["difference"] for row in differences[-len(seeds) :]]
                comparisons.append({**keys, **_over_seeds(first, second, each, metric)})
    table = pl.DataFrame(comparisons, infer_schema_length=None)
    if comparisons:
        adjusted = holm([np.nan if p is None else p for p in table["p_value"]])
        table = table.with_columns(p_holm=pl.Series(adjusted).fill_nan(None))
    return (
        pl.DataFrame(estimates, infer_schema_length=None),
        pl.DataFrame(differences, infer_schema_length=None),
        table,
    )


def _place(measured: Sequence[Measured], test: str) -> int:
    return [*dict.fromkeys(one.test for one in measured)].index(test)


def smallest_holm(n_comparisons: int, n_resamples: int) -> float:
    """The smallest adjusted p-value that so many resamples can give: 2 / (B + 1), times the comparisons."""
    return 2 * n_comparisons / (n_resamples + 1)


def _figures(cell: Cell, test: str, labels: Sequence[str], n_resamples: int) -> dict[str, dict[str, Replicates]]:  # fmt: skip
    """Metric -> macro and each label, all on the same resamples."""
    answers: Answers = cell.tests[test]
    n_labels = answers.targets.shape[1]

    def all_metrics(w: np.ndarray) -> np.ndarray:
        columns = []
        for metric in METRICS.values():
            options = {"thresholds": cell.thresholds} if metric is metrics.f1 else {}
            columns.append(metrics.per_label(metric, answers.targets, answers.probabilities, w, **options))
        return np.concatenate(columns, axis=-1)

    found = bootstrap(all_metrics, answers.patient_ids, n_resamples=n_resamples)
    figures = {name: found[slice(i * n_labels, (i + 1) * n_labels)] for i, name in enumerate(METRICS)}
    return {
        name: {MACRO: _macro(figure), **{label: figure[i] for i, label in enumerate(labels)}}
        for name, figure in figures.items()
    }


def _macro(figure: Replicates) -> Replicates:
    return figure.map(partial(metrics.macro, defined=~np.isnan(figure.estimate)))


def _estimates(figures: Mapping[str, Mapping[str, Replicates]]) -> list[dict]:
    rows = []
    for metric, parts in figures.items():
        for label, one in parts.items():
            interval = one.interval()
            rows.append(
                {
                    "metric": metric,
                    "label": label,
                    "estimate": _null(interval.estimate),
                    "ci_low": _null(interval.ci_low),
                    "ci_high": _null(interval.ci_high),
                    "n_images": interval.n_images,
                    "n_patients": interval.n_patients,
                }
            )
    return rows


def _difference(first: Replicates, second: Replicates) -> dict:
    found = second.minus(first).difference()
    return {
        "first": _null(float(first.estimate)),
        "second": _null(float(second.estimate)),
        "difference": _null(found.estimate),
        "ci_low": _null(found.ci_low),
        "ci_high": _null(found.ci_high),
        "p_value": _null(found.p_value),
    }


def _over_seeds(
    first: Sequence[Replicates], second: Sequence[Replicates], each: Sequence[float | None], metric: str
) -> dict:
    """The mean over seeds on every resample, hence one interval over patients for all seeds."""
    before, after = _mean(first), _mean(second)
    found = after.minus(before).difference()
    seeds = over_seeds([np.nan if value is None else value for value in each])
    if not found.is_shown:
        verdict = "no difference shown"
    else:
        verdict = "better" if (found.estimate > 0) != (metric in LOWER_IS_BETTER) else "worse"
    return {
        **_difference(before, after),
        **_ends("first", before),
        **_ends("second", after),
        "sd": _null(seeds.sd),
        "by_seed": [_null(value) for value in seeds.values],
        "p_wilcoxon": None if seeds.p_value is None else _null(seeds.p_value),
        "detectable": _null(smallest_detectable(after.minus(before))),
        "verdict": verdict,
        "n_images": found.n_images,
        "n_patients": found.n_patients,
    }


def _ends(name: str, figure: Replicates) -> dict[str, float | None]:
    interval = figure.interval()
    return {f"{name}_ci_low": _null(interval.ci_low), f"{name}_ci_high": _null(interval.ci_high)}


def _mean(figures: Sequence[Replicates]) -> Replicates:
    return Replicates(
        np.mean([figure.estimate for figure in figures], axis=0),
        np.mean([figure.values for figure in figures], axis=0),
        figures[0].n_images,
        figures[0].n_patients,
    )


def _null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
