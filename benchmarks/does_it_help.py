"""Do edits of what a cohort lacks help a classifier? Virtual patients, whose missing films exist.

    python benchmarks/does_it_help.py --out runs/help [--train 300] [--edits 400] [--test 400] [--seeds 3]

The training films hold none of the published pairs of labels (``withheld_pairs.yaml``), the test films do. Each arm adds the
same number of films to the same training films, and each training takes the same number of steps:

* *placebo*: more of the same, films of other patients without those pairs;
* *sham*: the CARS edits' pipeline asked for what is there already;
* *CoRPA*: whole films drawn from the perturbed findings;
* *CARS*: edits, masks = where the true finding lies; *CARS, filtered*: more edits made, those kept whose labels a reader finds;
  *CARS, boxes*: the same edits with masks from finding and side alone (``--masks finding``);
* *truth* (the ceiling): the true counterfactuals of the CARS edits.

Two recipes: *mix*, a network from scratch on training films and added ones; *head*, CARS's own: the last layer of the baseline
goes on training on the added films alone. Reader and placebo are other patients without the pairs, and no patient is in two
roles (checked, as is the embedded model's own training). Figures are means over seeds with intervals by patient. *Second
finding* is the AUROC of one label among the films that have another with which it never occurred in training, mean over both
orders of all pairs. Everything is simulated, one anatomy. The same command goes on with what a stopped one left.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

from synthorax.classifiers import Classifier, HeadConfig, TrainingConfig, finetune_head, metrics, train
from synthorax.classifiers.statistics import Replicates, bootstrap
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.dataset import metadata_frame, read_png, write_metadata, write_png
from synthorax.diffusion import load_model
from synthorax.files import atomic
from synthorax.perturbations import make_plan
from synthorax.phantom import sample_cohort, withheld_pairs
from synthorax.phantom.apart import check_apart
from synthorax.runs.demo import jobs_with_truth
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import EditSettings, FilmSettings, Job, make_edits, make_films, plan_rows
from synthorax.runs.measuring import known_targets, label_targets
from synthorax.runs.plan_masks import write_masks
from synthorax.seeds import derive_seed
from synthorax.studies import read_manifest

SIZE = 256
#: Role -> which combinations its patients may have. Only test films may show a withheld pair.
ROLES = {"train": "allowed", "more": "allowed", "reader": "allowed", "validation": "allowed", "test": "any", "test-withheld": "withheld"}  # fmt: skip
CARS, CORPA = ("intra_class", "insertion", "deletion"), ("intra_class", "outer_class")
EPOCHS = 16
#: More edits than are needed by this factor, so that the filter can choose.
CANDIDATES = 1.5

Added = tuple[Sequence[Path], np.ndarray]
#: Targets ``(N, L)``, probabilities ``(N, L)`` and counts ``(B, N)`` to ``(B,)``.
Figure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Cohort:
    """Films of virtual patients with their labels."""

    folder: Path

    @cached_property
    def table(self) -> pl.DataFrame:
        return annotate_studies(read_manifest(self.folder / "studies.parquet"), Vocabulary.load())

    @cached_property
    def films(self) -> list[Path]:
        studies = read_manifest(self.folder / "studies.parquet")
        files = dict(zip(studies["image_id"], studies["file_name"], strict=True))
        return [Path(files[image_id]) for image_id in self.table["image_id"]]

    @cached_property
    def targets(self) -> np.ndarray:
        return known_targets(self.table, [label_column(name) for name in Vocabulary.load().pathology_labels])

    @property
    def patients(self) -> list[str]:
        return self.table["patient_id"].to_list()


def sampled(out: Path, site: str, role: str, n: int, renderings: int) -> Cohort:
    """``n`` patients of a role."""
    return Cohort(sample_cohort(n, derive_seed("does it help", role), out / "cohorts" / role, size=SIZE, pairs=ROLES[role],
                                site=site, renderings=renderings, atlases=["built-in"]))  # fmt: skip


def make_arms(
    out: Path, cohorts: Mapping[str, Cohort], reader: Classifier, n: int, model
) -> tuple[dict[str, Added], dict]:
    """What each arm adds, ``n`` films each (fewer where fewer exist), and counts."""
    vocabulary = Vocabulary.load()
    labels = vocabulary.pathology_labels
    run = RunFolder.open(out / "made", {"kind": "does it help", "n": n, "model_sha256": model.model_sha256})
    table = cohorts["train"].table
    source = dict(zip(table["image_id"], cohorts["train"].films, strict=True))
    plan = make_plan(table, vocabulary, CARS, per_type=2, strategy="coverage", seed=1, budget=round(CANDIDATES * n)).edits  # fmt: skip
    plan = plan.sample(fraction=1, shuffle=True, seed=1)
    domain = model.domain(is_simulated=True)
    settings = EditSettings(**model.edit_settings)
    by_id = {
        job.edit_id: job for job in jobs_with_truth(run, plan.sort("image_id"), vocabulary, domain, None, 2)
    }
    jobs = [by_id[edit_id] for edit_id in plan["edit_id"]]

    def edited(stage: str, some: Sequence[Job]) -> list[dict]:
        return list(make_edits(run, stage, some, lambda job: read_png(source[str(job.row["source_image_id"])]), model, settings))  # fmt: skip

    def added(rows: Sequence[dict], column: str = "file_name") -> Added:
        return [run.synthetic / str(row[column]) for row in rows], label_targets([row["labels_after"] for row in rows], labels)  # fmt: skip

    candidates = edited("cars", jobs)
    boxes = RunFolder.open(out / "boxes", {"kind": "masks"})
    names = write_masks(boxes, plan.head(n), Path("plan.parquet"), "finding", SIZE)
    in_boxes = [replace(job, edit_mask=_beside(names[job.edit_id][0]), keep_mask=_beside(names[job.edit_id][1])) for job in jobs[:n]]  # fmt: skip
    boxed = edited("boxes", in_boxes)
    shams = edited("sham", [replace(job, prompt=job.inversion_prompt) for job in jobs[:n]])
    whole = make_plan(table, vocabulary, CORPA, per_type=2, strategy="coverage", seed=2, budget=n).edits
    whole_jobs = [Job(row["edit_id"], row["prompt"], "", derive_seed(row["seed"], row["edit_id"]), meta, domain=domain) for row, meta in plan_rows(whole)]  # fmt: skip
    drawn = list(make_films(run, "corpa", whole_jobs, model, FilmSettings(3.0, 20)))
    files, wanted = added(candidates)
    found = reader.predict(files) >= np.array(reader.thresholds)
    fits = (found == (wanted == 1)).all(1)
    kept = [row for row, fit in zip(candidates, fits, strict=True) if fit][:n]
    cars = candidates[:n]
    truth = added(cars, "counterfactual_file_name")
    true_fit = ((reader.predict(truth[0]) >= np.array(reader.thresholds)) == (truth[1] == 1)).all(1)
    before = {row["edit_id"]: row["labels_before"] for row in plan.iter_rows(named=True)}
    as_was = label_targets([before[job.edit_id] for job in jobs[:n]], labels)
    more = cohorts["more"]
    arms = {
        "placebo": (more.films[:n], more.targets[:n]),
        "sham": (added(shams)[0], as_was),
        "CoRPA": added(drawn),
        "CARS, boxes": added(boxed),
        "CARS": added(cars),
        "CARS, filtered": added(kept),
        "truth": truth,
    }
    write_metadata(
        metadata_frame([row | {"is_simulated": True} for row in (*candidates, *drawn, *boxed)]), run.synthetic
    )
    _picture(run, cars, out / "edits.png")
    run.close()
    boxes.close()
    arms = {arm: (films, targets) for arm, (films, targets) in arms.items() if len(films)}
    pairs = withheld_pairs()
    counts = {
        "candidates": len(candidates),
        "kept_by_filter": int(fits.sum()),
        "reader_agrees_with_truth": float(true_fit.mean()),
        "with_a_withheld_pair": {
            arm: int(_with_pair(targets, labels, pairs)) for arm, (_, targets) in arms.items()
        },
        "films": {arm: len(films) for arm, (films, _) in arms.items()},
    }
    return arms, counts


def _beside(name: str | None) -> str | None:
    """A mask of the folder ``boxes`` as seen from ``made/synthetic``."""
    return None if name is None else f"../../boxes/synthetic/{name}"


def _with_pair(targets: np.ndarray, labels: Sequence[str], pairs) -> int:
    columns = [[list(labels).index(name) for name in pair] for pair in pairs]
    return (np.any([(targets[:, c] == 1).all(1) for c in columns], axis=0)).sum()


def _picture(run: RunFolder, rows: Sequence[dict], path: Path, n: int = 10) -> None:
    """The first edits, a column each: edit above, true counterfactual below."""
    columns = [np.concatenate([read_png(run.synthetic / row[key]) for key in ("file_name", "counterfactual_file_name")]) for row in rows[:n]]  # fmt: skip
    write_png(np.concatenate(columns, axis=1), path, Synthetic="YES", Simulated="YES")


def predictions(out: Path, arms: Mapping[str, Added], cohorts: Mapping[str, Cohort], tests: Sequence[Path], seeds: int, epochs: int) -> dict[tuple[str, str], np.ndarray]:  # fmt: skip
    """(recipe, arm) -> ``(seeds, N, L)`` probabilities of the test films."""
    labels = Vocabulary.load().pathology_labels
    base, base_targets = cohorts["train"].films, cohorts["train"].targets
    validation = (cohorts["validation"].films, cohorts["validation"].targets)
    found: dict[tuple[str, str], list[np.ndarray]] = {}

    def predicted(recipe: str, arm: str, seed: int, make: Callable[[Path], Classifier]) -> None:
        folder = out / "classifiers" / f"{recipe}-{arm.replace(', ', '-')}-{seed}"
        file = folder / "test.npy"
        if not file.is_file():
            p = make(folder).predict(tests)
            with atomic(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, p)
        found.setdefault((recipe, arm), []).append(np.load(file))

    n_steps = epochs * (len(base) + max(len(films) for films, _ in arms.values()))
    for seed in range(seeds):
        for arm, (films, targets) in {"baseline": ([], np.empty((0, len(labels)))), **arms}.items():
            all_films, all_targets = [*base, *films], np.concatenate([base_targets, targets])
            config = TrainingConfig(epochs=round(n_steps / len(all_films)), seed=seed)
            predicted("mix", arm, seed, lambda folder, c=config, f=all_films, t=all_targets: train(c, f, t, labels, validation=validation, out=folder, note="simulated"))  # fmt: skip
            if arm == "baseline":
                predicted("head", arm, seed, lambda _, s=seed: Classifier.load(out / "classifiers" / f"mix-baseline-{s}"))  # fmt: skip
            else:
                start = Classifier.load(out / "classifiers" / f"mix-baseline-{seed}")
                head = HeadConfig(epochs=30, learning_rate=1e-3, seed=seed)
                predicted("head", arm, seed, lambda folder, b=start, f=films, t=targets, h=head: finetune_head(b, list(f), t, h, validation=validation, out=folder))  # fmt: skip
    return {key: np.stack(each) for key, each in found.items()}


def second_finding(targets: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Mean over ordered pairs (a, b) that never occurred in training of the AUROC of b among films with a; ``(B,)``."""
    labels = list(Vocabulary.load().pathology_labels)
    values = []
    for pair in sorted(sorted(pair) for pair in withheld_pairs()):
        for a, b in (pair, pair[::-1]):
            has = targets[:, labels.index(a)] == 1
            column = labels.index(b)
            values.append(metrics.auroc(targets[has, column], p[has, column], w[..., has]))
    return np.mean(values, axis=0)


def macro_of(metric: metrics.Metric, targets: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    return metrics.macro(metrics.per_label(metric, targets, p, w))


def measured(found: Mapping[tuple[str, str], np.ndarray], cohorts: Mapping[str, Cohort]) -> dict:
    """The experiment's figures, see :func:`compared`."""
    tests = [cohorts["test"], cohorts["test-withheld"]]
    targets = np.concatenate([cohort.targets for cohort in tests])
    patients = [patient for cohort in tests for patient in cohort.patients]
    n = len(tests[0].films)
    kinds = {"AUROC": metrics.auroc, "AUPRC": metrics.auprc, "ECE": metrics.expected_calibration_error}
    sets = {"withheld pairs": slice(n, None), "any findings": slice(0, n)}
    figures: dict[str, tuple[Figure, slice]] = {"second finding, AUROC": (second_finding, slice(None))}
    for where, rows in sets.items():
        figures |= {f"{where}, {kind}": (partial(macro_of, metric), rows) for kind, metric in kinds.items()}
    return compared(found, figures, targets, patients, ("baseline", "placebo"), "truth")


def compared(found: Mapping[tuple[str, str], np.ndarray], figures: Mapping[str, tuple[Figure, slice]], targets: np.ndarray, patients: Sequence[str], floors: Sequence[str], ceiling: str | None) -> dict:  # fmt: skip
    """Figure -> recipe -> arm -> mean over seeds, each seed's value, difference to each floor and share of the ceiling's.

    Args:
        found: (recipe, arm) -> ``(seeds, N, L)`` probabilities.
        figures: name -> figure and the films that it is of.
        targets: ``(N, L)``; patients: ``(N,)``.
        floors: arms that every other is compared with.
        ceiling: the arm whose gain is the most there is to win.
    """
    table: dict = {}
    for name, (figure, rows) in figures.items():
        for recipe in dict.fromkeys(recipe for recipe, _ in found):
            each, by_seed = {}, {}
            for arm, p in ((arm, p) for (r, arm), p in found.items() if r == recipe):
                every = bootstrap(
                    partial(_of_each, figure, targets[rows], p[:, rows].astype(float)), patients[rows]
                )
                by_seed[arm] = every.estimate.tolist()
                each[arm] = every.map(lambda values: values.mean(-1))
            table.setdefault(name, {})[recipe] = {arm: _row(each, arm, floors, ceiling) | {"by_seed": by_seed[arm]} for arm in each}  # fmt: skip
    return table


def _of_each(figure: Figure, targets: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``(B, seeds)``."""
    return np.stack([figure(targets, q, w) for q in p], axis=-1)


def _row(each: Mapping[str, Replicates], arm: str, floors: Sequence[str], ceiling: str | None) -> dict:
    row: dict = {"value": _interval(each[arm].interval()), "over": {}, "share": {}}
    for floor in (floor for floor in floors if floor != arm):
        gain = each[arm].minus(each[floor])
        row["over"][floor] = _interval(gain.difference())
        if ceiling and arm not in (ceiling, *floors):
            most = each[ceiling].minus(each[floor])
            low, high = np.quantile(gain.values / most.values, [0.025, 0.975])
            if not most.difference().is_shown:
                continue
            row["share"][floor] = [float(gain.estimate / most.estimate), float(low), float(high)]
    return row


def _interval(found) -> list[float]:
    return [float(found.estimate), found.ci_low, found.ci_high]


def markdown(table: dict) -> str:
    lines = []
    for name, recipes in table.items():
        for recipe, arms in recipes.items():
            floors = sorted({floor for row in arms.values() for floor in row["over"]})
            shares = sorted({floor for row in arms.values() for floor in row["share"]})[-1:]
            heads = ["arm", "value", *(f"over {floor}" for floor in floors), *(f"share of the ceiling's gain over {floor}" for floor in shares), "each seed"]  # fmt: skip
            lines += [f"\n**{name}, {recipe}**\n", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
            for arm, row in arms.items():
                cells = [
                    arm,
                    _said(row["value"], ""),
                    *(_said(row["over"].get(floor), "+") for floor in floors),
                ]
                for floor in shares:
                    share = row["share"].get(floor)
                    cells.append(
                        f"{100 * share[0]:.0f} % ({100 * share[1]:.0f} to {100 * share[2]:.0f})"
                        if share
                        else ""
                    )
                lines.append(
                    f"| {' | '.join(cells)} | {', '.join(f'{value:.3f}' for value in row['by_seed'])} |"
                )
    return "\n".join(lines) + "\n"


def _said(found: Sequence[float] | None, sign: str) -> str:
    return f"{found[0]:{sign}.3f} ({found[1]:{sign}.3f} to {found[2]:{sign}.3f})" if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=300, help="patients, two films each")
    parser.add_argument("--edits", type=int, default=400, help="films that each arm adds")
    parser.add_argument("--test", type=int, default=400, help="patients with any findings, and as many with a withheld pair")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--site", default="mixed", help="style of the films")
    parser.add_argument("--model", default=None)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    began = time.perf_counter()
    sizes = {"train": a.train, "more": a.edits, "reader": 2 * a.train, "validation": a.train // 2, "test": a.test, "test-withheld": a.test}  # fmt: skip
    cohorts = {role: sampled(a.out, a.site, role, n, 2 if role in ("train", "reader") else 1) for role, n in sizes.items()}  # fmt: skip
    check_apart({role: cohort.table for role, cohort in cohorts.items()}, tests=["test", "test-withheld"])
    labels = Vocabulary.load().pathology_labels
    validation = (cohorts["validation"].films, cohorts["validation"].targets)
    reader = train(TrainingConfig(epochs=a.epochs, seed=99), cohorts["reader"].films, cohorts["reader"].targets, labels,
                   validation=validation, out=a.out / "classifiers" / "reader", note="simulated, withheld pairs missing")  # fmt: skip
    model = load_model(a.model)
    arms, counts = make_arms(a.out, cohorts, reader, a.edits, model)
    print(json.dumps(counts, indent=1), flush=True)
    tests = [*cohorts["test"].films, *cohorts["test-withheld"].films]
    found = predictions(a.out, arms, cohorts, tests, a.seeds, a.epochs)
    table = measured(found, cohorts)
    facts = {"settings": {k: str(v) for k, v in vars(a).items()}, "model_sha256": model.model_sha256, "counts": counts, "seconds": round(time.perf_counter() - began)}  # fmt: skip
    (a.out / "help.json").write_text(json.dumps(facts | {"figures": table}, indent=1))
    (a.out / "help.md").write_text(markdown(table))
    print(markdown(table))


if __name__ == "__main__":
    main()
