"""``synthorax studies import``: what it prints and writes; and, where they are at hand, real films."""

import os
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from synthorax.cli.studies import app
from synthorax.errors import InputError
from synthorax.studies import import_studies, prepare, read_film, read_manifest, split_by_patient


def invoke(*arguments):
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


@pytest.fixture
def films(tmp_path, film, table) -> Path:
    film(tmp_path / "set/1.png")
    film(tmp_path / "set/2.png")
    table(tmp_path / "set/films.csv", "file,patient,study,view,report,age",
          "1.png,P1,S1,PA,Clear.,61", "2.png,P2,S2,LAT,Clear.,7", "3.png,P3,S3,AP,Clear.,8")  # fmt: skip
    return tmp_path / "set"


def test_the_command_writes_the_manifest_and_what_it_rejected(films, tmp_path):
    out = tmp_path / "out/studies.parquet"
    result = invoke(films, "--format", "folder", "--out", out)
    assert result.exit_code == 0, result.output
    assert f"1 films of 1 patients in 1 studies: {out}" in result.output
    assert "1 with a report, 0 with the set's labels" in result.output
    assert f"2 rejected: {tmp_path / 'out/studies.rejected.csv'}" in result.output
    assert "films.csv row 2: view is LATERAL" in result.output
    assert read_manifest(out)["image_id"].to_list() == ["1"]
    assert pl.read_csv(out.with_name("studies.rejected.csv"))["row"].to_list() == [2, 3]


def test_views_limit_and_strict(films, tmp_path):
    out = tmp_path / "studies.parquet"
    result = invoke(films, "--format", "folder", "--out", out, "--views", "PA, LATERAL", "--strict")
    assert result.exit_code == 1 and read_manifest(out).height == 2
    assert invoke(films, "--format", "folder", "--out", out, "--limit", 1).exit_code == 0
    assert read_manifest(out).height == 1


def test_nothing_taken_is_an_error_that_gives_the_first_reason(films, tmp_path):
    result = invoke(films, "--format", "folder", "--out", tmp_path / "s.parquet", "--views", "AP")
    assert isinstance(result.exception, InputError)
    assert "no film of" in str(
        result.exception
    ) and "(3 rejected); the first: films.csv row 1: view is PA" in str(result.exception)


@pytest.mark.skipif("SYNTHORAX_NIH" not in os.environ, reason="needs SYNTHORAX_NIH: a folder of ChestX-ray14")
def test_real_nih_films(tmp_path):
    found = import_studies(os.environ["SYNTHORAX_NIH"], "nih")
    assert found.frame.height > 0 and found.rejected.is_empty()
    states = found.frame.select(pl.col("labels_present", "labels_absent").list.len())
    is_normal = found.frame["labels_present"].list.contains("No Finding")
    assert (states["labels_present"] + states["labels_absent"] - is_normal == 14).all()
    split = split_by_patient(found.frame)
    assert (split.group_by("patient_id").agg(pl.col("split").n_unique())["split"] == 1).all()
    for path in found.frame["file_name"].head(20):
        pixels = prepare(read_film(path), 256)
        assert pixels.shape == (256, 256) and (pixels.min(), pixels.max()) == (0, 1)


@pytest.mark.skipif("SYNTHORAX_HANNOVER" not in os.environ, reason="needs SYNTHORAX_HANNOVER: its folder")
def test_real_hannover_films():
    found = import_studies(os.environ["SYNTHORAX_HANNOVER"], "hannover")
    assert found.frame.height > 0 and found.rejected.is_empty()
    assert set(found.frame["view_position"]) <= {"PA", "AP", None}
    assert read_film(found.frame["file_name"][0]).pixels.std() > 0
