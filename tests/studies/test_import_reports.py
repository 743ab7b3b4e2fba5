"""Sets that are read for their reports: MIMIC-CXR's text files, CheXpert Plus."""

import polars as pl
import pytest

from synthorax.cli import run
from synthorax.dataset import write_png
from synthorax.studies import import_studies

COLUMNS = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,"
    "section_narrative,section_clinical_history,section_history,section_comparison,section_technique,"
    "section_procedure_comments,section_findings,section_impression,section_end_of_impression,section_summary,"
    "section_accession_number,age,sex,race,ethnicity,interpreter_needed,insurance_type,recent_bmi,deceased,split"
)


def test_mimic_reports(tmp_path):
    folder = tmp_path / "files/p10/p10000032"
    folder.mkdir(parents=True)
    (folder / "s50414267.txt").write_text("FINAL REPORT\n FINDINGS: Left effusion.\n")
    (folder / "s50414268.txt").write_text(" \n")
    found = import_studies(tmp_path, "mimic-cxr-reports")
    assert found.frame.select("study_id", "patient_id", "file_name").rows() == [
        ("50414267", "10000032", None)
    ]
    assert "s50414268.txt is missing or has no text" in found.rejected["reason"][0]


@pytest.fixture
def plus(tmp_path):
    def row(view, side, projection, findings, impression, split="train"):
        cells = {
            "path_to_image": f"train/patient00001/study1/{view}.jpg",
            "frontal_lateral": side,
            "ap_pa": projection,
            "section_findings": findings,
            "section_impression": impression,
            "age": "61",
            "sex": "Female",
            "race": "Asian",
            "split": split,
        }
        return ",".join(cells.get(name, "") for name in COLUMNS.split(","))

    rows = [
        row("view1_frontal", "Frontal", "AP", "", "1. Left effusion."),
        row("view2_lateral", "Lateral", "", "Clear lungs.", "Normal.", "valid"),
        row("view3_frontal", "Frontal", "PA", "", ""),
    ]
    (tmp_path / "df_chexpert_plus_240401.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    return tmp_path


def test_chexpert_plus_without_films(plus):
    found = import_studies(plus, "chexpert-plus", views=("PA", "AP", "LATERAL", "unknown"))
    assert found.frame["report"].to_list() == [
        "IMPRESSION: 1. Left effusion.",
        "FINDINGS: Clear lungs.\nIMPRESSION: Normal.",
    ]
    assert found.frame["view_position"].to_list() == ["AP", "LATERAL"]
    assert found.frame["split"].to_list() == ["train", "validation"]
    assert found.frame.row(0, named=True) | {"race": "Asian", "sex": "F", "age": 61.0} == found.frame.row(
        0, named=True
    )
    assert "has no text" in found.rejected["reason"][0] and "no films" in found.notes[0]


def test_chexpert_plus_with_films(plus):
    import numpy as np

    write_png(np.zeros((8, 8), np.float32), plus / "PNG/train/patient00001/study1/view1_frontal.png")
    (name,) = import_studies(plus, "chexpert-plus", limit=1, views=("AP",)).frame["file_name"]
    assert name.endswith("PNG/train/patient00001/study1/view1_frontal.png")


def test_describe(plus, tmp_path, capsys):
    out = str(tmp_path / "studies.parquet")
    assert run(["studies", "import", str(plus), "--format", "chexpert-plus", "--out", out]) == 0
    assert run(["studies", "describe", out, "--out", str(tmp_path / "d.json")]) == 0
    printed = capsys.readouterr().out
    assert "1 rows: 0 films, 1 studies, 1 patients" in printed and "view_position: AP 1" in printed
    assert "effusion 1" in printed and "median 61 years" in printed
    assert pl.read_json(tmp_path / "d.json")["rows"][0] == 1
