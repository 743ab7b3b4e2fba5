"""The Hannover repository as published."""

import pytest

from synthorax.studies import import_studies


@pytest.mark.parametrize("folder", ["images", "png"])
def test_hannover_as_published(tmp_path, folder, film, table, rows):
    table(
        tmp_path / "data.csv",
        "patient_id,image_id,sex,age,admission_offset,icu_admission_offset,icu_release_offset,death_offset,modality,"
        "projection",
        "024e7871,fff13f3a,f,,0,,,,CR,pa",
        "042f06a9,b343e657,m,,0,0.0,4.0,,CR,ap",
        "042f06a9,c9280a30,m,,0,0.0,4.0,,CT,ap",
    )
    for name in ("fff13f3a", "b343e657", "c9280a30"):
        film(tmp_path / folder / f"{name}.png")
    found = import_studies(tmp_path, "hannover")
    assert rows(found.frame, "patient_id", "image_id", "view_position", "sex", "age", "labels_present") == [
        ("024e7871", "fff13f3a", "PA", "F", None, None),
        ("042f06a9", "b343e657", "AP", "M", None, None),
    ]
    assert "modality is 'CT'; expected CR or DX." in found.rejected["reason"][0]
