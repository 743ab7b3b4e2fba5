"""Label tables of the sets behind OpenChest and of ChexGen's tasks: a few rows in exactly the published layout."""

import json
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from synthorax.errors import InputError
from synthorax.studies import import_studies, read_manifest, write_manifest
from synthorax.studies.importing import open_source

IDS = ("study_id", "patient_id", "image_id")
LISTS = ("labels_present", "labels_absent", "labels_uncertain")
PADCHEST = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Report,MethodLabel,Labels,Localizations"
)
BRAX = (
    "DicomPath,PngPath,PatientID,PatientSex,PatientAge,StudyDate,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Lesion,Lung Opacity,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
    "Fracture,Support Devices,ViewPosition,Rows,Columns,Manufacturer"
)
RANZCR = (
    "StudyInstanceUID,ETT - Abnormal,ETT - Borderline,ETT - Normal,NGT - Abnormal,NGT - Borderline,"
    "NGT - Incompletely Imaged,NGT - Normal,CVC - Abnormal,CVC - Borderline,CVC - Normal,Swan Ganz Catheter Present,PatientID"
)
VINDR = "image_id,rad_id,Aortic enlargement,Cardiomegaly,Pleural effusion,No finding"
PCXR = "image_id,rad_ID,No finding,Bronchitis,Brocho-pneumonia,Other disease,Diagphramatic hernia"
CHESTDR = (
    "pleural_effusion,nodule,pneumonia,cardiomegaly,hilar_enlargement,fracture_old,fibrosis,aortic_calcification,"
    "tortuous_aorta,thickened_pleura,TB,pneumothorax,emphysema,atelectasis,calcification,pulmonary_edema,"
    "increased_lung_markings,elevated_diaphragm,consolidation"
)


def xrv_data() -> Path:
    """The folder of published tables that torchxrayvision ships."""
    spec = find_spec("torchxrayvision")
    if spec is None:
        pytest.skip("torchxrayvision is not installed (extra xrv)")
    return Path(spec.submodule_search_locations[0]) / "data"


def test_padchest(tmp_path, film, table, rows):
    table(
        tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        PADCHEST,
        "0,a1_k6ga29.png,0,20140915,a1,p1,1930.0,F,POSTEROANTERIOR,PA,Manual review of DICOM fields,No,CR,sin hallazg,Physician,['normal'],[]",
        """1,b2_fzis7d.png,54,20150914,b2,p2,1929.0,M,LATERAL,L,resnet-50.t7,No,CR,cambi,RNN_model,"['kyphosis', ' copd signs', 'kyphosis']",[]""",
        "2,c3_x.png,0,20150914,c3,p3,nan,O,ANTEROPOSTERIOR,AP_horizontal,x,No,DX,x,RNN_model,nan,nan",
        "3,d4_x.png,0,20150914,d4,p3,1929.0,M,UNK,COSTAL,x,No,DX,x,RNN_model,['costal'],[]",
    )
    film(tmp_path / "images" / "a1_k6ga29.png")
    film(tmp_path / "54" / "b2_fzis7d.png")
    film(tmp_path / "0" / "c3_x.png")
    film(tmp_path / "0" / "d4_x.png")
    found = import_studies(tmp_path, "padchest", views=["PA", "AP", "LATERAL", "unknown"])
    assert rows(found.frame, *IDS, "view_position", "sex", "age") == [
        ("a1", "p1", "a1_k6ga29", "PA", "F", 84.0),
        ("b2", "p2", "b2_fzis7d", "LATERAL", "M", 86.0),
        ("c3", "p3", "c3_x", "AP", None, None),
    ]
    assert rows(found.frame, *LISTS) == [
        (["normal"], [], []),
        (["kyphosis", "copd signs"], [], []),
        (None, None, None),
    ]
    assert "row 4: view_position is 'COSTAL'" in found.rejected["reason"][0]
    assert found.frame["report"].null_count() == 3 and "Spanish" in found.notes[0]


def test_brax(tmp_path, film, table, rows):
    paths = [f"images/id_{n}/Study_1.{n}/Series_2.{n}/image-3.{n}.png" for n in "789"]
    table(
        tmp_path / "master_spreadsheet_update.csv",
        BRAX,
        f"x,{paths[0]},id_7,F,85 or more,20100101,,,1.0,,-1.0,,0.0,,,,,,,1.0,PA,2000,2000,A",
        f"x,{paths[1]},id_8,M,40,20100101,1.0,,,,,,,,,,,,,,,2000,2000,A",
        "x,films/3.png,id_9,M,40,20100101,1.0,,,,,,,,,,,,,,PA,2000,2000,A",
    )
    for path in paths[:2]:
        film(tmp_path / path)
    found = import_studies(tmp_path, "brax")
    assert rows(found.frame, *IDS, "view_position", "sex", "age", *LISTS) == [
        ("1.7", "id_7", "image-3.7", "PA", "F", 85.0, ["Cardiomegaly", "Support Devices"], ["Consolidation"], ["Lung Opacity"]),
        ("1.8", "id_8", "image-3.8", None, "M", 40.0, ["No Finding"], [], []),
    ]  # fmt: skip
    assert "row 3: PngPath is 'films/3.png'; expected images/id_..." in found.rejected["reason"][0]
    assert found.notes == (
        "age '85 or more' is read as 85 on 1 films; other ages are in steps of five years.",
    )


def test_bimcv(tmp_path, film, table, rows):
    table(tmp_path / "participants.tsv", "participant\tmodality_dicom\tbody_parts\tage\tgender",
          "sub-S1\t['CR']\t[['chest']]\t[62]\tM", "sub-S2\t['DX']\t[['chest']]\t[70, 71]\tF")  # fmt: skip
    table(
        tmp_path / "derivatives/labels/labels_covid19_posi.tsv",
        "\tPatientID\tReportID\tReport\tLabels\tLocalizations\tLabelsLocalizationsBySentence\tlabelCUIS\tLocalizationsCUIS",
        "0\tsub-S1\tses-E1\tsin cambi\t['COVID 19', 'alveolar pattern']\t['loc basal']\t[]\t[]\t[]",
    )
    film(tmp_path / "sub-S1/ses-E1/mod-rx/sub-S1_ses-E1_run-1_bp-chest_vp-ap_dx.png")
    film(tmp_path / "sub-S1/ses-E1/mod-rx/sub-S1_ses-E1_run-2_bp-chest_vp-ll_dx.png")
    second = tmp_path / "sub-S2/ses-E2/mod-rx/sub-S2_ses-E2_run-1_bp-chest_vp-pa_cr.png"
    film(second)
    second.with_suffix(".json").write_text(json.dumps({"00101010": {"vr": "AS", "Value": ["070Y"]}}))
    found = import_studies(tmp_path, "bimcv-covid19")
    assert rows(found.frame, "study_id", "patient_id", "view_position", "sex", "age", "labels_present") == [
        ("ses-E1", "sub-S1", "AP", "M", 62.0, ["COVID 19", "alveolar pattern"]),
        ("ses-E2", "sub-S2", "PA", "F", 70.0, None),
    ]
    assert "view is LATERAL" in found.rejected["reason"][0]


def test_ranzcr_clip(tmp_path, film, table, rows):
    table(tmp_path / "train.csv", RANZCR, "1.2.826.6,0,0,1,0,0,0,0,0,0,1,0,ec89415d1")
    film(tmp_path / "train" / "1.2.826.6.jpg")
    found = import_studies(tmp_path, "ranzcr-clip").frame
    assert rows(found, *IDS, "view_position", "labels_present") == [
        ("1.2.826.6", "ec89415d1", "1.2.826.6", None, ["ETT - Normal", "CVC - Normal"])
    ]
    assert len(found["labels_absent"][0]) == 9


def test_vindr_cxr_votes(tmp_path, film, table, rows):
    table(
        tmp_path / "annotations/image_labels_train.csv",
        VINDR,
        *(f"a,R{n},{cells}" for n, cells in ((1, "1,0,0,0"), (2, "1,1,0,0"), (3, "0,0,0,0"))),
    )
    table(tmp_path / "annotations/image_labels_test.csv", VINDR.replace("rad_id,", ""), "b,0.0,0.0,0.0,1.0")
    film(tmp_path / "train/a.png")
    film(tmp_path / "test/b.dicom.png")
    (tmp_path / "test/b.dicom.png").rename(tmp_path / "test/b.dicom")
    found = import_studies(tmp_path, "vindr-cxr")
    assert rows(found.frame, *IDS, "view_position", "split", *LISTS) == [
        ("a", "a", "a", "PA", "train", ["Aortic enlargement"], ["No finding", "Pleural effusion"], ["Cardiomegaly"]),
        ("b", "b", "b", "PA", "test", ["No finding"], ["Aortic enlargement", "Cardiomegaly", "Pleural effusion"], []),
    ]  # fmt: skip
    assert "up to 3 raters a film" in found.notes[1]


def test_vindr_pcxr(tmp_path, film, table, rows):
    table(tmp_path / "image_labels_train.csv", PCXR, "c,R1,0.0,1.0,0.0,0.0,0.0")
    film(tmp_path / "train/c.png")
    found = import_studies(tmp_path, "vindr-pcxr").frame
    assert rows(found, "image_id", "view_position", "labels_present") == [("c", None, ["Bronchitis"])]
    assert found["labels_absent"][0].to_list() == ["Brocho-pneumonia", "Diagphramatic hernia", "No finding", "Other disease"]  # fmt: skip


def test_object_cxr_chestx_det_and_ribs_are_films_too(tmp_path, film, table, rows):
    table(tmp_path / "o/train.csv", "image_name,annotation", "08001.jpg,0 1 2 3 4", "08002.jpg,")
    film(tmp_path / "o/train/08001.jpg")
    film(tmp_path / "o/train/08002.jpg")
    found = import_studies(tmp_path / "o", "object-cxr").frame
    assert rows(found, "image_id", "split", *LISTS[:2]) == [
        ("08001", "train", ["Foreign object"], []),
        ("08002", "train", [], ["Foreign object"]),
    ]
    told = [
        {"file_name": "7.png", "syms": ["Mass", "Mass", "Nodule"], "boxes": [[1, 1, 3, 3]] * 3},
        {"file_name": "8.png", "syms": [], "boxes": []},
    ]
    film(tmp_path / "d/test_data/7.png")
    film(tmp_path / "d/test_data/8.png")
    (tmp_path / "d/ChestX_Det_test.json").write_text(json.dumps(told))
    found = import_studies(tmp_path / "d", "chestx-det").frame
    assert rows(found, "image_id", "split", "labels_present") == [("7", "test", ["Mass", "Nodule"]), ("8", "test", [])]  # fmt: skip
    assert [len(cell) for cell in found["labels_absent"]] == [11, 13]
    film(tmp_path / "r/data/val/img/VinDr_RibCXR_val_196.png")
    ribs = {"img": {"0": "data/val/img/VinDr_RibCXR_val_196.png"}, "R1": {"0": [{"x": 1, "y": 2}]}}
    (tmp_path / "r/data/val/Vindr_RibCXR_val_mask.json").write_text(json.dumps(ribs))
    found = import_studies(tmp_path / "r", "vindr-ribcxr").frame
    assert rows(found, "image_id", "split", "labels_present") == [("VinDr_RibCXR_val_196", "validation", None)]  # fmt: skip


def test_ralo_takes_the_mean_of_its_raters(tmp_path, film, table, rows):
    table(
        tmp_path / "ralo-dataset-metadata.csv",
        ",,Rater 1,,,,Rater 2,,,",
        "Subject_ID,Exam_DateTime,Right GEOGRAPHIC,Total GEOGRAPHIC,Right OPACITY,Total OPACITY,Right GEOGRAPHIC,Total GEOGRAPHIC,Right OPACITY,Total OPACITY",
        "9,20200312_101010,2,4,1,3,2,5,1,2",
        "9,20200313_101010,2,6,1,5,,,,",
        "7,20200313_101010,2,6,1,55,1,1,1,1",
    )
    for number in range(3):
        film(tmp_path / f"CXR_images_scored/{number}.jpg")
    found = import_studies(tmp_path, "ralo")
    assert rows(found.frame, *IDS, "view_position", "score_geographic_extent", "score_lung_opacity") == [
        ("9_20200312_101010", "9", "0", "AP", 4.5, 2.5),
        ("9_20200313_101010", "9", "1", "AP", 6.0, 5.0),
    ]
    assert (
        found.rejected["reason"][0]
        == "ralo-dataset-metadata.csv row 3: Total OPACITY is '55'; expected 0 to 8. Correct the cell."
    )
    write_manifest(found.frame, tmp_path / "studies.parquet")
    assert read_manifest(tmp_path / "studies.parquet")["score_lung_opacity"].to_list() == [2.5, 5.0]


def test_medfmc_both_layouts(tmp_path, film, table, rows):
    zeros = ["0"] * 19
    for name in ("a.png", "b.png"):
        film(tmp_path / "images" / name)
    table(tmp_path / "trainval.txt", f"a.png {','.join(['1', *zeros[1:]])}")
    table(tmp_path / "test_WithLabel.txt", f"b.png {','.join(zeros)}")
    table(tmp_path / "chest_1-shot_train_exp1.txt", f"b.png {','.join([*zeros[1:], '1'])}")
    found = import_studies(tmp_path, "medfmc").frame
    assert rows(found, "image_id", "split", "labels_present") == [("a", "train", ["pleural_effusion"]), ("b", "test", [])]  # fmt: skip
    assert len(found["labels_absent"][1]) == 19
    few = import_studies(tmp_path, "medfmc", table=tmp_path / "chest_1-shot_train_exp1.txt").frame
    assert rows(few, "image_id", "labels_present") == [("b", ["consolidation"])]
    table(tmp_path / "chestdr_published_19d.csv", f"study_id,img_id,{CHESTDR}", f"s,a.png,{','.join(zeros)}")
    assert rows(import_studies(tmp_path, "medfmc").frame, "image_id", "labels_present") == [("a", [])]
    table(tmp_path / "x.txt", "a.png 0,1")
    with pytest.raises(
        InputError, match=r"x.txt line 1 is 'a.png 0,1'; expected a film's name, a blank, and 19"
    ):
        import_studies(tmp_path, "medfmc", table=tmp_path / "x.txt")


@pytest.mark.parametrize(
    ("format", "file", "header", "column"),
    [
        ("padchest", "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", PADCHEST, "Projection"),
        ("brax", "master_spreadsheet_update.csv", BRAX, "PngPath"),
        ("bimcv-covid19", "derivatives/labels/labels_covid19_posi.tsv", "PatientID\tReportID\tLabels", "ReportID"),
        ("ranzcr-clip", "train.csv", RANZCR, "PatientID"),
        ("vindr-cxr", "annotations/image_labels_train.csv", VINDR, "No finding"),
        ("vindr-pcxr", "image_labels_train.csv", PCXR, "image_id"),
        ("object-cxr", "train.csv", "image_name,annotation", "annotation"),
        ("ralo", "ralo-dataset-metadata.csv", "x\nSubject_ID,Exam_DateTime,Total GEOGRAPHIC,Total OPACITY", "Total OPACITY"),
        ("medfmc", "chestdr_published_19d.csv", f"img_id,{CHESTDR}", "TB"),
    ],
)  # fmt: skip
def test_a_wrong_column_is_named_with_its_file(tmp_path, table, format, file, header, column):
    table(tmp_path / file, header.replace(column, f"{column}s"), ",".join("1" * 40))
    with pytest.raises(InputError) as caught:
        import_studies(tmp_path, format)
    assert f"{Path(file).name} has no column '{column}'; found" in str(caught.value)
    assert f"Did you rename it to '{column}s'?" in str(caught.value)


def test_a_whole_published_table_gives_the_votes_counted_otherwise(tmp_path):
    (tmp_path / "train.csv.gz").symlink_to(xrv_data() / "vinbigdata-train.csv.gz")
    frame = open_source(tmp_path, "vindr-cxr").frame
    assert frame.height == 15_000 and frame["problem"].null_count() == 15_000
    said = pl.read_csv(tmp_path / "train.csv.gz", infer_schema=False)
    raters = said.group_by("image_id").agg(pl.col("rad_id").n_unique().alias("all"))
    yes = (
        said.filter(class_name="Pneumothorax")
        .group_by("image_id")
        .agg(pl.col("rad_id").n_unique().alias("yes"))
    )
    most = yes.join(raters, "image_id").filter(2 * pl.col("yes") > pl.col("all"))
    assert set(frame.filter(pl.col("labels_present").list.contains("Pneumothorax"))["image_id"]) == set(
        most["image_id"]
    )
