"""PadChest (Bustos et al. 2020): ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv``, a row a film.

Layout: the table itself, as torchxrayvision 1.5.7 ships it. Labels (174 findings, 19 diagnoses) are mined from reports,
so a label that isn't listed was not mentioned. Age is the study's year less the year of birth. Films lie below
``images/``, below their ``ImageDir`` or beside the table.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.source import Source, listed_items, placing, raw_frame, require_folder
from synthorax.studies.tables import published_table, read_table, require_columns

TABLES = ("PADCHEST_chest_x_ray_images_labels_160K*.csv", "PADCHEST_chest_x_ray_images_labels_160K*.csv.gz")
COLUMNS = ("ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection", "Labels")  # fmt: skip
NOTE = "PadChest's reports are Spanish word stems; they are not taken."


def read_source(path: Path) -> Source:
    """One row a film; a film whose labels are blank (``nan``) has NULL in all three lists."""
    root = require_folder(path, "PadChest")
    table = published_table(root, TABLES, "PadChest")
    frame = read_table(table)
    require_columns(frame, COLUMNS, table)
    names = frame["ImageID"].fill_null("")
    place = placing(root)
    films = [
        place(("images", folder or ".", "."), name)
        for folder, name in zip(frame["ImageDir"], names, strict=True)
    ]
    year = pl.col("StudyDate_DICOM").str.slice(0, 4).cast(pl.Int64, strict=False)
    born = pl.col("PatientBirth").cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    present = listed_items("Labels")
    asked = pl.when(present.is_not_null()).then(pl.lit([], dtype=pl.List(pl.String)))
    rows = frame.with_columns(pl.Series("file_name", films, dtype=pl.String)).select(
        pl.col("StudyID").fill_null("").alias("study_id"),
        pl.col("PatientID").fill_null("").alias("patient_id"),
        pl.col("ImageID").fill_null("").str.replace(r"\.png$", "").alias("image_id"),
        "file_name",
        pl.col("Projection").alias("view_position"),
        pl.col("PatientSex_DICOM").alias("sex"),
        (year - born).cast(pl.String).alias("age"),
        present.alias("labels_present"),
        asked.alias("labels_absent"),
        asked.alias("labels_uncertain"),
    )
    return Source(raw_frame(rows, "padchest", table.name), (NOTE,))
