"""From tables to figures: the real commands on drawn films."""

import json

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from synthorax.classifiers.examples import read_examples
from synthorax.classifiers.on_studies import evaluate_on_studies
from synthorax.cli.classifiers import app, train_classifier
from synthorax.concepts import ConceptVector, Vocabulary, concept_columns, write_concepts
from synthorax.dataset import write_png
from synthorax.errors import InputError
from synthorax.studies import MANIFEST, write_manifest


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """60 patients with two films each: dense below = effusion, bright spot = nodule, one vector unknown."""
    folder, draw = tmp_path_factory.mktemp("studies"), np.random.default_rng(0)
    rows, vectors = [], []
    for index in range(120):
        present = {name for name in ("effusion", "nodule") if draw.random() < 0.5}
        film = 0.3 + 0.05 * draw.normal(size=(32, 32))
        film[24:] += 0.3 * ("effusion" in present)
        film[6:12, 6:12] += 0.4 * ("nodule" in present)
        write_png(film, folder / f"{index}.png")
        name = f"i{index}"
        rows.append({"study_id": name, "image_id": name, "patient_id": f"p{index // 2}", "source": "drawn"})
        rows[-1]["file_name"] = str(folder / f"{index}.png")
        vectors.append(ConceptVector(frozenset(present), frozenset({"mass"} if index == 0 else ())))
    vocabulary = Vocabulary.load()
    frame = pl.DataFrame([{name: row.get(name) for name in MANIFEST} for row in rows], schema=MANIFEST)
    write_manifest(frame, folder / "studies.parquet")
    table = pl.concat(
        [frame.select("study_id", "patient_id"), concept_columns(vectors, vocabulary)], how="horizontal"
    )
    write_concepts(table, folder / "concepts.parquet", vocabulary)
    return folder


def options(tables, out):
    return [
        "--studies",
        f"{tables}/studies.parquet",
        "--concepts",
        f"{tables}/concepts.parquet",
        "--out",
        str(out),
    ]


def test_examples_know_unknown_from_absent_and_keep_patients_together(tables):
    found = read_examples(tables / "studies.parquet", tables / "concepts.parquet", "concepts")
    assert found.targets.shape == (120, 16) and np.isnan(found.targets).sum() == 1
    assert np.isnan(found.targets[0, found.labels.index("mass")])
    parts = [set(found.split(name).patient_ids) for name in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 60 == len(set.union(*parts)) and min(map(len, parts)) >= 5
    labels = read_examples(tables / "studies.parquet", tables / "concepts.parquet").labels
    assert len(labels) == 5 and "No Relevant Finding" not in labels


def test_train_and_evaluate_commands(tables, tmp_path):
    train = typer.Typer()
    train.command()(train_classifier)
    config = tmp_path / "classifier.yaml"
    config.write_text("image_size_px: 32\nepochs: 4\nbatch_size: 16\n")
    for seed in ("0", "1"):
        arguments = [str(config), *options(tables, tmp_path / seed), "--seed", seed]
        result = CliRunner().invoke(train, arguments, catch_exceptions=False)
        assert result.exit_code == 0 and "5 outputs, validation macro AUROC" in result.output
    arguments = ["classifier", str(tmp_path / "0"), *options(tables, tmp_path / "figures")]
    result = CliRunner().invoke(app, [*arguments, "--against", str(tmp_path / "1")], catch_exceptions=False)
    assert result.exit_code == 0 and "auroc" in result.output
    summary = json.loads((tmp_path / "figures" / "metrics.json").read_text())
    assert summary["n_films"] + summary["n_films_of_seen_patients_left_out"] == 120
    predictions = pl.read_parquet(tmp_path / "figures" / "predictions.parquet")
    seen = pl.read_parquet(tmp_path / "0" / "examples.parquet").filter(pl.col("split") != "test")
    assert not set(predictions["patient_id"]) & set(seen["patient_id"])
    assert set(pl.read_csv(tmp_path / "figures" / "comparison.csv")["metric"]) == {
        *("auroc", "auprc", "f1", "entropy", "ece", "brier")
    }
    arguments = [str(config), *options(tables, tmp_path / "tuned"), "--start", str(tmp_path / "0")]
    assert CliRunner().invoke(train, arguments, catch_exceptions=False).exit_code == 0
    tuned = json.loads((tmp_path / "tuned" / "classifier.json").read_text())["training"]
    assert (
        tuned["before"]["n_films"] == tuned["n_films"]
        and tuned["loss_per_epoch"][0] < tuned["before"]["loss_per_epoch"][0]
    )
    assert pl.read_parquet(tmp_path / "tuned" / "examples.parquet").height == 2 * 120, (
        "its start's patients are seen too"
    )
    films = pl.read_parquet(tables / "studies.parquet")
    write_manifest(films.join(seen, on="patient_id", how="semi"), tmp_path / "seen.parquet")
    with pytest.raises(InputError, match="are of patients that the classifier was trained on or tuned with"):
        evaluate_on_studies(tmp_path / "0", tmp_path / "seen.parquet", tables / "concepts.parquet", tmp_path)


def test_messages(tables, tmp_path):
    with pytest.raises(InputError, match="outputs is 'label'; expected one of concepts, labels"):
        read_examples(tables / "studies.parquet", tables / "concepts.parquet", "label")
    short = pl.read_parquet(tables / "concepts.parquet").head(100)
    write_concepts(short, tmp_path / "concepts.parquet", Vocabulary.load())
    with pytest.raises(InputError, match=r"20 of 120 films of .* have no row in .*, e\.g\. study_id 'i100'"):
        read_examples(tables / "studies.parquet", tmp_path / "concepts.parquet")
    with pytest.raises(InputError, match=r"no\.yaml does not exist"):
        train_classifier(tmp_path / "no.yaml", tables, tables, tmp_path)
