"""COVID-19 Image Repository, Hannover Medical School (CC BY 3.0): films of patients with COVID-19.

The set has no labels a film: that a patient has COVID-19 doesn't say what a film shows, so ``labels_*`` are
NULL. Each film is a study of its own; age is redacted.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.source import Source, raw_frame, require_folder
from synthorax.studies.tables import published_table, read_table, require_columns

FOLDERS = ("images", "png", ".")


def read_source(path: Path) -> Source:
    """Rows of ``data.csv``; films lie in ``images/``, ``png/`` (as published) or beside the table."""
    root = require_folder(path, "the Hannover repository")
    table = published_table(root, ("data.csv",), "the Hannover repository")
    frame = read_table(table)
    require_columns(frame, ("patient_id", "image_id", "sex", "age", "modality", "projection"), table)
    folder = next(root / name for name in FOLDERS if (root / name).is_dir())
    return Source(
        raw_frame(
            frame.select(
                pl.col("image_id").alias("study_id"),
                "patient_id",
                "image_id",
                pl.format("{}/{}.png", pl.lit(str(folder)), pl.col("image_id")).alias("file_name"),
                pl.col("projection").alias("view_position"),
                "sex",
                "age",
                pl.when(~pl.col("modality").is_in(["CR", "DX"]))
                .then(
                    pl.format("modality is '{}'; expected CR or DX. Leave the row out.", pl.col("modality"))
                )
                .alias("problem"),
            ),
            "hannover",
            table.name,
        )
    )
