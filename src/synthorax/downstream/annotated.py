"""Films with masks and boxes by class, from ``studies annotations`` or from what ``generate --control`` was asked.

A class is a name and the labels of the annotations that count as it, e.g. ``pneumothorax: [Pneumothorax]``; so sets that use
other words share a class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.classifiers.loading import load_films
from synthorax.errors import InputError, unknown_choice
from synthorax.quality.detection import CORNERS, iou
from synthorax.studies.annotations import mark_of, read_annotations
from synthorax.studies.films import film_size
from synthorax.studies.marks import agreed

#: Boxes of one class that overlap by so much are one: two words for the same thing.
SAME_BOX_IOU = 0.5


@dataclass(frozen=True)
class Marks:
    """What was marked on films.

    Attributes:
        classes: name -> labels that count as it.
        rows: film -> its rows of ``annotations.parquet``; a film without any shows nothing.
    """

    classes: Mapping[str, Sequence[str]]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]

    def __or__(self, other: "Marks") -> "Marks":
        return Marks(self.classes, {**self.rows, **other.rows})

    def of(self, film: str, name: str) -> list[Mapping[str, Any]]:
        """A film's rows that show a class somewhere."""
        wanted = self.classes[name]
        return [row for row in self.rows[film] if row["label"] in wanted and row["kind"] not in ("none", "label")]  # fmt: skip

    def presence(self, films: Sequence[str]) -> np.ndarray:
        """``(N, L)`` float32, 1 where a class is marked."""
        found = [[bool(self.of(film, name)) for name in self.classes] for film in films]
        return np.array(found, np.float32).reshape(len(films), len(self.classes))

    def mask(self, film: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """bool ``shape``: where a class is on a film, all raters together."""
        return agreed([mark_of(row) for row in self.of(film, name)], (shape[0], shape[1]))

    def masks(self, films: Sequence[str], name: str, size: int) -> np.ndarray:
        """bool ``(N, size, size)`` of one class, films padded to squares as the networks get them.

        Raises:
            InputError: a mask whose film has no known size.
        """
        found = np.zeros((len(films), size, size), bool)
        for i, film in enumerate(films):
            if rows := self.of(film, name):
                if None in (rows[0]["height"], rows[0]["width"]):
                    raise InputError(f"the size of film {film!r} is not known; make its annotations with --studies.")  # fmt: skip
                drawn = self.mask(film, name, (rows[0]["height"], rows[0]["width"])).astype(np.uint8) * 255
                found[i] = load_films(drawn[None], size)[0] >= 128
        return found

    def boxes(self, films: Sequence[str]) -> pl.DataFrame:
        """``image_id, label`` (the class) and corners in the film's pixels, a row a box."""
        found = [
            (film, name, *box)
            for film in films
            for name in self.classes
            for box in _merged([row for row in self.of(film, name) if row["x_min"] is not None])
        ]
        schema = {"image_id": pl.String, "label": pl.String} | dict.fromkeys(CORNERS, pl.Float64)
        return pl.DataFrame(found, schema=schema, orient="row")


def read_marks_of(folders: Sequence[Path], classes: Mapping[str, Sequence[str]]) -> Marks:
    """The marks of annotated films by image_id; a film is in one folder alone.

    Raises:
        InputError: no such folder, a label that no film has, or a film in two folders.
    """
    rows: dict[str, list[Mapping[str, Any]]] = {}
    labels: set[str] = set()
    for folder in folders:
        for (image,), frame in read_annotations(folder).partition_by("image_id", as_dict=True).items():
            if str(image) in rows:
                raise InputError(f"film {image!r} is annotated in {folder} and in another folder; give one of them.")  # fmt: skip
            rows[str(image)] = frame.to_dicts()
            labels |= {*frame["label"].drop_nulls()}
    for name, wanted in classes.items():
        if not labels & {*wanted}:
            raise unknown_choice(f"the label of class {name!r}", wanted[0] if wanted else "", labels)
    return Marks(classes, rows)


def square_boxes(boxes: pl.DataFrame, paths: Mapping[str, str], size: int) -> pl.DataFrame:
    """Boxes in films' pixels, brought to the squares of ``size`` px that networks get."""
    return _moved(boxes, paths, size, to_film=False)


def film_boxes(boxes: pl.DataFrame, paths: Mapping[str, str], size: int) -> pl.DataFrame:
    """The other way; what lies in the square's border is cut off."""
    return _moved(boxes, paths, size, to_film=True)


def _moved(boxes: pl.DataFrame, paths: Mapping[str, str], size: int, to_film: bool) -> pl.DataFrame:
    rows = []
    for row in boxes.iter_rows(named=True):
        height, width = film_size(paths[row["image_id"]])
        side = max(height, width)
        offset = np.array([(side - width) // 2, (side - height) // 2] * 2)
        corners = np.array([row[name] for name in CORNERS])
        if to_film:
            moved = np.clip(corners * side / size - offset, 0, [width, height] * 2)
        else:
            moved = (corners + offset) * size / side
        rows.append(row | dict(zip(CORNERS, moved.tolist(), strict=True)))
    return pl.DataFrame(rows, schema=boxes.schema)


def _merged(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, ...]]:
    """Boxes of one class on one film; those that overlap by half are joined."""
    left = [tuple(float(row[name]) for name in CORNERS) for row in rows]
    found: list[tuple[float, ...]] = []
    while left:
        box = left.pop(0)
        near = [other for other in left if iou(np.array([box]), np.array([other]))[0, 0] >= SAME_BOX_IOU]
        if near:
            other = near[0]
            left.remove(other)
            left.insert(0, (min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])))  # fmt: skip
        else:
            found.append(box)
    return found
