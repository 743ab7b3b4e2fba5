"""``chexgen-small`` at the tiny scale, by its command: every task runs, nobody tested on is trained on, a stopped run goes on."""

import json

import polars as pl
import pytest

from synthorax.cli import run
from synthorax.dataset import read_metadata, read_png
from synthorax.proof.small import PARTS, notes
from synthorax.proof.small_inputs import FLUID, FLUID_PERCENT, SEVERITY_FILE
from synthorax.studies.annotations import read_annotations


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The run's folder."""
    out = tmp_path_factory.mktemp("small")
    assert run(["recipes", "run", "chexgen-small", "--scale", "tiny", "--out", str(out)]) == 0
    return out


def test_every_task_is_measured_inside_and_outside(small):
    for name, (_, figures) in PARTS.items():
        table = pl.read_csv(small / name / "tables" / "comparisons.csv")
        assert {*figures} <= {*table["metric"]} and {*table["test"]} == {"internal", "external"}
        assert table["difference"].null_count() == 0 or name.endswith(("classify", "pretrain"))
    page = (small / "tables.html").read_text()
    for said in ("Simulated: virtual patients", "real alone", "from scratch", "MobileNetV3-FPN, for CPUs", "chexgen-segment.segmentation.epochs", "3 patients are tested", "Values that are not the recipe"):  # fmt: skip
        assert said in page, said
    tasks = pl.read_csv(small / "tables" / "tasks.csv")
    assert tasks.height == 4 * 2 * 2 and {*tasks["task"]} == {"segment", "detect", "severity", "classify"}


def test_the_notes_count_gains_by_task_and_figure(small):
    found = {name: pl.read_csv(small / name / "tables" / "comparisons.csv") for name in PARTS}
    is_first = pl.int_range(pl.len()).over("metric") == 0
    gained = pl.when((pl.col("metric") == "mae") & is_first).then(pl.lit("better")).otherwise(pl.lit("worse"))
    found["chexgen-severity"] = found["chexgen-severity"].with_columns(verdict=gained)
    gains, losses = notes(found)[-2:]
    assert "severity, MAE (1 of 2)" in gains
    assert "severity, MAE (1 of 2); severity, Pearson's r (2 of 2)" in losses


def test_nobody_who_is_tested_teaches(small):
    studies = pl.read_parquet(small / "inputs" / "studies.parquet")
    apart = {*studies.filter(pl.col("split") != "train")["patient_id"]}
    assert {*studies.filter(site="clinic")["split"]} == {"test"}
    teachers = {*pl.read_parquet(small / "inputs" / "teachers" / "studies.parquet")["patient_id"]}
    assert not teachers & {*studies["patient_id"]}
    train = {*studies.filter(split="train")["image_id"]}
    for which in ("annotated", "prompted"):
        assert not apart & {*read_metadata(small / "inputs" / which / "synthetic")["patient_id"]}
    cells = [json.loads(path.read_text()) for path in small.rglob("cell.json")]
    assert len(cells) == 4 * 2 + 4
    for cell in cells:
        real = {name for name in cell["trained_image_ids"] if "/synthetic/" not in name}
        assert real <= train, cell["arm"]


def test_truth_is_the_virtual_patients_own(small):
    inputs = small / "inputs"
    found = pl.read_parquet(inputs / "internal" / "findings.parquet")
    marks = read_annotations(inputs / "annotations" / "internal").filter(kind="mask")
    seen = found.filter(pl.col("visible_fraction") > 0)
    assert {*marks.select("image_id", "label").rows()} == {*seen.select("image_id", "finding").rows()}
    row = seen.row(0, named=True)
    (path,) = marks.filter(image_id=row["image_id"], label=row["finding"])["mask_file_name"]
    assert (read_png(path) == read_png(inputs / "internal" / row["mask_file_name"])).all()
    fluid = dict(pl.read_parquet(inputs / "studies.parquet").select("image_id", FLUID_PERCENT).iter_rows())
    shares = found.filter(pl.col("finding").is_in(FLUID)).group_by("image_id").agg("lung_fraction")
    for image_id, values in shares.iter_rows():
        assert fluid.pop(image_id) == (100 * values[0] if len(values) == 1 else None)
    assert {fluid[name] for name in fluid if name in {*found["image_id"]}} <= {0.0}
    said = pl.read_parquet(inputs / "prompted" / "synthetic" / SEVERITY_FILE)
    assert said[FLUID_PERCENT].max() > 0 and said[FLUID_PERCENT].min() == 0


def test_a_stopped_run_goes_on_and_a_finished_one_trains_nothing(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("cell.json")}
    films = {path: path.stat().st_mtime_ns for path in (small / "inputs").rglob("*.png")}
    stages = small / "stages.json"
    done = json.loads(stages.read_text())
    assert [*done] == ["patients", "control", "annotated", "prompted", *PARTS]
    # As if it had been killed before the last stages: cells and films that are there are not made again, but one.
    stages.write_text(json.dumps({name: done[name] for name in [*done][:4]}))
    (cell,) = (small / "chexgen-severity" / "cells" / "seed-0" / "real").glob("cell.json")
    answers = cell.parent / "answers-external.parquet"
    told, record = pl.read_parquet(answers), json.loads(cell.read_text())
    cell.unlink()
    assert run(["recipes", "run", "chexgen-small", "--scale", "tiny", "--out", str(small)]) == 0
    assert json.loads(cell.read_text()) == record and pl.read_parquet(answers).equals(told)
    again = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if again[path] != before[path]} == {cell}
    assert all(path.stat().st_mtime_ns == when for path, when in films.items())


def test_what_is_refused(small, tmp_path, capsys):
    inputs = small / "inputs"
    assert run(["recipes", "run", "chexgen-small", "--studies", str(inputs / "studies.parquet"), "--out", str(tmp_path)]) == 2  # fmt: skip
    assert "chexgen-small makes its own films" in capsys.readouterr().err
    words = ["recipes", "run", "chexgen-segment", "--scale", "tiny", "--out", str(tmp_path), "--studies", str(inputs / "studies.parquet"), "--synthetic", str(inputs / "annotated" / "synthetic")]  # fmt: skip
    assert run(words) == 2
    assert "chexgen-segment needs --studies, --annotations and --synthetic" in capsys.readouterr().err
    assert run([*words, "--dry-run"]) == 2
    assert "--dry-run knows classifiers' recipes alone" in capsys.readouterr().err
    marks = ["--annotations", str(inputs / "annotations" / "internal")]
    assert run([*words, *marks, "--set", "films.external_sites=[Mars]"]) == 2
    assert "films.external_sites names 'Mars'; the manifest's sites are clinic, public" in capsys.readouterr().err  # fmt: skip
    assert run([*words, *marks, "--set", "films.classes={gas: [Helium]}"]) == 2
    assert "the label of class 'gas' is 'Helium'" in capsys.readouterr().err
