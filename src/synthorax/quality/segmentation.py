"""Dice of predicted masks against published ones, apart for films with the finding and films without.

    Dice = 2 |A and B| / (|A| + |B|)

Positive Dice is its mean over the films whose true mask has pixels; negative Dice the share of the other films whose
predicted mask is empty (both empty counts 1, SIIM-ACR Pneumothorax 2019; ChexGen, 'Segmentation').
"""

from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.statistics import Interval, Replicates, bootstrap, mean_interval
from synthorax.errors import InputError, unknown_choice
from synthorax.progress import track
from synthorax.studies.annotations import mark_of, read_annotations
from synthorax.studies.marks import Mark, agreed, pixels_of, read_mask_file


def dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Of two bool masks ``(H, W)``; 1 where both are empty."""
    total = int(truth.sum()) + int(predicted.sum())
    return 2 * int((truth & predicted).sum()) / total if total else 1.0


def dice_of_films(
    predictions: Path | str, annotations: Path | str, label: str, *, least_raters: int = 1
) -> pl.DataFrame:
    """A row an annotated film: ``image_id, patient_id, is_positive, dice``; patient NULL where the set names none.

    Args:
        predictions: a folder of ``<image_id>.png``, above half of white = inside; an empty mask says 'not there'. Of another
            size than the film they are brought to the film's by their nearest pixels.
        annotations: a folder made by ``synthorax studies annotations``.
        label: whose mask was predicted.
        least_raters: as there.

    Raises:
        InputError: the label has no mark, a film has no prediction, or its size is not known.
    """
    folder, frame = Path(predictions), read_annotations(annotations)
    if label not in frame.filter(pl.col("kind") != "none")["label"]:
        raise unknown_choice("label", label, frame["label"].drop_nulls().unique())
    rows = []
    films = frame.partition_by("image_id", maintain_order=True)
    for film in track(films, f"Dice ({label})", unit="films"):
        first = film.row(0, named=True)
        image, size = first["image_id"], (first["height"], first["width"])
        if None in size:
            raise InputError(
                f"the size of film {image!r} is not known, so its masks cannot be compared; make the annotations with --studies."
            )
        path = folder / f"{image}.png"
        if not path.is_file():
            raise InputError(
                f"{path} does not exist; expected a mask of every annotated film (empty where nothing is)."
            )
        marks = [mark_of(row) for row in film.filter(label=label).iter_rows(named=True)]
        truth = agreed([mark for mark in marks if mark.kind not in ("none", "label")], size, least_raters)
        predicted = pixels_of(Mark(image, label, "mask", mask=lambda path=path: read_mask_file(path)), size)  # type: ignore[misc]
        rows.append((image, first["patient_id"], bool(truth.any()), dice(truth, predicted)))
    schema = {"image_id": pl.String, "patient_id": pl.String, "is_positive": pl.Boolean, "dice": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def dice_figures(films: pl.DataFrame, n_resamples: int = 1000, seed: int = 0) -> dict[str, Interval | None]:
    """``positive_dice``, ``negative_dice`` and ``dice`` over all films, with intervals by patient; None without such films.

    Args:
        films: from :func:`dice_of_films`; a film without patient counts as a patient of its own.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    parts = {
        "positive_dice": films.filter("is_positive"),
        "negative_dice": films.filter(~pl.col("is_positive")),
        "dice": films,
    }
    return {name: _mean(part, n_resamples, seed) for name, part in parts.items()}


def dice_replicates(films: pl.DataFrame, n_resamples: int = 1000, seed: int = 0) -> dict[str, Replicates]:
    """The same figures on shared resamples, for differences between models; NaN where a resample has no such film."""
    value, is_positive = films["dice"].to_numpy(), films["is_positive"].to_numpy().astype(float)
    counted = np.stack([is_positive, 1 - is_positive, np.ones(len(value))], axis=1)

    def means(w: np.ndarray) -> np.ndarray:
        n = w @ counted
        return np.divide(w @ (counted * value[:, None]), n, out=np.full_like(n, np.nan), where=n > 0)

    found = bootstrap(means, _patients(films), n_resamples=n_resamples, seed=seed)
    return {name: found[i] for i, name in enumerate(("positive_dice", "negative_dice", "dice"))}


def _patients(films: pl.DataFrame) -> list[str]:
    return films.select(pl.coalesce("patient_id", "image_id")).to_series().to_list()


def _mean(films: pl.DataFrame, n_resamples: int, seed: int) -> Interval | None:
    if films.is_empty():
        return None
    return mean_interval(films["dice"].to_numpy(), _patients(films), n_resamples=n_resamples, seed=seed)
