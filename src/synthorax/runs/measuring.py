"""What a run measures, each function one section of ``results.json``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.evaluation import compare, evaluate
from synthorax.classifiers.head import HeadConfig, finetune_head
from synthorax.concepts import Vocabulary, label_column
from synthorax.coverage import coverage
from synthorax.dataset import read_png
from synthorax.perturbations import TYPES, Plan
from synthorax.quality.agreement import agreement_of_films
from synthorax.quality.structure import structure_of_edits
from synthorax.quality.summary import OVERALL, summarise
from synthorax.runs import results
from synthorax.runs.headline import LOWER_IS_BETTER

REPORTED = ("auroc", "auprc", "f1", "entropy", "ece")
BATCH = 64


def label_targets(rows: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """Lists of true labels as a 0/1 table ``(N, labels)``."""
    return np.array([[float(label in row) for label in labels] for row in rows]).reshape(-1, len(labels))


def known_targets(table: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """0/1/NULL columns as float with NaN for unknown."""
    return table.select(pl.col(columns).cast(pl.Float64)).fill_null(float("nan")).to_numpy()


def concept_targets(rows: Sequence[Mapping], concepts: Sequence[str]) -> np.ndarray:
    """Metadata rows' target concepts: 1, 0, or NaN where unknown."""
    return np.array(
        [
            [np.nan if c in row["concepts_unknown"] else float(c in row["concepts_after"]) for c in concepts]
            for row in rows
        ]
    )


def cohort_section(
    table: pl.DataFrame, vocabulary: Vocabulary, source: str, n_rejected: int
) -> results.Cohort:
    """What the run started from."""
    counts = {label: int(table[label_column(label)].fill_null(0).sum()) for label in vocabulary.labels}
    return results.Cohort(
        n_images=table.height,
        n_patients=table["patient_id"].n_unique(),
        n_rejected=n_rejected,
        source=source,
        labels=counts,
    )


def coverage_section(table: pl.DataFrame, added: Sequence[Mapping], vocabulary: Vocabulary, withheld: Sequence[tuple[str, str]] = ()) -> results.Coverage:  # fmt: skip
    """Singles, pairs and triples in the cohort, and with the synthetic films added."""
    columns = [*vocabulary.concepts, *map(label_column, vocabulary.labels)]
    schema = {"study_id": pl.String, **dict.fromkeys(columns, pl.Int8)}
    states = [
        {
            "study_id": row["image_id"],
            **{
                c: None if c in row["concepts_unknown"] else int(c in row["concepts_after"])
                for c in vocabulary.concepts
            },
            **{label_column(label): int(label in row["labels_after"]) for label in vocabulary.labels},
        }
        for row in added
    ]
    before = table.select("study_id", pl.col(columns).cast(pl.Int8))
    after = pl.concat([before, pl.DataFrame(states, schema=schema)])
    return results.Coverage(
        before=_combinations(before, vocabulary),
        after=_combinations(after, vocabulary),
        withheld_pairs=list(withheld),
    )


def _combinations(table: pl.DataFrame, vocabulary: Vocabulary) -> list[results.Combination]:
    found = coverage(table, vocabulary, order=3).filter("is_valid")
    keys = ("combination", "level", "count", "expected", "status")
    return [results.Combination(**{key: row[key] for key in keys}) for row in found.iter_rows(named=True)]


def plan_section(
    plan: Plan, asked: Sequence[str], made: Sequence[Mapping], per_type: int, n_refused: int
) -> results.Plan:
    """Asked for (the types of the edits that were to be made), made, and impossible, by type."""
    kinds = [kind for kind in TYPES if any(kind == key[0] for key in plan.tally)]
    made_kinds = [row["perturbation_type"] for row in made]
    return results.Plan(
        requested={kind: list(asked).count(kind) for kind in kinds},
        made={kind: made_kinds.count(kind) for kind in kinds},
        impossible={kind: plan.tally[kind, "impossible"] // per_type for kind in kinds},
        rejected=n_refused,
    )


def structure_section(folder: Path, rows: Sequence[Mapping], read_source=read_png) -> list[results.Structure]:
    """SSIM and grey-level change against the source, by perturbation type."""
    triples = (
        (
            row["image_id"],
            read_source(row["source_file_name"]),
            read_png(folder / row["file_name"]),
            read_png(folder / row["edit_mask_file_name"]) > 0.5 if row["edit_mask_file_name"] else None,
        )
        for row in rows
    )
    frame = structure_of_edits(triples).with_columns(
        perturbation_type=pl.Series([row["perturbation_type"] for row in rows])
    )
    columns = ["ssim", "ssim_inside", "ssim_outside", "grey_difference_inside", "grey_difference_outside"]
    summary = summarise(frame, columns)
    sections = []
    for kind in summary["perturbation_type"].unique(maintain_order=True):
        of_kind = {row["metric"]: row for row in summary.filter(perturbation_type=kind).iter_rows(named=True)}
        sections.append(
            results.Structure(
                perturbation_type=kind,
                n=frame.height if kind == OVERALL else frame.filter(perturbation_type=kind).height,
                ssim_mean=of_kind["ssim"]["mean"],
                ssim_sd=of_kind["ssim"]["sd"],
                ssim_inside_mean=of_kind["ssim_inside"]["mean"],
                ssim_outside_mean=of_kind["ssim_outside"]["mean"],
                mad_inside=_scaled(of_kind["grey_difference_inside"]["mean"]),
                mad_outside=_scaled(of_kind["grey_difference_outside"]["mean"]),
            )
        )
    return sections


def _scaled(grey_levels: float | None) -> float | None:
    return None if grey_levels is None else grey_levels / 255


def agreement_section(
    arm: str, reader: Classifier, files: Sequence[Path], targets: np.ndarray
) -> results.Agreement:
    """Concepts read back by ``reader`` from images, against what was asked for (CARS table 4)."""
    batches = (
        np.stack([read_png(file) for file in files[i : i + BATCH]]) for i in range(0, len(files), BATCH)
    )
    frame = agreement_of_films(reader.predict, batches, targets, reader.thresholds)
    figures = {}
    for name in ("jaccard", "hamming", "u_fp", "u_fn"):
        figures[f"{name}_mean"], figures[f"{name}_sd"] = frame[name].mean(), frame[name].std()
    return results.Agreement(arm=arm, n=frame.height, **figures)


def adapted(baseline: Classifier, files: Sequence[Path], targets: np.ndarray, validation: tuple, config: HeadConfig, out: Path) -> Classifier:  # fmt: skip
    """The baseline with its last layer trained on synthetic films; thresholds from the same real validation films."""
    return finetune_head(
        baseline,
        list(files),
        targets,
        config,
        validation=validation,
        out=out,
        note="head-only, synthetic films",
    )


def classifier_section(arms: Mapping[str, Classifier], files: Sequence[Path], targets: np.ndarray, patient_ids: Sequence[str], *, n_train: int, description: str, n_resamples: int, seed: int) -> results.Classifier:  # fmt: skip
    """Every arm on the same test films, and the difference of each to the first."""
    first = next(iter(arms.values()))
    predicted = {arm: model.predict(list(files)) for arm, model in arms.items()}
    labels = first.labels
    rows = []
    for arm, model in arms.items():
        table = evaluate(
            targets, predicted[arm], labels, patient_ids, model.thresholds, n_resamples=n_resamples, seed=seed
        )
        metrics = {
            row["metric"]: results.Metric(value=row["estimate"], ci_low=row["ci_low"], ci_high=row["ci_high"])
            for row in table.filter(label="macro").iter_rows(named=True)
            if row["metric"] in REPORTED
        }
        difference = None
        if model is not first:
            table = compare(
                targets, predicted[next(iter(arms))], predicted[arm], labels, patient_ids,
                first_thresholds=first.thresholds, second_thresholds=model.thresholds, n_resamples=n_resamples, seed=seed,
            )  # fmt: skip
            difference = {
                row["metric"]: results.Difference(
                    value=row["difference"],
                    ci_low=row["ci_low"],
                    ci_high=row["ci_high"],
                    verdict=_verdict(row),
                )
                for row in table.filter(label="macro").iter_rows(named=True)
                if row["metric"] in REPORTED
            }
        rows.append(results.Arm(arm=arm, metrics=metrics, difference=difference))
    return results.Classifier(
        backbone=first.record.backbone,
        n_train=n_train,
        n_test=len(files),
        n_test_patients=len(set(patient_ids)),
        test_description=description,
        rows=rows,
        thresholds={arm: [round(t, 3) for t in model.thresholds] for arm, model in arms.items()},
    )


def _verdict(row: Mapping) -> results.Verdict:
    if row["verdict"] == "no difference shown":
        return "no difference shown"
    return "better" if (row["verdict"] == "higher") != (row["metric"] in LOWER_IS_BETTER) else "worse"
