"""A tree of DICOM files: ids, views, sex and age from the headers."""

from synthorax.studies import import_studies


def test_a_dicom_tree(tmp_path, table, rows, dicom):
    root = tmp_path / "export"
    dicom(
        root / "a/IM1",
        SOPInstanceUID="1.2.1",
        StudyInstanceUID="1.1",
        PatientID="P1",
        PatientSex="F",
        PatientAge="047Y",
        ViewPosition="PA",
        AccessionNumber="ACC1",
        EthnicGroup="other",
    )
    dicom(root / "a/IM2", SOPInstanceUID="1.2.2", StudyInstanceUID="1.1", PatientID="P1", ViewPosition="LL")
    dicom(
        root / "b/IM1.dcm",
        SOPInstanceUID="1.2.3",
        StudyInstanceUID="1.3",
        PatientSex="O",
        PatientBirthDate="19500601",
        StudyDate="20100531",
    )
    dicom(root / "c/IM1", SOPInstanceUID="1.2.4", StudyInstanceUID="1.4", PatientID="P4", ViewPosition="RLD")
    dicom(root / "c/IM2", SOPInstanceUID="1.2.5", StudyInstanceUID="1.4", PatientID="P4", Modality="CT")
    dicom(
        root / "c/IM3",
        SOPInstanceUID="1.2.6",
        StudyInstanceUID="1.4",
        PatientID="P4",
        PatientOrientation=["A", "F"],
    )
    dicom(root / "c/IM4", SOPInstanceUID="1.2.7", PatientID="P4")
    dicom(root / "DICOMDIR")
    table(root / "readme.txt", "not a film")
    found = import_studies(root, "dicom")
    assert rows(found.frame, "patient_id", "study_id", "image_id", "view_position", "sex", "age") == [
        ("1.3", "1.3", "1.2.3", None, None, 59.0),
        ("P1", "1.1", "1.2.1", "PA", "F", 47.0),
    ]
    assert found.notes == ("films without Patient ID, whose study counts as the patient: 1.",)
    for reason, part in zip(
        found.rejected["reason"],
        (
            "export row 2: view is LATERAL",
            "view_position is 'RLD'; expected PA, AP or LATERAL.",
            "has modality CT; expected a radiograph",
            "view is LATERAL",
            "study_id is blank; expected a text. Name it.",
            "readme.txt is not a film that can be read",
        ),
        strict=True,
    ):
        assert part in reason


def test_dicom_reports_by_accession_number_or_study(tmp_path, table, dicom):
    dicom(
        tmp_path / "films/1.dcm",
        SOPInstanceUID="1.1",
        StudyInstanceUID="9.1",
        PatientID="A",
        AccessionNumber="X1",
    )
    dicom(tmp_path / "films/2.dcm", SOPInstanceUID="1.2", StudyInstanceUID="9.2", PatientID="B")
    dicom(tmp_path / "films/3.dcm", SOPInstanceUID="1.3", StudyInstanceUID="9.3", PatientID="C")
    table(tmp_path / "texts/X1.txt", "Clear.")
    table(tmp_path / "texts/9.2.txt", "Effusion.")
    found = import_studies(tmp_path / "films", "dicom", reports=tmp_path / "texts")
    assert found.frame["report"].to_list() == ["Clear.", "Effusion."]
    assert "9.3.txt is missing or has no text" in found.rejected["reason"][0]
