"""RALO (Stony Brook; Cohen et al. 2021): two raters' scores of each film, no findings.

Layout: ``ralo-dataset-metadata.csv`` with a line of groups above its header, in which each rater has a column ``Total
GEOGRAPHIC`` and ``Total OPACITY`` (both 0 to 8); film ``CXR_images_scored/<row, from 0>.jpg``; all AP (torchxrayvision
1.5.7, ``StonyBrookCOVID_Dataset``). The mean of the raters is the target, as in ChexGen.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.source import Source, raw_frame, require_folder
from synthorax.studies.tables import published_table, read_table, require_columns

#: What a score's columns begin with -> the manifest's column.
SCORES = {"Total GEOGRAPHIC": "score_geographic_extent", "Total OPACITY": "score_lung_opacity"}
FOLDER = "CXR_images_scored"


def read_source(path: Path) -> Source:
    """One row a film; a film that only one rater scored has that score, one that nobody scored NULL."""
    root = require_folder(path, "RALO")
    table = published_table(root, ("ralo-dataset-metadata.csv",), "RALO")
    frame = read_table(table, skip_lines=1)
    require_columns(frame, ("Subject_ID", "Exam_DateTime", *SCORES), table)
    number = pl.int_range(pl.len())
    each = {name: [c for c in frame.columns if c.startswith(start)] for start, name in SCORES.items()}
    values = {c: pl.col(c).cast(pl.Float64, strict=False) for columns in each.values() for c in columns}
    odd = [
        pl.when(pl.col(column).is_not_null() & ~value.is_between(0, 8).fill_null(False)).then(
            pl.format("{} is '{}'; expected 0 to 8. Correct the cell.", pl.lit(column), pl.col(column))
        )
        for column, value in values.items()
    ]
    rows = frame.select(
        pl.concat_str("Subject_ID", "Exam_DateTime", separator="_").fill_null("").alias("study_id"),
        pl.col("Subject_ID").fill_null("").alias("patient_id"),
        number.cast(pl.String).alias("image_id"),
        pl.format("{}/{}.jpg", pl.lit(str(root / FOLDER)), number).alias("file_name"),
        pl.lit("AP").alias("view_position"),
        pl.coalesce(odd).alias("problem"),
        *(pl.mean_horizontal([values[c] for c in columns]).alias(name) for name, columns in each.items()),
    )
    raters = ", ".join(f"{name} is the mean of {len(columns)} raters" for name, columns in each.items())
    return Source(raw_frame(rows, "ralo", table.name), (f"{raters}; both from 0 to 8.",))
