"""Predicted severity against the raters': mean absolute error, mean squared error and Pearson's r, with intervals by patient.

    MAE = mean |p - y|,  MSE = mean (p - y)^2,  r = cov(p, y) / sqrt(var p var y)

The true number is the mean of the raters, where there are several (ChexGen, 'Severity'; RALO's two).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.statistics import Replicates, bootstrap
from synthorax.errors import InputError
from synthorax.studies import read_manifest
from synthorax.studies.tables import numbers_in, read_table, require_columns

FIGURES = ("mae", "mse", "pearson")


def severity_replicates(
    truth: np.ndarray, predicted: np.ndarray, patients: Sequence[str], n_resamples: int = 1000, seed: int = 0
) -> dict[str, Replicates]:
    """:data:`FIGURES` of ``(N,)`` numbers; r is NaN where a resample has no spread."""
    y, p = truth - truth.mean(), predicted - truth.mean()
    error = predicted - truth

    def figures(w: np.ndarray) -> np.ndarray:
        n = w.sum(-1)
        mean_y, mean_p = w @ y / n, w @ p / n
        covariance = w @ (y * p) / n - mean_y * mean_p
        spread = np.maximum(w @ y**2 / n - mean_y**2, 0) * np.maximum(w @ p**2 / n - mean_p**2, 0)
        r = np.divide(covariance, np.sqrt(spread), out=np.full_like(covariance, np.nan), where=spread > 1e-12)
        return np.stack([w @ np.abs(error) / n, w @ error**2 / n, r], axis=1)

    found = bootstrap(figures, patients, n_resamples=n_resamples, seed=seed)
    return {name: found[i] for i, name in enumerate(FIGURES)}


def severity_figures(
    predictions: Path | str,
    studies: Path | str,
    columns: Sequence[str],
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Replicates]:
    """The figures of a table ``image_id, predicted`` against a manifest's columns.

    Args:
        predictions: CSV or Parquet; films that the manifest has no number for are left out.
        studies: the manifest.
        columns: one a rater; their mean over those that gave one is the truth.
        n_resamples: of the bootstrap, by patient.
        seed: of the bootstrap.

    Raises:
        InputError: a missing column, a film that the manifest does not have, or no film with a number.
    """
    table = read_table(Path(predictions))
    require_columns(table, ("image_id", "predicted"), Path(predictions))
    given = dict(zip(table["image_id"], (row[0] for row in numbers_in(table, ("predicted",), Path(predictions))), strict=True))  # fmt: skip
    films = read_manifest(studies)
    strange = sorted({*given} - {*films["image_id"]})
    if strange:
        raise InputError(
            f"{predictions} has film {strange[0]!r}, which {studies} does not have; leave it out."
        )
    known = with_severity(films, columns, studies).filter(pl.col("image_id").is_in([*given])).drop_nulls("severity")  # fmt: skip
    if known.is_empty():
        raise InputError(f"no film of {predictions} has a number in {', '.join(columns)} of {studies}.")
    predicted = np.array([given[name] for name in known["image_id"]], float)
    return severity_replicates(known["severity"].to_numpy(), predicted, known["patient_id"].to_list(), n_resamples, seed)  # fmt: skip


def with_severity(films: pl.DataFrame, columns: Sequence[str], where: Path | str) -> pl.DataFrame:
    """The table with ``severity``, the mean of the raters' columns (of those that gave one), NULL where none did.

    Raises:
        InputError: no such column, or one that holds no numbers.
    """
    require_columns(films, columns, Path(where))
    wrong = [name for name in columns if not films.schema[name].is_numeric()]
    if wrong:
        raise InputError(f"{where}: column {wrong[0]!r} holds no numbers; name the raters' scores.")
    return films.with_columns(pl.mean_horizontal([*columns]).cast(pl.Float64).alias("severity"))
