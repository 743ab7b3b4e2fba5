"""Open-I: reports in XML, with and without films."""

import io
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from synthorax.studies import import_studies


def openi_xml(number: int, findings: str, impression: str, *images: str) -> str:
    sections = {"COMPARISON": "None.", "INDICATION": "Cough", "FINDINGS": findings, "IMPRESSION": impression}
    texts = "".join(f'<AbstractText Label="{name}">{text}</AbstractText>' for name, text in sections.items())
    parents = "".join(f'<parentImage id="{image}"><figureId>F1</figureId></parentImage>' for image in images)
    return (
        f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{number}"/><MedlineCitation><Article>'
        f"<Abstract>{texts}</Abstract></Article></MedlineCitation>{parents}</eCitation>"
    )


OPENI = {
    "1.xml": openi_xml(1, "Clear lungs.", "Normal.", "CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"),
    "2.xml": openi_xml(2, "", "Cardiomegaly.", "CXR2_IM-0652-1001"),
    "3.xml": openi_xml(3, "", "", "CXR3_IM-1384-1001"),
    "4.xml": openi_xml(4, "Clear.", "Normal."),
    "5.xml": "<eCitation><uId",
}


def test_openi_reports_alone(tmp_path, table, rows):
    for name, text in OPENI.items():
        table(tmp_path / "ecgen-radiology" / name, text)
    found = import_studies(tmp_path, "openi")
    assert rows(found.frame, "study_id", "file_name", "report") == [
        ("CXR1", None, "INDICATION: Cough\nFINDINGS: Clear lungs.\nIMPRESSION: Normal."),
        ("CXR2", None, "INDICATION: Cough\nIMPRESSION: Cardiomegaly."),
        ("CXR4", None, "INDICATION: Cough\nFINDINGS: Clear.\nIMPRESSION: Normal."),
    ]
    assert "3.xml has neither FINDINGS nor IMPRESSION; expected text in one." in found.rejected["reason"][0]
    assert "5.xml is damaged (" in found.rejected["reason"][1]
    assert "has no films: one row a report, file_name is NULL." in found.notes[0]


@pytest.mark.parametrize("kaggle", [False, True])
def test_openi_with_films_and_projections(tmp_path, kaggle, film, table, rows):
    with tarfile.open(tmp_path / "NLMCXR_reports.tgz", "w:gz") as archive:
        for name, text in OPENI.items():
            member = tarfile.TarInfo(f"ecgen-radiology/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    names = ("1_IM-0001-3001.dcm", "1_IM-0001-4001.dcm", "2_IM-0652-1001.dcm")
    if not kaggle:
        names = ("CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001", "CXR2_IM-0652-1001")
    for name in names:
        film(tmp_path / "NLMCXR_png" / f"{name}.png")
    table(
        tmp_path / "indiana_projections.csv",
        "uid,filename,projection",
        "1,1_IM-0001-3001.dcm.png,Lateral",
        "1,1_IM-0001-4001.dcm.png,Frontal",
        "2,2_IM-0652-1001.dcm.png,Frontal",
    )
    found = import_studies(tmp_path, "openi")
    assert rows(found.frame, "study_id", "image_id", "view_position") == [
        ("CXR1", "CXR1_1_IM-0001-4001", None),
        ("CXR2", "CXR2_IM-0652-1001", None),
    ]
    assert [Path(path).stem for path in found.frame["file_name"]] == list(names[1:])
    assert "view is LATERAL" in found.rejected["reason"][0]
    assert "4.xml names no film (no parentImage)" in found.rejected["reason"][2]


def test_openi_reports_come_with_torchxrayvision(tmp_path):
    if find_spec("torchxrayvision") is None:
        pytest.skip("needs synthorax[xrv]")
    found = import_studies(tmp_path, "openi", limit=20)
    assert found.frame.height == 20 and found.frame["report"].null_count() == 0
