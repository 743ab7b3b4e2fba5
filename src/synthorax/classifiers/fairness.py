"""Whom a model serves worse: metrics by sex, age, race, view, site and their crossings, and the gap between groups.

Only metrics that do not move with the prevalence by definition are compared (no AUPRC, no F1). Two are of the whole
film, after Seyyed-Kalantari et al. 2021, with 'called normal' = no label reaches its threshold:

    underdiagnosis = P(called normal | any finding)        overdiagnosis = P(any label called | no finding)

The gap is the best group's figure minus the worst's. It is above 0 even where no group differs, because the extremes of
noisy figures lie apart, and all the more the more groups and the fewer patients there are. So beside its interval stands
its null: the same gap where whole patients exchange their groups.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import polars as pl

from synthorax.classifiers import metrics
from synthorax.classifiers.groups import UNKNOWN
from synthorax.classifiers.statistics import N_RESAMPLES, Replicates, bootstrap
from synthorax.errors import InputError
from synthorax.seeds import generator

#: The one 'label' of figures of whole films.
WHOLE = ("film",)
#: A figure that rests on fewer patients is not given.
LEAST_PATIENTS = 20
N_PERMUTATIONS = 200
_ROWS_AT_ONCE = 50


@dataclass(frozen=True)
class Measure:
    """One metric of some labels: ``targets`` and ``scores`` are ``(N, K)``.

    ``rests_on`` says whose patients must be many enough: those of positive films (1), of negative ones (0), or each.
    """

    name: str
    metric: metrics.Metric
    labels: tuple[str, ...]
    targets: np.ndarray
    scores: np.ndarray
    thresholds: Sequence[float] | None = None
    rests_on: tuple[int, ...] = (0, 1)
    higher_is_better: bool = True

    def of(self, rows: np.ndarray, w: np.ndarray) -> np.ndarray:
        """``(B, K)`` on some films, with weights ``(B, n)``."""
        return metrics.per_label(
            self.metric, self.targets[rows], self.scores[rows], w, thresholds=self.thresholds
        )


@dataclass(frozen=True)
class Fairness:
    """``groups``: a row an axis, group, metric and label; ``gaps``: a row an axis, metric and label."""

    groups: pl.DataFrame
    gaps: pl.DataFrame


def fairness(
    targets: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    patient_ids: Sequence[str],
    thresholds: Sequence[float],
    groups: Mapping[str, Sequence[str]],
    *,
    least_patients: int = LEAST_PATIENTS,
    n_resamples: int = N_RESAMPLES,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> Fairness:
    """Metrics by group and crossing of two axes, with intervals by patient, and the gaps with theirs.

    Args:
        targets: ``(N, L)`` 0, 1 or NaN (unknown). A film with an unknown label and no finding is in neither rate of
            whole films.
        probabilities: ``(N, L)`` in [0, 1].
        labels: ``(L,)`` names.
        patient_ids: ``(N,)``.
        thresholds: ``(L,)`` from which a label is called, fitted on other films.
        groups: axis -> ``(N,)`` group of each film; ``unknown`` is shown and not compared.
        least_patients: a figure that rests on fewer patients (sensitivity: with a positive film; AUROC: of each kind)
            is shown as too small and not compared.
        n_resamples: of the bootstrap, by patient.
        n_permutations: of the null of each gap.
        seed: of both.

    Returns:
        ``groups``: ``axis, group, metric, label`` (``macro``, over the labels that are large enough in all groups of
        the axis that have one; ``film`` for whole films), ``estimate, ci_low, ci_high, n_images, n_patients,
        n_positive, n_resting_on, is_too_small``. ``gaps``: ``axis, metric, label, gap, ci_low, ci_high, worst_group,
        worst, best_group, best, null_mean, null_95, p_value, q_value`` (Benjamini-Hochberg over all gaps),
        ``n_groups, n_too_small``.

    Raises:
        InputError: tables of different lengths, or no axis.
    """
    targets, probabilities = metrics.checked(targets, probabilities)
    wrong = [axis for axis, column in groups.items() if len(column) != len(targets)]
    if wrong or not groups or len(patient_ids) != len(targets):
        said = f"axis {wrong[0]!r} has {len(groups[wrong[0]])} groups" if wrong else f"there are {len(groups)} axes and {len(patient_ids)} patient_ids"  # fmt: skip
        raise InputError(f"{said} for {len(targets)} films; expected one for each, and an axis at least.")
    measures = list(_measures(targets, probabilities, tuple(labels), thresholds))
    rows: list[dict] = []
    gaps: list[dict] = []
    for axis, column in _axes(groups):
        names, codes = np.unique(column, return_inverse=True)
        exchanged = _exchanged(codes, patient_ids, n_permutations, generator("exchange", seed, axis))
        for measure in measures:
            counts = [_counts(measure, np.flatnonzero(codes == g), patient_ids) for g in range(len(names))]
            enough = np.array(
                [[c["n_resting_on"] >= least_patients for c in of_group] for of_group in counts]
            )
            statistic = partial(_by_group, measure, codes, len(names))
            found = bootstrap(statistic, patient_ids, n_resamples=n_resamples, seed=seed)
            null = _null(measure, exchanged, len(names))
            sets = _label_sets(measure, enough)
            for label, picked, is_counted in sets:
                shown = [found.map(partial(_mean, g, picked, len(measure.labels))) for g in range(len(names))]
                rows += [
                    _row(axis, name, measure.name, label, shown[g] if is_counted[g] else None, _summed(counts[g], picked))
                    for g, name in enumerate(names)
                ]  # fmt: skip
                compared = [g for g, name in enumerate(names) if is_counted[g] and not _is_unknown(name)]
                if len(compared) > 1:
                    at_null = null[:, compared][:, :, picked].mean(-1)
                    gap = _gap(
                        measure, names[compared], [shown[g] for g in compared], np.ptp(at_null, axis=1)
                    )
                    known = sum(not _is_unknown(name) for name in names)
                    gaps.append({"axis": axis, "metric": measure.name, "label": label, **gap, "n_groups": len(compared), "n_too_small": known - len(compared)})  # fmt: skip
    return Fairness(pl.DataFrame(rows, infer_schema_length=None), _adjusted(gaps))


def any_finding(targets: np.ndarray) -> np.ndarray:
    """``(N,)`` 1 where a label is present, 0 where all are known to be absent, else NaN."""
    present = (targets == 1).any(1)
    return np.where(present, 1.0, np.where(np.isnan(targets).any(1), np.nan, 0.0))


def _measures(
    targets: np.ndarray, p: np.ndarray, labels: tuple[str, ...], thresholds: Sequence[float]
) -> Iterator[Measure]:
    film, called = any_finding(targets)[:, None], (p >= np.asarray(thresholds)).any(1).astype(float)[:, None]
    half = (0.5,)
    yield Measure("underdiagnosis", metrics.sensitivity, WHOLE, film, 1 - called, half, (1,), False)
    yield Measure("overdiagnosis", metrics.sensitivity, WHOLE, 1 - film, called, half, (1,), False)
    yield Measure("auroc", metrics.auroc, labels, targets, p)
    yield Measure("sensitivity", metrics.sensitivity, labels, targets, p, thresholds, (1,))
    yield Measure("specificity", metrics.specificity, labels, targets, p, thresholds, (0,))
    yield Measure("ece", metrics.expected_calibration_error, labels, targets, p, higher_is_better=False)


def _axes(groups: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, np.ndarray]]:
    """Each axis, then each pair of those that tell films apart."""
    columns = {axis: np.asarray(column, dtype=str) for axis, column in groups.items()}
    yield from columns.items()
    several = [axis for axis, column in columns.items() if len(np.unique(column)) > 1]
    for one, other in combinations(several, 2):
        pairs = zip(columns[one], columns[other], strict=True)
        yield f"{one} x {other}", np.array([f"{first}, {second}" for first, second in pairs])


def _by_group(measure: Measure, codes: np.ndarray, n_groups: int, w: np.ndarray) -> np.ndarray:
    """``(B, G x K)``."""
    rows = [np.flatnonzero(codes == g) for g in range(n_groups)]
    return np.concatenate([measure.of(some, w[:, some]) for some in rows], axis=1)


def _null(measure: Measure, exchanged: np.ndarray, n_groups: int) -> np.ndarray:
    """``(R, G, K)`` with groups exchanged."""
    everyone = np.arange(exchanged.shape[1])
    parts = [
        [measure.of(everyone, (some == g).astype(float)) for g in range(n_groups)]
        for some in np.split(exchanged, range(_ROWS_AT_ONCE, len(exchanged), _ROWS_AT_ONCE))
    ]
    return np.concatenate([np.stack(part, axis=1) for part in parts])


def _exchanged(
    codes: np.ndarray, patient_ids: Sequence[str], n: int, draw: np.random.Generator
) -> np.ndarray:
    """``(n, N)`` codes where each patient has another's; one with more films takes the other's in turn."""
    _, patient = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    order = np.argsort(patient, kind="stable")
    lengths = np.bincount(patient)
    starts = np.cumsum(lengths) - lengths
    position = np.empty(len(codes), dtype=int)
    position[order] = np.arange(len(codes)) - starts[patient[order]]
    donors = np.stack([draw.permutation(len(lengths)) for _ in range(n)])[:, patient]
    return codes[order][starts[donors] + position % lengths[donors]]


def _counts(measure: Measure, rows: np.ndarray, patient_ids: Sequence[str]) -> list[dict[str, int]]:
    """Of each label in one group: films and patients that are known, positive films, patients that it rests on."""
    patients = np.asarray(patient_ids, dtype=str)[rows]
    found = []
    for y in measure.targets[rows].T:
        resting = [len(np.unique(patients[y == kind])) for kind in measure.rests_on]
        known = ~np.isnan(y)
        found.append({
            "n_images": int(known.sum()), "n_patients": len(np.unique(patients[known])),
            "n_positive": int((y == 1).sum()), "n_resting_on": min(resting),
        })  # fmt: skip
    return found


def _label_sets(measure: Measure, enough: np.ndarray) -> list[tuple[str, list[int], np.ndarray]]:
    """(name, columns, which groups count): the macro mean unless it is of whole films, then each label."""
    each = [(label, [k], enough[:, k]) for k, label in enumerate(measure.labels)]
    if measure.labels == WHOLE:
        return each
    some = np.asarray(enough.any(1))
    common = np.flatnonzero(enough[some].all(0)).tolist() if some.any() else []
    picked = common or list(range(len(measure.labels)))
    return [("macro", picked, some if common else np.zeros(len(enough), dtype=bool)), *each]


def _mean(g: int, picked: Sequence[int], n_labels: int, values: np.ndarray) -> np.ndarray:
    return values[..., [g * n_labels + k for k in picked]].mean(-1)


def _summed(counts: Sequence[dict[str, int]], picked: Sequence[int]) -> dict[str, int]:
    """Counts of several labels: positive films in all, of the rest the label with fewest."""
    some = [counts[k] for k in picked]
    fewest = {name: min(c[name] for c in some) for name in ("n_images", "n_patients", "n_resting_on")}
    return {**fewest, "n_positive": sum(c["n_positive"] for c in some)}


def _row(
    axis: str, group: str, metric: str, label: str, figure: Replicates | None, counts: dict[str, int]
) -> dict:
    interval = None if figure is None else figure.interval()
    names = ("estimate", "ci_low", "ci_high")
    values = {name: None if interval is None else getattr(interval, name) for name in names}
    order = ("n_images", "n_patients", "n_positive", "n_resting_on")
    return {
        "axis": axis, "group": str(group), "metric": metric, "label": label, **values,
        **{name: counts[name] for name in order}, "is_too_small": figure is None,
    }  # fmt: skip


def _gap(measure: Measure, names: np.ndarray, figures: Sequence[Replicates], null: np.ndarray) -> dict:
    estimates = np.array([float(figure.estimate) for figure in figures])
    low, high = int(estimates.argmin()), int(estimates.argmax())
    worst, best = (low, high) if measure.higher_is_better else (high, low)
    values = np.ptp(np.stack([figure.values for figure in figures]), axis=0)
    first = figures[0]
    gap = Replicates(np.ptp(estimates), values, first.n_images, first.n_patients).interval()
    reached = null[~np.isnan(null)]
    p_value = (1 + (reached >= gap.estimate - 1e-12).sum()) / (1 + len(reached))
    return {
        "gap": gap.estimate, "ci_low": gap.ci_low, "ci_high": gap.ci_high,
        "worst_group": str(names[worst]), "worst": estimates[worst], "best_group": str(names[best]), "best": estimates[best],
        "null_mean": float(reached.mean()) if len(reached) else None,
        "null_95": float(np.quantile(reached, 0.95)) if len(reached) else None, "p_value": float(p_value),
    }  # fmt: skip


def _adjusted(gaps: list[dict]) -> pl.DataFrame:
    from scipy.stats import false_discovery_control

    if not gaps:
        names = "axis metric label gap ci_low ci_high worst_group worst best_group best null_mean null_95 p_value q_value"
        return pl.DataFrame(schema=[*names.split(), "n_groups", "n_too_small"])
    q_values = false_discovery_control([gap["p_value"] for gap in gaps])
    return pl.DataFrame(gaps, infer_schema_length=None).insert_column(13, pl.Series("q_value", q_values))


def _is_unknown(group: str) -> bool:
    return UNKNOWN in str(group).split(", ")
