"""Object-CXR (JF Healthcare 2020): foreign objects as rectangles, ellipses and polygons in one cell.

Layout: the challenge's page: ``train.csv`` and ``dev.csv`` with ``image_name`` (``image_path``) and ``annotation``, shapes
between ``;``, each ``0 x1 y1 x2 y2`` (rectangle), ``1 x1 y1 x2 y2`` (ellipse, by its bounding box) or ``2 x1 y1 ... xn yn``
(polygon); a blank cell is a film without objects. Films lie in ``train/`` and ``dev/``. ``dev`` is called validation.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.errors import InputError
from synthorax.studies.marks import Mark, MarkedSet, box_mark, by_film
from synthorax.studies.source import Source, placing, present_absent, raw_frame, require_folder
from synthorax.studies.tables import find_table, read_table, require_columns

LABEL = "Foreign object"
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
SHAPES = {"0": "box", "1": "ellipse", "2": "polygon"}


def read_source(path: Path) -> Source:
    """One row a film."""
    root = require_folder(path, "Object-CXR")
    frames, place = [], placing(root)
    for split, table, frame in _tables(root):
        names = frame["image"].fill_null("").to_list()
        stems = [Path(name).stem for name in names]
        present = [[] if cell is None else [LABEL] for cell in frame["annotation"]]
        columns = {
            **dict.fromkeys(("study_id", "patient_id", "image_id"), stems),
            "file_name": [place((split, "."), Path(name).name) for name in names],
        }
        lists = present_absent(present, (LABEL,))
        rows = pl.DataFrame({**columns, **lists}).with_columns(pl.lit(SPLITS[split]).alias("split"))
        frames.append(raw_frame(rows, "object-cxr", table.name))
    return Source(pl.concat(frames), ("no patients are named: each film counts as a patient of its own.",))


def read_annotations(path: Path) -> MarkedSet:
    """Each object's shape; a film without objects is ``none``."""
    root = require_folder(path, "Object-CXR")
    tables, place = _tables(root), placing(root)
    films = {
        Path(name).stem: place((split, "."), Path(name).name)
        for split, _, frame in tables
        for name in frame["image"].fill_null("")
    }
    return MarkedSet(by_film(mark for _, table, frame in tables for mark in _marks(table, frame)), films)


def _marks(table: Path, frame: pl.DataFrame) -> Iterator[Mark]:
    for row, (name, cell) in enumerate(frame.rows(), 1):
        image = Path(name or "").stem
        if cell is None:
            yield Mark(image, LABEL, "none")
            continue
        for shape in filter(None, map(str.strip, cell.split(";"))):
            yield _shape(image, shape, f"{table.name} row {row}")


def _shape(image: str, text: str, place: str) -> Mark:
    first, *words = text.split()
    kind = SHAPES.get(first, "none")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    fits = len(numbers) == 4 if kind in ("box", "ellipse") else len(numbers) >= 6 and len(numbers) % 2 == 0
    if first not in SHAPES or not fits:
        problem = f"{place}: shape {text[:60]!r}; expected '0 x1 y1 x2 y2', '1 x1 y1 x2 y2' or '2 x1 y1 ... xn yn'. Correct it."  # fmt: skip
        return Mark(image, LABEL, "box", problem=problem)
    if kind == "polygon":
        return Mark(image, LABEL, kind, points=np.array(numbers).reshape(-1, 2))
    return replace(box_mark(image, LABEL, numbers, place), kind=kind)


def _tables(root: Path) -> list[tuple[str, Path, pl.DataFrame]]:
    """Split, table and its two columns, ``image`` and ``annotation``."""
    found = []
    for split in SPLITS:
        table = find_table(root, (f"{split}.csv",))
        if table is not None:
            frame = read_table(table)
            name = "image_path" if "image_path" in frame.columns else "image_name"
            require_columns(frame, (name, "annotation"), table)
            found.append((split, table, frame.select(pl.col(name).alias("image"), "annotation")))
    if not found:
        raise InputError(
            f"{root} has no train.csv or dev.csv; expected the folder of Object-CXR as published."
        )
    return found
