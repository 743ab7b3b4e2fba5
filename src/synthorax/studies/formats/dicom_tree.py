"""A tree of DICOM radiographs: ids, view, sex and age from the headers of every file below the folder.

``study_id`` is Study Instance UID, ``image_id`` SOP Instance UID, ``patient_id`` Patient ID (the study's UID
where blank). Age is Patient's Age, else from birth and study date. Reports: ``<study_id>.txt`` or
``<AccessionNumber>.txt`` in the folder given with ``--reports``. Hidden files and DICOMDIR are passed over.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from synthorax.errors import InputError
from synthorax.progress import track
from synthorax.studies.dicom import read_header, stated_view
from synthorax.studies.films import kind_of
from synthorax.studies.source import Source, raw_rows, require_folder


def read_source(path: Path, reports: Path | str | None = None) -> Source:
    """Rows from the headers, in the order of the files' paths."""
    root = require_folder(path, "DICOM files")
    folder = require_folder(Path(reports), "reports") if reports is not None else None
    files = [
        file
        for file in sorted(root.rglob("*"))
        if file.is_file() and not file.name.startswith(".") and file.name != "DICOMDIR"
    ]
    if not files:
        raise InputError(f"{root} has no files; expected DICOM radiographs. Correct the path.")
    with ThreadPoolExecutor(max_workers=8) as pool:
        headers = track(pool.map(_row_of, files), "Reading DICOM headers", total=len(files))
        rows = [row | _report(row, folder) for row in headers]
    nameless = sum(row.get("patient_id") == row.get("study_id") for row in rows if "problem" not in row)
    notes = (f"films without Patient ID, whose study counts as the patient: {nameless}.",) if nameless else ()
    return Source(raw_rows(rows, "dicom", root.name), notes, needs_text=folder is not None)


def _row_of(file: Path) -> dict[str, object]:
    row: dict[str, object] = {"file_name": str(file), "is_checked": True}
    try:
        if kind_of(file) != "dicom":
            raise InputError(f"{file} is not DICOM; expected DICOM. Import pictures with --format folder.")
        header = read_header(file)
    except InputError as error:
        name = file.name
        return row | {"image_id": name, "study_id": name, "patient_id": name, "problem": str(error)}
    study = str(header.get("StudyInstanceUID") or "")
    return row | {
        "study_id": study,
        "patient_id": str(header.get("PatientID") or study).strip(),
        "image_id": str(header.get("SOPInstanceUID") or ""),
        "view_position": stated_view(header),
        "sex": str(header.get("PatientSex") or ""),
        "age": _age(header),
        "race": str(header.get("EthnicGroup") or "") or None,
        "accession": str(header.get("AccessionNumber") or ""),
    }


def _age(header: Dataset) -> str | None:
    """Patient's Age as written, else whole years between birth and study."""
    if header.get("PatientAge"):
        return str(header.PatientAge)
    try:
        birth, study = (
            datetime.strptime(str(header.get(name) or ""), "%Y%m%d")
            for name in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    return str(study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day)))


def _report(row: dict[str, object], folder: Path | None) -> dict[str, object]:
    if folder is None or "problem" in row:
        return {}
    by_accession = folder / f"{row['accession']}.txt"
    is_named = bool(row["accession"]) and by_accession.is_file()
    return {"report_file": str(by_accession if is_named else folder / f"{row['study_id']}.txt")}
