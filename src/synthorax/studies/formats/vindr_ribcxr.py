"""VinDr-RibCXR (Nguyen et al. 2021): 245 films, each of twenty ribs (R1-R10, L1-L10) as a polygon; no findings.

Layout: vinbigdata-medical/MIDL2021-VinDr-RibCXR, README: ``Vindr_RibCXR_train|val_mask.json`` is ``{"img": {"0": path, ...},
"R1": {"0": [{"x": .., "y": ..}, ...], ...}, ...}``, paths from the set's folder. ``R`` is the patient's right. The
publisher's ``val`` is called validation.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.errors import InputError
from synthorax.studies.marks import Mark, MarkedSet, by_film
from synthorax.studies.source import Source, raw_rows, require_folder
from synthorax.studies.tables import read_json

RIBS = tuple(f"{side}{number}" for side in "RL" for number in range(1, 11))
SPLITS = {"train": "train", "val": "validation"}


def read_source(path: Path) -> Source:
    """One row a film, without labels."""
    root = require_folder(path, "VinDr-RibCXR")
    rows = [
        {
            **dict.fromkeys(("study_id", "patient_id", "image_id"), Path(name).stem),
            "file_name": _film(root, file, name),
            "split": SPLITS[split],
        }
        for split, file, told in _files(root)
        for name in told["img"].values()
    ]
    return Source(
        raw_rows(rows, "vindr-ribcxr", root.name),
        ("no patients are named: each film counts as a patient of its own.",),
    )


def read_annotations(path: Path) -> MarkedSet:
    """Each rib's polygon."""
    root = require_folder(path, "VinDr-RibCXR")
    files = _files(root)
    films = {
        Path(name).stem: _film(root, file, name) for _, file, told in files for name in told["img"].values()
    }
    return MarkedSet(by_film(mark for _, file, told in files for mark in _marks(file, told)), films)


def _marks(file: Path, told: dict[str, Any]) -> Iterator[Mark]:
    for number, name in told["img"].items():
        for rib in RIBS:
            corners = told.get(rib, {}).get(number) or []
            try:
                points = np.array([(corner["x"], corner["y"]) for corner in corners], dtype=float)
            except (KeyError, TypeError, ValueError):
                points = np.empty((0, 2))
            image = Path(name).stem
            if not corners or str(corners[0]).lower() in ("none", "nan"):
                yield Mark(image, rib, "none")
            elif len(points) < 3:
                problem = (
                    f"{file.name}: {rib} of film {number} has no three corners with x and y. Copy it again."
                )
                yield Mark(image, rib, "polygon", problem=problem)
            else:
                yield Mark(image, rib, "polygon", points=points)


def _files(root: Path) -> list[tuple[str, Path, dict[str, Any]]]:
    """Split, file and content of each JSON below the folder."""
    found = []
    for split in SPLITS:
        for file in sorted(root.rglob(f"*[rR]ib[cC][xX][rR]_{split}_mask.json"))[:1]:
            told = read_json(file, dict)
            if not isinstance(told.get("img"), dict):
                raise InputError(f"{file} has no key 'img' with the films' paths; found {', '.join(told)}. Use the file as published.")  # fmt: skip
            found.append((split, file, told))
    if not found:
        raise InputError(f"{root} has no Vindr_RibCXR_train_mask.json; expected VinDr-RibCXR as published.")
    return found


def _film(root: Path, file: Path, name: str) -> str:
    """The film by the path that the JSON states, or in ``img/`` beside it."""
    beside = file.parent / "img" / Path(name).name
    return str(beside if beside.is_file() and not (root / name).is_file() else root / name)
