"""CheXpert as published: blank, -1, 0 and 1 stay apart."""

import pytest

from synthorax.studies import import_studies

CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
    "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
    "Fracture,Support Devices"
)


@pytest.mark.parametrize("inner", ["CheXpert-v1.0-small", "."])
def test_chexpert_as_published(tmp_path, inner, film, table, rows):
    top = "CheXpert-v1.0-small"
    paths = [
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00002/study2/view1_frontal.jpg",
        "train/patient00002/study2/view2_lateral.jpg",
        "train/patient00002/study1/view1_frontal.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    ]
    for path in paths:
        film(tmp_path / inner / path)
    table(
        tmp_path / "train.csv",
        CHEXPERT_HEADER,
        f"{top}/{paths[0]},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        f"{top}/{paths[1]},Unknown,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
        f"{top}/{paths[2]},Male,87,Lateral,,,,,,,,,,,,,,,",
        f"{top}/{paths[3]},Male,83,Frontal,LL,,,,,,,,,,,,,,",
        f"{top}/{paths[3]},Male,83,Frontal,AP,,,2.0,,,,,,,,,,,",
    )
    table(
        tmp_path / "valid.csv",
        CHEXPERT_HEADER,
        f"{top}/{paths[4]},Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    )
    found = import_studies(tmp_path, "chexpert")
    assert rows(found.frame, "study_id", "patient_id", "view_position", "sex", "age", "split") == [
        ("patient00001_study1", "patient00001", "AP", "F", 68.0, "train"),
        ("patient00002_study2", "patient00002", "PA", None, 87.0, "train"),
        ("patient64541_study1", "patient64541", "AP", "M", 73.0, "validation"),
    ]
    assert rows(found.frame, "labels_present", "labels_absent", "labels_uncertain")[:2] == [
        (["No Finding", "Support Devices"], ["Pneumothorax"], []),
        (
            ["Lung Opacity", "Fracture"],
            [],
            ["Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"],
        ),
    ]
    assert len(found.frame["labels_absent"][2]) == 11
    reasons = found.rejected["reason"].to_list()
    assert reasons[0].startswith("train.csv row 3: view is LATERAL")
    assert "AP/PA is 'LL' on a film that Frontal/Lateral calls Frontal; expected AP or PA." in reasons[1]
    assert (
        reasons[2] == "train.csv row 5: Cardiomegaly is '2.0'; expected 1, 0, -1 or blank. Correct the cell."
    )
