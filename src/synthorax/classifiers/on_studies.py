"""Training and evaluation on tables: what the command line calls."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.evaluation import compare, evaluate
from synthorax.classifiers.examples import Examples, read_examples
from synthorax.classifiers.training import TrainingConfig, train
from synthorax.errors import InputError
from synthorax.files import atomic

#: Beside the classifier: which films it has seen, so that no evaluation uses one of their patients.
EXAMPLES = "examples.parquet"
SEEN = ("train", "validation", "validate")


def train_on_studies(
    config: TrainingConfig,
    studies: Path | str,
    concepts: Path | str,
    out: Path | str,
    *,
    outputs: str = "labels",
    start: Path | str | None = None,
    device: str = "cpu",
) -> Classifier:
    """Train on the split ``train``, fit thresholds on ``validation``; the same call resumes.

    Args:
        config: how.
        studies, concepts, outputs: as in :func:`~.examples.read_examples`.
        out: folder of the classifier; ``examples.parquet`` beside it says who was in which split, of ``start`` too.
        start: folder of a classifier whose weights go on training.
        device: torch device.
    """
    examples = read_examples(studies, concepts, outputs)
    fitted, tuned = examples.split("train"), examples.where([split in SEEN[1:] for split in examples.splits])
    table = pl.DataFrame(
        {"image_id": examples.image_ids, "patient_id": examples.patient_ids, "split": examples.splits}
    )
    if start is not None and (Path(start) / EXAMPLES).is_file():
        table = pl.concat([table, pl.read_parquet(Path(start) / EXAMPLES)])
    with atomic(Path(out) / EXAMPLES) as temporary:
        table.write_parquet(temporary)
    return train(
        config,
        fitted.paths,
        fitted.targets,
        fitted.labels,
        start=None if start is None else Classifier.load(start, device),
        validation=(tuned.paths, tuned.targets) if len(tuned) else None,
        out=out,
        note=f"{len(fitted)} films of {len(set(fitted.patient_ids))} patients from {Path(studies).name}",
        device=device,
    )


def evaluate_on_studies(
    folder: Path | str,
    studies: Path | str,
    concepts: Path | str,
    out: Path | str,
    *,
    against: Path | str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> pl.DataFrame:
    """Metrics with intervals on the films whose patients the classifier has not seen.

    Writes ``predictions.parquet``, ``metrics.csv`` and ``metrics.json`` and, with ``against``,
    ``comparison.csv`` (that one first, this one second, on the same films).

    Args:
        folder: a classifier.
        studies, concepts: the films; those of patients in training or validation, of either classifier,
            are left out and counted in ``metrics.json``.
        out: folder of the results.
        against: another classifier with the same labels.
        seed: of the bootstrap.
        device: torch device.

    Raises:
        InputError: no film is left, or the classifiers' labels differ.
    """
    classifier = Classifier.load(folder, device)
    other = None if against is None else Classifier.load(against, device)
    if other is not None and other.labels != classifier.labels:
        raise InputError(
            f"{folder} gives {', '.join(classifier.labels)} and {against} {', '.join(other.labels)}; "
            "compare classifiers of the same labels in one order."
        )
    everything = _read_for(classifier, studies, concepts)
    seen = _seen_patients(folder) | (set() if against is None else _seen_patients(against))
    examples = everything.where([patient not in seen for patient in everything.patient_ids])
    if not len(examples):
        raise InputError(
            f"all {len(everything)} films of {studies} are of patients that the classifier was trained on or "
            "tuned with; give it other patients."
        )
    p = classifier.predict(examples.paths)
    rest = (examples.labels, examples.patient_ids)
    table = evaluate(examples.targets, p, *rest, classifier.thresholds, seed=seed)
    predictions = pl.DataFrame(
        {"image_id": examples.image_ids, "patient_id": examples.patient_ids}
        | {f"target_{name}": examples.targets[:, i] for i, name in enumerate(examples.labels)}
        | {f"probability_{name}": p[:, i] for i, name in enumerate(examples.labels)}
    ).with_columns(pl.col("^target_.*$").fill_nan(None).cast(pl.Int8))
    summary = {
        "classifier": str(folder),
        "studies": str(studies),
        "n_films": len(examples),
        "n_films_of_seen_patients_left_out": len(everything) - len(examples),
        "interval": "95 % percentile bootstrap over patients",
        "metrics": table.to_dicts(),
    }
    with atomic(Path(out) / "predictions.parquet") as temporary:
        predictions.write_parquet(temporary)
    with atomic(Path(out) / "metrics.csv") as temporary:
        table.write_csv(temporary)
    with atomic(Path(out) / "metrics.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n")
    if other is not None:
        difference = compare(
            examples.targets, other.predict(examples.paths), p, *rest,
            first_thresholds=other.thresholds, second_thresholds=classifier.thresholds, seed=seed,
        )  # fmt: skip
        with atomic(Path(out) / "comparison.csv") as temporary:
            difference.write_csv(temporary)
    return table


def _read_for(classifier: Classifier, studies: Path | str, concepts: Path | str) -> Examples:
    """The films with the classifier's own outputs as targets, in its order."""
    for outputs in ("labels", "concepts"):
        examples = read_examples(studies, concepts, outputs)
        if set(classifier.labels) <= set(examples.labels):
            order = [examples.labels.index(name) for name in classifier.labels]
            return replace(
                examples, labels=classifier.labels, targets=np.ascontiguousarray(examples.targets[:, order])
            )
    raise InputError(
        f"the classifier gives {', '.join(classifier.labels)}; {concepts} has not all of them. Annotate with "
        "the vocabulary that it was trained with."
    )


def _seen_patients(folder: Path | str) -> set[str]:
    path = Path(folder) / EXAMPLES
    if not path.is_file():
        return set()
    return set(pl.read_parquet(path).filter(pl.col("split").is_in(SEEN))["patient_id"])
