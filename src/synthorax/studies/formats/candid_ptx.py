"""CANDID-PTX (Feng et al. 2021): pneumothorax, chest tubes and rib fractures as run lengths of 1024 x 1024 films.

Layout: the set's own tables as ConTEXTual Net's code reads them: ``Pneumothorax_reports.csv`` (SOPInstanceUID,
EncodedPixels, Report; -1 = none; it lists every film), ``chest_tube.csv`` and ``acute_rib_fracture.csv`` or
``Rib_fracture_mask_rle.csv`` (anon_SOPUID, mask_rle; only films that have one). Run lengths are relative, as SIIM-ACR's;
public readers differ by one pixel in where they begin, here they begin at pixel 0 as in SIIM-ACR's own code.
"""

from collections.abc import Iterator
from pathlib import Path

from synthorax.studies.marks import Mark, MarkedSet, by_film
from synthorax.studies.run_length_tables import encoded
from synthorax.studies.source import require_folder
from synthorax.studies.tables import find_table, published_table, read_table, require_columns

REPORTS = ("Pneumothorax_reports.csv",)
LABEL, TUBE, FRACTURE = "Pneumothorax", "Chest tube", "Rib fracture"
OTHERS = {TUBE: ("chest_tube.csv",), FRACTURE: ("acute_rib_fracture.csv", "Rib_fracture_mask_rle.csv")}
SIZE = (1024, 1024)


def read_annotations(path: Path) -> MarkedSet:
    """Masks of all three; a film of the reports' table that another table does not list has ``none`` of its label."""
    root = require_folder(path, "CANDID-PTX")
    table = published_table(root, REPORTS, "CANDID-PTX")
    frame = read_table(table)
    require_columns(frame, ("SOPInstanceUID", "EncodedPixels"), table)
    rows = frame.select("SOPInstanceUID", "EncodedPixels").rows()
    others = {label: found for label, names in OTHERS.items() if (found := find_table(root, names))}
    notes = [f"{root} has no {' or '.join(OTHERS[label])}: {label.lower()}s are not read." for label in OTHERS if label not in others]  # fmt: skip
    return MarkedSet(by_film(_marks(rows, table, others)), notes=tuple(notes))


def _marks(rows: list[tuple], table: Path, others: dict[str, Path]) -> Iterator[Mark]:
    yield from encoded(rows, LABEL, "relative", SIZE, table)
    films = dict.fromkeys(image for image, _ in rows)
    for label, other in others.items():
        frame = read_table(other)
        require_columns(frame, ("anon_SOPUID", "mask_rle"), other)
        listed = frame.select("anon_SOPUID", "mask_rle").rows()
        yield from encoded(listed, label, "relative", SIZE, other)
        marked = {image for image, _ in listed}
        yield from (Mark(image or "", label, "none", size=SIZE) for image in films if image not in marked)
