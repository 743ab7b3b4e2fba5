"""BRAX 1.1.0 (Reis et al. 2022): ``master_spreadsheet_update.csv``, CheXpert's fourteen labels from Portuguese reports.

Layout: torchxrayvision 1.5.7's ``BRAX_Dataset`` and BRAX on PhysioNet. Blank, -1, 0 and 1 are kept apart. Ages come in
steps of five years; ``85 or more`` is read as 85 (noted). Films: ``PngPath``, below the set's folder.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.formats.chexpert import LABELS
from synthorax.studies.source import Source, label_lists, raw_frame, require_folder
from synthorax.studies.tables import published_table, read_table, require_columns

TABLES = ("master_spreadsheet.csv", "master_spreadsheet_update.csv")
#: ``images/id_<patient>/Study_<uid>/Series_<uid>/image-<uid>.png``; each uid is unique in the set.
_STUDY, _IMAGE = r"Study_([^/]+)", r"(image-[^/]+)\.[^./]+$"
OLDEST = "85 or more"


def read_source(path: Path) -> Source:
    """One row a film, frontal and lateral."""
    root = require_folder(path, "BRAX")
    table = published_table(root, TABLES[::-1], "BRAX")
    frame = read_table(table)
    require_columns(
        frame, ("PngPath", "PatientID", "PatientSex", "PatientAge", "ViewPosition", *LABELS), table
    )
    lists = label_lists(frame, {label: label for label in LABELS})
    study, image = pl.col("PngPath").str.extract(_STUDY), pl.col("PngPath").str.extract(_IMAGE)
    odd = pl.when(study.is_null() | image.is_null()).then(
        pl.format(
            "PngPath is '{}'; expected images/id_.../Study_.../Series_.../image-....png. Use the table as published.",
            pl.col("PngPath").fill_null(""),
        )
    )
    rows = frame.select(
        study.fill_null("").alias("study_id"),
        pl.col("PatientID").fill_null("").alias("patient_id"),
        image.fill_null("").alias("image_id"),
        pl.format("{}/{}", pl.lit(str(root)), pl.col("PngPath").fill_null("")).alias("file_name"),
        pl.col("ViewPosition").alias("view_position"),
        pl.col("PatientSex").alias("sex"),
        pl.col("PatientAge").replace(OLDEST, "85").alias("age"),
        pl.coalesce(odd, lists.pop("problem")).alias("problem"),
        *(expression.alias(name) for name, expression in lists.items()),
    )
    eldest = (frame["PatientAge"] == OLDEST).sum()
    notes = (f"age '{OLDEST}' is read as 85 on {eldest} films; other ages are in steps of five years.",) if eldest else ()  # fmt: skip
    return Source(raw_frame(rows, "brax", table.name), notes)
