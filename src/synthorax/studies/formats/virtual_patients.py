"""Virtual patients (``synthorax phantom sample``): the visible part of each finding and device as a mask.

Layout: ``findings.parquet`` (image_id, finding, mask_file_name) and ``studies.parquet`` beside it, which names every film. A
finding that is wholly hidden on its film counts as ``none``, since nobody could mark it.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from synthorax.studies.marks import Mark, MarkedSet, read_mask_file
from synthorax.studies.source import require_folder
from synthorax.studies.tables import published_table, read_table, require_columns


def read_annotations(path: Path) -> MarkedSet:
    """Masks named by finding; films without any are ``none`` of everything."""
    root = require_folder(path, "a virtual cohort")
    table = published_table(root, ("findings.parquet",), "a virtual cohort")
    found = read_table(table)
    require_columns(found, ("image_id", "finding", "visible_fraction", "mask_file_name"), table)
    films = read_table(published_table(root, ("studies.parquet",), "a virtual cohort"))
    require_columns(films, ("image_id", "file_name"), root / "studies.parquet")
    rows = {str(image): frame.to_dicts() for (image,), frame in found.partition_by("image_id", as_dict=True).items()}  # fmt: skip
    by_name = films.select("image_id", pl.format(f"{root}/{{}}", "file_name").alias("place")).rows()
    return MarkedSet(
        ((image, [*_marks(image, rows.get(image, []), root)]) for image, _ in by_name), dict(by_name)
    )


def _marks(image: str, rows: list[dict], root: Path) -> Iterator[Mark]:
    if not rows:
        yield Mark(image, None, "none")
    for row in rows:
        if row["visible_fraction"] > 0:
            file = root / row["mask_file_name"]
            yield Mark(image, row["finding"], "mask", mask=lambda file=file: read_mask_file(file))  # type: ignore[misc]
        else:
            yield Mark(image, row["finding"], "none")
