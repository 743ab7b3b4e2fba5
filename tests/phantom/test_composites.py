"""Simulated findings on real films: the fit finds a known map, the change lies where the finding lies."""

import numpy as np
import polars as pl
import pytest
from scipy import ndimage

from synthorax.cli import run
from synthorax.dataset import read_png, write_png
from synthorax.errors import InputError
from synthorax.phantom import VirtualPatient, sample_cohort
from synthorax.phantom.composites import Fit, composite, fit, make_composites
from synthorax.seeds import is_held_out

SIZE = 128


@pytest.fixture(scope="module")
def patient(atlas):
    return VirtualPatient(4, atlas)


@pytest.fixture(scope="module")
def healthy(patient):
    return patient.render((), "strict", SIZE)


@pytest.mark.parametrize("true", [Fit(1.0, 1.0, 0.0, 0.0, 1.0), Fit(1.08, 0.95, 0.04, -0.03, 1.0)])
def test_the_fit_finds_how_a_film_was_scaled_and_moved(healthy, true):
    moved = true.warp(healthy.image)
    found = fit(healthy.image, moved)
    assert found.correlation > 0.98
    for name in ("down", "across", "row", "column"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=0.02), name


def test_on_its_own_film_the_composite_is_the_film_with_the_finding(patient, healthy):
    sick = patient.render(["mass"], "strict", SIZE)
    rest = Fit(1.0, 1.0, 0.0, 0.0, 1.0)
    made = composite(healthy.image, healthy, sick, ["mass"], rest)
    assert np.abs(made - sick.image).max() < 0.01
    untouched = sick.image == healthy.image
    assert np.abs(made - healthy.image)[untouched].max() < 1e-3


@pytest.mark.parametrize(
    ("concepts", "sign"),
    [(["effusion"], 1), (["consolidation"], 1), (["enlarged_heart"], 1), (["absent_lung_markings"], -1)],
)
def test_the_change_lies_where_the_finding_lies(patient, healthy, concepts, sign):
    sick = patient.render(concepts, "strict", SIZE)
    where = Fit(1.05, 0.97, 0.02, 0.01, 1.0)
    real = where.warp(healthy.image)
    change = composite(real, healthy, sick, concepts, where) - real
    mask = where.warp(sick.masks[concepts[0]].astype(np.float32)) > 0.5
    assert sign * change[mask].mean() > 0.03
    far = ndimage.distance_transform_edt(~mask) > SIZE / 5
    assert np.abs(change[far]).mean() < 0.25 * np.abs(change[mask]).mean()


def test_films_of_held_out_patients_are_passed_over(tmp_path, healthy, atlas):
    names = [f"p{i}" for i in range(30)]
    for name in names:
        write_png(healthy.image, tmp_path / f"{name}.png")
    films = pl.DataFrame({"patient_id": names, "image_id": names, "view_position": "PA", "sex": "F", "age": 50.0,
                          "file_name": [str(tmp_path / f"{name}.png") for name in names]})  # fmt: skip
    cohort = sample_cohort(6, 3, tmp_path / "cohort", size=SIZE, workers=1)
    table = make_composites(cohort, films, tmp_path / "out", size=SIZE, per_film=1, workers=1)
    made = pl.read_parquet(table)
    assert made.height and made["patient_id"].n_unique() == made.height  # each real film once
    assert not any(is_held_out(patient) for patient in made["patient_id"])
    assert set(made["source"]) == {"composite"} and made["report"].null_count() == 0
    assert read_png(table.parent / made["file_name"][0]).shape == (SIZE, SIZE)
    with pytest.raises(InputError, match=r"0 real films and .* expected one of each"):
        make_composites(cohort, films.head(0), tmp_path / "none", size=SIZE, workers=1)


def test_the_command(tmp_path, healthy, atlas):
    write_png(healthy.image, tmp_path / "a.png")
    pl.DataFrame({"study_id": ["a"], "patient_id": ["a"], "image_id": ["a"], "file_name": ["a.png"],
                  "labels_present": [["No Finding"]], "labels_absent": [[]], "source": ["nih"]},
                 schema_overrides={"labels_absent": pl.List(pl.String)}).write_parquet(tmp_path / "films.parquet")  # fmt: skip
    cohort = str(sample_cohort(4, 3, tmp_path / "cohort", size=SIZE, workers=1))
    films, out = str(tmp_path / "films.parquet"), str(tmp_path / "out")
    assert (
        run(
            [
                "phantom",
                "composites",
                cohort,
                "--films",
                films,
                "--out",
                out,
                "--size",
                str(SIZE),
                "--workers",
                "1",
            ]
        )
        == 0
    )
