"""Concept tables in chunks and processes are those of one process at once."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from synthorax.concepts import Vocabulary, annotate_studies, read_concepts
from synthorax.concepts.streaming import annotate_to

REPORTS = ["No pneumothorax.", None, "Left effusion.", "The heart is enlarged.", "XXXX", "Lungs are clear."]


@pytest.fixture
def reports(tmp_path):
    n = 40
    frame = pl.DataFrame({"study_id": [f"s{i}" for i in range(n)], "report": (REPORTS * n)[:n]})
    frame.write_parquet(tmp_path / "reports.parquet")
    frame.write_csv(tmp_path / "reports.csv")
    return frame


@pytest.mark.parametrize("given", ["frame", "reports.parquet", "reports.csv"])
@pytest.mark.parametrize(("workers", "chunk"), [(1, 7), (2, 11), (1, 1000)])
def test_chunks_and_processes_change_nothing(reports, tmp_path, given, workers, chunk):
    studies = reports if given == "frame" else tmp_path / given
    out = tmp_path / "concepts.parquet"
    outcome = annotate_to(studies, out, "corpa", workers=workers, chunk=chunk)
    table, vocabulary = read_concepts(out)
    assert vocabulary.policy == "strict"
    assert_frame_equal(table, annotate_studies(reports, Vocabulary.load()))
    assert outcome.n_rows == 40 and outcome.nothing == 13
    assert not list(tmp_path.glob(".*parts"))


def test_no_rows(tmp_path):
    frame = pl.DataFrame(schema={"study_id": pl.String, "report": pl.String})
    assert annotate_to(frame, tmp_path / "concepts.parquet", "corpa").n_rows == 0
    assert pl.read_parquet(tmp_path / "concepts.parquet").height == 0
