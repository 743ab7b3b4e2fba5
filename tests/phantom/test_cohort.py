"""Cohorts: the dataset folder, its determinism, the withheld pairs, the reports."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from synthorax.concepts import Vocabulary, annotate, annotate_studies, label_column
from synthorax.dataset import METADATA, read_metadata, read_png
from synthorax.errors import InputError, RunError
from synthorax.phantom import (
    concept_table,
    counterfactual,
    draw_concepts,
    film_source,
    sample_cohort,
    withheld_pairs,
    write_report,
)
from synthorax.phantom.combinations import has_pair
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL
from synthorax.seeds import generator

SETTINGS = {"size": 96, "renderings": 2, "counterfactuals": 1, "mode": "strict"}
VOCABULARY = Vocabulary.load()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, atlas):
    return sample_cohort(2, 5, tmp_path_factory.mktemp("cohort") / "a", workers=1, **SETTINGS)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_two_workers_give_the_same_bytes(cohort, tmp_path):
    assert contents(sample_cohort(2, 5, tmp_path, workers=2, **SETTINGS)) == contents(cohort)


def test_a_killed_run_is_finished_to_the_same_bytes(cohort, tmp_path):
    for name, data in contents(cohort).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    record = sorted((tmp_path / "patients").iterdir())[0]
    record.unlink()
    sorted((tmp_path / "images").iterdir())[0].unlink()
    (tmp_path / "metadata.parquet").unlink()
    assert contents(sample_cohort(2, 5, tmp_path, workers=1, **SETTINGS)) == contents(cohort)


def test_other_settings_in_the_same_folder_are_refused(cohort):
    with pytest.raises(RunError, match=r"has seed = 5, not 6. Use the same settings or another folder"):
        sample_cohort(2, 6, cohort, workers=1, **SETTINGS)


def test_tables_agree_with_each_other_and_the_files(cohort):
    metadata, studies = read_metadata(cohort), pl.read_parquet(cohort / "studies.parquet")
    concepts = pl.read_parquet(cohort / "concepts.parquet")
    assert metadata.columns == list(METADATA)
    assert metadata["is_simulated"].all()
    films = metadata.filter(pl.col("source_image_id").is_null())
    assert films["image_id"].to_list() == studies["image_id"].to_list() == concepts["study_id"].to_list()
    for column in ("file_name", "counterfactual_file_name", "edit_mask_file_name", "source_file_name"):
        assert all((cohort / name).is_file() for name in metadata[column].drop_nulls())
    for film, row, study in zip(films.to_dicts(), concepts.to_dicts(), studies.to_dicts(), strict=True):
        assert film["concepts_after"] == [c for c in VOCABULARY.concepts if row[c]]
        assert study["labels_present"] == [label for label in VOCABULARY.labels if row[label_column(label)]]
        assert "FINDINGS:" in study["report"] and "IMPRESSION:" in study["report"]


def test_true_counterfactual_follows_from_the_row_alone(cohort):
    for row in read_metadata(cohort).to_dicts():
        film = counterfactual(row["image_id"], row["concepts_after"], size=96, mode="strict")
        np.testing.assert_allclose(film.image, read_png(cohort / row["file_name"]), atol=0.51 / 255)


def test_record_holds_all_that_was_drawn(cohort):
    for path in (cohort / "patients").iterdir():
        record = json.loads(path.read_text())
        for film in record["films"]:
            assert set(film["concepts"]) <= set(record["findings"])
            assert film_source(film["image_id"]) == (record["seed"], film["take"], "public", "built-in")


def test_hugging_face_datasets_opens_a_cohort_with_masks(cohort, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(cohort), split="train", cache_dir=str(tmp_path), keep_in_memory=True
    )
    table = read_metadata(cohort)
    assert len(found) == len(table)
    assert found[0]["image"].size == (96, 96)
    with_mask = [row for row in found if row["edit_mask"] is not None]
    assert len(with_mask) == table["edit_mask_file_name"].drop_nulls().len()


def test_withheld_pairs_are_six_and_never_drawn_among_the_allowed():
    listed = withheld_pairs()
    assert len(listed) == 6
    rng = generator("pairs")
    drawn = [draw_concepts(rng, VOCABULARY, "allowed", listed) for _ in range(500)]
    assert not any(has_pair(concepts, listed, VOCABULARY) for concepts in drawn)
    assert 0.25 < np.mean([not concepts for concepts in drawn]) < 0.55
    assert all(
        has_pair(draw_concepts(rng, VOCABULARY, "withheld", listed), listed, VOCABULARY) for _ in range(100)
    )


def test_any_pairs_reach_the_withheld_ones_and_every_concept():
    rng, listed = generator("any"), withheld_pairs()
    drawn = [draw_concepts(rng, VOCABULARY) for _ in range(600)]
    assert any(has_pair(concepts, listed, VOCABULARY) for concepts in drawn)
    assert {c for concepts in drawn for c in concepts} == set(VOCABULARY.pathologies)


def test_wrong_choices_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"pairs is 'alowed'; .*Did you mean 'allowed'"):
        sample_cohort(1, 1, tmp_path, pairs="alowed")
    with pytest.raises(InputError, match="n is 0, renderings 1"):
        sample_cohort(0, 1, tmp_path)
    with pytest.raises(InputError, match="image_id is 'nih_3'; expected 'vp', 16 hexadecimal digits"):
        counterfactual("nih_3", ["mass"])


PARAMS = {"side": "L", "severity": "moderate", "diameter_mm": 20.0, "lobe": "left_lower"}


@pytest.mark.parametrize("concept", VOCABULARY.pathologies)
def test_report_names_the_finding_with_its_side(concept):
    params = PARAMS | (
        {"side": "RL"} if concept in ("adenopathy", "irregular_parenchyma", "enlarged_heart") else {}
    )
    texts = {
        write_report({concept: params}, {}, is_unremarkable=False, view_position="PA", seed=seed)
        for seed in range(30)
    }
    assert len(texts) > 15
    for text in texts:
        assert "{" not in text
        if params["side"] == "L":
            assert "left" in text.lower()
            assert "right" not in text.lower()


def test_present_labels_are_not_denied():
    for seed in range(40):
        text = write_report(
            {"fluid": PARAMS}, {}, is_unremarkable=False, view_position="PA", seed=seed
        ).lower()
        assert "effusion" not in text


def test_reports_are_read_back_to_exactly_what_was_put_in():
    severity = {
        "opacities": "mild",
        "pneumonitis": "multifocal",
        "nodule": "2.1 cm",
        "enlarged_heart": "marked",
    }
    for i in range(200):
        rng = generator("read back", i)
        concepts = draw_concepts(rng, VOCABULARY)
        other = [name for name, recipe in INCIDENTAL.items() if rng.random() < 2 * recipe.rate]
        params = {
            name: PARAMS
            | {
                "side": str(rng.choice((CONCEPTS | INCIDENTAL)[name].sides)),
                "severity": severity.get(name, "large"),
            }
            for name in (*concepts, *other)
        }
        is_unremarkable = not concepts and not any(INCIDENTAL[name].is_disease for name in other)
        text = write_report(
            {c: params[c] for c in concepts},
            {name: params[name] for name in other},
            is_unremarkable=is_unremarkable,
            view_position="AP",
            seed=i,
        )
        expected = set(concepts) | ({"unremarkable"} if is_unremarkable else set())
        assert annotate(text, VOCABULARY).vector.present == expected, text


@pytest.mark.parametrize("name", ["corpa", "chexpert", "chestxray14", "radedit"])
def test_truth_and_reports_agree_in_every_vocabulary(cohort, name):
    vocabulary = Vocabulary.load(name)
    truth = concept_table(cohort, vocabulary)
    read = annotate_studies(pl.read_parquet(cohort / "studies.parquet"), vocabulary)
    assert read.select(vocabulary.concepts).equals(truth.select(vocabulary.concepts))
