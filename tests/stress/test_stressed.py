"""The stressed set by a tiny real model, and the commands."""

import json
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from synthorax.cli import run
from synthorax.dataset import read_metadata, read_png
from synthorax.errors import ModelError, RunError
from synthorax.stress import SHIFTS, Shift, make_stressed, read_films

#: Enough guidance that a model of six steps' training moves a grey level.
WALK = {"num_inference_steps": 3, "skip": 0.0, "guidance_scale": 20.0}
MODULE = """
def finding(films): return films[:, 24:40, 24:40].mean((1, 2)).clip(0, 1)
def shortcut(films): return films[:, :12, :12].mean((1, 2)).clip(0, 1)
def nan(films): return films[:, 0, 0] * float("nan")
def score(sources, edits, before, after):
    assert before == ["Pneumothorax"] * len(sources), before
    return abs(edits - sources).mean((1, 2)) * 0 + [0.1 + 0.2 * (i % 2) for i in range(len(sources))]
"""


def test_edits_keep_what_a_model_may_have_learned_and_shams_ask_for_what_is_there(
    table_path, tmp_path, editor
):
    table = read_films(table_path)
    found = make_stressed(table, SHIFTS["manifestation"], editor, tmp_path / "s", limit=3, batch_size=2, **WALK)  # fmt: skip
    assert found.height == 9 and found["perturbation_type"].to_list()[:3] == ["manifestation", "sham", "blur"]
    assert found["prompt"].to_list()[:3] == [
        "Chest film. No acute cardiopulmonary process.",
        "Chest film. Pneumothorax",
        None,
    ]
    assert read_metadata(tmp_path / "s").equals(found)
    for name in ("p0_1", "p1_1", "p2_1"):
        source = read_png(table_path.parent / f"{name}.png")
        keep = read_png(tmp_path / f"s/masks/{name}__keep.png") > 0
        inside = read_png(tmp_path / f"s/masks/{name}__edit.png") > 0
        for arm in ("edited", "sham"):
            made = read_png(tmp_path / f"s/{arm}/{name}.png")
            assert np.array_equal(made[keep], source[keep]) and not np.array_equal(made, source)
        edited, blurred = (read_png(tmp_path / f"s/{arm}/{name}.png") for arm in ("edited", "blur"))
        assert np.array_equal(blurred[~inside], source[~inside])
        changes = [np.abs(made - source)[inside].mean() for made in (edited, blurred)]
        assert changes[1] <= changes[0] * 1.1


def test_a_stopped_set_goes_on_to_the_same_bytes_and_another_is_refused(table_path, tmp_path, editor):
    table, out = read_films(table_path), tmp_path / "s"
    shift = SHIFTS["acquisition"]
    make_stressed(table, shift, editor, out, limit=4, batch_size=2, **WALK)
    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    for name in ("edited/p1_1", "blur/p1_1", "blur/p2_1"):
        (out / f"{name}.png").unlink()
    make_stressed(table, shift, editor, out, limit=4, batch_size=2, **WALK)
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before
    with pytest.raises(RunError, match=r"was made with another shift\. Give the same settings and films"):
        make_stressed(table, replace(shift, prompt="Left mass."), editor, out, limit=4, batch_size=2, **WALK)
    with pytest.raises(RunError, match="was made with another films"):
        make_stressed(table, shift, editor, out, limit=3, batch_size=2, **WALK)


def test_methods_without_masks_edit_the_whole_film(table_path, tmp_path, editor):
    """LANCE inverts with the caption; films without a mask are edited as a whole where the shift says so."""
    table = read_films(table_path).with_columns(caption=pl.lit("Left mass."))
    shift = Shift("add", "Left mass.", target_after=1, needs_mask=False)
    found = make_stressed(table, shift, editor, tmp_path, limit=2, method="lance", **WALK)
    assert found["edit_mask_file_name"].null_count() == 6
    assert set(found["inversion_prompt"]) == {found["inversion_prompt"][0]} != {""}


def test_a_score_that_is_not_one_number_an_edit_is_refused(table_path, tmp_path, editor):
    settings = {"limit": 2, **WALK}
    table = read_films(table_path)
    with pytest.raises(ModelError, match=r"the score returns shape \(1,\) with 0 NaN for 2 edits"):
        make_stressed(table, SHIFTS["manifestation"], editor, tmp_path, score=lambda *given: [1.0], **settings)  # fmt: skip


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "journey_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield "journey_models"
    sys.modules.pop("journey_models", None)


def test_the_command_writes_figures_and_one_page(table_path, tmp_path, tiny, module, capsys):
    words = ["stress", "manifestation", f"{module}:shortcut", "--films", str(table_path), "--out", str(tmp_path / "s")]  # fmt: skip
    words += ["--model", str(tiny.pipeline), "--robust", f"{module}:finding", "--score", f"{module}:score", "--limit", "22"]  # fmt: skip
    words += ["--num-inference-steps", "2", "--skip", "0", "--guidance-scale", "2"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("No verdict: patients") and "FAILS   patients: 11 patients were edited" in out
    results = json.loads((tmp_path / "s/results.json").read_text())
    assert results["tested"]["accuracy"]["real"]["estimate"] == 1.0 and results["n_rejected"] == 11
    assert results["tested"]["accuracy"]["edited"]["estimate"] == 0.0, "the keep mask kept the shortcut"
    page = (tmp_path / "s/verdict.html").read_text()
    assert results["verdict"] in page and page.count("data:image/jpeg") == 30 and "Simulated" not in page


def test_a_custom_shift_and_corruptions(table_path, tmp_path, tiny, module, capsys):
    words = ["stress", "custom", f"{module}:shortcut", "--films", str(table_path), "--out", str(tmp_path / "s"), "--model", str(tiny.pipeline)]  # fmt: skip
    words += ["--prompt", "Left mass.", "--target-after", "1", "--whole", "--name", "mass", "--limit", "2", "--simulated", "--num-inference-steps", "2", "--skip", "0", "--fresh-noise", "0.8"]  # fmt: skip
    assert run([*words, "--score", "shipped", "--least-score", "-1"]) == 0
    rows = read_metadata(tmp_path / "s")
    assert {*rows.filter(perturbation_type="mass")["method"]} == {"radedit, fresh noise 0.8"}
    scores = rows.filter(perturbation_type="mass")["score_edit"]
    assert scores.null_count() == 0 and scores.abs().max() <= 1
    real = [word for word in words if word != "--simulated"]
    assert run([*real, "--score", "shipped"]) == 2
    assert "--score shipped knows virtual patients alone" in capsys.readouterr().err
    assert json.loads((tmp_path / "s/results.json").read_text())["shift"] == "mass"
    assert "one anatomy" in (tmp_path / "s/verdict.html").read_text()
    words = ["stress", "corruptions", f"{module}:finding", "--films", str(table_path), "--out", str(tmp_path / "c"), "--kinds", "jpeg,overexposure"]  # fmt: skip
    assert run(words) == 0
    assert "of 10 corruptions" in capsys.readouterr().out
    assert (tmp_path / "c/corruptions.html").read_text().count("data:image/jpeg") == 10


def test_a_model_that_returns_nan_ends_the_command_with_one_line(table_path, tmp_path, module, capsys):
    words = ["stress", "corruptions", f"{module}:nan", "--films", str(table_path), "--out", str(tmp_path)]
    assert run(words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: {module}:nan returns nan for ") and error.endswith("from 0 to 1.")
