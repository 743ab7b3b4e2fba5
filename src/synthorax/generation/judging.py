"""How well judges find what was planted: F1 by MedVAL's categories, over its levels, and safe against unsafe.

MedVAL measures agreement with physicians; here it is agreement with the rules that planted the errors. The judge, the
gate and a constant answer stand in one table. Intervals are percentile bootstraps over reports.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.errors import InputError
from synthorax.generation.facts import facts_of_text
from synthorax.generation.gate import check_text
from synthorax.generation.planting import HELD_OUT, Planted, plant
from synthorax.generation.verdict import CATEGORIES, FAILS_FROM, Judge, TextError, both
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator, is_held_out

#: From this level on MedVAL calls a text unsafe.
UNSAFE = 3
CONSTANT, BOTH = "constant", "gate and judge"
TABLE = {"judge": pl.String, "figure": pl.String, "f1": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "n_planted": pl.Int64, "n_texts": pl.Int64}  # fmt: skip


def planted_of(
    reports: pl.DataFrame, vocabulary: Vocabulary, *, part: int, copies: int = 3, seed: int = 0
) -> tuple[list[Planted], list[str]]:
    """Texts with planted errors of the reports of training patients, or of held-out ones and in held-out templates.

    Args:
        reports: ``patient_id`` (or ``study_id``) and ``report``.
        vocabulary: how the reports are read.
        part: see :func:`~.planting.plant`; with ``HELD_OUT`` only patients that are never trained on, one in ten, and no
            report whose words also stand in another patient's.
        copies: texts a report.
        seed: of the errors.

    Returns:
        The texts, and the patient of each.

    Raises:
        InputError: no reports.
    """
    key = "patient_id" if "patient_id" in reports.columns else "study_id"
    if not {key, "report"} <= set(reports.columns):
        raise InputError(
            f"the table has the columns {', '.join(reports.columns)}; expected study_id and report."
        )
    rows = reports.select(pl.col(key).cast(pl.String), "report").drop_nulls().unique("report", keep="first", maintain_order=True)  # fmt: skip
    found, patients = [], []
    for patient, report in track([*rows.iter_rows()], "Errors planted", unit="reports"):
        if is_held_out(patient) != (part == HELD_OUT):
            continue
        for copy in range(copies):
            planted = plant(report, vocabulary, derive_seed(seed, "judge", patient, copy), part)
            if planted is not None:
                found.append(planted)
                patients.append(patient)
    if not found:
        raise InputError(f"no {'held-out ' if part == HELD_OUT else ''}patient of the table has a report; expected text in report. Give more reports.")  # fmt: skip
    return found, patients


def gate_judge(vocabulary: Vocabulary) -> Judge:
    """The rules, as a judge."""
    return lambda text, source: check_text(text, facts_of_text(source, vocabulary), vocabulary)


def evaluate_judges(
    judges: Mapping[str, Judge],
    planted: Sequence[Planted],
    patients: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """F1 of each judge against what was planted.

    Args:
        judges: name -> judge; added are ``constant``, which says yes to every category, unsafe and refused, and gives the
            commonest level; and ``gate and judge``, the errors of both, where both are there.
        planted: from :func:`planted_of`.
        patients: of each text; they are drawn together.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Columns :data:`TABLE`. Figures: each category that was planted, ``categories`` (their macro mean), ``level N``,
        ``levels`` (macro over the four), ``unsafe`` (level 3 or 4), ``refused`` (a level at which a text does not pass).
    """
    truth = category_table([p.errors for p in planted])
    levels = np.array([p.risk for p in planted])
    answers = {
        name: [judge(p.text, p.source) for p in track(planted, f"Judged by {name}", unit="texts")]
        for name, judge in judges.items()
    }
    if {"judge", "gate"} <= set(answers):
        answers[BOTH] = [both(*verdicts) for verdicts in zip(answers["gate"], answers["judge"], strict=True)]
    told = {name: category_table([v.errors for v in verdicts]) for name, verdicts in answers.items()}
    risks = {name: np.array([v.risk for v in verdicts]) for name, verdicts in answers.items()}
    told[CONSTANT] = np.ones_like(truth)
    risks[CONSTANT] = np.full_like(levels, np.bincount(levels).argmax())
    code = np.unique(np.array(patients), return_inverse=True)[1]
    rng = generator(seed, "judges")
    draws = [np.bincount(rng.integers(code.max() + 1, size=code.max() + 1), minlength=code.max() + 1)[code] for _ in range(n_resamples)]  # fmt: skip
    rows = []
    for name in told:
        yes = np.full_like(levels, 4) if name == CONSTANT else risks[name]
        figures = dict(_figures(truth, told[name], levels, risks[name], yes, None))
        resampled = [dict(_figures(truth, told[name], levels, risks[name], yes, draw)) for draw in draws]
        for figure, (value, n) in figures.items():
            low, high = np.quantile([draw[figure][0] for draw in resampled], (0.025, 0.975))
            rows.append((name, figure, value, float(low), float(high), n, len(planted)))
    return pl.DataFrame(rows, schema=TABLE, orient="row")


def _figures(
    truth: np.ndarray,
    told: np.ndarray,
    levels: np.ndarray,
    risks: np.ndarray,
    yes: np.ndarray,
    weight: np.ndarray | None,
) -> Iterator[tuple[str, tuple[float, int]]]:
    scores = []
    for k, category in enumerate(CATEGORIES):
        if n := int(truth[:, k].sum()):
            scores.append(f1_of(truth[:, k], told[:, k], weight))
            yield category, (scores[-1], n)
    yield "categories", (float(np.mean(scores)), int(truth.sum()))
    by_level = [f1_of(levels == level, risks == level, weight) for level in (1, 2, 3, 4)]
    for level, score in zip((1, 2, 3, 4), by_level, strict=True):
        yield f"level {level}", (score, int((levels == level).sum()))
    yield "levels", (float(np.mean(by_level)), len(levels))
    for name, least in (("unsafe", UNSAFE), ("refused", FAILS_FROM)):
        yield name, (f1_of(levels >= least, yes >= least, weight), int((levels >= least).sum()))


def category_table(errors: Sequence[Sequence[TextError]]) -> np.ndarray:
    """Bool ``(texts, 11)``: which of :data:`~.verdict.CATEGORIES` each text has."""
    table = np.zeros((len(errors), len(CATEGORIES)), dtype=bool)
    for row, some in zip(table, errors, strict=True):
        for error in some:
            row[CATEGORIES.index(error.category)] = True
    return table


def f1_of(truth: np.ndarray, told: np.ndarray, weight: np.ndarray | None = None) -> float:
    """2 TP / (2 TP + FP + FN) of bools ``(N,)``; 0 where neither has a positive."""
    weight = np.ones(len(truth)) if weight is None else weight
    total = weight @ truth + weight @ told
    return float(2 * (weight @ (truth & told)) / total) if total else 0.0
