"""F1 weighted over labels by group, its agreement between two sets, and ``synthorax bias measure`` on films and twins."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score

from synthorax.classifiers.group_f1 import agreement, group_f1, weighted_f1
from synthorax.cli import run
from synthorax.concepts import Vocabulary, annotate_studies, write_concepts
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.errors import InputError
from synthorax.seeds import generator
from synthorax.studies import read_manifest, write_manifest


@pytest.fixture
def figures():
    rng = generator("group f1")
    y = (rng.random((120, 3)) < [0.5, 0.3, 0.1]).astype(float)
    return y, np.clip(0.4 * y + rng.random((120, 3)) * 0.6, 0, 1)


def test_it_is_scikit_learns(figures):
    y, p = figures
    assert weighted_f1(y, p, [0.5, 0.4, 0.6]) == pytest.approx(
        f1_score(y, p >= [0.5, 0.4, 0.6], average="weighted")
    )
    twice = np.r_[np.full(60, 2.0), np.ones(60)]
    repeated = np.r_[y[:60], y], np.r_[p[:60], p]
    assert weighted_f1(y, p, [0.5] * 3, twice) == pytest.approx(
        f1_score(repeated[0], repeated[1] >= 0.5, average="weighted")
    )


def test_unknown_labels_and_groups_count_nowhere(figures):
    y, p = figures
    hidden = y.copy()
    hidden[:40, 2] = np.nan
    alone = np.array([f1_score(y[40:, 2], p[40:, 2] >= 0.5), *(f1_score(y[:, k], p[:, k] >= 0.5) for k in (0, 1))])  # fmt: skip
    support = np.array([y[40:, 2].sum(), y[:, 0].sum(), y[:, 1].sum()])
    assert weighted_f1(hidden, p, [0.5] * 3) == pytest.approx(alone @ support / support.sum())
    groups = ["F"] * 50 + ["M"] * 50 + ["unknown"] * 15 + ["X"] * 5
    found = group_f1(y, p, [0.5] * 3, [*map(str, range(120))], groups, n_resamples=20)
    assert found.names == ("F", "M")
    with pytest.raises(InputError, match="0 groups have 60 patients and a finding"):
        group_f1(y, p, [0.5] * 3, [*map(str, range(120))], groups, least_patients=60)


def test_agreement_is_one_with_itself_and_not_with_the_groups_turned_round(figures):
    y, p = figures
    groups, who = np.repeat(["a", "b", "c", "d"], 30), [*map(str, range(120))]
    for i, name in enumerate("abcd"):  # ever fewer findings are seen
        p[groups == name] *= 1 - 0.2 * i
    one = group_f1(y, p, [0.5] * 3, who, groups, n_resamples=50)
    assert one.figures.estimate[0] - one.figures.estimate[3] == pytest.approx(one.gap.estimate)
    same = agreement(one, one)
    assert same is not None and (same.r, same.ci_low, same.n_groups) == (pytest.approx(1), pytest.approx(1), 4)  # fmt: skip
    other_way = [{"a": "d", "b": "c", "c": "b", "d": "a"}[name] for name in groups]
    turned = agreement(one, group_f1(y, p, [0.5] * 3, who, other_way, n_resamples=50))
    assert turned is not None and turned.r < -0.5
    two = group_f1(y, p, [0.5] * 3, who, np.repeat(["a", "b"], 60), n_resamples=20)
    assert agreement(two, two) is None


def test_measure_on_films_and_twins(tmp_path, monkeypatch, capsys):
    """A model that calls a mass by brightness; men's twins are dark, so on twins it serves men worse."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reader_of_masses.py").write_text(
        "import numpy as np\ndef mass(films):\n    return np.asarray(films).mean((1, 2))[:, None]\nmass.labels = ('Suspicious Malignancy',)\n"
    )
    rows, twins = [], []
    for i in range(40):
        is_mass, sex = i % 2 == 0, "FM"[i // 20]
        bright = 0.8 if is_mass else 0.2
        write_png(np.full((16, 16), bright, np.float32), tmp_path / f"{i}.png")
        dark = is_mass and sex == "M" and i % 4 == 0
        write_png(np.full((16, 16), 0.2 if dark else bright, np.float32), tmp_path / f"run/synthetic/{i}.png")
        report = "IMPRESSION: Mass." if is_mass else "IMPRESSION: No acute cardiopulmonary process."
        rows.append({"study_id": f"s{i}", "patient_id": f"p{i}", "image_id": f"i{i}", "file_name": str(tmp_path / f"{i}.png"),
                     "report": report, "sex": sex, "age": 50.0, "split": "test", "source": "folder"})  # fmt: skip
        twins.append({"file_name": f"{i}.png", "source_image_id": f"i{i}", "is_valid": None if i else False})
    films = read_manifest(write_manifest(pl.DataFrame(rows), tmp_path / "studies.parquet"))
    words = Vocabulary.load()
    write_concepts(annotate_studies(films, words), tmp_path / "concepts.parquet", words)
    write_metadata(metadata_frame(twins), tmp_path / "run/synthetic")
    said = ["--studies", "studies.parquet", "--concepts", "concepts.parquet"]
    more = ["--twins", "run", "--out", "found", "--by", "sex", "--resamples", "20", "--least-patients", "15"]
    assert run(["bias", "measure", "reader_of_masses:mass", *said, *more]) == 0
    found = json.loads((tmp_path / "found/bias.json").read_text())
    assert (found["n_cases"], found["n_without_twin"]) == (39, 1)
    (axis,) = found["axes"]
    assert axis["films"]["gap"]["estimate"] == 0 and axis["twins"]["worst_group"] == "M"
    assert axis["twins"]["worst"]["estimate"] == pytest.approx(2 * 5 / (2 * 5 + 5))
    assert axis["agreement"] is None, "two groups say nothing"
    write_metadata(metadata_frame([{**twins[1], "source_image_id": "another"}]), tmp_path / "run/synthetic")
    assert run(["bias", "measure", "reader_of_masses:mass", *said, *more]) == 2
    assert "has no twin of a film" in " ".join(capsys.readouterr().err.split())
