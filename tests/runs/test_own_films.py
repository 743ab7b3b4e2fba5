"""One ``run`` through each set, as published: real code, tiny model, two films or more."""

import gzip
import os

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from synthorax.dataset import read_metadata
from synthorax.errors import InputError, RunError
from synthorax.runs.means import Means
from synthorax.runs.own_films import run_own_films
from synthorax.runs.results import read_results
from synthorax.seeds import generator
from synthorax.workbench.opened_run import OpenedRun

NIH = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,{},{}"
CHEXPERT_LABELS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
MIMIC_LABELS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
    "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)


def _pixels(name) -> np.ndarray:
    rng = generator(str(name))
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    return (127 + 90 * np.cos(3 * x + rng.uniform()) * np.cos(2 * y)).astype(np.uint8)


def _film(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_pixels(path.name)).save(path)


def _table(path, *lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def _nih(root, header, folders):
    for i, folder in enumerate(folders, start=1):
        _film(root / folder / f"0000000{i}_000.png")
    _table(
        root / "Data_Entry_2017.csv",
        header,
        "00000001_000.png,Effusion,0,1,57,M,PA,2682,2749,0.143,0.143",
        "00000002_000.png,No Finding,0,2,61,F,AP,2500,2048,0.168,0.168",
        "00000003_000.png,Mass,0,3,61,F,PA,2500,2048,0.168,0.168",
    )


def nih_flat(root):
    header = NIH.format('"OriginalImage[Width","Height]"', '"OriginalImagePixelSpacing[x","y]"').replace(
        '"', ""
    )
    _nih(root, header, ["images"] * 2)
    return 2, 1


def nih_folders(root):
    header = NIH.format(
        "OriginalImageWidth,OriginalImageHeight", "OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y"
    )
    _nih(root, header, ["images_001/images", "images_012/images", "images_012/images"])
    return 3, 0


def mimic(root):
    films = (
        ("a1", "10000032", "50414267", "PA"),
        ("a2", "10000032", "50414267", "LATERAL"),
        ("a3", "10000764", "57375967", "AP"),
    )
    _table(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
        "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning",
        *(f"{d},{p},{s},CHEST,{view},3056,2544,21800506,213014.531,,,Erect" for d, p, s, view in films),
    )  # fmt: skip
    _table(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        "dicom_id,study_id,subject_id,split",
        *(f"{d},{s},{p},train" for d, p, s, _ in films),
    )
    _table(
        root / "mimic-cxr-2.0.0-chexpert.csv.gz",
        f"subject_id,study_id,{MIMIC_LABELS}",
        "10000032,50414267,,,,,,,,,,1.0,,,,",
        "10000764,57375967,,,,,,,,,1.0,,,,,",
    )
    _table(
        root / "cxr-record-list.csv.gz",
        "subject_id,study_id,dicom_id,path",
        *(f"{p},{s},{d},files/p{p[:2]}/p{p}/s{s}/{d}.dcm" for d, p, s, _ in films),
    )
    for d, p, s, _ in films:
        _film(root / f"files/p{p[:2]}/p{p}/s{s}/{d}.jpg")
    for (_, p, s, _), text in zip(
        films[::2],
        ("FINDINGS: Left pleural effusion.\nIMPRESSION: Effusion.", "IMPRESSION: Normal chest."),
        strict=True,
    ):
        _table(root / f"files/p{p[:2]}/p{p}/s{s}.txt", text)
    return 2, 1


def chexpert(root):
    paths = ("train/patient00001/study1/view1_frontal.jpg", "train/patient00002/study1/view1_frontal.jpg")
    for path in paths:
        _film(root / path)
    _table(
        root / "train.csv",
        f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT_LABELS}",
        f"CheXpert-v1.0-small/{paths[0]},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        f"CheXpert-v1.0-small/{paths[1]},Male,87,Frontal,PA,,,-1.0,1.0,,0.0,1.0,,-1.0,,1.0,,,",
    )
    return 2, 0


def openi(root):
    for i, finding in ((1, "Cardiomegaly."), (2, "Normal chest."), (3, "")):
        _table(
            root / "ecgen-radiology" / f"{i}.xml",
            f'<eCitation><uId id="CXR{i}"/><MedlineCitation><Article><Abstract><AbstractText Label="FINDINGS">{finding}</AbstractText>'
            f'<AbstractText Label="IMPRESSION">{finding}</AbstractText></Abstract></Article></MedlineCitation>'
            f'<parentImage id="CXR{i}_IM-0001-1001"><figureId>F1</figureId></parentImage></eCitation>',
        )
        _film(root / "images" / f"CXR{i}_IM-0001-1001.png")
    return 2, 1


def hannover(root):
    for i in (1, 2):
        _film(root / "images" / f"film{i}.png")
    _table(
        root / "data.csv",
        "patient_id,image_id,sex,age,admission_offset,icu_admission_offset,icu_release_offset,death_offset,modality,projection",
        *(f"p{i},film{i},f,,0,,,,CR,pa" for i in (1, 2)),
    )
    return 2, 0


def folder(root):
    for name in ("a.png", "b.jpg"):
        _film(root / name)
    (root / "c.png").write_bytes(b"not a film")
    _table(
        root / "films.csv",
        "file_name,report",
        "a.png,Large left effusion.",
        "b.jpg,Normal chest.",
        "c.png,Normal chest.",
    )
    return 2, 1


def dicom(root):
    for i, report in ((1, "Left pleural effusion."), (2, "Normal chest.")):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.{i}"
        ds.StudyInstanceUID, ds.PatientID, ds.Modality, ds.ViewPosition = f"1.3.{i}", f"p{i}", "CR", "PA"
        ds.AccessionNumber = f"acc{i}"
        ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.Rows, ds.Columns = "MONOCHROME1", 1, 64, 64
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = (_pixels(i).astype(np.uint16) * 16).tobytes()
        ds["PixelData"].VR = "OW"
        (root / "films").mkdir(parents=True, exist_ok=True)
        ds.save_as(root / "films" / f"{i}.dcm", enforce_file_format=True)
        _table(root / "reports" / f"acc{i}.txt", report)
    (root / "films" / "torn.dcm").write_bytes(b"\0" * 128 + b"DICM")
    return 2, 1


@pytest.mark.parametrize(
    ("build", "format"),
    [
        (nih_flat, "nih"),
        (nih_folders, "nih"),
        (mimic, "mimic-cxr"),
        (chexpert, "chexpert"),
        (openi, "openi"),
        (hannover, "hannover"),
        (folder, "folder"),
        (dicom, "dicom"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_run_through_each_set(tmp_path, tiny, build, format):
    root = tmp_path / "set"
    root.mkdir()
    n_films, n_rejected = build(root)
    where, options = (root / "films", {"reports": root / "reports"}) if format == "dicom" else (root, {})
    report, rejected, counts = run_own_films(
        where, format, tmp_path / "run", means=Means(str(tiny.pipeline)), **options
    )
    assert report.is_file() and rejected == n_rejected
    looked_at = n_films + n_rejected
    assert counts.startswith(f"films: {looked_at} looked at = {n_films} taken + {n_rejected} rejected; ")
    results = read_results(tmp_path / "run")
    assert results.cohort.n_images == n_films and not results.is_simulated
    assert (tmp_path / "run" / "rejected.csv").read_text().count("\n") == n_rejected + 1
    rows = read_metadata(tmp_path / "run" / "synthetic")
    if format != "hannover":  # no report and no label there: nothing known, nothing to perturb
        assert counts.endswith(f"edits: {rows.height} planned = {rows.height} done + 0 refused + 0 pending")
        assert rows.height > 0 and not rows["is_simulated"].any()
    assert all((tmp_path / "run" / "synthetic" / name).is_file() for name in rows["file_name"])


def test_unknown_concepts_are_neither_inserted_nor_deleted(tmp_path, tiny):
    root = tmp_path / "set"
    root.mkdir()
    nih_folders(root)
    run_own_films(root, "nih", tmp_path / "run", means=Means(str(tiny.pipeline)))
    for row in read_metadata(tmp_path / "run" / "synthetic").iter_rows(named=True):
        changed = set(row["concepts_before"]) ^ set(row["concepts_after"])
        assert not changed & set(row["concepts_unknown"])


def test_a_set_without_a_usable_film_is_refused(tmp_path, tiny):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"not a film")
    with pytest.raises(InputError, match=r"a\.png"):
        run_own_films(tmp_path / "set", "folder", tmp_path / "run", means=Means(str(tiny.pipeline)))


def test_other_settings_in_the_same_folder_are_refused(tmp_path, tiny):
    root = tmp_path / "set"
    root.mkdir()
    nih_flat(root)
    run_own_films(root, "nih", tmp_path / "run", means=Means(str(tiny.pipeline)))
    with pytest.raises(RunError, match="seed = 0, not 1"):
        run_own_films(root, "nih", tmp_path / "run", means=Means(str(tiny.pipeline)), seed=1)


def test_a_verdict_outlives_the_same_command(tmp_path, tiny):
    root = tmp_path / "set"
    root.mkdir()
    nih_flat(root)
    run_own_films(root, "nih", tmp_path / "run", means=Means(str(tiny.pipeline)))
    OpenedRun.open(tmp_path / "run").review(0, False, "wrong side")
    run_own_films(root, "nih", tmp_path / "run", means=Means(str(tiny.pipeline)))
    rows = read_metadata(tmp_path / "run" / "synthetic")
    assert (rows["is_valid"][0], rows["reject_reason"][0]) == (False, "wrong side")


@pytest.mark.skipif("SYNTHORAX_NIH" not in os.environ, reason="wants real films")
def test_real_films_with_the_embedded_model(tmp_path):
    report, rejected, _ = run_own_films(
        os.environ["SYNTHORAX_NIH"], "nih", tmp_path / "run", means=Means(limit=4)
    )
    assert rejected == 0 and "real films, edited" in report.read_text()
    assert read_metadata(tmp_path / "run" / "synthetic").height >= 4
