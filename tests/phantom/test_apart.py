"""No leak: roles share no patient, only tests show withheld pairs, and the embedded model's own patients are others."""

import polars as pl
import pytest

from synthorax.concepts import Vocabulary, label_column
from synthorax.errors import RunError
from synthorax.phantom import sample_cohort, withheld_pairs
from synthorax.phantom.apart import check_apart
from synthorax.phantom.patient import cohort_patient_ids, film_source
from synthorax.seeds import derive_seed

LABELS = [label_column(label) for label in Vocabulary.load().labels]


def table(patients, *shown):
    rows = [{"patient_id": p, "study_id": f"{p}-0", **{c: int(c in map(label_column, shown)) for c in LABELS}} for p in patients]  # fmt: skip
    return pl.DataFrame(rows)


def test_a_patient_in_two_roles_is_refused():
    check_apart({"train": table("ab"), "test": table("c")}, ["test"])
    with pytest.raises(RunError, match="patient b is in 'train' and in 'test'"):
        check_apart({"train": table("ab"), "test": table("bc")}, ["test"])


def test_a_withheld_pair_is_for_tests_alone():
    pair = sorted(sorted(withheld_pairs())[0])
    check_apart({"train": table("a", pair[0]), "test": table("b", *pair)}, ["test"])
    with pytest.raises(RunError, match=f"shows {pair[0]} and {pair[1]}"):
        check_apart({"train": table("a", *pair), "test": table("b")}, ["test"])


@pytest.mark.parametrize(("pairs", "leaks"), [("allowed", False), ("withheld", True)])
def test_manifests_as_they_are_sampled(tmp_path, pairs, leaks):
    cohort = sample_cohort(4, 5, tmp_path / pairs, size=64, pairs=pairs, atlases=["built-in"], workers=1)
    found = {"train": pl.read_parquet(cohort / "concepts.parquet")}
    if leaks:
        with pytest.raises(RunError, match="withheld pair"):
            check_apart(found, [])
    else:
        check_apart(found, [])


def test_the_embedded_model_was_trained_on_other_patients():
    """Its card's seeds and numbers against those of the demo and of the benchmark 'does it help'."""
    trained = {film_source(name).seed for seed, n in ((20260001, 800), (20260002, 260)) for name in cohort_patient_ids(seed, n, "public", ["built-in"])}  # fmt: skip
    roles = [derive_seed("does it help", role) for role in ("train", "more", "reader", "validation", "test", "test-withheld")]  # fmt: skip
    roles += [
        derive_seed("demo", 0, name) for name in ("train", "validation", "test", "test-withheld", "reader")
    ]
    for cohort_seed in roles:
        seeds = {
            film_source(name).seed for name in cohort_patient_ids(cohort_seed, 1000, "mixed", ["built-in"])
        }
        assert len(seeds) == 1000 and not seeds & trained
