"""Reading the tables that come with a set of films: ``.csv``, ``.tsv`` (gzipped too) and ``.parquet``, and JSON."""

import difflib
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.errors import InputError


def closest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` most likely meant, or None."""
    found = difflib.get_close_matches(name.lower(), list(choices), n=1, cutoff=0.75)
    return found[0] if found else None


def read_table(path: Path | str, skip_lines: int = 0) -> pl.DataFrame:
    """A table as published: CSV cells stay text (blank is NULL), Parquet keeps its types.

    Args:
        path: the table.
        skip_lines: lines of a CSV above its header.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a table. Correct the path.")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.name.endswith((".csv", ".csv.gz", ".csv.zip", ".tsv", ".tsv.gz")):
            separator = "\t" if ".tsv" in path.suffixes else ","
            content = _only_member(path) if path.suffix == ".zip" else path
            # The NIH table's rows and header differ in length in one published version.
            frame = pl.read_csv(content, infer_schema=False, truncate_ragged_lines=True, separator=separator, skip_lines=skip_lines)  # fmt: skip
            return frame.with_columns(pl.all().str.strip_chars()).with_columns(pl.all().replace("", None))
    except pl.exceptions.NoDataError as error:
        raise InputError(f"{path} is empty; expected a table with a header. Copy it again.") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, zipfile.BadZipFile, OSError) as error:
        detail = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as a table ({detail}); copy it again from its source."
        ) from error
    raise InputError(
        f"{path} is no table that can be read; expected .csv or .tsv (gzipped too), .csv.zip or .parquet. Save it as one."
    )


def _only_member(path: Path) -> bytes:
    """The table in an archive as Kaggle makes it: one file."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        if len(names) != 1:
            raise InputError(f"{path} holds {len(names)} tables; expected one. Unpack it and name the table.")
        return archive.read(names[0])


def find_table(folder: Path, patterns: Sequence[str]) -> Path | None:
    """The first pattern's last match (the highest version where names differ by it), or None."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return found[-1]
    return None


def published_table(folder: Path, patterns: Sequence[str], what: str) -> Path:
    """As :func:`find_table`, but the set can't be read without it.

    Raises:
        InputError: not there.
    """
    found = find_table(folder, patterns)
    if found is None:
        raise InputError(
            f"{folder} has no {' or '.join(patterns)}; expected the folder of {what} as published. "
            "Put the table there or name the folder that has it."
        )
    return found


def require_columns(frame: pl.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Check that a published table has its columns.

    Raises:
        InputError: with the missing column, what is there, and the closest match.
    """
    for name in columns:
        if name not in frame.columns:
            close = difflib.get_close_matches(name, frame.columns, n=1)
            hint = f" Did you rename it to {close[0]!r}?" if close else ""
            raise InputError(
                f"{path} has no column {name!r}; found {', '.join(frame.columns)}.{hint} "
                "Use the table as published."
            )


def read_json(path: Path, kind: type) -> Any:
    """A JSON file whose outermost value is of a kind (list or dict).

    Raises:
        InputError: missing, damaged or of another kind.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); correct the path.") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); copy it again from its source.") from error
    if not isinstance(found, kind):
        raise InputError(
            f"{path} holds a {type(found).__name__}; expected a {kind.__name__}. Use the file as published."
        )
    return found


def numbers_in(frame: pl.DataFrame, columns: Sequence[str], path: Path) -> list[list[float | None]]:
    """Cells of some columns as numbers, row by row; blank is None.

    Raises:
        InputError: with the file, the first row and the column that holds something else.
    """
    cast = frame.select(pl.col(name).cast(pl.Float64, strict=False) for name in columns)
    for name in columns:
        odd = (cast[name].is_null() & frame[name].is_not_null()) | cast[name].is_nan().fill_null(False)
        if odd.any():
            row = int(odd.arg_max() or 0)
            raise InputError(
                f"{path} row {row + 1}: {name} is {frame[name][row]!r}; expected a number or blank. Correct the cell."
            )
    return [list(row) for row in cast.rows()]
