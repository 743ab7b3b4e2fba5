"""Training and evaluation on tables: what the command line calls."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.calibration import (
    fit_temperature,
    negative_log_likelihood,
    reliability_figure,
    reliability_table,
    with_temperature,
)
from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.evaluation import compare, evaluate
from synthorax.classifiers.examples import read_examples
from synthorax.classifiers.held_out import EXAMPLES, TUNED, HeldOut, held_out
from synthorax.classifiers.latents import STORE, Autoencoder
from synthorax.classifiers.training import TrainingConfig, train
from synthorax.errors import InputError
from synthorax.files import atomic

#: What a temperature can change.
CALIBRATION = ("entropy", "ece", "ece_equal_mass", "brier")


def train_on_studies(
    config: TrainingConfig,
    studies: Path | str,
    concepts: Path | str | None,
    out: Path | str,
    *,
    outputs: str = "labels",
    start: Path | str | None = None,
    device: str = "cpu",
    autoencoder: Autoencoder | None = None,
    store: Path | str | None = None,
) -> Classifier:
    """Train on the split ``train``, fit thresholds on ``validation``; the same call resumes.

    Args:
        config: how.
        studies, concepts, outputs: as in :func:`~.examples.read_examples`.
        out: folder of the classifier; ``examples.parquet`` beside it says who was in which split, of ``start`` too.
        start: folder of a classifier whose weights go on training.
        device: torch device.
        autoencoder: read its latents instead of pixels.
        store: folder of the latents; default ``latents`` beside ``studies``.
    """
    if autoencoder is not None and store is None:
        store = Path(studies).resolve().parent / STORE
    examples = read_examples(studies, concepts, outputs)
    fitted, tuned = examples.split("train"), examples.where([split in TUNED for split in examples.splits])
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
        autoencoder=autoencoder,
        store=store,
    )


def evaluate_on_studies(
    where: Path | str,
    studies: Path | str,
    concepts: Path | str | None,
    out: Path | str,
    *,
    against: Path | str | None = None,
    names: Sequence[str] | None = None,
    temperature: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> pl.DataFrame:
    """Metrics with intervals on the films whose patients the model has not seen.

    Writes ``predictions.parquet``, ``metrics.csv``, ``metrics.json``, ``reliability.csv`` and ``reliability.svg``; with
    ``against`` ``comparison.csv`` (that one first, this one second, on the same films); with ``temperature``
    ``temperature.csv`` (before first, after second) and ``reliability_temperature.svg``.

    Args:
        where: a model, as in :func:`~.models.load_tested`.
        studies, concepts: the films; those of patients in training or validation, of either model, are left out
            and counted in ``metrics.json``, see :func:`~.held_out.held_out`.
        out: folder of the results.
        against: another model that gives the same labels.
        names: of the model's outputs, in order, in place of its own.
        temperature: fit a temperature on the validation films and measure before and after.
        seed: of the bootstrap.
        device: torch device.

    Raises:
        InputError: no film is left, the models' labels differ, or a temperature has no validation films.
        ModelError: a model cannot be loaded, or its answers cannot be used.
    """
    models = [where] if against is None else [where, against]
    found = held_out(models, studies, concepts, names=names, tune=temperature, device=device)
    examples, reading, out = found.examples, found.readings[0], Path(out)
    p, rest = reading.probabilities, (examples.labels, examples.patient_ids)
    at_specificity = reading.at_specificity
    table = evaluate(examples.targets, p, *rest, reading.thresholds, at_specificity=at_specificity, seed=seed)
    calibration = reliability_table(examples.targets, p, examples.labels)
    summary = _summary(found, where, studies)
    if temperature:
        after = _with_temperature(found, studies, summary, out, seed)
        calibration = pl.concat([calibration.with_columns(probabilities=pl.lit("as given")), after])
    with atomic(out / "predictions.parquet") as temporary:
        predictions(found).write_parquet(temporary)
    with atomic(out / "metrics.csv") as temporary:
        table.write_csv(temporary)
    with atomic(out / "reliability.csv") as temporary:
        calibration.write_csv(temporary)
    with atomic(out / "reliability.svg") as temporary:
        temporary.write_text(reliability_figure(reliability_table(examples.targets, p, examples.labels)))
    if against is not None:
        other = found.readings[1]
        difference = compare(
            examples.targets, other.probabilities, p, *rest,
            first_thresholds=other.thresholds, second_thresholds=reading.thresholds, seed=seed,
        )  # fmt: skip
        with atomic(out / "comparison.csv") as temporary:
            difference.write_csv(temporary)
    with atomic(out / "metrics.json") as temporary:
        temporary.write_text(json.dumps(summary | {"metrics": table.to_dicts()}, indent=1) + "\n")
    return table


def predictions(found: HeldOut) -> pl.DataFrame:
    """``image_id, patient_id``, and of each label ``target_`` (0, 1 or NULL) and ``probability_`` of the first model."""
    examples, p = found.examples, found.readings[0].probabilities
    return pl.DataFrame(
        {"image_id": examples.image_ids, "patient_id": examples.patient_ids}
        | {f"target_{name}": examples.targets[:, i] for i, name in enumerate(examples.labels)}
        | {f"probability_{name}": p[:, i] for i, name in enumerate(examples.labels)}
    ).with_columns(pl.col("^target_.*$").fill_nan(None).cast(pl.Int8))


def _summary(found: HeldOut, where: Path | str, studies: Path | str) -> dict:
    """What was measured on what."""
    reading = found.readings[0]
    return {
        "classifier": str(where),
        "studies": str(studies),
        "n_films": len(found.examples),
        "n_films_of_seen_patients_left_out": found.n_left_out,
        "outputs_left_out": found.outputs_left_out,
        "thresholds": dict(zip(found.examples.labels, reading.thresholds, strict=True)),
        "thresholds_from": reading.thresholds_from,
        "n_validation_films": 0 if reading.tuned is None else len(reading.tuned[0]),
        "interval": "95 % percentile bootstrap over patients",
    }


def _with_temperature(
    found: HeldOut, studies: Path | str, summary: dict, out: Path, seed: int
) -> pl.DataFrame:
    """Fit, compare, draw; adds to the summary and returns the reliability afterwards."""
    examples, reading = found.examples, found.readings[0]
    if reading.tuned is None:
        raise InputError(
            f"a temperature is fitted on validation films, and none of {studies} is one. Give films of the model's "
            "split 'validation' too, or leave --temperature out."
        )
    fitted = fit_temperature(*reading.tuned)
    targets, before = reading.tuned
    after = with_temperature(reading.probabilities, fitted)
    summary["temperature"] = {
        "temperature": fitted,
        "validation_nll_before": negative_log_likelihood(targets, before),
        "validation_nll_after": negative_log_likelihood(targets, with_temperature(before, fitted)),
    }
    thresholds = reading.thresholds
    change = compare(
        examples.targets, reading.probabilities, after, examples.labels, examples.patient_ids,
        first_thresholds=thresholds, second_thresholds=with_temperature(np.array(thresholds), fitted).tolist(), seed=seed,
    )  # fmt: skip
    with atomic(out / "temperature.csv") as temporary:
        change.filter(pl.col("metric").is_in(CALIBRATION)).write_csv(temporary)
    table = reliability_table(examples.targets, after, examples.labels)
    with atomic(out / "reliability_temperature.svg") as temporary:
        temporary.write_text(reliability_figure(table))
    return table.with_columns(probabilities=pl.lit(f"temperature {fitted:.3f}"))
