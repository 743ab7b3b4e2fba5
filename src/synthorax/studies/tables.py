"""Reading the tables that come with a set of films: ``.csv``, ``.csv.gz`` and ``.parquet``."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from synthorax.errors import InputError


def closest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` most likely meant, or None."""
    found = difflib.get_close_matches(name.lower(), list(choices), n=1, cutoff=0.75)
    return found[0] if found else None


def read_table(path: Path | str) -> pl.DataFrame:
    """A table as published: CSV cells stay text (blank is NULL), Parquet keeps its types.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a table. Correct the path.")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.name.endswith((".csv", ".csv.gz")):
            # The NIH table's rows and header differ in length in one published version.
            frame = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True)
            return frame.with_columns(pl.all().str.strip_chars()).with_columns(pl.all().replace("", None))
    except pl.exceptions.NoDataError as error:
        raise InputError(f"{path} is empty; expected a table with a header. Copy it again.") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        detail = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as a table ({detail}); copy it again from its source."
        ) from error
    raise InputError(
        f"{path} is no table that can be read; expected .csv, .csv.gz or .parquet. Save it as one."
    )


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
