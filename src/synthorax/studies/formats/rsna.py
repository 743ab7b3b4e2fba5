"""RSNA Pneumonia Detection (Shih et al. 2019): ``stage_2_train_labels.csv``, boxes of 1024 x 1024 films of ChestX-ray14.

Layout: the competition's data page, and the table as torchxrayvision 1.5.7 ships it: patientId (the film), x, y, width,
height, Target; a film without opacity has one row of blanks and Target 0.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from synthorax.studies.marks import Mark, MarkedSet, box_mark, by_film, corners
from synthorax.studies.tables import numbers_in, published_table, read_table, require_columns

TABLES = ("stage_2_train_labels.csv", "*stage_2_train_labels.csv", "*stage_2_train_labels.csv.zip")
LABEL = "Lung Opacity"
SIZE = (1024, 1024)


def read_annotations(path: Path) -> MarkedSet:
    """Each opacity's box; a film without one is ``none``."""
    table = path if path.is_file() else published_table(path, TABLES, "RSNA Pneumonia Detection")
    frame = read_table(table)
    require_columns(frame, ("patientId", "x", "y", "width", "height", "Target"), table)
    return MarkedSet(by_film(_marks(frame, table)))


def _marks(frame: pl.DataFrame, table: Path) -> Iterator[Mark]:
    numbers = numbers_in(frame, ("x", "y", "width", "height"), table)
    for row, (image, target, cells) in enumerate(
        zip(frame["patientId"], frame["Target"], numbers, strict=True), 1
    ):
        place = f"{table.name} row {row}"
        if target == "0":
            yield Mark(image or "", LABEL, "none", size=SIZE)
        elif target == "1":
            yield box_mark(image or "", LABEL, corners(cells), place, size=SIZE)
        else:
            problem = f"{place}: Target is {target!r}; expected 0 or 1. Correct the cell."
            yield Mark(image or "", LABEL, "box", size=SIZE, problem=problem)
