"""SIIM-ACR Pneumothorax (Zawacki et al. 2019): ``train-rle.csv``, relative run lengths of 1024 x 1024 films, -1 = none.

Layout: the competition's data page, and the table as torchxrayvision 1.5.7 ships it (``ImageId``, `` EncodedPixels`` with
a blank before the name). A film with several pneumothoraces has several rows. Films are DICOM, named by ``ImageId``.
"""

from pathlib import Path

import polars as pl

from synthorax.studies.marks import MarkedSet, by_film
from synthorax.studies.run_length_tables import encoded
from synthorax.studies.tables import published_table, read_table, require_columns

TABLES = ("train-rle.csv", "stage_2_train.csv", "*train-rle.csv", "*train-rle.csv.gz")
LABEL = "Pneumothorax"
SIDE_PX = 1024


def read_annotations(path: Path) -> MarkedSet:
    """Each pneumothorax's mask; a film without one is ``none``."""
    table = path if path.is_file() else published_table(path, TABLES, "SIIM-ACR Pneumothorax")
    frame = read_table(table)
    frame = frame.rename({name: name.strip() for name in frame.columns})
    require_columns(frame, ("ImageId", "EncodedPixels"), table)
    rows = frame.select("ImageId", pl.col("EncodedPixels")).rows()
    return MarkedSet(by_film(encoded(rows, LABEL, "relative", (SIDE_PX, SIDE_PX), table)))
