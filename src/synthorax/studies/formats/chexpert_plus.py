"""CheXpert Plus (Chambon et al. 2024): ``df_chexpert_plus_240401.csv``, a row a film with its report's sections.

Only FINDINGS and IMPRESSION are taken, under their headings; the other sections state nothing about the film. The
films (PNG or DICOM) are used where the folder has them; without any, a row is a report and ``file_name`` is NULL.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.source import Source, raw_frame, require_folder
from synthorax.studies.tables import published_table, read_table, require_columns

SECTIONS = {"section_findings": "FINDINGS", "section_impression": "IMPRESSION"}
_PARTS = r"(patient[^/]+)/(study[^/]+)/([^/.]+)\.[^/]+$"


def read_source(path: Path) -> Source:
    """One row a film; films of one study share its report."""
    root = require_folder(path, "CheXpert Plus")
    table = published_table(root, ("df_chexpert_plus_*.csv", "df_chexpert_plus_*.csv.gz"), "CheXpert Plus")
    frame = read_table(table)
    needed = ("path_to_image", "frontal_lateral", "ap_pa", *SECTIONS, "age", "sex", "race", "split")
    require_columns(frame, needed, table)
    patient, study, view = (pl.col("path_to_image").str.extract(_PARTS, group) for group in (1, 2, 3))
    problem = pl.when(view.is_null()).then(
        pl.format(
            "path_to_image is '{}'; expected .../patientN/studyN/viewN_frontal.jpg. Use the table as published.",
            pl.col("path_to_image").fill_null(""),
        )
    )
    found = [_film(root, name) for name in frame["path_to_image"]]
    rows = frame.with_columns(pl.Series("file_name", found, dtype=pl.String)).select(
        pl.concat_str(patient, study, separator="_").fill_null("").alias("study_id"),
        patient.fill_null("").alias("patient_id"),
        pl.concat_str(patient, study, view, separator="_").fill_null("").alias("image_id"),
        "file_name",
        _report().alias("report"),
        pl.when(pl.col("frontal_lateral").str.to_lowercase() == "lateral")
        .then(pl.lit("LATERAL"))
        .otherwise(pl.col("ap_pa"))
        .alias("view_position"),
        "sex",
        "age",
        "race",
        pl.col("split").replace({"valid": "validation"}).alias("split"),
        problem.alias("problem"),
    )
    is_without = rows["file_name"].null_count() == rows.height
    notes = (f"{root} has no films: a row is a report, file_name is NULL.",) if is_without else ()
    return Source(raw_frame(rows, "chexpert-plus", table.name), notes, needs_text=True)


def _report() -> pl.Expr:
    """The two sections under their headings; NULL where neither has text."""
    parts = [
        pl.when(pl.col(column).str.strip_chars().str.len_chars() > 0).then(
            pl.concat_str(pl.lit(f"{heading}: "), pl.col(column).str.strip_chars())
        )
        for column, heading in SECTIONS.items()
    ]
    return pl.when(pl.any_horizontal(part.is_not_null() for part in parts)).then(
        pl.concat_str(*parts, separator="\n", ignore_nulls=True)
    )


def _film(root: Path, name: str | None) -> str | None:
    """The film as PNG, JPEG or DICOM, under the folder itself or under PNG/ or DICOM/."""
    if not name:
        return None
    for folder, suffix in (("", None), ("PNG", ".png"), ("DICOM", ".dcm")):
        path = root / folder / name
        path = path if suffix is None else path.with_suffix(suffix)
        if path.is_file():
            return str(path)
    return None
