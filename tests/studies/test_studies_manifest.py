"""The manifest: what an import promises, and the sentence for each way in which a table can be wrong."""

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthorax.errors import InputError
from synthorax.seeds import derive_seed
from synthorax.studies import MANIFEST, import_studies, read_manifest, write_manifest

ROW = {"study_id": "s", "patient_id": "p", "image_id": "i", "file_name": "/films/i.png"}


def csv(path, *rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def films(tmp_path):
    """Forty films in a folder, two a patient, with a table whose order is by patient."""
    rows = []
    for index in range(40):
        Image.fromarray(np.full((4, 4), index, dtype=np.uint8)).save(tmp_path / f"{index:02d}.png")
        rows.append({"file": f"{index:02d}.png", "patient": f"P{index // 2:02d}", "study": f"S{index:02d}"})
    csv(tmp_path / "films.csv", *rows)
    return tmp_path


def test_a_manifest_comes_back_as_it_was_written(films, tmp_path):
    frame = import_studies(films, "folder").frame
    assert list(frame.schema.items()) == list(MANIFEST.items())
    assert read_manifest(write_manifest(frame, tmp_path / "out" / "studies.parquet")).equals(frame)


def test_rows_are_in_the_order_of_patient_study_and_image(films):
    frame = import_studies(films, "folder").frame
    assert frame.equals(frame.sort("patient_id", "study_id", "image_id"))


def test_a_limit_takes_the_first_of_a_fixed_shuffle_and_a_larger_one_keeps_them(films):
    images = import_studies(films, "folder").frame["image_id"].to_list()
    shuffled = sorted(images, key=derive_seed)
    few, more = (set(import_studies(films, "folder", limit=limit).frame["image_id"]) for limit in (7, 15))
    assert few == set(shuffled[:7]) and more == set(shuffled[:15])
    assert few != set(images[:7])


def test_a_limit_counts_taken_films_only(films):
    first = sorted((f"{index:02d}" for index in range(40)), key=derive_seed)[0]
    (films / f"{first}.png").unlink()
    found = import_studies(films, "folder", limit=5)
    assert found.frame.height == 5 and found.rejected.height == 1
    assert found.rejected["file_name"][0].endswith(f"{first}.png")


def test_the_same_name_with_another_suffix_serves(films):
    Image.open(films / "00.png").save(films / "00.jpg")
    (films / "00.png").unlink()
    frame = import_studies(films, "folder").frame
    assert frame["file_name"][0] == str(films / "00.jpg")


def test_a_csv_manifest_splits_its_lists_and_takes_films_from_its_folder(tmp_path):
    path = csv(tmp_path / "m.csv", ROW | {"file_name": "i.png", "labels_present": "Mass | Nodule", "mine": 7})
    row = read_manifest(path).row(0, named=True)
    assert row["labels_present"] == ["Mass", "Nodule"] and row["labels_absent"] is None
    assert row["file_name"] == str(tmp_path / "i.png") and row["mine"] == "7"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"view_position": "PA/AP"},
            "view_position is 'PA/AP'; expected PA, AP or LATERAL. Split the row or set",
        ),
        ({"view_position": "pa"}, "view_position is 'pa'; expected PA, AP or LATERAL."),
        ({"sex": "W"}, "sex is 'W'; expected F or M. Correct the cell or leave it blank."),
        ({"age": 414}, "age is 414; expected years from 0 to 120 (58, 058Y or 003M)."),
        ({"age": "old"}, "age is 'old'; expected a number. Correct it or leave it blank."),
        ({"patient_id": ""}, "patient_id is blank; expected a text. Name it."),
        ({"image_id": "h"}, "image_id is 'h', as in row 1; expected one row a film."),
        (
            {"labels_present": "Mass", "labels_absent": "Hernia|Mass"},
            "'Mass' is in labels_present and in labels_absent; expected one of them. Take one out.",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_row_and_remedy(tmp_path, change, sentence):
    path = csv(tmp_path / "m.csv", ROW | {"image_id": "h"}, ROW | change)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path} row 2: {sentence}")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {**ROW, "veiw_position": "PA"},
            "has a column 'veiw_position'; did you mean 'view_position'? Rename the column.",
        ),
        ({**ROW, "Sex": "F"}, "has a column 'Sex'; did you mean 'sex'? Rename the column."),
        (
            {name: value for name, value in ROW.items() if name != "study_id"},
            "has no column 'study_id'; expected study_id, patient_id, image_id, file_name; "
            "found patient_id, image_id, file_name.",
        ),
    ],
)
def test_a_wrong_column_is_named_with_the_closest_match(tmp_path, columns, sentence):
    path = csv(tmp_path / "m.csv", columns)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path} {sentence}")


def test_a_parquet_column_of_another_type_is_refused(tmp_path):
    path = tmp_path / "m.parquet"
    pl.DataFrame([ROW | {"labels_present": 3}]).write_parquet(path)
    with pytest.raises(InputError, match="labels_present"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("absent.parquet", None, "does not exist; expected a table. Correct the path."),
        ("torn.parquet", b"PAR1 torn", "cannot be read as a table"),
        (
            "studies.xlsx",
            b"PK",
            "is no table that can be read; expected .csv or .tsv (gzipped too), .csv.zip or .parquet.",
        ),
    ],
)
def test_what_is_no_table_gets_one_sentence(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path / name)
    assert sentence in str(caught.value)


def test_writing_refuses_what_reading_would(tmp_path):
    with pytest.raises(InputError, match="sex is 'X'"):
        write_manifest(pl.DataFrame([ROW | {"sex": "X"}]), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=r"expected a name that ends in \.parquet"):
        write_manifest(pl.DataFrame([ROW]), tmp_path / "m.csv")
    assert list(tmp_path.iterdir()) == []


def test_importing_a_manifest_rejects_its_bad_rows_and_goes_on(films):
    good, bad = ROW | {"file_name": "00.png", "source": "ours"}, ROW | {"file_name": "01.png"}
    path = csv(
        films / "manifest.csv",
        good,
        bad | {"image_id": "j", "age": "4x"},
        bad | {"image_id": "k", "sex": "W"},
        bad,
        bad | {"image_id": "l", "file_name": "absent.png"},
        bad | {"image_id": ""},
    )
    found = import_studies(path, "manifest")
    assert found.frame.select("image_id", "source").rows() == [("i", "ours")]
    assert [reason.split(";")[0].split(": ", 1)[1] for reason in found.rejected["reason"]] == [
        "age is '4X'",
        "sex is 'W'",
        "image_id is 'i', as in row 1",
        f"{films / 'absent.png'} does not exist",
        "image_id is blank",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"format": "nhi"},
            "format is 'nhi'; expected one of bimcv-covid19, brax, chestx-det, chexpert, chexpert-plus, dicom",
        ),
        (
            {"format": "nih"},
            "has no Data_Entry.csv or Data_Entry_2017*.csv or Data_Entry_2017*.csv.gz; expected",
        ),
        (
            {"format": "hannover"},
            "has no data.csv; expected the folder of the Hannover repository as published.",
        ),
        (
            {"format": "chexpert"},
            "has no train.csv or valid.csv; expected the folder of CheXpert as published.",
        ),
        ({"format": "mimic-cxr"}, "expected the folder of MIMIC-CXR-JPG as published."),
        ({"format": "dicom"}, "has no files; expected DICOM radiographs."),
        (
            {"format": "nih", "reports": "x"},
            "format nih takes no option 'reports'; only openi, mimic-cxr, dicom, folder",
        ),
        ({"format": "nih", "limit": 0}, "limit is 0; expected a whole number from 1."),
        ({"format": "nih", "views": ["pa"]}, "views is 'pa'; expected one of AP, LATERAL, PA, unknown."),
    ],
)
def test_a_wrong_argument_gets_one_sentence(tmp_path, arguments, sentence):
    with pytest.raises(InputError) as caught:
        import_studies(tmp_path, **arguments)
    assert sentence in str(caught.value)


def test_a_missing_folder_and_a_renamed_column_are_told(tmp_path):
    with pytest.raises(InputError, match="absent does not exist; expected the folder of ChestX-ray14"):
        import_studies(tmp_path / "absent", "nih")
    (tmp_path / "Data_Entry.csv").write_text("Image Index,Finding Label,Patient ID\na.png,Mass,1\n")
    with pytest.raises(
        InputError, match=r"has no column 'Finding Labels'; .* Did you rename it to 'Finding Label'\?"
    ):
        import_studies(tmp_path, "nih")
