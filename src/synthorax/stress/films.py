"""The films of a stress test: one table, a row a film."""

from pathlib import Path

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
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a CSV or Parquet table with {', '.join(COLUMNS)}.")
    read = pl.read_csv if path.suffix == ".csv" else pl.read_parquet
    try:
        table = read(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
    missing = [name for name in ("file_name", "patient_id", "target") if name not in table.columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}; expected file_name, patient_id and target.")
    if not table.height:
        raise InputError(f"{path} has no rows; expected one a film.")
    odd = table.with_row_index("row", offset=1).filter(~pl.col("target").cast(pl.String).is_in(["0", "1"]).fill_null(False))  # fmt: skip
    if odd.height:
        raise InputError(f"{path} row {odd['row'][0]}: target is {odd['target'][0]}; expected 0 or 1.")
    table = table.select(
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in COLUMNS.items()
    ).with_columns(pl.col("role").fill_null("both"))
    for row, (role, patient) in enumerate(zip(table["role"], table["patient_id"], strict=True), 1):
        if role not in ROLES:
            raise InputError(f"{path} row {row}: role is {role!r}; expected one of {', '.join(ROLES)}.")
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
            if (file is not None or name == "file_name") and not (file and Path(file).is_file()):
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
