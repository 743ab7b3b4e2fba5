"""NIH ChestX-ray14 (Wang et al. 2017): one film a study, fourteen findings mined from reports.

All fourteen were asked of every film, so a finding that isn't listed is absent. 'No Finding' is a label of
its own and stands in ``labels_present`` alone. The patient-level lists ``train_val_list.txt`` and
``test_list.txt``, where present, become the splits ``train`` and ``test``. ``BBox_List_2017.csv`` boxes some findings of 880
films; it says nothing of what else they show, or of other films.
"""

import difflib
import os
from pathlib import Path

import polars as pl

from synthorax.studies.marks import MarkedSet, box_mark, by_film, corners
from synthorax.studies.source import Source, raw_frame, require_folder
from synthorax.studies.tables import numbers_in, published_table, read_table, require_columns

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
NO_FINDING = "No Finding"
TABLES = ("Data_Entry.csv", "Data_Entry_2017*.csv", "Data_Entry_2017*.csv.gz")
BOXES = ("BBox_List_2017.csv", "BBox_List_2017.csv.gz")
#: The header's ``Bbox [x,y,w,h]`` is not quoted, so its parts are columns of their own.
CORNER_AND_SIZE = ("Bbox [x", "y", "w", "h]")
SIZE = (1024, 1024)
SPLIT_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}


def read_source(path: Path) -> Source:
    """Rows of the entry table. Only its first columns are used: the ones after differ between the versions.

    (``OriginalImage[Width,Height]`` is not quoted there, so its parts are columns of their own, ``Height]``
    among them; an early version has one cell more in each row.)
    """
    root = require_folder(path, "ChestX-ray14")
    table = published_table(root, TABLES, "ChestX-ray14")
    frame = read_table(table)
    sex_column = "Patient Sex" if "Patient Sex" in frame.columns else "Patient Gender"
    columns = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", sex_column, "View Position")
    require_columns(frame, columns, table)
    places = film_paths(root)
    split_of = {
        name.strip(): split
        for file, split in SPLIT_LISTS.items()
        if (root / file).is_file()
        for name in (root / file).read_text().split()
    }
    names = frame["Image Index"].fill_null("").to_list()
    stems = [Path(name).stem for name in names]
    labelled = {text: label_state(text) for text in frame["Finding Labels"].unique()}
    states = [labelled[text] for text in frame["Finding Labels"]]
    return Source(
        raw_frame(
            pl.DataFrame(
                {
                    "study_id": stems,
                    "patient_id": frame["Patient ID"],
                    "image_id": stems,
                    "file_name": [places.get(name, str(root / "images" / name)) for name in names],
                    "view_position": frame["View Position"],
                    "sex": frame[sex_column],
                    "age": frame["Patient Age"],
                    "labels_present": pl.Series([state[0] for state in states], dtype=pl.List(pl.String)),
                    "labels_absent": pl.Series([state[1] for state in states], dtype=pl.List(pl.String)),
                    "labels_uncertain": pl.Series(
                        [None if state[0] is None else [] for state in states], dtype=pl.List(pl.String)
                    ),
                    "problem": pl.Series([state[2] for state in states], dtype=pl.String),
                    "split": pl.Series([split_of.get(name) for name in names], dtype=pl.String),
                }
            ),
            "nih",
            table.name,
        )
    )


def read_annotations(path: Path) -> MarkedSet:
    """The boxes of ``BBox_List_2017.csv``, on films of 1024 x 1024 px; labels keep its spelling (``Infiltrate``)."""
    table = path if path.is_file() else published_table(path, BOXES, "ChestX-ray14")
    frame = read_table(table)
    require_columns(frame, ("Image Index", "Finding Label", *CORNER_AND_SIZE), table)
    numbers = numbers_in(frame, CORNER_AND_SIZE, table)
    marks = (
        box_mark(Path(name or "").stem, label, corners(cells), f"{table.name} row {row}", size=SIZE)
        for row, (name, label, cells) in enumerate(zip(frame["Image Index"], frame["Finding Label"], numbers, strict=True), 1)
    )  # fmt: skip
    return MarkedSet(by_film(marks), film_paths(path) if path.is_dir() else {})


def film_paths(root: Path) -> dict[str, str]:
    """Film name -> path, for flat folders, ``images/``, ``images_001/`` and ``images_001/images/``."""
    folders = [root, root / "images", *sorted(root.glob("images_*")), *sorted(root.glob("images_*/images"))]
    return {
        entry.name: entry.path
        for folder in folders
        if folder.is_dir()
        for entry in os.scandir(folder)
        if entry.name.endswith(".png")
    }


def label_state(text: str | None) -> tuple[list[str] | None, list[str] | None, str | None]:
    """Present, absent and what is wrong, from ``Finding Labels`` (joined by ``|``); blank is unknown."""
    if text is None:
        return None, None, None
    listed = [name.strip() for name in text.split("|") if name.strip()]
    for name in listed:
        if name not in (*FINDINGS, NO_FINDING):
            close = difflib.get_close_matches(name, (*FINDINGS, NO_FINDING), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else " Correct the cell."
            allowed = ", ".join((*FINDINGS, NO_FINDING))
            return None, None, f"Finding Labels has {name!r}; expected {allowed}.{hint}"
    if NO_FINDING in listed and len(listed) > 1:
        return (
            None,
            None,
            f"Finding Labels is {text!r}; expected '{NO_FINDING}' alone or findings. Take one out.",
        )
    return listed, [name for name in FINDINGS if name not in listed], None
