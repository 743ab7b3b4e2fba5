"""From tables to figures: the real commands on drawn films."""

import json

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from synthorax.classifiers.evaluation import AT_SPECIFICITY, METRICS
from synthorax.classifiers.examples import read_examples
from synthorax.classifiers.on_studies import evaluate_on_studies
from synthorax.cli.classifiers import app, train_classifier
from synthorax.concepts import Vocabulary, write_concepts
from synthorax.errors import InputError
from synthorax.studies import write_manifest


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
    assert set(pl.read_csv(tmp_path / "figures" / "comparison.csv")["metric"]) == set(METRICS)
    assert summary["thresholds_from"] == "the model's own" and summary["n_validation_films"] > 0
    assert {row["metric"] for row in summary["metrics"]} == {*METRICS, *AT_SPECIFICITY}
    reliability = pl.read_csv(tmp_path / "figures" / "reliability.csv")
    assert reliability["n"].sum() == 5 * len(predictions) - predictions.null_count().sum_horizontal()[0]
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
    with pytest.raises(InputError, match="outputs is 'label'; expected one of concepts, groups, labels"):
        read_examples(tables / "studies.parquet", tables / "concepts.parquet", "label")
    short = pl.read_parquet(tables / "concepts.parquet").head(100)
    write_concepts(short, tmp_path / "concepts.parquet", Vocabulary.load())
    with pytest.raises(InputError, match=r"20 of 120 films of .* have no row in .*, e\.g\. study_id 'i100'"):
        read_examples(tables / "studies.parquet", tmp_path / "concepts.parquet")
    with pytest.raises(InputError, match=r"no\.yaml does not exist"):
        train_classifier(tmp_path / "no.yaml", tables, tables, tmp_path)
