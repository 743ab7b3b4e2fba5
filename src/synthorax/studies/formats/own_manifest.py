"""A table in the manifest's own columns: what :func:`synthorax.studies.read_manifest` reads, row by row.

``read_manifest`` stops at the first bad row; here bad rows are rejected and the rest goes on.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.manifest import MANIFEST, conform
from synthorax.studies.source import Source, raw_frame
from synthorax.studies.tables import read_table


def read_source(path: Path) -> Source:
    """Rows of a ``.parquet`` or ``.csv`` manifest; a film without label lists and text is still taken."""
    table = read_table(path)
    ages = table["age"].cast(pl.String) if "age" in table.columns else None
    frame = conform(table.drop("age", strict=False), path)
    if ages is not None:
        frame = frame.with_columns(ages.alias("age"))
    given = raw_frame(frame.select(list(MANIFEST)), "manifest", path.name)
    stated = frame["source"] if "source" in table.columns else pl.lit("manifest")
    ids = [pl.col(name).fill_null("") for name in ("study_id", "patient_id", "image_id")]
    return Source(given.with_columns(*ids, pl.lit(stated).alias("source").fill_null("manifest")))
