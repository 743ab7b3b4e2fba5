"""MIMIC-CXR's reports without its films: ``files/p10/p10000032/s50414267.txt``, a row a report.

``study_id`` and ``patient_id`` are the numbers of the file and its folder; ``file_name`` is NULL.
"""

from pathlib import Path

from synthorax.errors import InputError
from synthorax.studies.source import Source, raw_rows, require_folder


def read_source(path: Path) -> Source:
    """One row a report, in the order of the paths."""
    root = require_folder(path, "MIMIC-CXR's reports")
    files = sorted(root.rglob("s*.txt"))
    if not files:
        raise InputError(
            f"{root} has no s*.txt; expected MIMIC-CXR's reports, such as files/p10/p10000032/s50414267.txt."
        )
    rows = [
        {
            "study_id": file.stem.removeprefix("s"),
            "patient_id": file.parent.name.removeprefix("p"),
            "image_id": file.stem.removeprefix("s"),
            "report_file": str(file),
        }
        for file in files
    ]
    notes = (f"{root} was read for its reports alone: file_name is NULL.",)
    return Source(raw_rows(rows, "mimic-cxr", "reports"), notes, needs_text=True)
