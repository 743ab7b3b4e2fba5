"""Who may be trained on: nobody's synthetic film of validation or test, and no more normals than CARS takes."""

import numpy as np
import polars as pl
import pytest

from synthorax.classifiers.examples import Examples
from synthorax.dataset import metadata_frame, read_metadata, write_metadata
from synthorax.errors import InputError
from synthorax.proof.cohort import _undersampled, read_cohort, some, some_of_each, some_patients
from synthorax.proof.recipe import read_recipe
from synthorax.proof.tiny import N_FILMS, N_FORBIDDEN
from synthorax.proof.trainings import PROTOCOLS


@pytest.fixture(scope="module")
def cohort(inputs):
    studies, concepts, synthetic = inputs
    return read_cohort(studies, concepts, synthetic, site_column="site")


def films_of(targets, splits=None, patients=None) -> Examples:
    n = len(targets)
    names = tuple(f"i{row}" for row in range(n))
    return Examples(("a", "b"), names, np.asarray(targets, np.float32), names, tuple(patients or names), tuple(splits or ["train"] * n))  # fmt: skip


def test_films_of_other_splits_are_left_out_and_counted(cohort, inputs):
    for arm in ("CARS", "CoRPA"):
        kept = {row[2]: row[3] for row in cohort.outcomes.rows() if row[1] == arm}
        assert kept.pop("kept") == N_FILMS == len(cohort.arms[arm].examples)
        assert sum(kept.values()) == N_FORBIDDEN
        assert set(kept) <= {
            "left out: made from a patient of validation",
            "left out: made from a patient of test",
        }
    for name in ("cars-paper", "chexgen-classify", "chexgen-pretrain", "few-shot", "unseen-sites"):
        recipe = read_recipe(name).at_scale("tiny")
        for training in PROTOCOLS[recipe.protocol](recipe, cohort, "small", 0):
            tested = {patient for films in training.tests.values() for patient in films.patient_ids}
            apart = tested | {*training.validation.patient_ids}
            assert len(training.films) and not apart & {*training.films.patient_ids}, training.name


def test_what_else_is_left_out(inputs, tmp_path):
    studies, concepts, (cars, _) = inputs
    train = {*pl.read_parquet(studies).filter(split="train")["image_id"]}
    rows = read_metadata(cars).filter(pl.col("source_image_id").is_in(list(train))).to_dicts()
    for row, changes in zip(
        rows,
        (
            {"is_valid": False, "reject_reason": "score below 0.2", "n_tries": 3},
            {"source_image_id": "stranger", "patient_id": "stranger"},
            {"source_image_id": "stranger", "patient_id": None},
            {"concepts_after": None, "labels_after": None},
            {"source_image_id": None, "patient_id": None},
        ),
        strict=False,
    ):
        row.update(changes)
    dataset = tmp_path / "synthetic"
    write_metadata(metadata_frame(rows), dataset)
    (tmp_path / "rejected.csv").write_text("row,file_name,reason\n3,a.png,no pixels\n")
    cohort = read_cohort(studies, concepts, [f"mine={dataset}"])
    assert cohort.outcomes["n_retried"].sum() == 1
    assert dict(cohort.outcomes.select("outcome", "n").rows()) == {
        "left out: not valid, score below 0.2": 1,
        "films that no edit was made of, see rejected.csv there": 1,
        "left out: its source is not among the real films": 2,
        "left out: no labels": 1,
        "kept": N_FILMS - 4,
    }, "a film that was made from no film has no patient who could be tested"
    assert list(cohort.arms) == ["mine"] and set(cohort.outcomes["arm"]) == {"mine"}


def test_labels_are_what_the_rules_derive(cohort, inputs, tmp_path):
    studies, concepts, (cars, _) = inputs
    arm = cohort.arms["CARS"]
    for row, targets in zip(arm.frame.iter_rows(named=True), arm.examples.targets, strict=True):
        assert {arm.examples.labels[i] for i in np.flatnonzero(targets == 1)} == {*row["labels_after"]} & {
            *arm.examples.labels
        }
    frame = read_metadata(cars)
    write_metadata(frame.with_columns(labels_after=pl.lit(["Cardiomegaly"])), tmp_path)
    with pytest.raises(
        InputError, match=r"says Cardiomegaly, but its concepts give .* under vocabulary 'corpa'"
    ):
        read_cohort(studies, concepts, [str(tmp_path)])


def test_a_patient_in_several_splits_is_refused(inputs, tmp_path):
    studies, concepts, synthetic = inputs
    films = pl.read_parquet(studies)
    torn = films["patient_id"][0]
    films = films.with_columns(
        patient_id=pl.when(pl.col("split") == "test").then(pl.lit(torn)).otherwise("patient_id")
    )
    films.write_parquet(tmp_path / "studies.parquet")
    with pytest.raises(
        InputError, match=f"has films of patient '{torn}' in several splits, and of 0 more patients"
    ):
        read_cohort(tmp_path / "studies.parquet", concepts, synthetic)


def test_no_film_is_left(inputs, tmp_path):
    studies, concepts, (cars, _) = inputs
    write_metadata(read_metadata(cars).with_columns(is_valid=pl.lit(False)), tmp_path)
    with pytest.raises(InputError, match=r"may be trained on: 4[0-9]? left out: not valid"):
        read_cohort(studies, concepts, [str(tmp_path)])


def test_normals_are_at_most_twice_the_largest_class_in_each_split():
    train = [[0, 0]] * 20 + [[1, 0]] * 3 + [[1, 1]] * 2 + [[np.nan, 0]]
    test = [[0, 0]] * 4 + [[0, 1]] * 3
    films = films_of(train + test, ["train"] * len(train) + ["test"] * len(test))
    kept = _undersampled(films, 2)
    assert len(kept.split("train")) == 2 * 5 + 5 + 1, "a film with an unknown label is no normal"
    assert len(kept.split("test")) == len(test), "fewer than the limit: all stay"
    assert _undersampled(films, 2).image_ids == kept.image_ids
    assert len(_undersampled(films, None)) == len(films)


def test_smaller_draws_lie_within_larger_ones():
    films = films_of([[i % 2, i % 3 == 0] for i in range(60)], patients=[f"p{i // 3}" for i in range(60)])
    for draw, amounts in ((some, (5, 20)), (some_patients, (0.1, 0.5)), (some_of_each, (1, 5))):
        small, large = (draw(films, amount, 7) for amount in amounts)
        assert {*small.image_ids} < {*large.image_ids}
        assert draw(films, amounts[0], 8).image_ids != small.image_ids
    tenth = some_patients(films, 0.1, 7)
    assert len(tenth) == 6 and len({*tenth.patient_ids}) == 2, "whole patients"
    assert len(some_patients(films, 0.001, 7)) == 3, "at least one patient"
    assert len(some_of_each(films, 1, 7)) <= 3


def test_arms_of_the_protocols(cohort, monkeypatch):
    def names(name):
        recipe = read_recipe(name)
        return [t.name for t in PROTOCOLS[recipe.protocol](recipe, cohort, "densenet121", 0)]

    assert names("cars-paper") == ["baseline", "CARS", "CoRPA"]
    assert names("chexgen-classify") == [
        "real",
        "real + 1 x CARS",
        "real + 2 x CARS",
        "real + 1 x CoRPA",
        "real + 2 x CoRPA",
    ]
    monkeypatch.setattr("synthorax.proof.trainings.has_weights", lambda name: True)
    every = read_recipe("chexgen-pretrain").with_values({"films.multiples": None}, "--set")
    pretrain = PROTOCOLS["pretrain"](every, cohort, "densenet121", 0)
    assert [t.name for t in pretrain][:7] == [
        "CARS alone", "CoRPA alone", "1 % from scratch", "1 % from ImageNet", "1 % after CARS", "1 % after CoRPA", "10 % from scratch",
    ]  # fmt: skip
    by_name = {t.name: t for t in pretrain}
    assert len(pretrain) == 2 + 6 * 4 and by_name["100 % after CARS"].start == "CARS alone"
    assert (
        by_name["1 % after CARS"].against == "1 % from ImageNet"
        and by_name["1 % from ImageNet"].config.pretrained
    )
    some = every.with_values(
        {"films.multiples": [1, 2], "films.fractions": [1.0], "films.shots": [1]}, "--set"
    )
    starts = {t.name: t for t in PROTOCOLS["pretrain"](some, cohort, "densenet121", 0)}
    assert [len(starts[f"{k} x CARS alone"].films) for k in (1, 2)] == [16, 32], "1x and 2x of 16 real films"
    assert {*starts["1 x CARS alone"].films.image_ids} < {*starts["2 x CARS alone"].films.image_ids}
    assert starts["1-shot after 2 x CARS"].start == "2 x CARS alone"
    monkeypatch.setattr("synthorax.proof.trainings.has_weights", lambda name: False)
    assert not [name for name in names("few-shot") if "ImageNet" in name]
    unseen = PROTOCOLS["unseen-sites"](read_recipe("unseen-sites"), cohort, "densenet121", 0)
    assert {test for t in unseen for test in t.tests} == {"public", "mixed"}
    for training in unseen:
        for site, films in training.tests.items():
            assert {cohort.sites[image_id] for image_id in films.image_ids} == {site}
            assert site not in {cohort.sites.get(image_id) for image_id in training.films.image_ids}


def test_too_few_synthetic_films_are_refused(cohort):
    recipe = read_recipe("chexgen-classify").with_values({"films.multiples": [0, 50]}, "--set")
    with pytest.raises(
        InputError, match=r"k = 50 needs 800 CARS films for 16 real ones; 36 may be trained on"
    ):
        PROTOCOLS["mix"](recipe, cohort, "small", 0)


def test_sites_that_are_not_there(cohort, inputs):
    studies, concepts, synthetic = inputs
    recipe = read_recipe("unseen-sites")
    with pytest.raises(
        InputError, match=r"films\.held_out_sites names 'Mars'; the manifest's sites are mixed, public"
    ):
        PROTOCOLS["unseen-sites"](
            recipe.with_values({"films.held_out_sites": ["Mars"]}, "--set"), cohort, "small", 0
        )
    with pytest.raises(
        InputError, match=r"films.site_column is 'sight'; expected one of .* Did you mean 'site'\?"
    ):
        read_cohort(studies, concepts, synthetic, site_column="sight")
    alike = read_cohort(studies, concepts, synthetic, site_column="source")
    with pytest.raises(InputError, match="the manifest's column 'source' names 1 site"):
        PROTOCOLS["unseen-sites"](recipe, alike, "small", 0)
