"""MIMIC-CXR-JPG with the names and headers that PhysioNet publishes, through one import."""

from pathlib import Path

import pytest

from synthorax.errors import InputError
from synthorax.studies import import_studies

ALL = ("PA", "AP", "LATERAL", "unknown")
A, B, C, D = "02aa804e-bde0afdd", "174413ec-4ec4c1f7", "2a2277a9-b0ded155", "68b5c4b1-227d0485"
METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,"
    "StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
CHEXPERT = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)


@pytest.fixture
def mimic(tmp_path, film, table) -> Path:
    """Two patients; a study with a PA and a lateral film, another study of that patient, an oblique."""
    root = tmp_path / "mimic-cxr-jpg" / "2.0.0"
    films = (
        (A, "10000032", "50414267", "PA", "21800506"),
        (B, "10000032", "50414267", "LATERAL", "21800506"),
        (C, "10000032", "53189527", "AP", "21830626"),
        (D, "10000764", "57375967", "LAO", "21321015"),
    )
    table(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        METADATA,
        *(
            f'{dicom},{patient},{study},"CHEST (PA AND LAT)",{view},3056,2544,{date},213014.531,,,Erect'
            for dicom, patient, study, view, date in films
        ),
    )
    for dicom, patient, study, _, _ in films:
        film(root / f"files/p{patient[:2]}/p{patient}/s{study}/{dicom}.jpg")
    table(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        "dicom_id,study_id,subject_id,split",
        *(
            f"{dicom},{study},{patient},{split}"
            for (dicom, patient, study, _, _), split in zip(
                films, ("train", "train", "validate", "test"), strict=True
            )
        ),
    )
    table(
        root / "mimic-cxr-2.0.0-chexpert.csv.gz",
        f"subject_id,study_id,{CHEXPERT}",
        "10000032,50414267,,,,,,,,,1.0,,,,,",
        "10000032,53189527,,1.0,,-1.0,,,,,,0.0,,,,1.0",
    )
    table(
        root / "mimic-cxr-2.0.0-negbio.csv.gz",
        f"subject_id,study_id,{CHEXPERT}",
        "10000032,53189527,,-1.0,,,,,,,,,,,,",
    )
    table(
        root / "cxr-study-list.csv.gz",
        "subject_id,study_id,path",
        "10000032,50414267,files/p10/p10000032/s50414267.txt",
        "10000032,53189527,files/p10/p10000032/s53189527.txt",
    )
    return root


@pytest.fixture
def mimic_iv(tmp_path, table) -> Path:
    root = tmp_path / "mimiciv"
    table(
        root / "hosp/patients.csv.gz",
        "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod",
        "10000032,F,52,2180,2014 - 2016,2180-09-09",
    )
    table(
        root / "hosp/admissions.csv.gz",
        "subject_id,hadm_id,admittime,dischtime,deathtime,race",
        "10000032,22595853,2180-05-06 22:23:00,2180-05-07 17:15:00,,WHITE",
        "10000032,22841357,2183-06-20 18:27:00,2183-06-27 18:49:00,,HISPANIC/LATINO - CUBAN",
        "10000032,25742920,2183-06-26 00:00:00,2183-06-26 01:00:00,,UNKNOWN",
    )
    return root


def test_mimic_cxr_jpg_as_published(mimic, mimic_iv, table, rows):
    table(mimic / "files/p10/p10000032/s50414267.txt", "FINDINGS: Clear lungs.", "IMPRESSION: Normal.")
    found = import_studies(mimic, "mimic-cxr", mimic_iv=mimic_iv)
    assert rows(
        found.frame, "patient_id", "study_id", "image_id", "view_position", "sex", "age", "race", "split"
    ) == [
        ("10000032", "50414267", A, "PA", "F", 52.0, "WHITE", "train"),
        ("10000032", "53189527", C, "AP", "F", 55.0, "HISPANIC/LATINO - CUBAN", "validation"),
    ]
    assert found.frame["report"].to_list() == ["FINDINGS: Clear lungs.\nIMPRESSION: Normal.", None]
    assert rows(found.frame, "labels_present", "labels_absent", "labels_uncertain") == [
        (["No Finding"], [], []),
        (["Cardiomegaly", "Support Devices"], ["Pleural Effusion"], ["Edema"]),
    ]
    place = "mimic-cxr-2.0.0-metadata.csv.gz"
    assert found.rejected["reason"].to_list() == [
        f"{place} row 2: view is LATERAL; this import takes AP, PA, unknown. "
        "Add LATERAL to the views to take it.",
        f"{place} row 4: view_position is 'LAO'; expected PA, AP or LATERAL. "
        "Leave the film out or correct it.",
    ]
    both = import_studies(mimic, "mimic-cxr", views=ALL)
    assert both.frame["study_id"].to_list() == ["50414267", "50414267", "53189527"]
    assert both.frame["sex"].to_list() == [None] * 3


def test_mimic_reports_in_a_folder_of_their_own(mimic, tmp_path, table, rows):
    (mimic / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    reports = tmp_path / "mimic-cxr-reports"
    table(reports / "files/p10/p10000032/s50414267.txt", "IMPRESSION: Normal.")
    table(reports / "files/p10/p10000032/s53189527.txt", "  ")
    for folder in (reports, reports / "files"):
        found = import_studies(mimic, "mimic-cxr", reports=folder)
        assert rows(found.frame, "image_id", "report") == [(A, "IMPRESSION: Normal.")]
        assert found.rejected["reason"][1].endswith(
            "s53189527.txt is missing or has no text, and the film has no labels. "
            "Add the text, or leave it out."
        )
    with pytest.raises(
        InputError, match=r"has no folder 'files'; expected files/p10/p10000032/s50414267\.txt"
    ):
        import_studies(mimic, "mimic-cxr", reports=tmp_path)


def test_mimic_negbio_and_the_names_of_2_1_0(mimic):
    for name in ("metadata", "split", "negbio"):
        (mimic / f"mimic-cxr-2.0.0-{name}.csv.gz").rename(mimic / f"mimic-cxr-2.1.0-{name}.csv.gz")
    found = import_studies(mimic, "mimic-cxr", labeler="negbio")
    assert found.frame["labels_uncertain"].to_list() == [None, ["Cardiomegaly"]]
    with pytest.raises(
        InputError, match=r"labeler is 'chexbert'; expected one of chexpert, negbio\. Did you mean"
    ):
        import_studies(mimic, "mimic-cxr", labeler="chexbert")


def test_mimic_cxr_dicom_tree_by_its_record_list(tmp_path, table, dicom):
    table(
        tmp_path / "cxr-record-list.csv.gz",
        "subject_id,study_id,dicom_id,path",
        f"10000032,50414267,{A},files/p10/p10000032/s50414267/{A}.dcm",
    )
    dicom(tmp_path / f"files/p10/p10000032/s50414267/{A}.dcm")
    found = import_studies(tmp_path, "mimic-cxr")
    assert found.frame["file_name"][0].endswith(f"s50414267/{A}.dcm")
    assert found.notes == (
        "cxr-record-list.csv.gz has no views: lateral films are among those of unknown view.",
        "neither reports nor a label table found: the films come without findings.",
    )
