"""The table of films: what it says, and the one sentence where it cannot be used."""

import numpy as np
import polars as pl
import pytest

from synthorax.classifiers.loading import batches
from synthorax.dataset import write_png
from synthorax.errors import InputError
from synthorax.stress import SHIFTS, Shift, read_films
from synthorax.stress.films import read_mask
from synthorax.stress.stressed import masks_of, sources


def test_what_is_missing_is_null_and_names_are_relative_to_the_table(table_path):
    table = read_films(table_path)
    assert table.height == 48 and table["image_id"][0] == "p0_1" and set(table["role"]) == {"both"}
    assert table["file_name"][0] == str(table_path.parent / "p0_1.png")
    assert table["edit_mask_file_name"].null_count() == 24 and table["caption"].null_count() == 48


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop("patient_id"), "has no column 'patient_id'"),
        (lambda t: t.head(0), "has no rows"),
        (
            lambda t: t.with_columns(target=pl.Series([1, 2] + [0] * 46)),
            "row 2: target is 2; expected 0 or 1",
        ),
        (lambda t: t.with_columns(role=pl.lit("train")), "row 1: role is 'train'; expected one of test"),
        (lambda t: t.with_columns(patient_id=pl.lit(None, pl.String)), "row 1: patient_id is missing"),
        (lambda t: t.with_columns(image_id=pl.lit("same")), "image_id 'same' occurs twice"),
        (lambda t: t.with_columns(file_name=pl.lit("gone.png")).head(1), "gone.png does not exist"),
        (lambda t: t.with_columns(keep_mask_file_name=pl.lit("gone.png")), "row 1: keep_mask_file_name"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(table_path, change, words):
    change(pl.read_csv(table_path)).write_parquet(table_path.with_suffix(".parquet"))
    with pytest.raises(InputError) as raised:
        read_films(table_path.with_suffix(".parquet"))
    assert words in str(raised.value)


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist; expected a CSV or Parquet table"):
        read_films(tmp_path / "none.csv")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_films(tmp_path / "text.parquet")


def test_batches_hold_neighbours_of_one_shape(tmp_path):
    for i, shape in enumerate([(8, 8), (8, 8), (8, 8), (8, 9), (8, 8)]):
        write_png(np.zeros(shape, np.float32), tmp_path / f"{i}.png")
    found = [
        (rows, films.shape) for rows, films in batches([str(tmp_path / f"{i}.png") for i in range(5)], 2)
    ]
    assert found == [([0, 1], (2, 8, 8)), ([2], (1, 8, 8)), ([3], (1, 8, 9)), ([4], (1, 8, 8))]


def test_masks_are_of_their_film_and_not_empty(tmp_path):
    write_png(np.zeros((8, 8), bool), tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"has shape \(8, 8\); its film has \(9, 8\)"):
        read_mask(str(tmp_path / "mask.png"), (9, 8))
    with pytest.raises(InputError, match="is empty; expected at least one pixel"):
        read_mask(str(tmp_path / "mask.png"), (8, 8))


def test_sources_are_those_with_the_other_target_and_a_mask(table_path):
    table = read_films(table_path)
    assert set(sources(table, SHIFTS["manifestation"])["target"]) == {1}
    assert sources(table, Shift("add", "Left effusion.", target_after=1, needs_mask=False)).height == 24
    with pytest.raises(InputError, match=r"wants sources with target 0 with an edit_mask_file_name \(24 without\)"):  # fmt: skip
        sources(table, Shift("add", "Left effusion.", target_after=1))
    bare = table.with_columns(keep_mask_file_name=pl.lit(None, pl.String))
    with pytest.raises(InputError, match="film 'p0_1' has no keep_mask_file_name, which shift 'manifestation' needs"):  # fmt: skip
        sources(bare, SHIFTS["manifestation"])


def test_masks_are_widened_in_proportion_and_the_rest_is_kept(table_path):
    row = read_films(table_path).row(0, named=True)
    edit, keep = masks_of(row, SHIFTS["acquisition"], (64, 64))
    assert edit.sum() == 16 * 16 and np.array_equal(keep, ~edit)
    edit, keep = masks_of(row, Shift("wide", "x", keep="file", dilation_px=16), (64, 64))  # 2 px of 64
    assert edit[22, 30] and not edit[21, 30] and keep[13, 0] and not keep[14, 0]
    assert masks_of(row, Shift("free", "x"), (64, 64))[1] is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"keep": "file_"}, "Did you mean 'file'?"),
        ({"target_after": 2}, "expected 0 or 1"),
        ({"prompt": " "}, "prompt is empty"),
    ],
)
def test_a_shift_that_cannot_be_is_refused(values, words):
    with pytest.raises(InputError, match=words.replace("?", "\\?")):
        Shift(**{"name": "x", "prompt": "No findings."} | values)
