"""The studies manifest: one row a film, the same columns whatever set the film came from."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.studies.tables import closest, read_table
from synthorax.studies.values import defect

#: Column -> type. NULL where a set doesn't say. ``file_name`` is absolute, and NULL only for reports without
#: films. ``labels_*`` hold the set's own label names: stated present, stated absent, stated uncertain; a
#: label in none of the three was not mentioned. All three are NULL where the set has no labels.
MANIFEST = pl.Schema(
    {
        "study_id": pl.String(),
        "patient_id": pl.String(),
        "image_id": pl.String(),
        "file_name": pl.String(),
        "report": pl.String(),
        "view_position": pl.String(),
        "sex": pl.String(),
        "age": pl.Float64(),
        "race": pl.String(),
        "labels_present": pl.List(pl.String),
        "labels_absent": pl.List(pl.String),
        "labels_uncertain": pl.List(pl.String),
        "split": pl.String(),
        "source": pl.String(),
    }
)
REQUIRED = ("study_id", "patient_id", "image_id", "file_name")
#: ``row`` counts the source's data rows (or its films in the order of their paths) from 1, without the
#: header.
REJECTED = pl.Schema({"row": pl.Int64, "file_name": pl.String, "reason": pl.String})


@dataclass(frozen=True, eq=False)
class Studies:
    """What an import took, what it rejected and why.

    Attributes:
        frame: the manifest, columns as :data:`MANIFEST`, in the order of patient, study and image id.
        rejected: one row a rejected film, columns as :data:`REJECTED`.
        notes: what a reader of the frame must know, in sentences (columns not used, ids made up, ...).
    """

    frame: pl.DataFrame
    rejected: pl.DataFrame
    notes: tuple[str, ...] = ()


def write_manifest(frame: pl.DataFrame, path: Path | str) -> Path:
    """Write a manifest as Parquet, whole or not at all; returns its path.

    Raises:
        InputError: as :func:`read_manifest`, and nothing is written.
    """
    path = Path(path)
    if path.suffix != ".parquet":
        raise InputError(
            f"{path} is no place for a manifest: expected a name that ends in .parquet. Rename it."
        )
    checked = conform(frame, path)
    _refuse_defects(checked, path)
    with atomic(path) as temporary:
        checked.write_parquet(temporary)
    return path


def read_manifest(path: Path | str) -> pl.DataFrame:
    """Read and check a manifest: ``.parquet``, or a ``.csv`` whose ``labels_*`` are separated by ``|``.

    Optional columns that are missing become NULL, further columns are kept, and a relative ``file_name`` is
    taken from the manifest's folder. That the films exist is checked when they are used.

    Raises:
        InputError: a required column is missing or misspelt, a value is not allowed (the first such row), or
        an
            image_id occurs twice. To go on without bad rows, import with ``format="manifest"``.
    """
    path = Path(path)
    frame = conform(read_table(path), path)
    _refuse_defects(frame, path)
    return frame


def conform(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The frame with the manifest's columns and types first; raises on a wrong or missing column."""
    missing = [name for name in MANIFEST if name not in frame.columns]
    extra = [name for name in frame.columns if name not in MANIFEST]
    for name in extra:
        meant = closest(name, missing)
        if meant:
            raise InputError(f"{path} has a column {name!r}; did you mean {meant!r}? Rename the column.")
    for name in missing:
        if name in REQUIRED:
            raise InputError(
                f"{path} has no column {name!r}; expected {', '.join(REQUIRED)}; "
                f"found {', '.join(frame.columns)}. "
                "Add it, or import a table of your own with --format folder."
            )
    columns = [
        pl.lit(None, dtype=dtype).alias(name) if name in missing else _typed(frame, name, dtype, path)
        for name, dtype in MANIFEST.items()
    ]
    folder = str(path.absolute().parent)
    typed = frame.select(*columns, *extra)
    is_relative = ~pl.col("file_name").str.contains(r"^(/|[A-Za-z]:[\\/])")
    return typed.with_columns(
        pl.when(is_relative)
        .then(pl.concat_str(pl.lit(folder + "/"), "file_name"))
        .otherwise("file_name")
        .alias("file_name")
    )


def _typed(frame: pl.DataFrame, name: str, dtype: pl.DataType, path: Path) -> pl.Series:
    """One column in the manifest's type; text lists are split at ``|``."""
    column = frame[name]
    if dtype == pl.List(pl.String) and column.dtype == pl.String:
        split = column.str.split("|").list.eval(pl.element().str.strip_chars().filter(pl.element() != ""))
        return split.alias(name)
    try:
        return column.cast(dtype)
    except pl.exceptions.PolarsError:
        try:
            is_bad = column.cast(dtype, strict=False).is_null() & column.is_not_null()
            row = int(is_bad.arg_max() or 0)
            found = f"row {row + 1}: {name} is {column[row]!r}"
        except pl.exceptions.PolarsError:
            found = f"column {name!r} has type {column.dtype}"
        expected = "a number" if dtype == pl.Float64 else "texts" if dtype == pl.List(pl.String) else "text"
        raise InputError(f"{path} {found}; expected {expected}. Correct it or leave it blank.") from None


def _refuse_defects(frame: pl.DataFrame, path: Path) -> None:
    """Raise for the first bad row. Rows alike in all but ids and texts are looked at once: they share their fate."""
    ids = ("image_id", "study_id", "patient_id")
    numbered = frame.select(list(MANIFEST)).with_row_index("row", offset=1)
    alike = ["view_position", "sex", "age", "labels_present", "labels_absent", "labels_uncertain"]
    is_first_of_its_kind = pl.struct(alike).is_first_distinct()
    is_blank = pl.any_horizontal(pl.col(name).fill_null("").str.strip_chars() == "" for name in ids)
    seen: dict[str, int] = {}
    looked_at = numbered.filter(is_first_of_its_kind | is_blank | pl.col("image_id").is_duplicated())
    for row in looked_at.iter_rows(named=True):
        fault = defect(row) or repeated(row["image_id"], row["row"], seen)
        if fault:
            raise InputError(f"{path} row {row['row']}: {fault}")


def repeated(image_id: str, row: int, seen: dict[str, int]) -> str | None:
    """The sentence for an image_id that an earlier row has; remembers this one otherwise."""
    first = seen.setdefault(image_id, row)
    if first == row:
        return None
    return f"image_id is {image_id!r}, as in row {first}; expected one row a film. Remove one or rename it."
