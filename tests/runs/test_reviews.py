"""What people added to a run, verdicts and kept edits, outlives the command that is given again."""

import json

import numpy as np
import pytest

from synthorax.dataset import read_metadata, write_png
from synthorax.errors import RunError
from synthorax.runs.folder import RunFolder
from synthorax.runs.merging import merge
from synthorax.runs.reviews import record_film, record_verdict
from synthorax.workbench.opened_run import OpenedRun


def films(i):
    return f"films/{i:03d}/{i:07d}.png"


def verdicts(run):
    return {
        row["file_name"]: (row["is_valid"], row["reject_reason"])
        for row in read_metadata(run / "synthetic").iter_rows(named=True)
        if row["is_valid"] is not None
    }


def test_verdicts_and_kept_edits_survive_the_same_command(stub_run, tmp_path):
    stub_run(tmp_path, 6)
    before = read_metadata(tmp_path / "synthetic")
    run = OpenedRun.open(tmp_path)
    run.review(0, False, "wrong side")
    run.review(2, False, "artefact")
    run.review(2, True, None)
    write_png(np.zeros((16, 16), np.float32), run.synthetic / "workbench/mine.png")
    added = {"file_name": "workbench/mine.png", "image_id": "mine", "concepts_after": ["mass"], "seed": 7, "is_synthetic": True}  # fmt: skip
    assert run.add(added) == 6
    run.review(6, True, None)
    reviewed = read_metadata(tmp_path / "synthetic")
    stub_run(tmp_path, 6)
    again = read_metadata(tmp_path / "synthetic")
    assert again.equals(reviewed) and not again.equals(before)
    assert verdicts(tmp_path) == {films(0): (False, "wrong side"), films(2): (True, None), "workbench/mine.png": (True, None)}  # fmt: skip
    (tmp_path / "synthetic" / "metadata.parquet").unlink()
    stub_run(tmp_path, 6)
    assert read_metadata(tmp_path / "synthetic").equals(reviewed), "a lost manifest too"


def test_a_film_that_came_out_otherwise_is_not_judged(stub_run, tmp_path, capsys):
    stub_run(tmp_path, 3)
    record_verdict(tmp_path, films(0), True, None)
    record_verdict(tmp_path, films(1), False, "too clean")
    write_png(np.zeros((16, 16), np.float32), tmp_path / "synthetic" / films(1))
    stub_run(tmp_path, 3)
    assert verdicts(tmp_path) == {films(0): (True, None)}
    assert "reviews.jsonl: 1 reviewed films are gone or were made otherwise" in capsys.readouterr().err


def test_a_line_that_was_cut_off_costs_no_other(stub_run, tmp_path, capsys):
    stub_run(tmp_path, 3)
    record_verdict(tmp_path, films(0), True, None)
    log = tmp_path / "reviews.jsonl"
    log.write_text(log.read_text() + '{"file_name": "films/0')
    record_verdict(tmp_path, films(1), False, "artefact")
    stub_run(tmp_path, 3)
    assert verdicts(tmp_path) == {films(0): (True, None), films(1): (False, "artefact")}
    assert "has a line that was never finished; it is passed over" in capsys.readouterr().err
    assert json.loads(log.read_text().splitlines()[-1])["reject_reason"] == "artefact"


def test_reviews_of_a_shard_are_merged(stub_run, tmp_path):
    for shard in ("1/2", "2/2"):
        stub_run(tmp_path, 4, shard=shard)
    OpenedRun.open(tmp_path / "shards" / "2-of-2").review(0, False, "wrong finding")
    merge(tmp_path)
    assert verdicts(tmp_path) == {films(1): (False, "wrong finding")}


def test_a_kept_film_whose_file_is_gone_is_not_listed(stub_run, tmp_path):
    stub_run(tmp_path, 2)
    record_film(tmp_path, {"file_name": "workbench/gone.png"})
    stub_run(tmp_path, 2)
    assert read_metadata(tmp_path / "synthetic").height == 2


def test_no_verdict_while_a_command_works_here(stub_run, tmp_path):
    stub_run(tmp_path, 2)
    working = RunFolder.reopen(tmp_path)
    with pytest.raises(RunError, match="is in use by process"):
        OpenedRun.open(tmp_path).review(0, True, None)
    working.close()
    OpenedRun.open(tmp_path).review(0, True, None)
    assert verdicts(tmp_path) == {films(0): (True, None)}
