"""``make model`` from nothing to a pipeline that edits, at the scale that learns nothing."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# Where the installation's stamp is missing or old, make would install anew.
IS_INSTALLED = not subprocess.run(["make", "-q", "install"], cwd=ROOT, capture_output=True).returncode


@pytest.mark.skipif(not IS_INSTALLED, reason="make install has not been run here")
def test_make_model_gives_a_pipeline_that_edits(tmp_path):
    from synthorax.diffusion import load_model
    from synthorax.editing import edit_film

    make = ["make", "model", "SCALE=tiny", f"MODEL={tmp_path}"]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True, timeout=300)
    model = load_model(tmp_path / "pipeline")
    film = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    edited = edit_film(film, "Left effusion.", model=model, num_inference_steps=2)
    assert edited.shape == film.shape and np.isfinite(edited).all()
