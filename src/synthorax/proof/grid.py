"""Every training of a protocol over seeds and backbones, a folder each; killed and started again, it goes on.

``cells/<backbone>/seed-<n>/<arm>/`` holds ``predictions.parquet`` (the test films; written last but one) and
``cell.json`` (thresholds and what it was trained on; written last, so a cell with one is finished and never repeated).
A training that was killed goes on from its own checkpoint, where weights are kept.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.head import HeadConfig, finetune_head
from synthorax.classifiers.training import TrainingConfig, train
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.proof.trainings import Training

PREDICTIONS, CELL = "predictions.parquet", "cell.json"


@dataclass(frozen=True)
class Cell:
    """A finished training's answers.

    Attributes:
        backbone, seed, arm, against: which cell, and the arm it is compared with.
        thresholds: ``(L,)`` from the real validation films.
        n_films, n_patients: what it was trained on.
        tests: row -> films' image_ids, patients, targets ``(N, L)`` and probabilities ``(N, L)``.
    """

    backbone: str
    seed: int
    arm: str
    against: str | None
    thresholds: tuple[float, ...]
    n_films: int
    n_patients: int
    tests: Mapping[str, "Answers"]


@dataclass(frozen=True)
class Answers:
    """Probabilities beside the truth."""

    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    targets: np.ndarray
    probabilities: np.ndarray


def run_grid(
    trainings_of: Callable[[str, int], Sequence[Training]],
    backbones: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    keep_weights: bool,
    device: str = "cpu",
) -> Iterator[Cell]:
    """Train what is not finished and give every cell that is tested, in order.

    Args:
        trainings_of: backbone and seed -> trainings, a start before those that go on from it.
        backbones, seeds: of the grid; all backbones of a seed first.
        folder: where ``cells`` lies.
        keep_weights: False keeps the answers alone; a cell that was killed then begins anew.
        device: torch device.
    """
    pairs = [(seed, backbone) for seed in seeds for backbone in backbones]
    for seed, backbone in track(pairs, "Protocol", unit="seeds x backbones"):
        trainings = trainings_of(backbone, seed)
        place = folder / "cells" / backbone / f"seed-{seed}"
        _finish_cells(trainings, place, keep_weights, device)
        for training in trainings:
            if training.tests:
                yield _read(place / slug(training.name), training, backbone, seed)


def slug(name: str) -> str:
    """A folder's name for an arm."""
    return re.sub(r"[^A-Za-z0-9.+=%-]+", "_", name)


def _finish_cells(trainings: Sequence[Training], place: Path, keep_weights: bool, device: str) -> None:
    by_name = {training.name: training for training in trainings}
    starts = {training.start for training in trainings}
    made: dict[str, Classifier] = {}

    def classifier(name: str) -> Classifier:
        if name in made:
            return made[name]
        training = by_name[name]
        start = None if training.start is None else classifier(training.start)
        out = place / slug(name) if keep_weights else None
        films, targets = training.films.paths, training.films.targets
        validation = training.validation.paths, training.validation.targets
        if isinstance(training.config, HeadConfig):
            assert start is not None, "the last layer of an existing classifier"
            found = finetune_head(
                start, films, targets, training.config, validation=validation,
                out=out, note=name,
            )  # fmt: skip
        else:
            assert isinstance(training.config, TrainingConfig), "a classifier's"
            found = train(
                training.config, films, targets, training.films.labels, start=start, validation=validation,
                out=out, note=name, device=device,
            )  # fmt: skip
        if name in starts:
            made[name] = found
        return found

    for training in trainings:
        if training.tests and not (place / slug(training.name) / CELL).is_file():
            _write(place / slug(training.name), training, classifier(training.name))


def _write(cell: Path, training: Training, classifier: Classifier) -> None:
    frames = []
    for name, films in training.tests.items():
        p = classifier.predict(films.paths)
        frames.append(
            pl.DataFrame(
                {"test": [name] * len(films), "image_id": films.image_ids, "patient_id": films.patient_ids}
                | {f"target_{label}": films.targets[:, i] for i, label in enumerate(films.labels)}
                | {f"probability_{label}": p[:, i] for i, label in enumerate(films.labels)}
            ).with_columns(pl.col("^target_.*$").fill_nan(None).cast(pl.Int8))
        )
    with atomic(cell / PREDICTIONS) as temporary:
        pl.concat(frames).write_parquet(temporary)
    record = {
        "arm": training.name,
        "start": training.start,
        "against": training.against,
        "config": asdict(training.config),
        "n_films": len(training.films),
        "n_patients": len({*training.films.patient_ids}),
        "labels": list(classifier.labels),
        "thresholds": list(classifier.thresholds),
        "trained_image_ids": list(training.films.image_ids),
    }
    with atomic(cell / CELL) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def _read(cell: Path, training: Training, backbone: str, seed: int) -> Cell:
    record = json.loads((cell / CELL).read_text())
    table = pl.read_parquet(cell / PREDICTIONS)
    tests = {}
    for name in training.tests:
        part = table.filter(test=name)
        tests[name] = Answers(
            tuple(part["image_id"]),
            tuple(part["patient_id"]),
            part.select(pl.col("^target_.*$").cast(pl.Float64)).fill_null(np.nan).to_numpy(),
            part.select("^probability_.*$").to_numpy(),
        )
    return Cell(
        backbone, seed, training.name, training.against, tuple(record["thresholds"]), record["n_films"],
        record["n_patients"], tests,
    )  # fmt: skip
