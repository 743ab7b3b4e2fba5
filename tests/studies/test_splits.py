"""Splits: no patient in two, label rates alike, the same whatever the order of rows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthorax.errors import InputError
from synthorax.studies import split_by_patient

NAMES = ("Mass", "Effusion", "Pneumonia", "Hernia")


def cohort(n_patients: int, seed: int, rates=(0.4, 0.3, 0.2, 0.02)) -> pl.DataFrame:
    """One to five films a patient, labels drawn a film."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(n_patients):
        for film in range(rng.integers(1, 6)):
            present = [name for name, rate in zip(NAMES, rates, strict=True) if rng.random() < rate]
            labels = None if rng.random() < 0.05 else present
            rows.append(
                {"patient_id": f"P{patient}", "image_id": f"{patient}-{film}", "labels_present": labels}
            )
    schema = {"patient_id": pl.String, "image_id": pl.String, "labels_present": pl.List(pl.String)}
    return pl.DataFrame(rows, schema=schema)


def splits_a_patient(frame: pl.DataFrame) -> pl.Series:
    return frame.group_by("patient_id").agg(pl.col("split").n_unique())["split"]


@settings(max_examples=25, deadline=None)
@given(n_patients=st.integers(3, 60), seed=st.integers(0, 2**31))
def test_no_patient_is_in_two_splits_and_no_split_is_empty(n_patients, seed):
    frame = cohort(n_patients, seed)
    split = split_by_patient(frame, seed=seed)
    assert split.drop("split").equals(frame)
    assert (splits_a_patient(split) == 1).all()
    assert set(split["split"]) == {"train", "validation", "test"}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_order_of_rows_changes_nothing(seed):
    frame = cohort(40, seed)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
    one, other = split_by_patient(frame, seed=7), split_by_patient(shuffled, seed=7)
    assert one.sort("image_id").equals(other.sort("image_id"))


def test_label_rates_and_sizes_are_near_the_asked_ones():
    patients = (
        split_by_patient(cohort(2000, 1), seed=3)
        .group_by("patient_id", "split")
        .agg(pl.col("labels_present").explode().unique())
    )
    for name, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        part = patients.filter(pl.col("split") == name)
        assert abs(part.height / 2000 - share) < 0.01
        for label in NAMES:
            rate, overall = (
                frame["labels_present"].list.contains(label).mean() for frame in (part, patients)
            )
            assert abs(rate - overall) < 0.02, (name, label)


def test_another_seed_gives_another_split():
    frame = cohort(60, 2)
    assert not split_by_patient(frame, seed=1).equals(split_by_patient(frame, seed=2))


def test_columns_of_0_1_and_null_keep_unknown_apart_from_absent():
    values = [1] * 20 + [0] * 40 + [None] * 40
    frame = pl.DataFrame(
        {"patient_id": [f"P{i}" for i in range(100)], "label_mass": pl.Series(values, dtype=pl.Int8)}
    )
    split = split_by_patient(frame, ["label_mass"], {"a": 0.5, "b": 0.5})
    for name in ("a", "b"):
        part = split.filter(pl.col("split") == name)["label_mass"]
        assert ((part == 1).sum(), (part == 0).sum(), part.null_count()) == (10, 20, 20)


def test_without_any_label_the_shares_still_hold():
    frame = pl.DataFrame({"patient_id": [f"P{i}" for i in range(50)]})
    sizes = split_by_patient(frame, [])["split"].value_counts()
    assert dict(sizes.rows()) == {"train": 40, "validation": 5, "test": 5}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"fractions": {"train": 0.8, "test": 0.1}},
            "fractions are train=0.8, test=0.1; expected shares above 0",
        ),
        ({"fractions": {"train": 1.0, "test": 0.0}}, "expected shares above 0 that add up to 1."),
        (
            {"labels": ["label_mas"]},
            "has no column 'label_mas' to stratify by; found patient_id, label_mass, report.",
        ),
        ({"labels": ["label_mas"]}, "Did you mean 'label_mass'?"),
        ({"labels": ["report"]}, "column 'report' has type String; expected 0/1/NULL or lists of names"),
        ({"labels": []}, "2 patients cannot fill 3 splits; expected at least one a split."),
    ],
)
def test_what_cannot_be_split_gets_one_sentence(arguments, sentence):
    frame = pl.DataFrame({"patient_id": ["a", "b"], "label_mass": [0, 1], "report": ["x", "y"]})
    with pytest.raises(InputError) as caught:
        split_by_patient(frame, **arguments)
    assert sentence in str(caught.value)


def test_a_film_without_patient_cannot_be_split():
    with pytest.raises(InputError, match="patient_id is missing or blank in a row"):
        split_by_patient(pl.DataFrame({"patient_id": ["a", None]}), [])
