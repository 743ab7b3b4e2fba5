"""A cohort's specification to prompts: forms, balance, messages, and what reaches the metadata."""

import polars as pl
import pytest

from synthorax.cli import run
from synthorax.concepts import Vocabulary
from synthorax.dataset import read_metadata
from synthorax.errors import InputError
from synthorax.generation import cohort_table, film_prompt, read_cohort

SPEC = """
groups:
  - n: 100
    findings: [effusion, enlarged_heart]
    side: [left, right]
    severity: {small: 3, large: 1}
    sex: [F, M]
    age: [20-39, 60-79]
    view: [PA, AP]
  - {n: 3}
"""


def cohort(tmp_path, text=SPEC, seed=0):
    path = tmp_path / "cohort.yaml"
    path.write_text(text)
    return cohort_table(read_cohort(path), seed)


def test_counts_are_the_shares(tmp_path):
    table = cohort(tmp_path)
    first = table.filter(pl.col("group") == 1)
    assert (table.height, first.height) == (103, 100)
    side = first["sides"].list.first().struct.field("side")
    severity = first["severities"].list.first().struct.field("severity")
    old = first["age"] >= 60
    cells = (
        first.select("sex", "view_position", side=side, severity=severity, old=old).group_by(pl.all()).len()
    )
    expected = pl.when(pl.col("severity") == "small").then(100 * 3 / 64).otherwise(100 / 64)
    assert cells.height == 32 and (cells.select((pl.col("len") - expected).abs().max()).item() < 1)
    assert first["age"].is_between(20, 79).all() and not first["age"].is_between(40, 59).any()
    assert table["study_id"].n_unique() == 103


def test_prompts_name_what_is_asked_and_nothing_else(tmp_path):
    table = cohort(tmp_path)
    row = table.row(0, named=True)
    said = {"F": "Female", "M": "Male"}[row["sex"]]
    side, severity = row["sides"][0]["side"], row["severities"][0]["severity"].capitalize()
    assert row["prompt"] == (
        f"{said}, {row['age']:.0f} years, {row['view_position']} view. {severity} {side} effusion. Enlarged heart."
    )
    normal = table.row(-1, named=True)
    assert normal["prompt"] == "No findings." and normal["concepts_after"] == ["unremarkable"]
    assert normal["labels_after"] == ["No Relevant Finding"] and normal["sex"] is None


def test_the_same_seed_gives_the_same_cohort(tmp_path):
    assert cohort(tmp_path).equals(cohort(tmp_path)) and not cohort(tmp_path).equals(cohort(tmp_path, seed=1))


@pytest.mark.parametrize(
    ("form", "concepts", "prompt"),
    [
        ("synthorax", ["effusion"], "Male, 71 years. Left effusion."),
        ("roentgen-v2", ["effusion"], "71 year old BLACK male. Left effusion."),
        ("roentgen-v2", [], "71 year old BLACK male. Normal chest radiograph."),
        ("chexgen", ["effusion"], "sex:Male, age:71.0, race:Black. Left effusion."),
    ],
)
def test_forms(form, concepts, prompt):
    said = film_prompt(form, concepts, Vocabulary.load(), sides={"effusion": "left"}, sex="M", age=71, race="Black")  # fmt: skip
    assert said == prompt
    assert film_prompt("chexgen", ["mass"], Vocabulary.load()) == "Mass."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [{n: 1, findings: [efusion]}]", "group 1: finding is 'efusion'; expected one of"),
        (
            "groups: [{n: 1, findings: [unremarkable, mass]}]",
            "unremarkable and mass cannot occur in one film",
        ),
        ("groups: [{n: 1, sex: X}]", "group 1: sex is 'X'; expected one of F, M."),
        ("groups: [{n: 1, age: 90-40}]", "age is '90-40'; expected a range of years like 40-64"),
        ("groups: [{n: 1, sied: left}]", "Did you mean 'side'?"),
        ("groups: [{n: 1, side: left}]", "side is given, but none of its findings has a side."),
        ("groups: [{n: 1, severity: small}]", "severity is given, but no finding."),
        ("groups: [{n: 1, race: White}]", "race is given, which prompts of the form synthorax cannot say"),
        (
            "{form: chexgen, groups: [{n: 1, view: PA}]}",
            "view is given, which prompts of the form chexgen cannot say",
        ),
        (
            "{form: dalle, groups: [{n: 1}]}",
            "form is 'dalle'; expected one of chexgen, roentgen-v2, synthorax.",
        ),
        ("groups: []", "groups is []; List should have at least 1 item"),
        ("groups: [{n: 0}]", "groups.0.n is 0; Input should be greater than 0"),
        ("- [", "is not YAML"),
    ],
)
def test_what_a_cohort_cannot_be(tmp_path, text, said):
    with pytest.raises(InputError) as error:
        cohort(tmp_path, text)
    assert said in str(error.value)


def test_from_specification_to_films(tmp_path, tiny, capsys):
    (tmp_path / "cohort.yaml").write_text(
        "groups: [{n: 2, findings: [effusion], side: [left, right], sex: F}]"
    )
    table = tmp_path / "cohort.parquet"
    assert run(["cohort", str(tmp_path / "cohort.yaml"), "--out", str(table)]) == 0
    assert "2 prompts in 1 groups" in capsys.readouterr().out
    words = ["generate", str(table), "--out", str(tmp_path / "run"), "--model", str(tiny.pipeline)]
    assert run([*words, "--num-inference-steps", "2"]) == 0
    made, asked = read_metadata(tmp_path / "run" / "synthetic"), pl.read_parquet(table)
    for name in ("study_id", "patient_id", "concepts_after", "labels_after"):
        assert made[name].to_list() == asked[name].to_list(), name
    assert run(["cohort", str(tmp_path / "cohort.yaml"), "--out", str(tmp_path / "cohort.csv")]) == 2
    assert "expected a name that ends in .parquet" in capsys.readouterr().err
