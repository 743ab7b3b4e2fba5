"""CheXmask (Gaggion et al. 2024): lungs and heart of five public sets as run lengths of each film's own size.

Layout: PhysioNet ``OriginalResolution/<set>.csv`` and ngaggion/CheXmask-Database: an id, ``Dice RCA (Mean)``, ``Dice RCA
(Max)``, ``Landmarks``, ``Left Lung``, ``Right Lung``, ``Heart``, ``Height``, ``Width``; runs along the rows, starts from 1.
The id is ``Image Index`` (ChestX-ray14), ``dicom_id`` (MIMIC-CXR-JPG), ``Path`` (CheXpert), ``ImageID`` (PadChest, CANDID-PTX)
or ``image_id`` (VinDr-CXR). The masks are a network's; films below the authors' 0.7 of Dice RCA (Mean) are rejected. The
tables have many GB and are read row by row.
"""

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from synthorax.errors import InputError
from synthorax.studies.marks import Mark, MarkedSet
from synthorax.studies.run_length_tables import drawn

IDS = ("Image Index", "dicom_id", "Path", "ImageID", "image_id")
LABELS = ("Left Lung", "Right Lung", "Heart")
QUALITY = "Dice RCA (Mean)"
LEAST_QUALITY = 0.7
_CHEXPERT = re.compile(r"(patient[^/]+)/(study[^/]+)/([^/.]+)\.[^/]+$")


def read_annotations(path: Path) -> MarkedSet:
    """Three masks a film.

    Raises:
        InputError: a folder with several tables, or a table without these columns.
    """
    if path.is_dir():
        tables = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")])
        if len(tables) != 1:
            raise InputError(
                f"{path} has {len(tables)} tables; expected one of CheXmask's. Name the table itself."
            )
        path = tables[0]
    return MarkedSet(_films(path))


def _films(table: Path) -> Iterator[tuple[str, list[Mark]]]:
    csv.field_size_limit(2**31 - 1)
    opened = gzip.open if table.suffix == ".gz" else open
    with opened(table, "rt", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        name = next((each for each in IDS if each in columns), IDS[0])
        for column in (name, QUALITY, *LABELS, "Height", "Width"):
            if column not in columns:
                raise InputError(f"{table} has no column {column!r}; found {', '.join(columns)}. Use the table as published.")  # fmt: skip
        for number, row in enumerate(rows, 1):
            yield _film(row, name, f"{table.name} row {number}: ")


def _film(row: dict[str, str], name: str, place: str) -> tuple[str, list[Mark]]:
    parts = _CHEXPERT.search(row[name])
    image = "_".join(parts.groups()) if parts else re.sub(r"\.(png|jpe?g|dcm|dicom)$", "", row[name])
    try:
        size, quality = (int(float(row["Height"])), int(float(row["Width"]))), float(row[QUALITY])
    except ValueError:
        problem = f"{place}Height, Width or {QUALITY} is no number; expected numbers. Copy the table again."
        return image, [Mark(image, None, "mask", problem=problem)]
    if quality < LEAST_QUALITY:
        problem = f"{place}{QUALITY} is {quality:.2f}; CheXmask's authors advise {LEAST_QUALITY} at least. Draw this film yourself."  # fmt: skip
        return image, [Mark(image, None, "mask", size=size, problem=problem)]
    return image, [drawn(image, label, row[label], "absolute", size, place) for label in LABELS]
