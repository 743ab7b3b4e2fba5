"""ChestX-ray14 as published, both headers and all folder layouts, through one import."""

import pytest

from synthorax.studies import MANIFEST, REJECTED, import_studies, read_film

NIH_FIRST = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
NIH_2017 = NIH_FIRST + ",OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
NIH_2020 = NIH_FIRST.replace("Gender", "Sex") + ",OriginalImageWidth,OriginalImageHeight,Spacing_x,Spacing_y"
NIH_ROWS = (
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143",
    "00000002_000.png,No Finding,0,2,81,F,AP,2500,2048,0.171,0.171",
    "00000002_001.png,,1,2,82,F,PA,2500,2048,0.171,0.171",
)


@pytest.mark.parametrize(
    ("name", "header", "folders"),
    [
        ("Data_Entry_2017.csv", NIH_2017, ("images_001/images", "images_002/images", "images_012/images")),
        ("Data_Entry_2017_v2020.csv", NIH_2020, ("images", "images", "images")),
        ("Data_Entry.csv", NIH_2017.rstrip(","), (".", ".", ".")),
        ("Data_Entry_2017_v2020.csv.gz", NIH_2020, ("images_001", "images_001", "images_002")),
    ],
)
def test_nih_as_published(tmp_path, name, header, folders, film, table, rows):
    ending = "," if header.endswith(",") else ""
    table(tmp_path / name, header, *(row + ending for row in NIH_ROWS))
    for row, folder in zip(NIH_ROWS, folders, strict=True):
        film(tmp_path / folder / row.split(",")[0])
    found = import_studies(tmp_path, "nih")
    assert found.frame.schema == MANIFEST and found.rejected.is_empty()
    assert rows(
        found.frame, "study_id", "patient_id", "image_id", "view_position", "sex", "age", "source"
    ) == [
        ("00000001_000", "1", "00000001_000", "PA", "M", 58.0, "nih"),
        ("00000002_000", "2", "00000002_000", "AP", "F", 81.0, "nih"),
        ("00000002_001", "2", "00000002_001", "PA", "F", 82.0, "nih"),
    ]
    first, second, third = found.frame.iter_rows(named=True)
    assert first["labels_present"] == ["Cardiomegaly", "Emphysema"]
    assert len(first["labels_absent"]) == 12 and "Hernia" in first["labels_absent"]
    assert "No Finding" not in first["labels_absent"] and first["labels_uncertain"] == []
    assert second["labels_present"] == ["No Finding"] and len(second["labels_absent"]) == 14
    assert [third[f"labels_{name}"] for name in ("present", "absent", "uncertain")] == [None] * 3
    assert all(read_film(path).pixels.shape == (8, 8) for path in found.frame["file_name"])


def test_nih_lists_become_splits_and_bad_rows_are_rejected(tmp_path, film, table):
    bad = (
        "00000003_000.png,Cardiomegally,0,3,40,M,PA,1,1,1,1",
        "00000004_000.png,Mass|No Finding,0,4,40,M,PA,1,1,1,1",
        "00000005_000.png,Mass,0,5,414,M,PA,1,1,1,1",
        "00000006_000.png,Mass,0,6,41,M,PA,1,1,1,1",
        "00000001_000.png,Mass,0,1,58,M,PA,1,1,1,1",
    )
    table(tmp_path / "Data_Entry_2017.csv", NIH_2017, *NIH_ROWS, *bad)
    for row in NIH_ROWS:
        film(tmp_path / "images" / row.split(",")[0])
    table(tmp_path / "train_val_list.txt", "00000001_000.png")
    table(tmp_path / "test_list.txt", "00000002_000.png", "00000002_001.png")
    found = import_studies(tmp_path, "nih")
    assert found.frame["split"].to_list() == ["train", "test", "test"]
    assert found.rejected.schema == REJECTED and found.rejected["row"].to_list() == [4, 5, 6, 7, 8]
    for reason, part in zip(
        found.rejected["reason"],
        (
            "Data_Entry_2017.csv row 4: Finding Labels has 'Cardiomegally'; expected Atelect",
            "Finding Labels is 'Mass|No Finding'; expected 'No Finding' alone or findings. Take one out.",
            "row 6: age is 414; expected years from 0 to 120 (58, 058Y or 003M).",
            "images/00000006_000.png does not exist; put the film there, or correct the path.",
            "row 8: image_id is '00000001_000', as in row 1; expected one row a film.",
        ),
        strict=True,
    ):
        assert part in reason
    assert "Did you mean 'Cardiomegaly'?" in found.rejected["reason"][0]
