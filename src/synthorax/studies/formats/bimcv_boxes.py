"""COVID-19 opacities as boxes on BIMCV films: SIIM-FISABIO-RSNA (Lakhani et al. 2023), whose labels RadEdit names.

Layout: the competition's data page: ``train_image_level.csv`` (id = ``<image>_image``, boxes = a list of ``{'x': .., 'y': ..,
'width': .., 'height': ..}`` or blank, label, StudyInstanceUID) and ``train_study_level.csv`` (id = ``<study>_study``, four
columns, one of them 1). RadEdit, appendix C: Typical and Indeterminate are COVID-19, Negative and Atypical are not.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from synthorax.studies.marks import Mark, MarkedSet, box_mark, by_film, corners
from synthorax.studies.source import require_folder
from synthorax.studies.tables import published_table, read_table, require_columns

LABEL = "Opacity"
APPEARANCES = (
    "Negative for Pneumonia",
    "Typical Appearance",
    "Indeterminate Appearance",
    "Atypical Appearance",
)
#: RadEdit's positive label.
COVID = ("Typical Appearance", "Indeterminate Appearance")


def read_annotations(path: Path) -> MarkedSet:
    """Boxes, and the study's appearance as a label of each of its films."""
    root = require_folder(path, "SIIM-FISABIO-RSNA COVID-19")
    images = published_table(
        root, ("train_image_level.csv", "train_image_level.csv.zip"), "SIIM-FISABIO-RSNA"
    )
    studies = published_table(
        root, ("train_study_level.csv", "train_study_level.csv.zip"), "SIIM-FISABIO-RSNA"
    )
    frame, told = read_table(images), read_table(studies)
    require_columns(frame, ("id", "boxes", "StudyInstanceUID"), images)
    require_columns(told, ("id", *APPEARANCES), studies)
    looks = {row[0].removesuffix("_study"): row[1:] for row in told.select("id", *APPEARANCES).rows()}
    films = {film.stem: str(film) for film in root.glob("train/*/*/*.dcm")}
    return MarkedSet(by_film(_marks(frame, looks, images.name)), films)


def _marks(frame: pl.DataFrame, looks: dict[str, tuple], place: str) -> Iterator[Mark]:
    for row, (name, cell, study) in enumerate(frame.select("id", "boxes", "StudyInstanceUID").rows(), 1):
        image = (name or "").removesuffix("_image")
        for label, stated in zip(APPEARANCES, looks.get(study, ()), strict=False):
            yield Mark(image, label, "label" if stated in ("1", "1.0") else "none")
        if cell is None:
            yield Mark(image, LABEL, "none")
            continue
        try:
            boxes = [
                [float(box[key]) for key in ("x", "y", "width", "height")] for box in ast.literal_eval(cell)
            ]
        except (ValueError, SyntaxError, KeyError, TypeError):
            problem = f"{place} row {row}: boxes is {cell[:60]!r}; expected a list of x, y, width, height. Correct it."
            yield Mark(image, LABEL, "box", problem=problem)
            continue
        yield from (box_mark(image, LABEL, corners(box), f"{place} row {row}") for box in boxes)
