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
    from synthorax.studies import REJECTED, import_studies, read_manifest

    if format is not None:
        found = import_studies(path, format, views=ALL_VIEWS)
        return found.frame, found.rejected
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path} is no file; expected a manifest (.parquet or .csv). Make it with 'synthorax studies import', "
            "or name the set's --format."
        )
    readers = {
        ".parquet": pl.read_parquet,
        ".csv": lambda p: pl.read_csv(p, schema_overrides={"study_id": pl.String}),
    }
    if path.suffix not in readers:
        raise InputError(f"{path} ends in {path.suffix!r}; expected .parquet or .csv. Convert the table.")
    try:
        frame = readers[path.suffix](path)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} cannot be read as a table ({error}). Write it again.") from error
    if "file_name" in frame.columns:
        frame = read_manifest(path)
    elif not {"study_id", "report"} <= set(frame.columns):
        raise InputError(
            f"{path} has the columns {', '.join(frame.columns)}; expected study_id and report, or a manifest."
        )
    return frame, pl.DataFrame(schema=REJECTED)
