"""A tree of DICOM radiographs, or those that a DICOMDIR lists: ids, view, sex and age from the headers.

``study_id`` is Study Instance UID, ``image_id`` SOP Instance UID, ``patient_id`` Patient ID (the study's UID
where blank). Age is Patient's Age, else from birth and study date. Reports: ``<study_id>.txt`` or
``<AccessionNumber>.txt`` in the folder given with ``--reports``.

Of a folder every file below it is read, except hidden files and DICOMDIRs. Of a DICOMDIR (PS3.3 F.3) the files that
its IMAGE records name are read, also where the medium was mounted with small letters.

A film with Burned In Annotation (0028,0301) = YES is refused: text in the pixels may name the patient, and would
stay in every edit. ``take_burned_in`` takes it all the same.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from synthorax.errors import InputError
from synthorax.progress import track
from synthorax.studies.dicom import read_header, stated_view
from synthorax.studies.films import kind_of
from synthorax.studies.source import Source, raw_rows, require_folder


def read_source(path: Path, reports: Path | str | None = None, take_burned_in: bool | None = None) -> Source:
    """Rows from the headers, in the order of the files' paths, or of the DICOMDIR."""
    folder = require_folder(Path(reports), "reports") if reports is not None else None
    files = _listed(path.absolute()) if path.is_file() else _found(require_folder(path, "DICOM files"))
    read = partial(_row_of, take_burned_in=bool(take_burned_in))
    with ThreadPoolExecutor(max_workers=8) as pool:
        headers = track(pool.map(read, files), "Reading DICOM headers", total=len(files))
        rows = [row | _report(row, folder) for row in headers]
    nameless = sum(row.get("patient_id") == row.get("study_id") for row in rows if "problem" not in row)
    notes = (f"films without Patient ID, whose study counts as the patient: {nameless}.",) if nameless else ()
    return Source(raw_rows(rows, "dicom", path.absolute().name), notes, needs_text=folder is not None)


def _found(root: Path) -> list[Path]:
    files = [
        file
        for file in sorted(root.rglob("*"))
        if file.is_file() and not file.name.startswith(".") and file.name != "DICOMDIR"
    ]
    if not files:
        raise InputError(f"{root} has no files; expected DICOM radiographs. Correct the path.")
    return files


def _listed(path: Path) -> list[Path]:
    """The files that a DICOMDIR names, there or not; none outside its own folder."""
    try:
        dataset = pydicom.dcmread(path)
        records = dataset.get("DirectoryRecordSequence") or []
        images = [record for record in records if record.get("DirectoryRecordType") == "IMAGE"]
        names = [record.get("ReferencedFileID") or "" for record in images]
        parts = [[name] if isinstance(name, str) else [str(part) for part in name] for name in names]
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise InputError(
            f"{path} cannot be read as a DICOMDIR ({error}); give its folder instead."
        ) from error
    if not parts:
        raise InputError(f"{path} lists no image; expected a DICOMDIR, or a folder of DICOM files.")
    for some in parts:
        if any(not re.fullmatch(r"[A-Za-z0-9_]{1,16}", part) for part in some):  # PS3.10 section 8.2
            raise InputError(
                f"{path} names the file {'/'.join(some)!r}; expected parts of letters, digits and underscores, as the "
                "standard has them. Give its folder instead."
            )
    return [_on_disk(path.parent, some) for some in parts]


def _on_disk(folder: Path, parts: Sequence[str]) -> Path:
    as_written = folder.joinpath(*parts)
    small = folder.joinpath(*(part.lower() for part in parts))
    return small if small.is_file() and not as_written.is_file() else as_written


def _row_of(file: Path, take_burned_in: bool) -> dict[str, object]:
    row: dict[str, object] = {"file_name": str(file), "is_checked": True}
    try:
        if kind_of(file) != "dicom":
            raise InputError(f"{file} is not DICOM; expected DICOM. Import pictures with --format folder.")
        header = read_header(file)
        if str(header.get("BurnedInAnnotation") or "").upper() == "YES" and not take_burned_in:
            raise InputError(
                f"{file} has Burned In Annotation (0028,0301) = YES: text in its pixels may name the patient, and would "
                "stay in every edit. Blacken the text and set NO, or take such films with --take-burned-in."
            )
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
