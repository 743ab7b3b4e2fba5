"""Open-I, the Indiana University collection: reports in XML, films named in them by ``parentImage`` ids.

Reports come from the folder (``ecgen-radiology/*.xml`` or ``NLMCXR_reports.tgz``), from ``--reports``, or
else from the installed package ``torchxrayvision``, which ships the archive (CC BY-NC-ND: read there, never
copied). Without any film in the folder the manifest has one row a report and ``file_name`` is NULL. The set
has one report a patient. Views come from ``indiana_projections.csv`` where present (which knows Lateral, but
not PA from AP), else from the DICOM headers' table that ``torchxrayvision`` ships, else they are NULL.
``labels_*`` are NULL: the MeSH codes need a mapping, which is not this room's.
"""

import re
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from synthorax.errors import InputError
from synthorax.studies.films import FILM_SUFFIXES
from synthorax.studies.source import Source, raw_rows
from synthorax.studies.tables import read_table, require_columns

SECTIONS = ("INDICATION", "FINDINGS", "IMPRESSION")
ARCHIVE = "NLMCXR_reports.tgz"


def read_source(path: Path, reports: Path | str | None = None) -> Source:
    """One row a film that a report names, or one row a report where the folder has no films."""
    if not path.exists():
        raise InputError(f"{path} does not exist; expected the folder of Open-I or its {ARCHIVE}.")
    films = {} if path.is_file() else film_paths(path.absolute())
    views = film_views(path) if films else {}
    rows: list[dict[str, object]] = []
    for name, content in sorted(xml_files(path, reports), key=lambda item: (len(item[0]), item[0])):
        rows += _rows_of(name, content, films, views, path.absolute())
    notes = () if films else (f"{path} has no films: one row a report, file_name is NULL.",)
    return Source(raw_rows(rows, "openi", "reports"), notes, needs_text=True)


def _rows_of(
    name: str, content: bytes, films: dict[str, str], views: dict[str, str], root: Path
) -> list[dict[str, object]]:
    try:
        tree = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        stem = f"CXR{Path(name).stem}"
        problem = f"{name} is damaged ({error}); copy it again from its source."
        return [{"study_id": stem, "patient_id": stem, "image_id": stem, "problem": problem}]
    uid = tree.find("uId")
    study = uid.get("id") if uid is not None else f"CXR{Path(name).stem}"
    row: dict[str, object] = {
        "study_id": study,
        "patient_id": study,
        "image_id": study,
        "report": report_text(tree),
    }
    if row["report"] is None:
        row["problem"] = (
            f"{name} has neither FINDINGS nor IMPRESSION; expected text in one. Leave the report out."
        )
    images = [image.get("id", "") for image in tree.findall("parentImage")]
    if not films:
        return [row]
    if not images:
        return [
            row | {"problem": f"{name} names no film (no parentImage); expected one. Leave the report out."}
        ]
    return [
        row
        | {
            "image_id": image,
            "file_name": films.get(film_key(image), str(root / f"{image}.png")),
            "view_position": views.get(film_key(image)),
        }
        for image in images
    ]


def report_text(tree: ElementTree.Element) -> str | None:
    """INDICATION, FINDINGS and IMPRESSION under headings; None where the last two have no text."""
    found = {item.get("Label"): (item.text or "").strip() for item in tree.iter("AbstractText")}
    if not found.get("FINDINGS") and not found.get("IMPRESSION"):
        return None
    return "\n".join(f"{section}: {found[section]}" for section in SECTIONS if found.get(section))


def xml_files(path: Path, reports: Path | str | None) -> Iterator[tuple[str, bytes]]:
    """File name and content of every report."""
    place = Path(reports) if reports is not None else path
    if not place.exists():
        raise InputError(
            f"{place} does not exist; expected the reports' folder or {ARCHIVE}. Correct the path."
        )
    if place.is_dir():
        files = sorted(place.rglob("*.xml"))
        if files:
            yield from ((file.name, file.read_bytes()) for file in files)
            return
        archive_file = place / ARCHIVE if (place / ARCHIVE).is_file() else shipped(ARCHIVE)
        if archive_file is None:
            raise InputError(
                f"{path} has no XML reports and no {ARCHIVE}; expected Open-I's reports. "
                "Name them with --reports, or install synthorax[xrv], which brings them."
            )
        place = archive_file
    try:
        with tarfile.open(place) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name.endswith(".xml") else None
                if content is not None:
                    yield Path(member.name).name, content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{place} cannot be read as an archive ({error}); copy it again.") from error


def shipped(name: str) -> Path | None:
    """A file from the installed torchxrayvision's data, found without importing the package."""
    spec = find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / "data" / name
    return file if file.is_file() else None


def film_key(name: str) -> str:
    """One spelling for ``CXR10_IM-0002-1001``, ``10_IM-0002-1001.dcm`` and ``CXR1_1_IM-0001-3001``."""
    return re.sub(r"^(\d+)_\1_", r"\1_", name.removesuffix(".dcm").removeprefix("CXR"))


def film_paths(root: Path) -> dict[str, str]:
    """Film key -> path of every film under the folder."""
    files = (file for file in sorted(root.rglob("*")) if file.suffix.lower() in FILM_SUFFIXES)
    return {film_key(file.stem): str(file) for file in files}


def film_views(root: Path) -> dict[str, str]:
    """Film key -> view, where a table says; ``Frontal`` alone stays unknown."""
    projections = root / "indiana_projections.csv"
    if projections.is_file():
        frame = read_table(projections)
        require_columns(frame, ("filename", "projection"), projections)
        pairs = zip(frame["filename"], frame["projection"], strict=True)
        return {film_key(Path(name).stem): "LATERAL" for name, side in pairs if side == "Lateral"}
    table = shipped("nlmcxr_dicom_metadata.csv.gz")
    if table is None:
        return {}
    frame = read_table(table)
    rows = zip(frame["imageid"], frame["View Position"], frame["Patient Orientation"], strict=True)
    stated = {
        film_key(image): view or ("LATERAL" if (turned or "")[:4] in ("['A'", "['P'") else None)
        for image, view, turned in rows
    }
    return {image: view for image, view in stated.items() if view}
