"""Films whose truth a rule reads off: a bright centre is the finding, a bright corner the shortcut."""

import numpy as np
import polars as pl
import pytest

from synthorax.dataset import write_png
from synthorax.seeds import generator

SIZE, N = 64, 24
CENTRE, CORNER = np.s_[24:40, 24:40], np.s_[:12, :12]


def film(finding: bool, shortcut: bool, patient: int = 0) -> np.ndarray:
    pixels = generator("stress film", patient).uniform(0.3, 0.4, (SIZE, SIZE)).astype(np.float32)
    pixels[CENTRE] += 0.5 * finding
    pixels[CORNER] += 0.5 * shortcut
    return pixels


def reads_finding(films):
    """The robust model."""
    return films[:, *CENTRE].mean((1, 2))


def reads_shortcut(films):
    """The biased one."""
    return films[:, *CORNER].mean((1, 2))


@pytest.fixture(scope="session")
def editor(tiny):
    from synthorax.diffusion import load_model

    return load_model(tiny.pipeline, dtype="float32")


@pytest.fixture
def table_path(tmp_path):
    """``N`` patients, each with a film that has finding and shortcut and one that has neither; masks for the first."""
    edit_mask, keep_mask = np.zeros((2, SIZE, SIZE), dtype=bool)
    edit_mask[CENTRE], keep_mask[CORNER] = True, True
    write_png(edit_mask, tmp_path / "edit.png")
    write_png(keep_mask, tmp_path / "keep.png")
    rows = []
    for patient in range(N):
        for target in (1, 0):
            name = f"p{patient}_{target}.png"
            write_png(film(target, target, patient), tmp_path / name)
            masks = {"edit_mask_file_name": "edit.png", "keep_mask_file_name": "keep.png"} if target else {}
            rows.append({"file_name": name, "patient_id": f"p{patient}", "target": target, **masks})
    path = tmp_path / "films.csv"
    pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    return path
