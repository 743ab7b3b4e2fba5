"""Do generated films show the sex, age group, view and finding that were asked for, and what does regenerating gain?

    python benchmarks/demographics.py NIH --out runs/demographics [--n 96] [--budget 6] [--guidance 2] [--steps 15]

NIH is a folder of ChestX-ray14. Its patients are halved: one half trains the **judges**, two seeds that
both must pass a film (``synthorax generate --judge``), the other half the **measure**, which sees neither the judges' patients nor takes part in
the choice. Each half's classifiers are tested on the other half's real films (AUROC, balanced accuracy; intervals by
bootstrap over patients). The cohort asks the embedded model for n films in the domain of real films, balanced over sex, age
group, view, and Pneumonia or none. *First*: films without QC, which are the first tries. *QC*: after it. Shares are
of films in which the measure reads what was asked, with Wilson intervals; 'passed' what the judges themselves say.
``demographics.json`` and ``demographics.md`` hold it all. The same command goes on where it was stopped.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import torch
from statsmodels.stats.proportion import proportion_confint

from synthorax.classifiers import Classifier, TrainingConfig, train
from synthorax.classifiers.augmentation import Augmentation
from synthorax.classifiers.groups import group_columns
from synthorax.classifiers.metrics import auroc
from synthorax.classifiers.statistics import bootstrap_interval
from synthorax.concepts import Vocabulary
from synthorax.files import atomic
from synthorax.generation.prompts import film_prompt
from synthorax.runs.means import Means
from synthorax.runs.plan_edits import generate_films
from synthorax.seeds import generator
from synthorax.studies import import_studies, split_by_patient

AGES = {"up to 18": (8, 18), "19-40": (19, 40), "41-65": (41, 65), "over 65": (66, 85)}
FINDING, SIDE = "Pneumonia", 96
SEEDS = {"judge": (0, 1), "measure": (0,)}
STRONG = Augmentation(rotation_degrees=8, shift_fraction=0.06, zoom_fraction=0.1, contrast_fraction=0.3, brightness_fraction=0.15)  # fmt: skip
AXES = ("sex", "age_group", "view_position")


def real_films(nih: Path) -> tuple[pl.DataFrame, list[str]]:
    """The films with a column a label, and the half that each patient is in."""
    films = import_studies(nih, "nih").frame.sort("image_id")
    groups = group_columns(films)
    said = pl.col("labels_present")
    finding = pl.when(said.list.contains(FINDING)).then(1).when(said.list.contains("No Finding")).then(0)
    films = films.hstack(groups).with_columns(finding.cast(pl.Int8).alias(FINDING))
    labels = [*groups.columns, FINDING]
    return split_by_patient(films, labels, {"judge": 0.5, "measure": 0.5}), labels


def taught(films: pl.DataFrame, labels: list[str], out: Path, half: str, epochs: int) -> list[Classifier]:
    """The half's classifiers, one a seed."""
    some = films.filter(split=half)
    y = some.select(pl.col(labels).cast(pl.Float32)).to_numpy()
    return [
        train(
            TrainingConfig(image_size_px=SIDE, epochs=epochs, augmentation=STRONG, precision="fp32", seed=seed), some["file_name"].to_list(), y, labels,
            out=out / f"{half}-{seed}", note=f"{some.height} real films of ChestX-ray14",
        )
        for seed in SEEDS[half]
    ]  # fmt: skip


def read(classifiers: list[Classifier], paths: list[str]) -> np.ndarray:
    """Mean probabilities ``(N, L)``."""
    return np.mean([classifier.predict(paths) for classifier in classifiers], axis=0)


def answers(p: np.ndarray, labels: list[str]) -> dict[str, np.ndarray]:
    """axis -> what is read of each film."""
    found = {}
    for axis in AXES:
        columns = [i for i, name in enumerate(labels) if name.startswith(f"{axis}:")]
        names = np.array([labels[i].partition(":")[2] for i in columns])
        found[axis] = names[p[:, columns].argmax(1)]
    found[FINDING] = np.where(p[:, labels.index(FINDING)] >= 0.5, FINDING, "none")
    return found


def on_real(films: pl.DataFrame, labels: list[str], half: str, classifiers: list[Classifier]) -> list[str]:
    """Rows of the table: how well the half's classifiers read the other half's real films."""
    tested = films.filter(split="measure" if half == "judge" else "judge")
    p = read(classifiers, tested["file_name"].to_list())
    y, who, said = tested.select(labels).to_numpy(), tested["patient_id"].to_list(), answers(p, labels)
    rows = []
    for axis in (*AXES, FINDING):
        columns = [i for i, name in enumerate(labels) if name.startswith(axis)]
        names = [labels[i].partition(":")[2] for i in columns] if axis != FINDING else [FINDING]
        areas = [f"{name} {bootstrap_interval(lambda w, i=i: auroc(y[:, i], p[:, i], w), who)}" for i, name in zip(columns, names, strict=True)]  # fmt: skip
        truth = np.array(names)[y[:, columns].argmax(1)] if axis != FINDING else np.where(y[:, columns[0]] == 1, FINDING, "none")  # fmt: skip
        right, kinds = said[axis] == truth, sorted(set(truth))
        balanced = bootstrap_interval(
            lambda w, r=right, t=truth, k=kinds: np.mean(
                [(w * r * (t == one)).sum(-1) / (w * (t == one)).sum(-1) for one in k], axis=0
            ),
            who,
        )
        rows.append(
            f"| {half} | {axis} | {tested.height} / {tested['patient_id'].n_unique()} | {'; '.join(areas)} | {balanced} |"
        )
    return rows


def cohort(n: int, out: Path) -> pl.DataFrame:
    """The table of prompts, balanced."""
    words, rng, rows = Vocabulary.load(), generator("demographics", n), []
    crossings = [*product(("F", "M"), AGES, ("PA", "AP"), (FINDING, "none"))]
    for i in range(n):
        sex, group, view, finding = crossings[i % len(crossings)]
        age = float(rng.integers(AGES[group][0], AGES[group][1] + 1))
        who = film_prompt("synthorax", [words.unremarkable], words, sex=sex, age=age, view=view)
        text = who if finding == "none" else f"{who.rsplit('. ', 1)[0]}. {FINDING}."
        label = words.no_finding_label if finding == "none" else FINDING
        rows.append({"prompt": text, "sex": sex, "age": age, "view_position": view, "labels_after": [label], "age_group": group, FINDING: finding})  # fmt: skip
    table = pl.DataFrame(rows)
    with atomic(out / "asked.parquet") as temporary:
        table.write_parquet(temporary)
    return table


def share(right: np.ndarray) -> dict[str, float]:
    low, high = proportion_confint(int(right.sum()), len(right), method="wilson")
    return {"share": float(right.mean()), "ci_low": low, "ci_high": high, "n": len(right)}


def said(figure: dict[str, float]) -> str:
    return f"{figure['share']:.1%} [{figure['ci_low']:.0%}, {figure['ci_high']:.0%}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--budget", type=int, default=6)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--name", default="run", help="Of the run below OUT, for other settings.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    films, labels = real_films(asked.nih)
    of_half = {half: taught(films, labels, asked.out, half, asked.epochs) for half in ("judge", "measure")}
    real = [row for half, some in of_half.items() for row in on_real(films, labels, half, some)]
    print(*real, sep="\n", flush=True)
    table, run = cohort(asked.n, asked.out), asked.out / asked.name
    given = {"guidance_scale": asked.guidance, "num_inference_steps": asked.steps}
    judges = [str(asked.out / f"judge-{seed}") for seed in SEEDS["judge"]]
    generate_films(asked.out / "asked.parquet", run, given, 0, Means(dtype=asked.dtype), judges=judges, budget=asked.budget, domain="real")  # fmt: skip
    names = [f"film-{i:06d}" for i in range(table.height)]
    paths = {"first": [str(run / "tries" / "tries" / f"{name}-1.png") for name in names], "QC": [str(run / "synthetic" / "films" / f"{name}.png") for name in names]}  # fmt: skip
    results: dict = {"n": asked.n, "settings": given, "budget": asked.budget, "measure": {}}
    lines = ["| asked | n | first | after QC |", "| --- | --- | --- | --- |"]
    right = {}
    for kind, some in paths.items():
        got = answers(read(of_half["measure"], some), labels)
        right[kind] = {axis: got[axis] == table[axis].to_numpy() for axis in (*AXES, FINDING)}
        right[kind]["all of sex, age, view"] = np.all([right[kind][axis] for axis in AXES], axis=0)
    for axis, first in right["first"].items():
        parts = {axis: np.ones(asked.n, bool)}
        if axis in table.columns:
            parts |= {f"{axis}: {value}": (table[axis] == value).to_numpy() for value in sorted(set(table[axis]))}  # fmt: skip
        for name, part in parts.items():
            results["measure"][name] = {"first": share(first[part]), "QC": share(right["QC"][axis][part])}
            lines.append(f"| {name} | {part.sum()} | {said(results['measure'][name]['first'])} | {said(results['measure'][name]['QC'])} |")  # fmt: skip
    results["judges"] = json.loads((run / "judged.json").read_text())
    alls = results["judges"]["groups"][0]
    lines.append(
        f"\nJudges: {alls['passed_at_first']:.1%} pass at first, {alls['passed']:.1%} after {alls['mean_tries']:.2f} tries a film."
    )
    with atomic(run / "demographics.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    head = ["| half | of | films / patients of the other half | AUROC | balanced accuracy |", "| --- | --- | --- | --- | --- |"]  # fmt: skip
    with atomic(run / "demographics.md") as temporary:
        temporary.write_text("\n".join([*head, *real, "", *lines]) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
