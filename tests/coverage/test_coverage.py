"""Coverage: counts by brute force, expectations by hand, ranking, validity, and what a synthetic set closes."""

import time

import numpy as np
import polars as pl
import pytest

from synthorax.concepts import ConceptVector, Vocabulary, annotate_studies, concept_columns
from synthorax.concepts.table import columns_of_states
from synthorax.coverage import (
    compare,
    conflicts,
    coverage,
    coverage_by_group,
    distinct_vectors,
    gaps,
    whole_vectors,
    write_page,
)
from synthorax.coverage.comparison import summary
from synthorax.errors import InputError

CORPA = Vocabulary.load()


def table_of(*vectors):
    table = concept_columns(vectors, CORPA)
    return table.with_columns(study_id=pl.Series([str(row) for row in range(len(vectors))]))


def random_table(n, seed, unknown=0.05):
    rng = np.random.default_rng(seed)
    states = (rng.random((n, 17)) < rng.uniform(0.01, 0.4, 17)).astype(np.float32)
    states[rng.random((n, 17)) < unknown] = 0.5
    return columns_of_states(states, CORPA).with_columns(study_id=pl.arange(n, eager=True).cast(pl.String))


def row_of(covered, *combination):
    found = covered.filter(
        pl.col("combination").list.set_symmetric_difference(list(combination)).list.len() == 0
    )
    return found.row(0, named=True)


def test_every_count_equals_a_count_by_hand():
    table = random_table(400, 0)
    present = {name: (table[name] == 1).fill_null(False).to_numpy() for name in table.columns}
    known = {name: table[name].is_not_null().to_numpy() for name in table.columns}
    covered = coverage(table, CORPA).filter(pl.col("level") == "concept")
    assert covered.height == 17 + 136 + 680
    for row in covered.iter_rows(named=True):
        names = row["combination"]
        assert row["count"] == np.logical_and.reduce([present[name] for name in names]).sum()
        assert row["n_known"] == np.logical_and.reduce([known[name] for name in names]).sum()


def test_expectation_lift_and_surprise_by_hand():
    vectors = [ConceptVector({"mass"})] * 30 + [ConceptVector({"effusion"})] * 50 + [ConceptVector()] * 20
    row = row_of(coverage(table_of(*vectors), CORPA), "mass", "effusion")
    assert row["count"] == 0 and row["n_known"] == 100 and row["status"] == "never" and row["is_valid"]
    assert row["expected"] == pytest.approx(100 * 0.3 * 0.5)
    assert row["surprise"] == pytest.approx(15) and row["lift"] == 0


def test_unknown_rows_do_not_count():
    vectors = [ConceptVector({"mass"}, {"effusion"}), ConceptVector({"mass", "effusion"}), ConceptVector()]
    row = row_of(coverage(table_of(*vectors), CORPA), "mass", "effusion")
    assert (row["count"], row["n_known"], row["fraction"]) == (1, 2, 0.5)


def test_most_surprising_gap_first_and_impossible_last():
    common = [ConceptVector({"mass"})] * 40 + [ConceptVector({"effusion"})] * 60
    rare = [ConceptVector({"nodule"})] * 2
    normal = [ConceptVector({"unremarkable"})] * 100
    covered = coverage(table_of(*common, *rare, *normal), CORPA)
    first = gaps(covered, "concept", 2).row(0, named=True)
    assert set(first["combination"]) == {"mass", "effusion"}
    assert not covered["is_valid"][-1] and covered["is_valid"][0]
    assert row_of(covered, "unremarkable")["is_valid"]
    assert not row_of(covered, "unremarkable", "mass")["is_valid"]
    assert not row_of(covered, "No Relevant Finding", "Pneumonia")["is_valid"]
    assert row_of(covered, "nodule")["status"] == "rare"
    found = gaps(covered)
    assert found["is_valid"].all() and set(found["status"]) == {"never", "rare"}


def test_what_nobody_looked_for_is_no_gap():
    vectors = [ConceptVector({"mass"}, {"fluid"})] * 5
    covered = coverage(table_of(*vectors), CORPA)
    assert row_of(covered, "mass", "fluid")["fraction"] is None
    assert not any("fluid" in names for names in gaps(covered)["combination"].to_list())


def test_rows_may_come_in_any_order_and_shape():
    table = random_table(300, 1)
    shuffled = table.sample(fraction=1, shuffle=True, seed=2)
    assert coverage(table, CORPA).equals(coverage(shuffled, CORPA))
    assert coverage(table.head(0), CORPA)["count"].sum() == 0
    assert distinct_vectors(table, CORPA.concepts).count.sum() == 300


def test_more_columns_than_bits_are_counted_as_well():
    table = random_table(200, 3)
    wide = table.select(pl.col(CORPA.concepts), pl.col(CORPA.concepts).name.suffix("_again"))
    names = list(wide.columns)
    many, few = distinct_vectors(wide, names), distinct_vectors(wide, names[:17])
    assert many.count @ many.present[:, 1] == few.count @ few.present[:, 1] == (table["mass"] == 1).sum()


def test_a_hundred_thousand_films_take_seconds():
    table = random_table(100_000, 4)
    start = time.process_time()
    coverage(table, CORPA)
    assert time.process_time() - start < 8


def test_what_a_synthetic_set_closes():
    cohort = [ConceptVector({"mass"})] * 20 + [ConceptVector({"effusion"})] * 20
    made = [ConceptVector({"mass", "effusion"})] * 12
    before, after = (coverage(table_of(*vectors), CORPA) for vectors in (cohort, cohort + made))
    compared = compare(before, after)
    row = row_of(compared, "mass", "effusion")
    assert (row["count_before"], row["count_after"], row["added"], row["is_closed"]) == (0, 12, 12, True)
    assert not any(compared.filter("is_closed")["status_before"] == "covered")
    counts = summary(compared).filter(pl.col("level") == "label", pl.col("order") == 2).row(0, named=True)
    assert counts["never_before"] - counts["never_after"] == 1 and counts["n"] == 10


def test_rates_by_group():
    table = table_of(ConceptVector({"mass"}), ConceptVector(), ConceptVector(unknown={"mass"}))
    studies = pl.DataFrame(
        {"study_id": ["0", "1", "2"], "source": "x", "view_position": "PA", "sex": ["F", "F", None],
         "age": [17.9, 40.0, 90.0]}
    )  # fmt: skip
    found = coverage_by_group(table, studies, CORPA)
    groups = found.filter(pl.col("combination") == ["mass"])
    rates = {(g, v): (c, n) for g, v, c, n in groups.select("group", "value", "count", "n_known").iter_rows()}
    assert rates["sex", "F"] == (1, 2) and rates["sex", "unknown"] == (0, 0)
    assert rates["age_group", "under 18"] == (1, 1) and rates["age_group", "40-59"] == (0, 1)


def test_messages():
    table = table_of(ConceptVector())
    with pytest.raises(InputError, match=r"order is 4; expected 1 \(singles\)"):
        coverage(table, CORPA, order=4)
    with pytest.raises(InputError, match="has no column 'label_pneumonia'"):
        coverage(table.drop("label_pneumonia"), CORPA)
    with pytest.raises(InputError, match="has no column 'mass'"):
        coverage(table.drop("mass"), CORPA)


def _table_of(*reports):
    studies = pl.DataFrame({"study_id": [f"s{i}" for i in range(len(reports))], "report": reports})
    return annotate_studies(studies, CORPA), dict(studies.iter_rows())


def test_whole_films_are_counted_and_unusual_ones_are_marked():
    table, _ = _table_of("Left effusion.", "Effusion on the right.", "Meniscus sign.", "Lungs are clear.")
    rows = {tuple(r["concepts"]): r for r in whole_vectors(table, CORPA).to_dicts()}
    assert rows["effusion",]["count"] == 2 and rows["effusion",]["fraction"] == 0.5
    assert rows["meniscus_sign",]["is_seldom"] and not rows["effusion",]["is_seldom"]
    assert sum(r["count"] for r in rows.values()) == table.height


@pytest.mark.parametrize(
    ("report", "side"),
    [
        ("Small left pleural effusion. No blunting of the left costophrenic angle.", "left"),
        ("Small left pleural effusion. No blunting of the right costophrenic angle.", None),
        ("Pleural effusion. No blunting of the costophrenic angles.", "either"),
        ("Small left pleural effusion. The left costophrenic angle is blunted.", None),
    ],
)
def test_a_denied_companion_on_the_same_side_is_a_conflict(report, side):
    found = conflicts(_table_of(report)[0], CORPA)
    assert found["side"].to_list() == ([] if side is None else [side])


def test_groups_count_pairs_too():
    table, _ = _table_of("Effusion. The heart is enlarged.", "Effusion.", "The heart is enlarged.")
    studies = pl.DataFrame({"study_id": table["study_id"], "sex": ["F", "F", "M"], "source": "x",
                            "view_position": "PA", "age": [30.0, 70.0, None]})  # fmt: skip
    found = coverage_by_group(table, studies, CORPA, order=2).filter(
        combination=["effusion", "enlarged_heart"]
    )
    assert {(g, v): c for g, v, c in found.select("group", "value", "count").iter_rows()} == {
        ("source", "x"): 1, ("view_position", "PA"): 1, ("sex", "F"): 1, ("sex", "M"): 0,
        ("age_group", "18-39"): 1, ("age_group", "60-79"): 0, ("age_group", "unknown"): 0,
    }  # fmt: skip


def test_the_page_links_gaps_to_reports_and_escapes_them(tmp_path):
    table, reports = _table_of("Left effusion <script>alert(1)</script>.", "The heart is enlarged.")
    write_page(coverage(table, CORPA, 2), CORPA, tmp_path / "c.html", table, reports=reports)
    page = (tmp_path / "c.html").read_text()
    assert '<mark class="asserted" title="effusion">effusion</mark> &lt;script&gt;' in page
    assert "<script" not in page and 'href="#s0"' in page
    write_page(coverage(table, CORPA, 2), CORPA, tmp_path / "d.html", table)
    assert "alert" not in (tmp_path / "d.html").read_text()
