"""Where reports and labels come from: a manifest, a table of reports, or a published set."""

from pathlib import Path

import polars as pl

from synthorax.errors import InputError

#: Reports speak of a study, whatever its films' views.
ALL_VIEWS = ("PA", "AP", "LATERAL", "unknown")


def read_studies(path: Path | str, format: str | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to annotate, and the rejected ones with the reason.

    Args:
        path: a manifest, a .parquet or .csv with ``study_id`` and ``report``, or (with ``format``) a set's folder.
        format: a format of ``synthorax studies import``; None for a table.

    Raises:
        InputError: no such file or format, or a table without the columns.
    """
    found, rejected = find_studies(path, format)
    return (found if isinstance(found, pl.DataFrame) else scan_table(found).collect()), rejected


def find_studies(path: Path | str, format: str | None = None) -> tuple[pl.DataFrame | Path, pl.DataFrame]:
    """As :func:`read_studies`, but a mere table of reports stays on disk: its checked path is given back."""
    from synthorax.studies import REJECTED, import_studies, read_manifest

    if format is not None:
        found = import_studies(path, format, views=ALL_VIEWS)
        return found.frame, found.rejected
    path, nothing = Path(path), pl.DataFrame(schema=REJECTED)
    if not path.is_file():
        raise InputError(
            f"{path} is no file; expected a manifest (.parquet or .csv). Make it with 'synthorax studies import', "
            "or name the set's --format."
        )
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path} ends in {path.suffix!r}; expected .parquet or .csv. Convert the table.")
    try:
        columns = scan_table(path).collect_schema().names()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}). Write it again.") from error
    if "file_name" in columns:
        return read_manifest(path), nothing
    if not {"study_id", "report"} <= set(columns):
        raise InputError(
            f"{path} has the columns {', '.join(columns)}; expected study_id and report, or a manifest."
        )
    return path, nothing


def scan_table(path: Path) -> pl.LazyFrame:
    """A .parquet or .csv table, not read yet; study ids are text."""
    if path.suffix == ".csv":
        return pl.scan_csv(path, schema_overrides={"study_id": pl.String})
    return pl.scan_parquet(path)
