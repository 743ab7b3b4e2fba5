"""The real commands at the tiny scale: CARS's tables take shape, every protocol runs, a killed grid ends alike."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from synthorax.classifiers.backbones import CARS_BACKBONES
from synthorax.cli import run
from synthorax.proof import read_recipe, run_recipe


def words(name, out, inputs, *more):
    studies, concepts, synthetic = inputs
    given = [word for folder in synthetic for word in ("--synthetic", folder)]
    return ["recipes", "run", name, "--scale", "tiny", "--out", str(out), "--studies", str(studies), "--concepts", str(concepts), *given, *more]  # fmt: skip


def rows_of(path):
    with path.open() as file:
        return list(csv.reader(file))


def test_tables_1_to_4_have_the_paper_s_shape(cars):
    heads = ["Con-B", "Con-S", "Dense", "Effic", "Res50", "Res101", "ResNXt"]
    for name, metrics in (("table1", ["AUROC", "AUPRC", "F1"]), ("table2", ["Entropy", "ECE"])):
        head, *rows = rows_of(cars / "tables" / f"{name}.csv")
        assert head == ["", "", "", *heads]
        ours, printed = rows[::2], rows[1::2]
        assert [row[:3] for row in ours] == [
            [group, f"{delta}{metric}", "ours"]
            for group, delta in (("Baseline", ""), ("Finetuned CARS", "Δ "), ("Finetuned CoRPA", "Δ "))
            for metric in metrics
        ]
        assert all(float(cell) is not None for row in rows for cell in row[3:]), "a figure in every cell"
        assert all(row[2] == "paper" for row in printed)
    assert rows_of(cars / "tables" / "table1.csv")[2][3:] == ["0.947", "0.940", "0.922", "0.943", "0.913", "0.926", "0.949"]  # fmt: skip
    head, *rows = rows_of(cars / "tables" / "table3.csv")
    assert head == ["type", "CARS", "CARS, paper", "CoRPA", "CoRPA, paper"]
    shape = {row[0]: [cell == "–" for cell in row[1:]] for row in rows}
    both = [False] * 4
    assert shape["intra-class"] == shape["overall"] == both
    assert shape["insertion"] == shape["deletion"] == [False, False, True, True]
    assert shape["outer-class"] == [True, True, False, False]
    head, *rows = rows_of(cars / "tables" / "table4.csv")
    assert head == ["arm", "", "films", "empty", "Jaccard", "Hamming", "U_FP", "U_FN"]
    assert [row[:3] for row in rows] == [["CARS", "ours", "36"], ["CARS", "paper", "10000"], ["CoRPA", "ours", "36"], ["CoRPA", "paper", "10000"]]  # fmt: skip


def test_every_backbone_was_trained_and_thresholds_are_its_own(cars):
    import json

    for backbone in CARS_BACKBONES:
        cells = {
            path.parent.name: json.loads(path.read_text())
            for path in (cars / "cells" / backbone).rglob("cell.json")
        }
        assert set(cells) == {"baseline", "CARS", "CoRPA"} and cells["CARS"]["start"] == "baseline"
        assert all(len(cell["thresholds"]) == len(cell["labels"]) == 5 for cell in cells.values())
    assert not list(cars.rglob("classifier.safetensors")) or {p.parent.name for p in cars.rglob("classifier.safetensors")} == {"reader"}  # fmt: skip


def test_the_page_says_what_it_stands_on(cars):
    page = (cars / "tables.html").read_text()
    for said in (
        "Simulated: virtual patients, one anatomy", "Research only", "left out: made from a patient of", "Open in the paper",
        "no adjusted p-value can fall below", "Power, AUROC: with 8 test patients", "virtual patients made here", "scale tiny",
        "recipes run cars-paper", "ours; the paper reads back by LLaVA-Rad",
    ):  # fmt: skip
        assert said in page, said
    assert "http" not in page and "src=" not in page, "self-contained"
    assert page.count('<svg class="interval') == 7 * 2 * 5, "seven backbones, two arms, five metrics"
    table = pl.read_csv(cars / "tables" / "coverage.csv")
    assert table.height == 2 * 2 * 3 and {*table["arm"]} == {"CARS", "CoRPA"}
    singles = table.filter(pl.col("combinations of") == "labels, single").row(0, named=True)
    before = sum(int(singles[status].split(" to ")[0]) for status in ("never", "rare", "covered"))
    assert before == singles["valid combinations"] == 6


def test_the_same_command_over_a_finished_run_trains_nothing(cars, capsys):
    again = ["recipes", "run", "cars-paper", "--scale", "tiny", "--out", str(cars)]
    before = {path: path.stat().st_mtime_ns for path in (cars / "cells").rglob("*") if path.is_file()}
    table = (cars / "tables" / "comparisons.csv").read_bytes()
    assert run(again) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (cars / "tables" / "comparisons.csv").read_bytes() == table
    capsys.readouterr()
    assert run([*again, "--set", "training.epochs=2"]) == 2
    assert "holds a run with training.epochs = 1, not 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["chexgen-pretrain", "few-shot", "unseen-sites"])
def test_the_other_protocols_run(name, inputs, tmp_path):
    studies, concepts, synthetic = inputs
    recipe = read_recipe(name).at_scale("tiny").with_values({"grid.seeds": [0]}, "--set")
    page = run_recipe(
        recipe, tmp_path, studies=studies, concepts=concepts, synthetic=[f"edits={synthetic[0]}"]
    )
    comparisons = pl.read_csv(tmp_path / "tables" / "comparisons.csv")
    arms = set(comparisons["arm"])
    assert "sha256 of studies" in page.read_text()
    expected = {
        "chexgen-pretrain": {f"{share} % after 1 x edits" for share in (1, 10, 30, 50, 70, 100)},
        "few-shot": {f"{n}-shot after edits" for n in (1, 5, 10)},
        "unseen-sites": {f"without {site}: {arm}" for site in ("mixed", "public") for arm in ("real + edits", "edits, then real")},
    }  # fmt: skip
    assert arms == expected[name] and recipe.title in page.read_text()
    if name == "unseen-sites":
        assert set(comparisons["test"]) == {"mixed", "public"}


def test_a_killed_grid_ends_with_the_same_results(inputs, tmp_path):
    more = ("--set", "grid.keep_weights=true", "--set", "training.checkpoint_every_s=0")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(words("chexgen-classify", whole, inputs, *more)) == 0
    command = [sys.executable, "-m", "synthorax.cli", *words("chexgen-classify", killed, inputs, *more)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # One thread as in this room's conftest: the same bits need the same count.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=one_thread, start_new_session=True, **quiet)
    deadline = time.monotonic() + 120
    while len(done := list(killed.rglob("cell.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
        assert process.poll() is None, "it was killed before its end"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    written = {path: path.stat().st_mtime_ns for path in done}
    assert (
        3 <= len(done) < len(list(whole.rglob("cell.json"))) == 10 and not (killed / "tables.html").exists()
    )
    assert run(words("chexgen-classify", killed, inputs, *more)) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == written, "finished cells are not repeated"
    for path in [*whole.rglob("predictions.parquet"), *(whole / "tables").iterdir()]:
        other = killed / path.relative_to(whole)
        assert other.read_bytes() == path.read_bytes(), path.relative_to(whole)


def test_inputs_belong_together(inputs, tmp_path, capsys):
    studies, concepts, _ = inputs
    assert (
        run(
            [
                "recipes",
                "run",
                "chexgen-classify",
                "--scale",
                "tiny",
                "--out",
                str(tmp_path / "a"),
                "--studies",
                str(studies),
            ]
        )
        == 2
    )
    assert "--studies, --concepts and --synthetic belong together" in capsys.readouterr().err
    assert run(words("chexgen-classify", tmp_path / "b", (studies, concepts, []))) == 2
    assert (
        "chexgen-classify compares synthetic films; give their dataset folders by --synthetic FOLDER."
        in capsys.readouterr().err
    )
    assert run(words("chexgen-classify", tmp_path / "c", (studies, concepts, [str(tmp_path)]))) == 2
    assert f"{tmp_path / 'metadata.parquet'} does not exist" in capsys.readouterr().err
    assert not Path(tmp_path / "c").exists()


def test_a_dry_run_says_what_it_costs(inputs, tmp_path, capsys):
    assert run(words("chexgen-classify", tmp_path / "x", inputs, "--dry-run")) == 0
    said = capsys.readouterr().out
    assert said.endswith("nothing was made.\n") and not (tmp_path / "x").exists()
    real, kept = 16, 36
    assert kept >= 2 * real
    assert said.startswith(f"{2 * (5 * real + 2 * (1 + 2) * real)} rows, "), (
        "both seeds; real alone, and + 1 x, + 2 x of two arms"
    )
