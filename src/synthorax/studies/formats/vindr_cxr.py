"""VinDr-CXR (Nguyen et al. 2022): labels and boxes of several raters (three a training film, one consensus a test film).

Layouts: PhysioNet 1.0.0 (``annotations/image_labels_train|test.csv``: image_id, rad_id, a column a label, 0 or 1;
``annotations/annotations_train|test.csv``: image_id, rad_id, class_name, x_min, y_min, x_max, y_max), and Kaggle's
VinBigData (``train.csv``, the boxes alone, as torchxrayvision 1.5.7 ships it). Test tables have no raters. All films are PA.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from synthorax.errors import InputError
from synthorax.studies.marks import Mark, MarkedSet, box_mark, by_film
from synthorax.studies.source import Source, placing, raw_rows, require_folder
from synthorax.studies.tables import find_table, numbers_in, read_table, require_columns

NO_FINDING = "No finding"
RATERS = ("rad_id", "rad_ID")
CORNERS = ("x_min", "y_min", "x_max", "y_max")
SPLITS = ("train", "test")
FOLDERS = ("annotations", ".")


def read_source(path: Path) -> Source:
    """One row a film; see :func:`labelled`."""
    return labelled(require_folder(path, "VinDr-CXR"), "vindr-cxr", "PA")


def read_annotations(path: Path) -> MarkedSet:
    """Boxes with their raters; a rater who saw nothing is ``none`` without a label."""
    return boxed(path, "VinDr-CXR")


def labelled(root: Path, source: str, view: str | None) -> Source:
    """Labels by vote: present where more than half of a film's raters say so, uncertain where some do, else absent."""
    frames, several, place = [], 0, placing(root)
    for split in SPLITS:
        table = _table(root, f"image_labels_{split}.csv")
        boxes = None if table else _table(root, f"{split}.csv")
        if table is None and boxes is None:
            continue
        votes = _from_columns(table) if table else _from_boxes(boxes)  # type: ignore[arg-type]
        labels = sorted({name for each in votes.values() for _, asked in each.values() for name in asked})
        rows = [
            _row(image, each, labels, place((split,), f"{image}.dicom"), split, view)
            for image, each in votes.items()
        ]
        several = max(several, *(len(each) for each in votes.values()), 0)
        frames.append(raw_rows(rows, source, (table or boxes).name))  # type: ignore[union-attr]
    if not frames:
        raise InputError(
            f"{root} has no image_labels_train.csv or train.csv; expected the set's folder as published."
        )
    notes = [
        "no patients are named: each film counts as a patient of its own; sex and age stand in the DICOM headers."
    ]
    if several > 1:
        notes.append(f"up to {several} raters a film: present by more than half of them, uncertain by some.")
    return Source(pl.concat(frames), tuple(notes))


def boxed(path: Path, what: str) -> MarkedSet:
    """The boxes of the tables that are there (or of one table), and the films beside them."""
    if path.is_file():
        tables = [path]
        root = path.parent
    else:
        root = require_folder(path, what)
        found = [_table(root, f"annotations_{split}.csv") or _table(root, f"{split}.csv") for split in SPLITS]
        tables = [table for table in found if table]
    if not tables:
        raise InputError(
            f"{root} has no annotations_train.csv or train.csv; expected the folder of {what} as published."
        )
    folders = [root / split for split in SPLITS if (root / split).is_dir()]
    films = {film.stem: str(film) for folder in folders for film in sorted(folder.iterdir())}
    return MarkedSet(by_film(mark for table in tables for mark in _marks(table)), films)


def _marks(table: Path) -> Iterator[Mark]:
    frame = read_table(table)
    require_columns(frame, ("image_id", "class_name", *CORNERS), table)
    raters = next((frame[name].to_list() for name in RATERS if name in frame.columns), [None] * frame.height)
    boxes = numbers_in(frame, CORNERS, table)
    rows = zip(frame["image_id"], frame["class_name"], raters, boxes, strict=True)
    for row, (image, label, rater, box) in enumerate(rows, 1):
        if label == NO_FINDING:
            yield Mark(image or "", None, "none", rater)
        elif None in box:
            yield Mark(image or "", label, "label", rater)
        else:
            yield box_mark(image or "", label, box, f"{table.name} row {row}", rater=rater)


#: image_id -> rater -> the labels said to be there, the labels asked for.
Votes = dict[str, dict[str, tuple[set[str], Iterable[str]]]]


def _from_columns(table: Path) -> Votes:
    frame = read_table(table)
    require_columns(frame, ("image_id", NO_FINDING), table)
    labels = [name for name in frame.columns if name not in ("image_id", *RATERS)]
    raters = next((frame[name].to_list() for name in RATERS if name in frame.columns), [""] * frame.height)
    cells = numbers_in(frame, labels, table)
    votes: Votes = defaultdict(dict)
    for image, rater, row in zip(frame["image_id"], raters, cells, strict=True):
        said = {name for name, cell in zip(labels, row, strict=True) if cell == 1}
        asked = [name for name, cell in zip(labels, row, strict=True) if cell is not None]
        votes[image or ""][rater or ""] = (said, asked)
    return votes


def _from_boxes(table: Path) -> Votes:
    frame = read_table(table)
    require_columns(frame, ("image_id", "class_name", "rad_id"), table)
    labels = sorted(frame["class_name"].drop_nulls().unique())
    votes: Votes = defaultdict(dict)
    for image, rater, label in frame.select("image_id", "rad_id", "class_name").rows():
        votes[image or ""].setdefault(rater or "", (set(), labels))[0].add(label)
    return votes


def _row(
    image: str, votes: dict, labels: list[str], film: str, split: str, view: str | None
) -> dict[str, object]:
    found: dict[str, list[str]] = {"present": [], "absent": [], "uncertain": []}
    for label in labels:
        asked = [said for said, names in votes.values() if label in names]
        n_yes = sum(label in said for said in asked)
        if asked:
            found["present" if 2 * n_yes > len(asked) else "uncertain" if n_yes else "absent"].append(label)
    ids = dict.fromkeys(("study_id", "patient_id", "image_id"), image)
    return {
        **ids,
        "file_name": film,
        "view_position": view,
        "split": split,
        **{f"labels_{name}": names for name, names in found.items()},
    }


def _table(root: Path, name: str) -> Path | None:
    found = (find_table(root / folder, (name, f"{name}.gz")) for folder in FOLDERS)
    return next((table for table in found if table), None)
