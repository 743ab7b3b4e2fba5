"""Segmentation, detection and severity as protocols: real films with k times as many synthetic ones, tested twice.

A cell's folder holds ``answers-<test>.parquet`` and, written last, ``cell.json``; a training that was killed goes on from its
checkpoint, where weights are kept. Figures: positive and negative Dice, mAP50 and mAR50, or MAE, MSE and Pearson's r.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.classifiers.examples import Examples
from synthorax.classifiers.statistics import Replicates
from synthorax.downstream.annotated import Marks, read_marks_of
from synthorax.downstream.detector import train_detector
from synthorax.downstream.segmenter import train_segmenter
from synthorax.downstream.severity import train_severity
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.proof.cohort import FilmSets, counts_of, is_simulated, read_arms, sites_of, split_films
from synthorax.proof.figures import MACRO, Measured
from synthorax.proof.grid import CELL, slug
from synthorax.proof.recipe import Recipe
from synthorax.proof.trainings import Training, mix
from synthorax.quality.detection import replicates_of
from synthorax.quality.segmentation import dice, dice_replicates
from synthorax.quality.severity import severity_replicates, with_severity
from synthorax.stress.segmenters import TestedSegmenter
from synthorax.studies import read_manifest, split_by_patient
from synthorax.studies.annotations import read_annotations
from synthorax.studies.tables import read_table, require_columns

#: Beside a synthetic dataset's metadata.parquet: ``study_id`` and the recipe's ``films.targets``.
SEVERITY_FILE = "severity.parquet"


@dataclass(frozen=True)
class AnnotatedFilms(FilmSets):
    """Film sets of downstream tasks; ``marks`` are those of real and synthetic films (none for severity)."""

    marks: Marks


@dataclass(frozen=True)
class Task:
    """How one task learns, answers, and is measured.

    Attributes:
        figures: what is compared, the main one first.
        learn: config, films, sets, folder, note and device to a model.
        answer: model, films and sets to a row a film or box.
        measure: answers, films, sets and resamples to figures.
    """

    figures: tuple[str, ...]
    learn: Callable[..., Any]
    answer: Callable[[Any, Examples, AnnotatedFilms], pl.DataFrame]
    measure: Callable[[pl.DataFrame, Examples, AnnotatedFilms, int], dict[str, Replicates]]


def read_annotated_films(recipe: Recipe, studies: Path, annotations: Sequence[Path], synthetic: Sequence[str]) -> AnnotatedFilms:  # fmt: skip
    """Real films with marks or numbers, and the synthetic ones of training patients.

    Args:
        recipe: its ``films`` say classes or targets, site column and external sites.
        studies: the manifest.
        annotations: folders of ``studies annotations``; films without any row there are left out and counted.
        synthetic: dataset folders, or ``NAME=FOLDER``; with ``annotations.parquet`` (``generate --control``), for severity
            with :data:`SEVERITY_FILE`.

    Raises:
        InputError: a table does not fit, a split is empty, or a dataset has no annotations.
    """
    films, manifest = recipe.values("films"), read_manifest(studies)
    if recipe.protocol == "severity":
        marks, columns = Marks({}, {}), ["severity"]
        table = with_severity(manifest, films["targets"], studies)
        known = table.drop_nulls("severity")
    else:
        marks, columns = read_marks_of(annotations, films["classes"]), [*films["classes"]]
        known = manifest.filter(pl.col("image_id").is_in([*marks.rows]))
        present = marks.presence(known["image_id"].to_list())
        known = known.with_columns(pl.Series(name, present[:, i]) for i, name in enumerate(columns))
    if known.is_empty():
        raise InputError(f"no film of {studies} has annotations or numbers; look at image_id in both.")
    targets = known.select(pl.col(columns).cast(pl.Float32)).to_numpy()
    if known["split"].null_count():
        shown = [pl.col(name) > (pl.col(name).median() if marks.rows == {} else 0) for name in columns]
        known = known.with_columns(
            split_by_patient(known.with_columns(shown), columns)["split"].alias("split")
        )
    real = split_films(
        Examples(
            tuple(columns), tuple(known["file_name"]), targets, tuple(known["image_id"]), tuple(known["patient_id"]),
            tuple(known["split"]),
        ),
        studies, sites_of(manifest, films["site_column"]), films["external_sites"], ("train", "test"),
    )  # fmt: skip
    made: dict[str, list[Mapping[str, Any]]] = {}
    targets_of = _numbers_of(films["targets"]) if recipe.protocol == "severity" else _marks_of(marks, made)
    arms, outcomes = read_arms(synthetic, real, targets_of)
    if not arms:
        raise InputError(f"{recipe.name} compares synthetic films; give their dataset folders by --synthetic FOLDER.")  # fmt: skip
    counts = {"films in the manifest": manifest.height, "left out, no annotation": manifest.height - known.height, **counts_of(real)}  # fmt: skip
    counts |= {f"films with {name}": int((targets[:, i] > 0).sum()) for i, name in enumerate(columns)}
    return AnnotatedFilms(
        real, arms, {}, outcomes, counts, is_simulated(manifest), marks | Marks(marks.classes, made)
    )


def _marks_of(marks: Marks, made: dict[str, list[Mapping[str, Any]]]) -> Callable[[Mapping, Path], list[float]]:  # fmt: skip
    """Presence of the classes from a dataset's annotations, which are kept in ``made`` under the film's name."""
    read: dict[Path, dict[str, list[dict]]] = {}

    def targets_of(row: Mapping, folder: Path) -> list[float]:
        if folder not in read:
            frame = read_annotations(folder)
            read[folder] = {str(image): part.to_dicts() for (image,), part in frame.partition_by("image_id", as_dict=True).items()}  # fmt: skip
        name = f"{folder}/{row['file_name']}"
        made[name] = [*read[folder].get(row["image_id"], [])]
        return Marks(marks.classes, {name: made[name]}).presence([name])[0].tolist()

    return targets_of


def _numbers_of(columns: Sequence[str]) -> Callable[[Mapping, Path], list[float] | None]:
    read: dict[Path, dict[str, float | None]] = {}

    def targets_of(row: Mapping, folder: Path) -> list[float] | None:
        if folder not in read:
            path = folder / SEVERITY_FILE
            if not path.is_file():
                raise InputError(f"{path} does not exist; expected study_id and {', '.join(columns)}: what each film's prompt means in numbers.")  # fmt: skip
            table = read_table(path)
            require_columns(table, ("study_id", *columns), path)
            numbers = with_severity(table, columns, path)
            read[folder] = dict(numbers.select("study_id", "severity").iter_rows())
        value = read[folder].get(row["study_id"])
        return None if value is None else [value]

    return targets_of


def _segment(config, films: Examples, sets: AnnotatedFilms, out: Path | None, note: str, device: str) -> Any:
    (name,) = sets.marks.classes
    masks = sets.marks.masks(films.image_ids, name, config.image_size_px)
    return train_segmenter(config, films.paths, masks, out=out, note=note, device=device)


def _dices(model: Any, films: Examples, sets: AnnotatedFilms) -> pl.DataFrame:
    (name,) = sets.marks.classes
    rows = []
    for image_id, patient, mask in zip(films.image_ids, films.patient_ids, TestedSegmenter(name, model).masks(films.paths), strict=True):  # fmt: skip
        truth = sets.marks.mask(image_id, name, mask.shape)
        rows.append((image_id, patient, bool(truth.any()), dice(truth, mask)))
    return pl.DataFrame(rows, schema=["image_id", "patient_id", "is_positive", "dice"], orient="row")


def _detect(config, films: Examples, sets: AnnotatedFilms, out: Path | None, note: str, device: str) -> Any:
    boxes = sets.marks.boxes(films.image_ids)
    return train_detector(config, dict(zip(films.image_ids, films.paths, strict=True)), boxes, [*sets.marks.classes], out=out, note=note, device=device)  # fmt: skip


def _boxes(model: Any, films: Examples, sets: AnnotatedFilms) -> pl.DataFrame:
    return model(dict(zip(films.image_ids, films.paths, strict=True)))


def _precision(answers: pl.DataFrame, films: Examples, sets: AnnotatedFilms, n_resamples: int) -> dict[str, Replicates]:  # fmt: skip
    truth = sets.marks.boxes(films.image_ids)
    labels = [name for name in sets.marks.classes if name in truth["label"]]
    return replicates_of(truth, answers, films.image_ids, films.patient_ids, labels, n_resamples)


def _regress(config, films: Examples, sets: AnnotatedFilms, out: Path | None, note: str, device: str) -> Any:
    return train_severity(config, films.paths, films.targets[:, 0], out=out, note=note, device=device)


def _numbers(model: Any, films: Examples, sets: AnnotatedFilms) -> pl.DataFrame:
    return pl.DataFrame({"image_id": films.image_ids, "severity": films.targets[:, 0].astype(float), "predicted": model(films.paths).astype(float)})  # fmt: skip


#: Protocol -> its task.
TASKS: Mapping[str, Task] = {
    "segment": Task(
        ("positive_dice", "negative_dice"),
        _segment, _dices, lambda answers, films, sets, n: dice_replicates(answers, n),
    ),
    "detect": Task(("map50", "mar50"), _detect, _boxes, _precision),
    "severity": Task(
        ("mae", "mse", "pearson"), _regress, _numbers,
        lambda answers, films, sets, n: severity_replicates(answers["severity"].to_numpy(), answers["predicted"].to_numpy(), films.patient_ids, n),
    ),
}  # fmt: skip


def run_task(recipe: Recipe, sets: AnnotatedFilms, folder: Path, device: str) -> list[Measured]:
    """Train what is not finished, and measure every cell on every test."""
    task, grid, measured = TASKS[recipe.protocol], recipe.values("grid"), []
    n_resamples = recipe.values("measuring")["n_resamples"]
    for seed in track(grid["seeds"], "Protocol", unit="seeds"):
        for training in mix(recipe, sets, "", seed):  # type: ignore[arg-type]
            cell = folder / "cells" / f"seed-{seed}" / slug(training.name)
            if not (cell / CELL).is_file():
                _train(task, training, sets, cell, grid["keep_weights"], device)
            for test, films in training.tests.items():
                figures = task.measure(pl.read_parquet(cell / f"answers-{test}.parquet"), films, sets, n_resamples)  # fmt: skip
                measured.append(
                    Measured(test, _network_name(training.config), training.name, seed, training.against, len(training.films), {name: {MACRO: figure} for name, figure in figures.items()})
                )  # fmt: skip
    return measured


def _train(task: Task, training: Training, sets: AnnotatedFilms, cell: Path, keep_weights: bool, device: str) -> None:  # fmt: skip
    model = task.learn(training.config, training.films, sets, cell if keep_weights else None, training.name, device)  # fmt: skip
    for test, films in training.tests.items():
        with atomic(cell / f"answers-{test}.parquet") as temporary:
            task.answer(model, films, sets).write_parquet(temporary)
    record = {
        "arm": training.name,
        "against": training.against,
        "config": asdict(training.config),
        "n_films": len(training.films),
        "n_patients": len({*training.films.patient_ids}),
        "loss_per_epoch": model.record["loss_per_epoch"],
        "trained_image_ids": list(training.films.image_ids),
    }
    with atomic(cell / CELL) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def _network_name(config: Any) -> str:
    """What the page calls the network."""
    said = getattr(config, "network", None) or getattr(config, "backbone", None) or getattr(config, "encoder", None)  # fmt: skip
    return said or "small U-Net"
