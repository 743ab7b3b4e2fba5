"""A user's own model in the evaluation: which films it is measured on, by which thresholds, and what is refused."""

import json
import sys

import numpy as np
import polars as pl
import pytest

from synthorax.classifiers import Classifier, metrics
from synthorax.classifiers.backbones import build_network
from synthorax.classifiers.classifier import ClassifierRecord
from synthorax.classifiers.held_out import held_out
from synthorax.cli import run
from synthorax.errors import InputError
from synthorax.studies import write_manifest

MODULE = """
import numpy as np
class Named:
    labels = ["pleural_effusion", "Hernia", "Suspicious Malignancy"]
    def __call__(self, films):
        below, spot = films[:, 24:].mean((1, 2)), films[:, 6:12, 6:12].mean((1, 2))
        return np.clip(np.stack([below, 0 * below, spot], 1), 0, 1)
named = Named()
def two(films): return named(films)[:, ::2]
def sharp(films): return 1 / (1 + np.exp(-60 * (two(films) - 0.45)))
def nan(films): return two(films) * np.nan
def broken(films): raise ValueError("no such layer")
"""
TWO = "Pleural Effusion,Suspicious Malignancy"


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_own_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield "my_own_models"
    sys.modules.pop("my_own_models", None)


def split_manifest(tables, tmp_path):
    """The films with a split of their own: of ten patients six train, one validation, three test."""
    films = pl.read_parquet(tables / "studies.parquet").with_row_index("row")
    place = pl.col("row") // 2 % 10
    split = pl.when(place < 6).then(pl.lit("train")).when(place < 7).then(pl.lit("validation"))
    write_manifest(films.with_columns(split=split.otherwise(pl.lit("test"))).drop("row"), tmp_path / "split.parquet")  # fmt: skip
    return tmp_path / "split.parquet"


def test_outputs_are_matched_by_name_and_the_rest_is_told(module, tables):
    found = held_out([f"{module}:named"], tables / "studies.parquet", tables / "concepts.parquet")
    assert found.examples.labels == ("Pleural Effusion", "Suspicious Malignancy")
    assert found.outputs_left_out == ("Hernia",)
    reading = found.readings[0]
    assert metrics.per_label(metrics.auroc, found.examples.targets, reading.probabilities).min() > 0.99
    assert "validation films" in reading.thresholds_from
    assert found.n_left_out == len(reading.tuned[0]), "without splits of its own, a tenth is for thresholds"


def test_the_manifests_split_says_whom_an_own_model_has_seen(module, tables, tmp_path):
    studies = split_manifest(tables, tmp_path)
    found = held_out([f"{module}:two"], studies, tables / "concepts.parquet", names=TWO.split(","))
    assert set(found.examples.splits) == {"test"} and len(found.examples) == 36
    assert len(found.readings[0].tuned[0]) == 12


def test_evaluate_compares_an_own_model_with_a_classifier_and_fits_a_temperature(module, tables, tmp_path):
    record = ClassifierRecord("small", 32, (0.5,), (0.2,), tuple(TWO.split(",")), 0, thresholds=(0.5, 0.5))
    Classifier(build_network("small", 2, seed=0), record).save(tmp_path / "other")
    common = ["--studies", str(split_manifest(tables, tmp_path)), "--concepts", f"{tables}/concepts.parquet"]
    words = [
        "evaluate",
        "classifier",
        f"{module}:sharp",
        *common,
        "--names",
        TWO,
        "--out",
        str(tmp_path / "out"),
    ]
    assert run([*words, "--against", str(tmp_path / "other"), "--temperature"]) == 0
    summary = json.loads((tmp_path / "out" / "metrics.json").read_text())
    fitted = summary["temperature"]
    assert fitted["validation_nll_after"] <= fitted["validation_nll_before"]
    change = pl.read_csv(tmp_path / "out" / "temperature.csv")
    assert set(change["metric"]) == {"entropy", "ece", "ece_equal_mass", "brier"}
    comparison = pl.read_csv(tmp_path / "out" / "comparison.csv")
    assert comparison.filter(metric="auroc", label="macro")["verdict"][0] == "higher"
    reliability = pl.read_csv(tmp_path / "out" / "reliability.csv")
    assert reliability["probabilities"].n_unique() == 2
    assert (tmp_path / "out" / "reliability_temperature.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("where", "more", "words"),
    [
        ("{m}:two", [], "{m}:two does not name its outputs; name them in order, e.g. --names Pneumonia"),
        ("{m}:two", ["--names", "Hernia,Fracture"], "{m}:two gives Hernia, Fracture; "),
        ("{m}:two", ["--names", TWO + ",Pneumonia"], "{m}:two returns 2 outputs but names 3 labels."),
        ("{m}:nan", ["--names", TWO], "{m}:nan returns nan for "),
        ("{m}:broken", ["--names", TWO], "ValueError: no such layer"),
        ("{m}:absent", [], "{m}:absent cannot be imported"),
        ("absent.onnx", [], "absent.onnx does not exist"),
        ("{m}:named", ["--against", "{m}:nan"], "compare models that give the same labels"),
    ],
)
def test_what_cannot_be_evaluated_gets_one_sentence(module, tables, tmp_path, capsys, where, more, words):
    arguments = ["evaluate", "classifier", where, *more, "--out", str(tmp_path / "out")]
    arguments += ["--studies", f"{tables}/studies.parquet", "--concepts", f"{tables}/concepts.parquet"]
    assert run([word.format(m=module) for word in arguments]) == 2
    said = capsys.readouterr().err
    assert words.format(m=module) in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_temperature_without_validation_films_is_refused(module, tables, tmp_path, capsys):
    films = pl.read_parquet(tables / "studies.parquet").with_columns(split=pl.lit("test"))
    write_manifest(films, tmp_path / "test.parquet")
    words = ["evaluate", "classifier", f"{module}:named", "--studies", str(tmp_path / "test.parquet")]
    words += ["--concepts", f"{tables}/concepts.parquet", "--out", str(tmp_path / "out")]
    assert run([*words, "--temperature"]) == 2
    assert "a temperature is fitted on validation films, and none of" in capsys.readouterr().err
    with pytest.raises(
        InputError, match=r"all 120 films of .* are of patients that the classifier was trained"
    ):
        write_manifest(films.with_columns(split=pl.lit("train")), tmp_path / "train.parquet")
        held_out([f"{module}:named"], tmp_path / "train.parquet", tables / "concepts.parquet")


def test_thresholds_and_order_follow_the_names(module, tables):
    found = held_out([f"{module}:named"], tables / "studies.parquet", tables / "concepts.parquet")
    renamed = held_out(
        [f"{module}:two"],
        tables / "studies.parquet",
        tables / "concepts.parquet",
        names=["Suspicious Malignancy", "Pleural Effusion"],
    )
    assert renamed.examples.labels == ("Suspicious Malignancy", "Pleural Effusion")
    assert np.array_equal(renamed.readings[0].probabilities, found.readings[0].probabilities)
    assert np.array_equal(renamed.examples.targets, found.examples.targets[:, ::-1], equal_nan=True)
