"""ChestX-Det (Lian et al. 2021; ChestX-Det10 of Liu et al. 2020): thirteen findings as boxes and polygons.

Layout: Deepwise-AILab/ChestX-Det-Dataset, README: ``ChestX_Det_train|test.json`` is a list of ``{"file_name", "syms": [..],
"boxes": [[x1, y1, x2, y2], ..], "polygons": [[[x, y], ..], ..]}``, the n-th of each belonging together; ChestX-Det10
(``train.json``, ``test.json``) has no polygons. All were asked of every film; the films (of ChestX-ray14) have 1024 x 1024 px.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.errors import InputError
from synthorax.studies.marks import Mark, MarkedSet, box_mark, by_film
from synthorax.studies.source import Source, placing, present_absent, raw_rows, require_folder
from synthorax.studies.tables import find_table, read_json

LABELS = (
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "Diffuse Nodule",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Fracture",
    "Mass",
    "Nodule",
    "Pleural Thickening",
    "Pneumothorax",
)
#: Of a split, where the publisher's archives put its films.
FOLDERS = {split: (f"{split}_data", f"{split}_data/{split}", split, ".") for split in ("train", "test")}
FILES = {"train": ("ChestX_Det_train.json", "train.json"), "test": ("ChestX_Det_test.json", "test.json")}
SIDE_PX = 1024
KEYS = ("file_name", "syms", "boxes")


def read_source(path: Path) -> Source:
    """One row a film; a film with no finding has none present and all absent."""
    root = require_folder(path, "ChestX-Det")
    place = placing(root)
    films = [(split, film) for split, _, told in _files(root) for film in told]
    lists = present_absent([film["syms"] for _, film in films], LABELS)
    rows = [
        {
            **dict.fromkeys(("study_id", "patient_id", "image_id"), Path(film["file_name"]).stem),
            "file_name": place(FOLDERS[split], film["file_name"]),
            "split": split,
            **{name: cells[index] for name, cells in lists.items()},
        }
        for index, (split, film) in enumerate(films)
    ]
    return Source(
        raw_rows(rows, "chestx-det", root.name),
        ("the films' names are not ChestX-ray14's: each film counts as a patient of its own.",),
    )


def read_annotations(path: Path) -> MarkedSet:
    """A polygon a finding where the file has polygons, else a box; a film without findings is ``none``."""
    root = require_folder(path, "ChestX-Det")
    files, place = _files(root), placing(root)
    films = {Path(film["file_name"]).stem: place(FOLDERS[split], film["file_name"]) for split, _, told in files for film in told}  # fmt: skip
    return MarkedSet(by_film(mark for _, file, told in files for mark in _marks(file, told)), films)


def _marks(file: Path, told: list[dict[str, Any]]) -> Iterator[Mark]:
    size = (SIDE_PX, SIDE_PX)
    for film in told:
        image, labels, boxes = Path(film["file_name"]).stem, film["syms"], film["boxes"]
        polygons = film.get("polygons") or [None] * len(labels)
        if not labels:
            yield Mark(image, None, "none", size=size)
        if not len(labels) == len(boxes) == len(polygons):
            found = f"{len(labels)} syms, {len(boxes)} boxes, {len(polygons)} polygons"
            problem = (
                f"{file.name}: {film['file_name']} has {found}; expected as many of each. Copy it again."
            )
            yield Mark(image, None, "box", size=size, problem=problem)
            continue
        for label, box, polygon in zip(labels, boxes, polygons, strict=True):
            if polygon:
                yield Mark(image, label, "polygon", points=np.array(polygon, dtype=float), size=size)
            else:
                yield box_mark(image, label, box, f"{file.name}: {film['file_name']}", size=size)


def _files(root: Path) -> list[tuple[str, Path, list[dict[str, Any]]]]:
    found = []
    for split, names in FILES.items():
        file = find_table(root, names)
        if file is None:
            continue
        told = read_json(file, list)
        for number, film in enumerate(told, 1):
            missing = [key for key in KEYS if key not in film]
            if missing:
                raise InputError(f"{file} film {number} has no {missing[0]!r}; found {', '.join(film)}. Use the file as published.")  # fmt: skip
        found.append((split, file, told))
    if not found:
        raise InputError(
            f"{root} has no ChestX_Det_train.json; expected the folder of ChestX-Det as published."
        )
    return found
