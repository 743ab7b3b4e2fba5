"""Cardiothoracic ratio and lung area before and after: on drawn shapes, on virtual patients, by command."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from synthorax.classifiers.loading import load_films
from synthorax.cli import run
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.downstream.anatomy import LIMITS, Segmenters, anatomy, changes
from synthorax.phantom import counterfactual_pairs
from synthorax.phantom.patient import cohort_patient_ids
from synthorax.quality.segmentation import dice

SIDE = 40


def found(mask):
    """A segmenter that finds the pixels of one grey value."""
    return SimpleNamespace(size=SIDE, squares=lambda pixels: (pixels == mask).astype(np.float32))


def test_the_figures_of_drawn_shapes():
    films = np.zeros((3, SIDE, SIDE), np.uint8)
    films[0, 5:25, 4:14] = films[0, 5:25, 24:34] = 100  # lungs from column 4 to 33
    films[0, 20:25, 15:23] = 200  # a heart 8 wide
    films[0, 39, 39] = films[0, 0, 0] = 100  # specks do not widen the chest
    films[1] = np.where(films[0] == 200, 100, films[0])  # no heart
    both = anatomy(films, Segmenters(found(100), found(200)))
    assert both["cardiothoracic_ratio"][0] == pytest.approx(8 / 30)
    assert both["lung_area"] == pytest.approx([400 / SIDE**2, 440 / SIDE**2, np.nan], nan_ok=True)
    assert np.isnan(both["cardiothoracic_ratio"][1:]).all()
    change = changes(*({name: values[i : i + 1] for name, values in both.items()} for i in (0, 1)))
    assert change["lung_area"] == pytest.approx([0.1]) and np.isnan(change["cardiothoracic_ratio"][0])


@pytest.fixture(scope="module")
def patients():
    """Eight virtual patients: an effusion comes; in the first four the heart grows too."""
    ids = cohort_patient_ids(424242, 8, "public", ["built-in"])
    asked = [
        (f"{name}_0", ["mass"], ["mass", "effusion", *["enlarged_heart"] * (i < 4)])
        for i, name in enumerate(ids)
    ]
    return list(counterfactual_pairs(asked, 192))


def test_the_shipped_segmenters_on_virtual_patients(patients):
    segmenters = Segmenters.load()
    before, after = (np.stack([pair[k].image for pair in patients]).astype(np.float32) for k in (0, 1))
    for each, truth in ((segmenters.lungs, "lung_mask"), (segmenters.heart, "heart_mask")):
        overlap = [
            dice(getattr(a, truth), m >= 0.5) for (a, _), m in zip(patients, each(before), strict=True)
        ]
        assert np.mean(overlap) > 0.9
    ratios = np.array([[film.cardiothoracic_ratio for film in pair] for pair in patients])
    measured = [anatomy(films, segmenters) for films in (before, after)]
    assert np.abs(measured[0]["cardiothoracic_ratio"] - ratios[:, 0]).mean() < 0.03
    change = changes(*measured)
    assert (change["cardiothoracic_ratio"][:4] > 2 * LIMITS["cardiothoracic_ratio"]).all()
    assert change["cardiothoracic_ratio"][:4].mean() == pytest.approx(np.diff(ratios)[:4].mean(), abs=0.05)
    assert (np.abs(change["cardiothoracic_ratio"][4:]) < 2 * LIMITS["cardiothoracic_ratio"]).all()


def test_the_command(patients, tmp_path, capsys):
    rows = []
    for i, (before, after) in enumerate(patients[2:6]):
        write_png(before.image.astype(np.float32), tmp_path / f"sources/{i}.png")
        write_png(after.image.astype(np.float32), tmp_path / f"images/{i}.png")
        rows.append({
            "file_name": f"images/{i}.png", "image_id": f"e{i}", "patient_id": f"p{i}", "source_image_id": f"i{i}", "source_file_name": f"sources/{i}.png",
            "concepts_before": ["mass"], "concepts_after": ["mass", "effusion", *["enlarged_heart"] * (i < 2)], "perturbation_type": "insertion",
            "is_synthetic": True, "is_simulated": True,
        })  # fmt: skip
    write_metadata(metadata_frame(rows), tmp_path)
    assert run(["evaluate", "anatomy", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "cardiothoracic_ratio, heart asked: change +" in said and "lung_area, heart kept" in said
    films = pl.read_csv(tmp_path / "out/films.csv")
    assert films["heart"].to_list() == ["asked", "asked", "kept", "kept"]
    paths = [str(tmp_path / f"images/{i}.png") for i in range(4)]
    measured = anatomy(load_films(paths, 192), Segmenters.load())["lung_area"]
    assert films["lung_area_after"].to_numpy() == pytest.approx(measured, rel=0.02)
    told = json.loads((tmp_path / "out/anatomy.json").read_text())["figures"]
    assert {row["n"] for row in told} == {2}
    write_metadata(metadata_frame([row | {"is_simulated": False} for row in rows]), tmp_path)
    assert run(["evaluate", "anatomy", str(tmp_path), "--out", str(tmp_path / "real")]) == 2
    assert "they know virtual patients alone. Give --lungs and --heart" in capsys.readouterr().err
    write_metadata(metadata_frame([row | {"source_file_name": None} for row in rows]), tmp_path)
    assert run(["evaluate", "anatomy", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "has no edit" in capsys.readouterr().err
    assert run(["evaluate", "anatomy", str(tmp_path), "--out", "x", "--heart", str(tmp_path / "none")]) == 2
    assert "holds no segmenter" in capsys.readouterr().err
