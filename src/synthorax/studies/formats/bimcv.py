"""BIMCV COVID-19+ and COVID-19- (Vayá et al. 2020): a tree after MIDS, labels a session.

Layout: BIMCV-COVID-19's Readme, and the code published with DeGrave et al. 2021 (``sub-S*/ses-E*/mod-rx/*_vp-<view>_*.png``,
each with a ``.json`` of its DICOM header; ``participants.tsv``; ``derivatives/labels/labels_*.tsv`` with PatientID, ReportID =
session, Labels). Labels are mined from reports: what isn't listed was not mentioned. Reports are Spanish and not taken.
"""

import re
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.errors import InputError
from synthorax.studies.source import Source, listed_items, raw_rows, require_folder
from synthorax.studies.tables import published_table, read_json, read_table, require_columns

TABLES = ("derivatives/labels/labels_*.tsv",)
VIEWS = {"pa": "PA", "ap": "AP", "ll": "LATERAL", "lat": "LATERAL"}
#: DICOM tags in a film's JSON.
_SEX, _AGE = "00100040", "00101010"


def read_source(path: Path) -> Source:
    """One row a film, in the order of their paths; lateral views named in the file's name."""
    root = require_folder(path, "BIMCV COVID-19")
    table = published_table(root, TABLES, "BIMCV COVID-19 (derivatives/labels)")
    frame = read_table(table)
    require_columns(frame, ("PatientID", "ReportID", "Labels"), table)
    labelled = frame.select("PatientID", "ReportID", listed_items("Labels").alias("labels"))
    labels = {(patient, session): found for patient, session, found in labelled.rows()}
    people = _participants(root / "participants.tsv")
    films = sorted(root.glob("sub-*/ses-*/mod-rx/*.png"))
    if not films:
        raise InputError(
            f"{root} has no films (sub-*/ses-*/mod-rx/*.png); put them there or name the folder."
        )
    return Source(
        raw_rows([_row(film, labels, people) for film in films], "bimcv-covid19", root.name),
        ("BIMCV's reports are Spanish; they are not taken.",),
    )


def _row(film: Path, labels: dict, people: dict[str, tuple[str | None, str | None]]) -> dict[str, Any]:
    patient, session = film.parts[-4], film.parts[-3]
    view = re.search(r"_vp-([a-z]+)", film.name)
    present = labels.get((patient, session))
    told = read_json(film.with_suffix(".json"), dict) if film.with_suffix(".json").is_file() else {}
    sex, age = people.get(patient, (None, None))
    listed: list[str] | None = None if present is None else []
    return {
        "study_id": session,
        "patient_id": patient,
        "image_id": film.stem,
        "file_name": str(film),
        "view_position": VIEWS.get(view[1], view[1]) if view else None,
        "sex": _value(told, _SEX) or sex,
        "age": _value(told, _AGE) or age,
        "labels_present": present,
        "labels_absent": listed,
        "labels_uncertain": listed,
    }


def _value(header: dict[str, Any], tag: str) -> str | None:
    """The first value of a tag in DICOM's JSON form (PS3.18 F.2)."""
    values = header.get(tag, {}).get("Value") or [None]
    return None if values[0] is None else str(values[0])


def _participants(table: Path) -> dict[str, tuple[str | None, str | None]]:
    """Participant -> sex and age; an age is taken only where the list has a single one."""
    if not table.is_file():
        return {}
    frame = read_table(table)
    require_columns(frame, ("participant", "age", "gender"), table)
    age = pl.col("age").str.extract(r"^\[?\s*'?(\d+(?:\.\d+)?)'?\s*\]?$")
    return {who: (sex, years) for who, sex, years in frame.select("participant", "gender", age).rows()}
