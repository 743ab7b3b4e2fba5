"""``synthorax bias match`` and ``fill``: twins of cases, and groups filled to parity."""

from collections import Counter

import polars as pl
import pytest

from synthorax.classifiers.groups import group_columns, groups_of
from synthorax.cli import run
from synthorax.concepts import Vocabulary, annotate_studies, write_concepts
from synthorax.studies import read_manifest, write_manifest

REPORTS = {"mass": "Right mass.", "effusion": "Left pleural effusion.", "none": "No acute cardiopulmonary process."}  # fmt: skip
#: sex, age, kind -> films: women have no effusion, the young few masses.
COUNTS = {("F", 30, "mass"): 1, ("F", 70, "mass"): 3, ("F", 30, "none"): 2, ("F", 70, "none"): 2, ("M", 30, "effusion"): 2,
          ("M", 70, "effusion"): 4, ("M", 30, "mass"): 2, ("M", 70, "none"): 1, (None, 70, "mass"): 3}  # fmt: skip


@pytest.fixture
def films(tmp_path):
    rows = [
        {"study_id": f"s{i}", "patient_id": f"p{i}", "image_id": f"i{i}", "file_name": f"/films/{i}.png", "report": f"IMPRESSION: {REPORTS[kind]}",
         "sex": sex, "age": float(age), "view_position": "PA", "source": "folder", "sides": [{"concept": "mass", "side": "right"}] if kind == "mass" else []}
        for i, (sex, age, kind) in enumerate(key for key, n in COUNTS.items() for _ in range(n))
    ]  # fmt: skip
    frame = read_manifest(write_manifest(pl.DataFrame(rows), tmp_path / "studies.parquet"))
    words = Vocabulary.load()
    write_concepts(annotate_studies(frame, words), tmp_path / "concepts.parquet", words)
    return frame


def ordered(tmp_path, act, *more) -> pl.DataFrame:
    said = ["--studies", tmp_path / "studies.parquet", "--concepts", tmp_path / "concepts.parquet"]
    assert run([str(word) for word in ["bias", act, *said, "--out", tmp_path / "asked.parquet", *more]]) == 0
    return pl.read_parquet(tmp_path / "asked.parquet")


def test_a_twin_for_each_film_with_its_own_words(films, tmp_path):
    table = ordered(tmp_path, "match")
    assert table["source_image_id"].to_list() == films["image_id"].to_list()
    assert table["prompt"][0] == "Female, 30 years, PA view. Right mass."
    assert table["prompt"][-1] == "70 years, PA view. Right mass."
    assert table.filter(sex="M", age=70.0)["prompt"][0] == "Male, 70 years, PA view. Effusion."
    assert set(table["patient_id"]).isdisjoint(films["patient_id"])


@pytest.mark.parametrize("by", ["sex", "sex,age_group"])
def test_every_group_has_as_many_films_of_each_kind(films, tmp_path, by):
    table = ordered(tmp_path, "fill", "--by", by)
    words = Vocabulary.load()
    there = annotate_studies(films, words)
    before = [tuple(label for label in words.labels if row[f"label_{label.lower().replace(' ', '_')}"]) for row in there.iter_rows(named=True)]  # fmt: skip
    counts: Counter = Counter()
    filled = table.with_columns(image_id="study_id", source=pl.lit(None, pl.String))
    for frame, kinds in ((films, before), (filled, map(tuple, table["labels_after"]))):
        for group, kind in zip(groups_of(frame).select(by.split(",")).iter_rows(), kinds, strict=True):
            if "unknown" not in group:
                counts[group, kind] += 1
    kinds = {kind for _, kind in counts}
    assert len(kinds) == 3
    for kind in kinds:
        assert len({counts[group, kind] for group, _ in counts}) == 1, f"{kind} is not at parity"
    assert counts.total() == (films["sex"].is_not_null().sum() + table.height)
    assert table.equals(ordered(tmp_path, "fill", "--by", by)), "one seed, one table"


def test_an_axis_that_films_do_not_have_is_refused(films, tmp_path, capsys):
    said = ["--studies", tmp_path / "studies.parquet", "--concepts", tmp_path / "concepts.parquet", "--out", tmp_path / "a.parquet"]  # fmt: skip
    assert run([str(word) for word in ["bias", "fill", *said, "--by", "gender"]]) == 2
    assert "by is 'gender'; expected one of" in capsys.readouterr().err.replace("\n", " ")
    assert run([str(word) for word in ["bias", "fill", *said, "--by", "view_position"]]) == 2
    assert "the films are of 1 groups by view_position" in " ".join(capsys.readouterr().err.split())


def test_what_a_classifier_of_groups_learns(films):
    found = group_columns(films)
    assert found.columns == ["sex:F", "sex:M", "age_group:19-40", "age_group:over 65"], "one view is no group, race none of ours"  # fmt: skip
    assert found["sex:F"].to_list()[:2] == [1, 1] and found["sex:F"][-1] is None
    assert found["age_group:over 65"].null_count() == 0
