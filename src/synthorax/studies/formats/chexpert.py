"""CheXpert (Irvin et al. 2019): ``train.csv`` and ``valid.csv``, fourteen labels a study.

Blank (not mentioned), -1 (uncertain), 0 (absent) and 1 (present) are kept apart; a blank label is in none of
the three lists. Ids come from ``Path``: ``.../train/patient00001/study1/view1_frontal.jpg``.
"""

from pathlib import Path

import polars as pl

from synthorax.errors import InputError
from synthorax.studies.source import Source, label_lists, raw_frame, require_folder
from synthorax.studies.tables import find_table, read_table, require_columns

LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
SPLITS = {"train.csv": "train", "valid.csv": "validation", "test.csv": "test"}
_PARTS = r"(patient[^/]+)/(study[^/]+)/([^/.]+)\.[^/]+$"


def read_source(path: Path) -> Source:
    """Rows of all tables that are there, in the order train, valid; ``row`` counts within its own table."""
    root = require_folder(path, "CheXpert")
    tables = [root / name for name in SPLITS if find_table(root, (name,))]
    if not tables:
        raise InputError(
            f"{root} has no train.csv or valid.csv; expected the folder of CheXpert as published."
        )
    frames = [raw_frame(_rows(table, root, SPLITS[table.name]), "chexpert", table.name) for table in tables]
    return Source(pl.concat(frames))


def _rows(table: Path, root: Path, split: str) -> pl.DataFrame:
    frame = read_table(table)
    require_columns(frame, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS), table)
    side, projection = pl.col("Frontal/Lateral"), pl.col("AP/PA")
    patient, study, view = (pl.col("Path").str.extract(_PARTS, group) for group in (1, 2, 3))
    lists = label_lists(frame, {label: label for label in LABELS})
    is_odd = (side == "Frontal") & projection.is_not_null() & ~projection.is_in(["AP", "PA"])
    problem = pl.coalesce(
        pl.when(patient.is_null() | view.is_null()).then(
            pl.format(
                "Path is '{}'; expected .../patientN/studyN/viewN_frontal.jpg. Use the table as published.",
                pl.col("Path").fill_null(""),
            )
        ),
        pl.when(is_odd).then(
            pl.format(
                "AP/PA is '{}' on a film that Frontal/Lateral calls Frontal; expected AP or PA. "
                "Correct the cell or leave it blank.",
                projection,
            )
        ),
        lists.pop("problem"),
    )
    base = _base(frame["Path"], root)
    return frame.select(
        pl.concat_str(patient, study, separator="_").fill_null("").alias("study_id"),
        patient.fill_null("").alias("patient_id"),
        pl.concat_str(patient, study, view, separator="_").fill_null("").alias("image_id"),
        base.alias("file_name"),
        pl.when(side == "Lateral").then(pl.lit("LATERAL")).otherwise(projection).alias("view_position"),
        pl.col("Sex").alias("sex"),
        pl.col("Age").alias("age"),
        *(expression.alias(name) for name, expression in lists.items()),
        problem.alias("problem"),
        pl.lit(split).alias("split"),
    )


def _base(paths: pl.Series, root: Path) -> pl.Expr:
    """``Path`` starts with the set's folder name, which lies in root, or is root and is cut off."""
    first = next((path for path in paths if path and "/" in path), "")
    top = first.split("/")[0]
    if (root / top).is_dir():
        return pl.concat_str(pl.lit(f"{root}/"), pl.col("Path"))
    return pl.concat_str(pl.lit(f"{root}/"), pl.col("Path").str.replace(r"^CheXpert[^/]*/", ""))
