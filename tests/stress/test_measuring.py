"""Figures and verdicts on sets whose answers are known."""

import json

import numpy as np
import polars as pl
import pytest

from synthorax.classifiers import TestedModel
from synthorax.dataset import metadata_frame, write_png
from synthorax.errors import InputError
from synthorax.stress import measure, read_films

from .conftest import N, film, reads_finding, reads_shortcut

BIASED, ROBUST = TestedModel("biased", reads_shortcut), TestedModel("robust", reads_finding)


def stressed(folder, *, edited=(False, True), sham=(True, True), blur=(True, True), patients=range(N)):
    """A set in which each arm shows (finding, shortcut)."""
    rows = []
    for name, shows in {"edited": edited, "sham": sham, "blur": blur}.items():
        for patient in patients:
            file_name = f"{name}/p{patient}_1.png"
            write_png(film(*shows, patient), folder / file_name)
            rows.append({
                "file_name": file_name, "image_id": f"p{patient}_1__{name}", "patient_id": f"p{patient}", "source_image_id": f"p{patient}_1",
                "perturbation_type": "manifestation" if name == "edited" else name, "is_valid": True, "is_simulated": False,
            })  # fmt: skip
    return metadata_frame(rows)


def test_a_biased_model_falls_by_all_that_it_took_from_the_shortcut(table_path, tmp_path):
    test = measure(BIASED, read_films(table_path), stressed(tmp_path / "s"), tmp_path / "s", robust=ROBUST)
    accuracy = {name: figure.estimate for name, figure in test.tested.accuracy.items()}
    assert accuracy == {"real": 1.0, "source": 1.0, "edited": 0.0, "sham": 1.0, "blur": 0.0}
    assert (test.tested.fall.estimate, test.robust.fall.estimate) == (-1.0, 0.0)
    assert test.is_believed and test.verdict == (
        "The model is not robust to this shift: accuracy 100.0 % on real films, 0.0 % on stressed ones: "
        "-100.0 points (-100.0 to -100.0)."
    )
    assert (test.n_edited, test.n_patients, test.shift) == (N, N, "manifestation")
    saved = json.loads(test.save(tmp_path).read_text())
    assert saved["tested"]["accuracy"]["real"]["n_patients"] == N and saved["verdict"] == test.verdict


def test_a_robust_model_is_not_said_to_fall(table_path, tmp_path):
    test = measure(ROBUST, read_films(table_path), stressed(tmp_path / "s"), tmp_path / "s", robust=ROBUST)
    assert test.is_believed and test.verdict.startswith("No fall was shown: accuracy 100.0 %")


@pytest.mark.parametrize(
    ("given", "robust", "failed"),
    [
        ({}, None, "robust, blur"),
        ({"sham": (True, False)}, ROBUST, "sham"),
        ({"edited": (True, True)}, ROBUST, "robust, blur"),
        ({"blur": (False, True)}, ROBUST, "blur"),
        ({"patients": range(19)}, ROBUST, "patients"),
    ],
    ids=["no robust model", "sham moves the model", "edits leave the finding", "blur does as much", "few patients"],
)  # fmt: skip
def test_no_verdict_where_a_control_fails(table_path, tmp_path, given, robust, failed):
    test = measure(BIASED, read_films(table_path), stressed(tmp_path, **given), tmp_path, robust=robust)
    assert not test.is_believed and test.verdict == f"No verdict: {failed} did not pass."


def test_an_interval_is_by_patient_and_the_fall_pairs_what_it_can(table_path, tmp_path):
    """Half of the edits hold: 50 % +- two standard errors of a share of 24 patients."""
    frame = stressed(tmp_path)
    for patient in range(0, N, 2):
        write_png(film(False, False, patient), tmp_path / f"edited/p{patient}_1.png")
    edited = measure(BIASED, read_films(table_path), frame, tmp_path).tested.accuracy["edited"]
    assert edited.estimate == 0.5
    assert (edited.ci_high - edited.ci_low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(N), rel=0.15)


def test_roles_and_rejected_edits_are_left_out_and_counted(table_path, tmp_path):
    frame = stressed(tmp_path).with_columns(
        is_valid=~pl.col("patient_id").is_in(["p0", "p1"]).fill_null(False)
    )
    table = read_films(table_path).with_columns(
        role=pl.when(pl.col("target") == 1).then(pl.lit("source")).otherwise(pl.lit("test"))
    )
    test = measure(BIASED, table, frame, tmp_path)
    assert (test.n_edited, test.n_rejected) == (N - 2, 2)
    assert test.tested.accuracy["real"].n_images == N and test.tested.accuracy["source"].n_images == N - 2


def test_nothing_to_measure_is_refused(table_path, tmp_path):
    frame, table = stressed(tmp_path), read_films(table_path)
    with pytest.raises(InputError, match="no film has the role test or both"):
        measure(BIASED, table.with_columns(role=pl.lit("source")), frame, tmp_path)
    with pytest.raises(InputError, match="all 72 edits were left out by their score"):
        measure(BIASED, table, frame.with_columns(is_valid=pl.lit(False)), tmp_path)
