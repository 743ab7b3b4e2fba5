"""CARS's and CoRPA's perturbations: their definitions as properties over vectors, edge cases, plan, prompt."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthorax.cli.perturb import perturb
from synthorax.concepts import ConceptVector, Vocabulary, concept_columns, write_concepts
from synthorax.coverage import compare, coverage
from synthorax.errors import InputError
from synthorax.perturbations import (
    TYPES,
    candidates,
    deletion,
    insertion,
    intra_class,
    make_plan,
    outer_class,
    plan,
    prompt,
)
from synthorax.perturbations.kinds import MAX_CONCEPTS, probabilities
from synthorax.perturbations.planning import PLAN

CORPA = Vocabulary.load()
NORMAL = ConceptVector({"unremarkable"})
KINDS = {"intra_class": intra_class, "insertion": insertion, "deletion": deletion, "outer_class": outer_class}
NONE = CORPA.no_finding_label


@st.composite
def vectors(draw, vocabulary=CORPA):
    """Any valid vector: concepts present, absent or unknown; unremarkable without any finding."""
    normal = vocabulary.unremarkable
    present = frozenset(draw(st.sets(st.sampled_from(vocabulary.pathologies), max_size=6)))
    unknown = frozenset(draw(st.sets(st.sampled_from(vocabulary.pathologies), max_size=6))) - present
    if not present & set(vocabulary.findings):
        state = draw(st.sampled_from(["present", "absent", "unknown"]))
        return ConceptVector(
            present | ({normal} if state == "present" else set()),
            unknown | ({normal} if state == "unknown" else set()),
        )
    return ConceptVector(present, unknown)


def pathology(vector, vocabulary=CORPA):
    return set(vocabulary.true_labels(vector)) - {vocabulary.no_finding_label}


def check(kind, before, after, vocabulary):
    """The definition of each perturbation, written down once more and independently."""
    had, has = pathology(before, vocabulary), pathology(after, vocabulary)
    changed = before.present ^ after.present
    assert changed and vocabulary.is_valid(after.present)
    assert changed.isdisjoint(before.unknown - {vocabulary.unremarkable}), "unknown is never touched"
    assert after.unknown - {vocabulary.unremarkable} == before.unknown - {vocabulary.unremarkable}
    is_normal = vocabulary.unremarkable in after.present
    assert not is_normal or after.present.isdisjoint(vocabulary.findings)
    if vocabulary.parents:  # a child brings its parents, and goes with its kin
        came, gone = has - had, had - has
        assert len(came) <= 1 or any(came <= set(vocabulary.lineage(label)) for label in came)
        assert not gone or any(
            all(x in vocabulary.lineage(label) or label in vocabulary.lineage(x) for x in gone)
            for label in gone
        )
        assert {"intra_class": not came | gone, "insertion": came and not gone}.get(kind, bool(came | gone))
        assert kind != "deletion" or (gone and not came)
        return
    if kind == "intra_class":
        assert has == had
        assert len({vocabulary.label_of(c) for c in changed}) == 1 or vocabulary.policy == "corpa"
    elif kind == "insertion":
        assert has > had and len(has - had) == 1
        assert before.present - {vocabulary.unremarkable} < after.present
        assert 1 <= len(after.present - before.present) <= MAX_CONCEPTS
    elif kind == "deletion":
        assert has < had and len(had - has) == 1
        if not after.present & set(vocabulary.findings):
            known = before.present & {vocabulary.unremarkable, *vocabulary.findings}  # a device says nothing
            assert is_normal == bool(known)
        else:
            assert after.present < before.present
    else:
        assert len(had - has) == (1 if had else 0) and len(has - had) == 1


@settings(max_examples=80, deadline=None)
@given(vectors(), st.sampled_from(["strict", "corpa"]))
def test_every_candidate_keeps_the_definition(vector, policy):
    vocabulary = CORPA.under(policy)
    for kind in TYPES:
        found = candidates(kind, vector, vocabulary)
        assert len({choice.target for choice in found}) == len(found)
        for choice in found:
            check(kind, vector, choice.target, vocabulary)


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from(["chexpert", "chestxray14", "radedit"]))
def test_every_candidate_keeps_the_definition_in_other_vocabularies(data, name):
    vocabulary = Vocabulary.load(name)
    vector = data.draw(vectors(vocabulary))
    for kind in TYPES:
        for choice in candidates(kind, vector, vocabulary):
            check(kind, vector, choice.target, vocabulary)


def test_a_device_stands_beside_a_normal_film_and_a_child_brings_its_parent():
    chexpert = Vocabulary.load("chexpert")
    with_device = {c.target.present for c in candidates("insertion", ConceptVector({"no_finding"}), chexpert)}
    assert frozenset({"no_finding", "support_devices"}) in with_device
    edema = ConceptVector({"edema", "support_devices"})
    assert chexpert.true_labels(edema) == ("Lung Opacity", "Edema", "Support Devices")
    (gone,) = {c.target.present for c in candidates("deletion", edema, chexpert) if c.group[0] == "Edema"}
    assert gone == {"no_finding", "support_devices"}


@settings(max_examples=60, deadline=None)
@given(vectors(), st.integers(0, 2**32))
def test_draws_are_candidates_and_repeat(vector, seed):
    for kind, draw in KINDS.items():
        drawn = draw(vector, CORPA, np.random.default_rng(seed))
        targets = [choice.target for choice in candidates(kind, vector, CORPA)]
        assert (drawn in targets) if targets else drawn is None
        assert drawn == draw(vector, CORPA, np.random.default_rng(seed))


def test_all_vectors_of_up_to_two_findings():
    """Nothing is missing: every label that could join does, every label that is there can go."""
    for size in (1, 2):
        for present in itertools.combinations(CORPA.pathologies, size):
            vector = ConceptVector(present)
            had = pathology(vector)
            joined = set().union(*(pathology(c.target) for c in candidates("insertion", vector, CORPA)))
            assert joined == set(CORPA.pathology_labels)
            assert len(candidates("deletion", vector, CORPA)) == len(had)
            varied = {label for label in had if len(CORPA.concepts_of(label)) > 1}
            groups = {c.group[0] for c in candidates("intra_class", vector, CORPA)}
            assert groups == varied


def test_intra_class_is_undefined_for_single_concept_labels():
    rng = np.random.default_rng(0)
    assert intra_class(ConceptVector({"enlarged_heart"}), CORPA, rng) is None
    for _ in range(20):
        target = intra_class(ConceptVector({"enlarged_heart", "effusion"}), CORPA, rng)
        assert "enlarged_heart" in target.present and target.present != {"enlarged_heart", "effusion"}


def test_two_concept_label_has_two_other_manifestations():
    found = {
        c.target.present for c in candidates("intra_class", ConceptVector({"absent_lung_markings"}), CORPA)
    }
    both = {"absent_lung_markings", "irregular_diaphragm"}
    assert found == {frozenset({"irregular_diaphragm"}), frozenset(both)}


def test_deletion():
    rng = np.random.default_rng(0)
    assert deletion(ConceptVector({"effusion", "fluid"}), CORPA, rng) == NORMAL
    assert deletion(NORMAL, CORPA, rng) is None
    left = {deletion(ConceptVector({"effusion", "mass"}), CORPA, rng).present for _ in range(30)}
    assert left == {frozenset({"effusion"}), frozenset({"mass"})}


def test_unremarkable_leaves_when_a_finding_enters():
    rng = np.random.default_rng(0)
    assert "unremarkable" not in insertion(NORMAL, CORPA, rng).present
    assert "unremarkable" not in outer_class(NORMAL, CORPA, rng).present
    maybe = ConceptVector((), {"unremarkable"})
    assert insertion(maybe, CORPA, rng).unknown == set()


def test_all_unknown_has_no_perturbation():
    vector = ConceptVector(unknown=frozenset(CORPA.concepts))
    assert all(draw(vector, CORPA, np.random.default_rng(0)) is None for draw in KINDS.values())


def test_corpa_rule_decides_what_keeps_the_label():
    """Consolidation alone into opacities alone changes the label under corpa, so it is no intra-class edit."""
    vector = ConceptVector({"consolidation"})
    alone = frozenset({"opacities"})
    assert alone in {c.target.present for c in candidates("intra_class", vector, CORPA)}
    assert alone not in {c.target.present for c in candidates("intra_class", vector, CORPA.under("corpa"))}


def test_plain_draw_is_even_over_labels_then_sizes():
    choices = candidates("insertion", NORMAL, CORPA)
    chances = probabilities(choices)
    assert chances.sum() == pytest.approx(1)
    heart = [p for c, p in zip(choices, chances, strict=True) if c.group[1] == "Cardiomegaly"]
    assert heart == [pytest.approx(1 / 5)]
    sizes = {n: sum(p for c, p in zip(choices, chances, strict=True) if c.group[1] == "Pneumonia" and c.size == n)
             for n in (1, 2, 3)}  # fmt: skip
    assert all(total == pytest.approx(1 / 15) for total in sizes.values())


@pytest.mark.parametrize(
    ("concepts", "sides", "text"),
    [
        (("enlarged_heart", "effusion"), None, "Effusion. Enlarged heart."),
        (("enlarged_heart", "effusion"), {"effusion": "left"}, "Left effusion. Enlarged heart."),
        (("enlarged_heart",), {"enlarged_heart": "left"}, "Enlarged heart."),
        (("effusion",), {"effusion": "bilateral", "mass": "left"}, "Bilateral effusion."),
        (("unremarkable",), None, "No findings."),
        ((), None, "No findings."),
    ],
)
def test_prompt(concepts, sides, text):
    assert prompt(concepts, CORPA, sides) == text


def test_prompt_messages():
    with pytest.raises(InputError, match="Did you mean 'effusion'"):
        prompt(["efusion"], CORPA)
    with pytest.raises(InputError, match=r"side of effusion is 'lft'.*Did you mean 'left'"):
        prompt(["effusion"], CORPA, {"effusion": "lft"})


def cohort(n=60, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        size = rng.integers(0, 4)
        rows.append(
            ConceptVector(rng.choice(CORPA.pathologies, size, replace=False).tolist()) if size else NORMAL
        )
    ids = pl.DataFrame({"study_id": [f"s{i}" for i in range(n)]}).with_columns(
        patient_id="study_id", image_id=pl.col("study_id") + "_0"
    )
    return pl.concat([ids, concept_columns(rows, CORPA)], how="horizontal")


def test_plan_is_the_contract():
    made = make_plan(cohort(), CORPA, TYPES)
    edits = made.edits
    assert dict(edits.schema) == PLAN and edits["edit_id"].is_unique().all()
    assert edits.group_by("image_id", "perturbation_type").len()["len"].max() == 2
    assert edits.select("image_id", "perturbation_type", "concepts_after").is_unique().all()
    for row in edits.iter_rows(named=True):
        before = ConceptVector(row["concepts_before"], row["concepts_unknown"])
        check(
            row["perturbation_type"],
            before,
            ConceptVector(row["concepts_after"], row["concepts_unknown"]),
            CORPA,
        )
        sentences = [f"{sentence}." for sentence in row["prompt"].split(". ")]
        sentences[-1] = sentences[-1][:-1]
        for name, said in zip(CORPA.ordered(row["concepts_after"]), sentences, strict=True):
            is_new = CORPA.by_name[name].sided and name not in row["concepts_before"]
            sides = ["left", "right"] if is_new else [None]
            assert said in [prompt([name], CORPA, {name: side} if side else None) for side in sides]
        assert row["labels_after"] == list(CORPA.true_labels(ConceptVector(row["concepts_after"])))
    for kind in TYPES:
        outcomes = sum(made.tally[kind, outcome] for outcome in ("planned", "impossible", "exhausted"))
        assert outcomes == 60 * 2


@pytest.mark.parametrize("strategy", ["uniform", "coverage"])
def test_plan_repeats_and_follows_the_seed(strategy):
    table = cohort()
    assert plan(table, CORPA, strategy=strategy, seed=1).equals(plan(table, CORPA, strategy=strategy, seed=1))
    assert not plan(table, CORPA, strategy=strategy, seed=1).equals(
        plan(table, CORPA, strategy=strategy, seed=2)
    )


def test_a_rows_edits_do_not_depend_on_the_others():
    table = cohort()
    whole = plan(table, CORPA, TYPES).sort("edit_id")
    shuffled = plan(table.sample(fraction=1, shuffle=True, seed=3), CORPA, TYPES).sort("edit_id")
    part = plan(table.head(7), CORPA, TYPES).sort("edit_id")
    assert whole.equals(shuffled)
    assert part.equals(whole.filter(pl.col("image_id").is_in(table.head(7)["image_id"].to_list())))
    first = plan(table, CORPA, TYPES, per_type=1).sort("edit_id")
    assert first.equals(whole.filter(pl.col("index") == 0))


def test_budget():
    made = make_plan(cohort(), CORPA, budget=25)
    assert made.edits.height == 25
    assert sum(count for (_, outcome), count in made.tally.items() if outcome == "planned") == 25
    assert "over budget" in made.sentence()
    whole = set(plan(cohort(), CORPA)["edit_id"])
    assert set(made.edits["edit_id"]) < whole
    assert make_plan(cohort(), CORPA, budget=10_000).edits.height == len(whole)


def test_coverage_strategy_closes_more_gaps_for_the_same_budget():
    table = cohort(200)
    before = coverage(table, CORPA)

    def reached(strategy):
        edits = plan(table, CORPA, ["insertion"], budget=60, strategy=strategy)
        made = concept_columns([ConceptVector(after) for after in edits["concepts_after"]], CORPA)
        both = pl.concat([table.select(made.columns), made]).with_columns(study_id=pl.lit("x"))
        compared = compare(before, coverage(both, CORPA))
        return ((compared["status_before"] == "never") & (compared["count_after"] > 0)).sum()

    assert reached("coverage") > 1.5 * reached("uniform")


def test_rows_that_are_not_perturbed_are_counted():
    vectors = [ConceptVector(), ConceptVector(unknown=frozenset(CORPA.concepts)), NORMAL]
    table = concept_columns(vectors, CORPA).with_columns(
        study_id=pl.Series(["foreign", "unknown", "normal"]), other_findings=pl.Series([True, None, False])
    )
    made = make_plan(table, CORPA)
    assert set(made.edits["study_id"]) == {"normal"}
    assert made.skipped == {"only findings outside the vocabulary": 1, "every concept unknown": 1}
    assert "1 rows skipped (every concept unknown)" in made.sentence()
    assert "foreign" in set(plan(table, CORPA, include_other_findings=True)["study_id"])


def test_sides_come_from_the_evidence_or_from_the_caller():
    spans = [{"concept": "effusion", "state": "asserted", "laterality": "left"},
             {"concept": "mass", "state": "negated", "laterality": "right"}]  # fmt: skip
    table = concept_columns([ConceptVector({"effusion"})], CORPA)
    table = table.with_columns(study_id=pl.lit("a"), evidence=pl.Series([spans]))
    edits = plan(table, CORPA, ["insertion"])
    assert (
        set(edits["inversion_prompt"]) == {"Left effusion."}
        and edits["prompt"].str.contains("Left effusion").all()
    )
    given = plan(table, CORPA, ["insertion"], sides={"a": {"effusion": "right"}})
    assert set(given["inversion_prompt"]) == {"Right effusion."}


def test_new_findings_get_a_side_by_lot_and_a_label_has_one():
    table = concept_columns([ConceptVector()] * 200, CORPA)
    table = table.with_columns(study_id=pl.Series([f"s{i}" for i in range(200)]))
    edits = plan(table, CORPA, ["insertion"]).filter(pl.col("concepts_after").list.contains("effusion"))
    sides = edits["prompt"].str.extract_all("(?i)left|right").list.eval(pl.element().str.to_lowercase())
    assert sides.list.n_unique().max() == 1 and {*sides.list.first()} == {"left", "right"}
    spans = [{"concept": "effusion", "state": "asserted", "laterality": "right"}]
    table = concept_columns([ConceptVector({"effusion"})], CORPA)
    table = table.with_columns(study_id=pl.lit("a"), evidence=pl.Series([spans]))
    same_label = plan(table, CORPA, ["intra_class"])["prompt"]
    assert same_label.str.contains("(?i)right").all() and not same_label.str.contains("(?i)left").any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": ["insert"]}, "perturbation type is 'insert'.*Did you mean 'insertion'"),
        ({"strategy": "covrage"}, "strategy is 'covrage'.*Did you mean 'coverage'"),
        ({"per_type": 3}, "per_type is 3; expected 1 or 2"),
        ({"budget": 0}, "budget is 0; expected at least 1"),
    ],
)
def test_plan_messages(options, message):
    with pytest.raises(InputError, match=message):
        plan(cohort(3), CORPA, **options)


def test_command(tmp_path, capsys):
    write_concepts(cohort(5), tmp_path / "c.parquet", CORPA)
    perturb(tmp_path / "c.parquet", tmp_path / "plan.parquet", types="insertion, deletion", seed=4)
    assert "edits:" in capsys.readouterr().out
    assert pl.read_parquet(tmp_path / "plan.parquet").equals(
        plan(cohort(5), CORPA, ["insertion", "deletion"], seed=4)
    )
    perturb(tmp_path / "c.parquet", tmp_path / "none.parquet", dry_run=True)
    assert not (tmp_path / "none.parquet").exists()
