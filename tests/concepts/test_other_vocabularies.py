"""The other shipped vocabularies: their names are the sets' own, and the whole way works with them."""

import polars as pl
import pytest

from synthorax.cli import run
from synthorax.concepts import Vocabulary, annotate_studies
from synthorax.concepts.annotator import annotate
from synthorax.errors import InputError
from synthorax.studies.formats.chexpert import LABELS

ICU = """FINDINGS: Moderate pulmonary edema. Small left pleural effusion. Left chest tube and endotracheal tube in place.
No pneumothorax. Healed rib fractures. IMPRESSION: Pulmonary edema."""


def test_the_labels_are_the_sets_own():
    assert set(Vocabulary.load("chexpert").labels) == set(LABELS)
    assert len(Vocabulary.load("chestxray14").pathology_labels) == 14


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("chexpert", {"Lung Opacity", "Edema", "Pleural Effusion", "Support Devices"}),
        ("chestxray14", {"Effusion", "Edema"}),
        ("radedit", {"Chest Drain", "Pulmonary Oedema"}),
    ],
)
def test_an_intensive_care_report(name, labels):
    vocabulary = Vocabulary.load(name)
    assert set(vocabulary.true_labels(annotate(ICU, vocabulary).vector)) - {"Fracture"} == labels


def test_a_device_leaves_a_film_normal_and_a_child_brings_its_parent():
    chexpert = Vocabulary.load("chexpert")
    normal = annotate("Right PICC line ends in the SVC. The lungs are clear. No acute process.", chexpert)
    assert set(chexpert.true_labels(normal.vector)) == {"Support Devices", "No Finding"}
    big = annotate("The heart is enlarged.", chexpert)
    assert set(chexpert.true_labels(big.vector)) == {"Cardiomegaly", "Enlarged Cardiomediastinum"}


@pytest.mark.parametrize("name", ["chexpert", "chestxray14", "radedit"])
def test_prompts_are_read_back(name):
    vocabulary = Vocabulary.load(name)
    for concept in vocabulary.concepts:
        assert concept in annotate(f"{vocabulary.phrase(concept)}.", vocabulary).vector.present, concept


def test_label_columns_in_the_sets_own_vocabulary():
    studies = pl.DataFrame(
        {
            "study_id": ["a", "b", "c"],
            "source": ["nih"] * 3,
            "labels_present": [["Hernia", "Mass"], ["No Finding"], ["Infiltration"]],
            "labels_absent": [["Edema"], [], ["Mass"]],
            "labels_uncertain": [[], [], []],
        }
    )
    table = annotate_studies(studies, Vocabulary.load("chestxray14"))
    assert table["label_hernia"].to_list() == [1, 0, None]
    assert table["no_finding"].to_list() == [0, 1, 0]
    assert table["edema"].to_list() == [0, 0, None]


@pytest.mark.parametrize("name", ["chexpert", "radedit"])
def test_from_reports_to_a_plan(tmp_path, capsys, name):
    reports = pl.DataFrame({"study_id": [f"s{i}" for i in range(6)], "report": [ICU, "Lungs are clear."] * 3})
    reports.write_parquet(tmp_path / "reports.parquet")
    concepts, plan = str(tmp_path / "concepts.parquet"), str(tmp_path / "plan.parquet")
    table = ["concepts", "annotate", str(tmp_path / "reports.parquet"), "--out", concepts]
    assert run([*table, "--vocabulary", name]) == 0
    assert run(["concepts", "coverage", concepts, "--out", str(tmp_path / "coverage")]) == 0
    assert run(["perturb", concepts, "--out", plan, "--strategy", "coverage", "--budget", "5"]) == 0
    assert pl.read_parquet(plan).height == 5


def test_a_wording_from_nowhere_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nunremarkable: normal\nlabels: [Gas, Nothing]\nconcepts:\n"
        "  normal: {label: Nothing, prompt: Normal, phrases: [normal]}\n"
        "  gas: {label: Gas, prompt: Gas, like: [corpa.air]}\n"
        "policies: {strict: {counts_as_present: [asserted]}}\n"
    )
    with pytest.raises(InputError, match=r"mine.yaml line 6: concepts.gas.like.0 is 'corpa.air'; expected"):
        Vocabulary.load(path)
