"""A tree of DICOM files: ids, views, sex and age from the headers."""

import shutil
from pathlib import Path

import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from synthorax.errors import InputError
from synthorax.studies import import_studies

MEDIUM = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
ALL = ("PA", "AP", "LATERAL", "unknown")


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


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-reordered", "DICOMDIR-implicit"])
def test_the_films_of_a_dicomdir_are_read_and_no_others(name):
    found = import_studies(MEDIUM / name, "dicom", views=ALL)
    assert sorted(Path(file).relative_to(MEDIUM).as_posix() for file in found.frame["file_name"]) == [
        "77654033/CR1/6154", "77654033/CR2/6247", "77654033/CR3/6278",
    ]  # fmt: skip
    assert found.rejected.height == 28 and all(
        "has modality" in reason for reason in found.rejected["reason"]
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_medium_in_small_letters_and_a_missing_file(tmp_path):
    shutil.copy(MEDIUM / "DICOMDIR", tmp_path)
    (tmp_path / "77654033" / "cr1").mkdir(parents=True)
    shutil.copy(MEDIUM / "77654033" / "CR1" / "6154", tmp_path / "77654033" / "cr1")
    found = import_studies(tmp_path / "DICOMDIR", "dicom", views=ALL)
    assert found.frame["file_name"].to_list() == [str(tmp_path / "77654033" / "cr1" / "6154")]
    assert (
        found.rejected.height == 30
        and "CR2/6247 does not exist; put the film there" in found.rejected["reason"][0]
    )


def _directory(path, *parts):
    """A DICOMDIR that names one image."""
    record = Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", list(parts)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.DirectoryRecordSequence = [record] if parts else []
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_cannot_lead_out_of_its_folder(tmp_path):
    with pytest.raises(InputError, match=r"names the file '\.\./secret'; expected parts of letters, digits"):
        import_studies(_directory(tmp_path / "DICOMDIR", "..", "secret"), "dicom")


def test_what_is_no_dicomdir_gets_a_sentence(tmp_path, dicom):
    with pytest.raises(InputError, match="lists no image; expected a DICOMDIR, or a folder"):
        import_studies(_directory(tmp_path / "DICOMDIR"), "dicom")
    (tmp_path / "text").write_text("not DICOM")
    with pytest.raises(InputError, match=r"text cannot be read as a DICOMDIR .* give its folder instead"):
        import_studies(tmp_path / "text", "dicom")


def test_films_with_text_burnt_in_are_refused_unless_asked_for(tmp_path, dicom):
    tags = {"StudyInstanceUID": "1.1", "PatientID": "P1"}
    dicom(tmp_path / "1", SOPInstanceUID="1.2.1", BurnedInAnnotation="YES", **tags)
    dicom(tmp_path / "2", SOPInstanceUID="1.2.2", BurnedInAnnotation="NO", **tags)
    dicom(tmp_path / "3", SOPInstanceUID="1.2.3", **tags)
    found = import_studies(tmp_path, "dicom")
    assert found.frame["image_id"].to_list() == ["1.2.2", "1.2.3"]
    assert (
        "1 has Burned In Annotation (0028,0301) = YES: text in its pixels may name"
        in found.rejected["reason"][0]
    )
    taken = import_studies(tmp_path, "dicom", take_burned_in=True)
    assert taken.frame.height == 3 and taken.rejected.is_empty()
