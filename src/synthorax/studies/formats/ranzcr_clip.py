"""RANZCR CLiP (Kaggle 2021): ``train.csv``, a film a row, eleven labels of tubes and lines that were all asked for.

Layout: the competition's data page. ``StudyInstanceUID`` names the film, ``train/<StudyInstanceUID>.jpg``; the view is
not stated, sex and age aren't either.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.source import Source, label_lists, raw_frame, require_folder
from synthorax.studies.tables import published_table, read_table, require_columns

LABELS = (
    "ETT - Abnormal",
    "ETT - Borderline",
    "ETT - Normal",
    "NGT - Abnormal",
    "NGT - Borderline",
    "NGT - Incompletely Imaged",
    "NGT - Normal",
    "CVC - Abnormal",
    "CVC - Borderline",
    "CVC - Normal",
    "Swan Ganz Catheter Present",
)


def read_source(path: Path) -> Source:
    """One row a film; films of ``test/`` have no labels and are not listed."""
    root = require_folder(path, "RANZCR CLiP")
    table = published_table(root, ("train.csv",), "RANZCR CLiP")
    frame = read_table(table)
    require_columns(frame, ("StudyInstanceUID", "PatientID", *LABELS), table)
    lists = label_lists(frame, {label: label for label in LABELS})
    uid = pl.col("StudyInstanceUID").fill_null("")
    rows = frame.select(
        uid.alias("study_id"),
        pl.col("PatientID").fill_null("").alias("patient_id"),
        uid.alias("image_id"),
        pl.format("{}/train/{}.jpg", pl.lit(str(root)), uid).alias("file_name"),
        *(expression.alias(name) for name, expression in lists.items()),
    )
    return Source(raw_frame(rows, "ranzcr-clip", table.name))
