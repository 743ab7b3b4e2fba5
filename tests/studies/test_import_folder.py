"""A folder of films, with and without a table of one's own."""

import pytest

from synthorax.errors import InputError
from synthorax.studies import import_studies


def test_a_folder_without_a_table(tmp_path, film, rows):
    film(tmp_path / "a/1.png")
    film(tmp_path / "b/1.jpg")
    found = import_studies(tmp_path, "folder")
    assert rows(found.frame, "image_id", "study_id", "patient_id") == [("a_1",) * 3, ("b_1",) * 3]
    assert found.notes == ("no table: each film counts as a study and a patient of its own.",)


def test_a_folder_with_a_table_of_common_names(tmp_path, film, table, rows):
    for name in ("1.png", "2.png", "3.png", "unnamed.png"):
        film(tmp_path / "images" / name)
    table(
        tmp_path / "films.csv",
        "Image Path,Subject ID,Study,Gender,Patient Age,Projection,"
        "Findings,Impression,label_Mass,Pneumonia,Pateint",
        "1.png,P1,S1,female,61,pa,Clear.,Normal.,0,1,x",
        "images/2,P1,S2,Male,61.5,,,Mass.,1,-1,x",
        "3.png,P2,S3,m,,AP,,,,,x",
        "4.png,P3,S4,m,7,AP,a,b,,,x",
        ",P3,S5,m,7,AP,a,b,,,x",
    )
    found = import_studies(tmp_path, "folder")
    assert rows(
        found.frame, "image_id", "study_id", "patient_id", "sex", "age", "view_position", "report"
    ) == [
        ("1", "S1", "P1", "F", 61.0, "PA", "FINDINGS: Clear.\nIMPRESSION: Normal."),
        ("2", "S2", "P1", "M", 61.5, None, "IMPRESSION: Mass."),
        ("3", "S3", "P2", "M", None, "AP", None),
    ]
    assert rows(found.frame, "labels_present", "labels_absent", "labels_uncertain") == [
        (["Pneumonia"], ["Mass"], []),
        (["Mass"], [], ["Pneumonia"]),
        ([], [], []),
    ]
    assert found.notes == (
        "films.csv: columns not used: Pateint.",
        f"films in {tmp_path} that films.csv does not name, and that were not taken: 1.",
    )
    assert "4.png does not exist" in found.rejected["reason"][0]
    assert "row 5: no film is named; expected a file name." in found.rejected["reason"][1]


def test_a_folder_with_listed_labels_and_text_files(tmp_path, film, table, rows):
    film(tmp_path / "set/1.png")
    film(tmp_path / "set/2.png")
    table(tmp_path / "set.csv", "image_id,labels", "1,Mass | Nodule", "2,")
    table(tmp_path / "texts/1.txt", "A mass.")
    found = import_studies(tmp_path / "set", "folder", table=tmp_path / "set.csv", reports=tmp_path / "texts")
    assert rows(found.frame, "labels_present", "labels_absent", "report") == [
        (["Mass", "Nodule"], [], "A mass.")
    ]
    assert found.notes[1] == "no column names the patient: each study counts as a patient of its own."
    assert "2.txt is missing or has no text, and the film has no labels." in found.rejected["reason"][0]


def test_a_table_without_reports_or_labels_in_a_row_is_told(tmp_path, film, table):
    film(tmp_path / "1.png")
    table(tmp_path / "films.csv", "file,report", "1.png,")
    found = import_studies(tmp_path, "folder")
    assert (
        "the row's report is missing or has no text, and the film has no labels."
        in found.rejected["reason"][0]
    )


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"a.csv": "file", "b.csv": "file"},
            "has several tables (a.csv, b.csv); expected one. Name it with --table.",
        ),
        (
            {"a.csv": "fiel_name,age"},
            "has no column that names the film; found fiel_name, age; expected file_name",
        ),
        ({"a.csv": "fiel_name,age"}, "Did 'fiel_name' mean file_name? Rename the column."),
        ({"a.csv": ""}, "a.csv is empty; expected a table with a header."),
        ({}, "has no films (.png, .jpg, .jpeg, .dcm) and no table; correct the path."),
    ],
)
def test_a_folder_that_cannot_be_read_gets_one_sentence(tmp_path, files, sentence):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        import_studies(tmp_path, "folder")
    assert sentence in str(caught.value)
