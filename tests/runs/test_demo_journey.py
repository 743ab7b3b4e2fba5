"""The real demo at its smallest, killed in the middle and finished; and the Hugging Face reading of its dataset."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthorax.dataset import METADATA, read_metadata
from synthorax.runs.results import read_results


def _command(out: Path) -> list[str]:
    return [sys.executable, "-m", "synthorax.cli", "demo", "--scale", "tiny", "--out", str(out)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    subprocess.run(_command(out), check=True, capture_output=True, text=True)
    return out


def test_the_report_tells_the_story(demo):
    page = (demo / "report.html").read_text()
    for words in (
        "imulated",
        "one anatomy",
        "withheld",
        "Research only",
        "no difference shown",
        "CoRPA",
        "sham",
    ):
        assert words in page, words
    assert "http://" not in page.replace("http://www.w3.org", "") and 'src="http' not in page


def test_the_dataset_keeps_the_contract(demo):
    rows = read_metadata(demo / "synthetic")
    assert rows.columns == list(METADATA)
    assert set(rows["perturbation_type"]) >= {"intra_class", "insertion", "deletion"}
    edits = rows.filter(rows["file_name"].str.starts_with("cars/"))
    for column in (
        "file_name",
        "source_file_name",
        "counterfactual_file_name",
        "edit_mask_file_name",
        "keep_mask_file_name",
    ):
        assert all((demo / "synthetic" / name).is_file() for name in edits[column]), column
    assert rows["is_simulated"].all() and rows["model_sha256"].null_count() == 0


def test_hugging_face_opens_it(demo):
    import datasets

    found = datasets.load_dataset(
        "imagefolder",
        data_dir=str(demo / "synthetic"),
        cache_dir=str(demo / "hf"),
        split="train",
        drop_labels=True,
    )
    assert {"image", "prompt", "concepts_after"} <= set(found.column_names)
    assert found.num_rows == read_metadata(demo / "synthetic").height


def test_results_have_ceiling_floor_and_intervals(demo):
    results = read_results(demo)
    assert [row.arm.split(":")[0] for row in results.agreement] == [
        "CARS edits",
        "CoRPA images",
        "ceiling",
        "floor",
    ]
    assert results.classifier.rows[0].difference is None
    assert all(row.difference for row in results.classifier.rows[1:])


def test_a_killed_run_ends_as_an_undisturbed_one(demo, tmp_path):
    out = tmp_path / "demo"
    process = subprocess.Popen(
        _command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list((out / "synthetic" / "cars").glob("vp*.png")):
        assert process.poll() is None, "the demo ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "synthetic" / "metadata.parquet").exists()
    subprocess.run(_command(out), check=True, capture_output=True, text=True)
    undisturbed = {
        p.relative_to(demo): p.read_bytes() for p in sorted((demo / "synthetic").rglob("*")) if p.is_file()
    }
    finished = {
        p.relative_to(out): p.read_bytes()
        for p in sorted((out / "synthetic").rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }
    assert finished.keys() == undisturbed.keys()
    assert [name for name in finished if finished[name] != undisturbed[name]] == []
