"""``chexgen-small``: films, then each of ChexGen's protocols at a small size, in stages; killed and started again, it goes on.

A stage is one of :mod:`~.small_inputs`, or a recipe of ChexGen's with the values that ``chexgen-small`` gives it, run in a
folder of its own. ``stages.json`` has the seconds of each that is done.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import polars as pl

from synthorax.files import atomic
from synthorax.proof.cars import NAMES
from synthorax.proof.page import changed_values, render
from synthorax.proof.recipe import Recipe, read_recipe
from synthorax.proof.running import run_recipe
from synthorax.proof.small_inputs import make_control, make_films, make_patients
from synthorax.proof.tables import MISSING, Table, number, signed
from synthorax.runs.demo import provenance
from synthorax.runs.folder import RunFolder
from synthorax.studies import read_manifest

STAGES = "stages.json"
#: Below so many a bootstrap's intervals are too narrow.
FEW_PATIENTS = 20
#: Recipe -> the synthetic films it takes, and the figures shown of it.
PARTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "chexgen-segment": ("annotated", ("positive_dice", "negative_dice")),
    "chexgen-detect": ("annotated", ("map50", "mar50")),
    "chexgen-severity": ("prompted", ("mae", "pearson")),
    "chexgen-classify": ("prompted", ("auroc", "auprc")),
    "chexgen-pretrain": ("prompted", ("auroc",)),
}


def run_small(recipe: Recipe, out: Path | str, device: str = "cpu", command: str = "") -> Path:
    """Run what is not done, and write ``tables.html`` over all of it.

    Args:
        recipe: ``chexgen-small``, at its scale.
        out: run folder: ``inputs/``, and a folder for each recipe.
        device: torch device.
        command: what was typed, for the page.

    Raises:
        RunError: ``out`` holds another run, or one in use.
    """
    values = {f"{section}.{key}": value.value for section, key, value in recipe.rows()}
    run = RunFolder.open(out, {"kind": "protocol", "recipe": recipe.name, **values})
    inputs = run.path / "inputs"
    stages: dict[str, Callable[[], object]] = {
        "patients": partial(make_patients, recipe, inputs),
        "control": partial(make_control, recipe, inputs, device),
        "annotated": partial(make_films, recipe, inputs, "annotated", device),
        "prompted": partial(make_films, recipe, inputs, "prompted", device),
        **{name: partial(_part, recipe, name, run.path, device, command) for name in PARTS},
    }
    path = run.path / STAGES
    try:
        done: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        for name, work in stages.items():
            if name in done:
                continue
            began = time.monotonic()
            work()
            done[name] = time.monotonic() - began
            with atomic(path) as temporary:
                temporary.write_text(json.dumps(done, indent=1) + "\n")
        return _page(recipe, run.path, done, command)
    finally:
        run.close()


def _part(recipe: Recipe, name: str, folder: Path, device: str, command: str) -> Path:
    """One of ChexGen's recipes on the films that were made."""
    inputs, films = folder / "inputs", PARTS[name][0]
    own = read_recipe(name).with_values(recipe.values(name), recipe.name)
    is_marked = films == "annotated"
    return run_recipe(
        own, folder / name, studies=inputs / "studies.parquet",
        concepts=inputs / "concepts.parquet" if name in ("chexgen-classify", "chexgen-pretrain") else None,
        annotations=[inputs / "annotations" / site for site in ("internal", "external")] if is_marked else [],
        synthetic=[f"{films}={inputs / films / 'synthetic'}"], device=device, command=command,
    )  # fmt: skip


def _page(recipe: Recipe, folder: Path, seconds: Mapping[str, float], command: str) -> Path:
    found = {name: pl.read_csv(folder / name / "tables" / "comparisons.csv") for name in PARTS}
    tables = [_mixed(found), _pretrained(found["chexgen-pretrain"]), _stages(seconds)]
    for table in tables:
        table.write(folder / "tables")
    films = read_manifest(folder / "inputs" / "studies.parquet")
    counts = {
        f"{'external' if site == recipe.values('patients')['external_site'] else 'internal'} {split} films": n
        for site, split, n in films.group_by("site", "split", maintain_order=True).len().iter_rows()
    }
    for which in ("annotated", "prompted"):
        table = pl.read_parquet(folder / "inputs" / which / "synthetic" / "metadata.parquet")
        counts[f"synthetic films, {which}"] = table.height
    said = provenance(command, recipe.values("patients")["seed"], sum(seconds.values())).model_dump(exclude={"seed"})  # fmt: skip
    return render(
        folder,
        recipe,
        tables,
        notes=[*notes(found), *changed_values(recipe)],
        counts=counts,
        outcomes=[],
        provenance=said,
        is_simulated=True,
    )


def notes(found: Mapping[str, pl.DataFrame]) -> list[str]:
    """What the figures carry, from the figures."""
    said = ["Virtual patients, one anatomy: nothing here supports a claim about clinical accuracy."]
    figures = pl.concat(
        frame.filter(pl.col("metric").is_in(PARTS[name][1])).select("metric", "verdict", task=pl.lit(name.removeprefix("chexgen-")))
        for name, frame in found.items()
    )  # fmt: skip
    shown = {verdict: figures.filter(verdict=verdict).height for verdict in ("better", "worse", "no difference shown")}  # fmt: skip
    said.append(
        f"Of {figures.height} differences by synthetic films {shown['better']} are shown to be gains, {shown['worse']} losses; "
        f"for {shown['no difference shown']} no difference is shown. One in twenty intervals misses 0 by chance."
    )
    fewest = min(frame["n_patients"].min() for frame in found.values())  # type: ignore[type-var]
    if fewest < FEW_PATIENTS:
        said.append(f"{fewest} patients are tested: intervals of so few are too narrow, and their verdicts mean nothing.")  # fmt: skip
    for verdict, word in (("better", "Gains"), ("worse", "Losses")):
        parts = [
            f"{task}, {NAMES[metric]} ({(part['verdict'] == verdict).sum()} of {part.height})"
            for (task, metric), part in figures.group_by("task", "metric", maintain_order=True)
            if verdict in part["verdict"]
        ]
        if parts:
            said.append(f"{word}: {'; '.join(parts)}.")
    return said


def _mixed(found: Mapping[str, pl.DataFrame]) -> Table:
    """Each task, test and figure: real films alone, and with synthetic ones."""
    rows, multiples = [], ["1 x", "2 x"]
    for name, frame in found.items():
        if name == "chexgen-pretrain":
            continue
        for test in frame["test"].unique(maintain_order=True):
            for metric in PARTS[name][1]:
                part = frame.filter(test=test, metric=metric)
                arms = {arm.removeprefix("real + ").rpartition(" ")[0]: row for row in part.iter_rows(named=True) for arm in [row["arm"]]}  # fmt: skip
                first = part.row(0, named=True)
                cells = [_interval(first["first"], first["first_ci_low"], first["first_ci_high"])]
                for multiple in multiples:
                    row = arms.get(multiple)
                    cells += [MISSING, MISSING] if row is None else [
                        _interval(row["second"], row["second_ci_low"], row["second_ci_high"]), _change(row)
                    ]  # fmt: skip
                rows.append((name.removeprefix("chexgen-"), test, NAMES[metric], f"{first['n_images']}", *cells))  # fmt: skip
    heads = ("task", "tested on", "figure", "films", "real alone", "+ 1x", "difference", "+ 2x", "difference")
    note = "Mean over seeds with 95 % intervals by patient (bootstrap, the same resamples for all arms of a task). Bold: the interval leaves out 0. Lower is better for MAE."
    return Table("tasks", "Real films with 0, 1 and 2 times as many synthetic ones", heads, tuple(rows), note, n_heads=3)  # fmt: skip


def _pretrained(frame: pl.DataFrame) -> Table:
    """Each share of the real films: from scratch and after synthetic films."""
    rows = []
    for row in frame.filter(metric="auroc").iter_rows(named=True):
        share, _, start = row["arm"].partition(" after ")
        before = _interval(row["first"], row["first_ci_low"], row["first_ci_high"])
        after = _interval(row["second"], row["second_ci_low"], row["second_ci_high"])
        rows.append((row["test"], share, start, before, after, _change(row)))
    heads = ("tested on", "real films", "pretrained on", "from scratch", "after pretraining", "difference")
    note = "Macro AUROC, mean over seeds with 95 % intervals by patient. n-shot: n films of each label, and n without any. Pretrained networks have trained longer than those from scratch."
    return Table("pretraining", "Pretraining on synthetic films", heads, tuple(rows), note, n_heads=3)


def _stages(seconds: Mapping[str, float]) -> Table:
    rows = tuple((name, number(value / 60, 1)) for name, value in seconds.items())
    return Table("stages", "Stages", ("stage", "minutes"), rows, "On the machine named below, from where each was last started.")  # fmt: skip


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return f"{number(value)} ({number(low)} to {number(high)})"


def _change(row: Mapping) -> str:
    text = f"{signed(row['difference'])} ({signed(row['ci_low'])} to {signed(row['ci_high'])})"
    return text if row["verdict"] == "no difference shown" else f"**{text}**"
