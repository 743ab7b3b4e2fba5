"""The films of a stress test: one table, a row a film; a population shift's has lungs instead of targets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.dataset import read_png
from synthorax.errors import InputError

#: Column -> type; the first three are required, what else is missing is NULL. File names are relative to the table.
COLUMNS = {
    "file_name": pl.String,
    "patient_id": pl.String,
    "target": pl.Int8,
    "image_id": pl.String,
    "role": pl.String,
    "edit_mask_file_name": pl.String,
    "keep_mask_file_name": pl.String,
    "caption": pl.String,
}
#: The patient's side -> the column of that lung's mask.
LUNGS = {"left": "left_lung_mask_file_name", "right": "right_lung_mask_file_name"}
LUNG_COLUMNS = {
    name: pl.String for name in ("file_name", "patient_id", "image_id", *LUNGS.values(), "caption")
}
#: ``test``: in the real test set; ``source``: edited; ``both``, the default.
ROLES = ("test", "source", "both")


def read_films(path: Path | str) -> pl.DataFrame:
    """Read and check the table, CSV or Parquet.

    ``file_name``, ``patient_id``, ``target`` (1 = the model's finding is there, 0 = not), and where they apply
    ``image_id`` (else the file's name), ``role`` (:data:`ROLES`; RadEdit edits films of its training set and tests on
    others), ``edit_mask_file_name``, ``keep_mask_file_name`` (PNG, above 0 = inside) and ``caption`` (what the film
    shows: the inversion's prompt and the sham's).

    Returns:
        A row a film with :data:`COLUMNS` and absolute file names.

    Raises:
        InputError: no such table, a column or value that cannot be used, a file that is not there; it names the row.
    """
    path = Path(path)
    table = _read(path, ("file_name", "patient_id", "target"))
    odd = table.with_row_index("row", offset=1).filter(~pl.col("target").cast(pl.String).is_in(["0", "1"]).fill_null(False))  # fmt: skip
    if odd.height:
        raise InputError(f"{path} row {odd['row'][0]}: target is {odd['target'][0]}; expected 0 or 1.")
    table = _columns(table, COLUMNS).with_columns(pl.col("role").fill_null("both"))
    for row, role in enumerate(table["role"], 1):
        if role not in ROLES:
            raise InputError(f"{path} row {row}: role is {role!r}; expected one of {', '.join(ROLES)}.")
    return _checked(table, path, ("file_name",))


def read_lungs(path: Path | str) -> pl.DataFrame:
    """Read and check the table of a population shift: films without findings, and their lungs.

    ``file_name``, ``patient_id``, ``left_lung_mask_file_name`` and ``right_lung_mask_file_name`` (the patient's sides, PNG,
    above 0 = inside, as CheXmask has them), and where they apply ``image_id`` and ``caption``.

    Returns:
        A row a film with :data:`LUNG_COLUMNS` and absolute file names.

    Raises:
        InputError: as :func:`read_films`.
    """
    path = Path(path)
    table = _columns(_read(path, ("file_name", "patient_id", *LUNGS.values())), LUNG_COLUMNS)
    return _checked(table, path, ("file_name", *LUNGS.values()))


def _read(path: Path, required: tuple[str, ...]) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a CSV or Parquet table with {', '.join(required)}.")  # fmt: skip
    read = pl.read_csv if path.suffix == ".csv" else pl.read_parquet
    try:
        table = read(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
    missing = [name for name in required if name not in table.columns]
    if missing:
        expected = f"{', '.join(required[:-1])} and {required[-1]}"
        raise InputError(f"{path} has no column {missing[0]!r}; expected {expected}.")
    if not table.height:
        raise InputError(f"{path} has no rows; expected one a film.")
    return table


def _columns(table: pl.DataFrame, columns: Mapping[str, Any]) -> pl.DataFrame:
    return table.select(
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in columns.items()
    )


def _checked(table: pl.DataFrame, path: Path, needed: tuple[str, ...]) -> pl.DataFrame:
    """Patients, ids and files are there; file names become absolute."""
    for row, patient in enumerate(table["patient_id"], 1):
        if patient is None:
            raise InputError(
                f"{path} row {row}: patient_id is missing; intervals resample patients. Give each film its patient."
            )
    names = [name for name in table.columns if name.endswith("file_name")]
    stems = pl.col("file_name").map_elements(lambda name: Path(name).stem, return_dtype=pl.String)
    table = table.with_columns(pl.col("image_id").fill_null(stems)).with_columns(
        pl.col(name).map_elements(lambda file: str(path.parent / file), return_dtype=pl.String)
        for name in names
    )
    twice = table.filter(table["image_id"].is_duplicated())
    if twice.height:
        raise InputError(f"{path}: image_id {twice['image_id'][0]!r} occurs twice; give each film its own.")
    for name in names:
        for row, file in enumerate(table[name], 1):
            if (file is not None or name in needed) and not (file and Path(file).is_file()):
                raise InputError(f"{path} row {row}: {name} {file} does not exist.")
    return table


def read_mask(path: str | None, shape: tuple[int, int]) -> np.ndarray | None:
    """A mask's PNG as bool ``(H, W)``; None stays None.

    Raises:
        InputError: it has another shape than its film, or nothing is inside.
    """
    if path is None:
        return None
    mask = read_png(path) > 0
    if mask.shape != shape:
        raise InputError(f"{path} has shape {mask.shape}; its film has {shape}. Draw masks on the film's own grid.")  # fmt: skip
    if not mask.any():
        raise InputError(f"{path} is empty; expected at least one pixel above 0. Leave the mask out instead.")
    return mask
