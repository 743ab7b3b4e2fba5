"""Do edits of real films help a classifier, and does one that never saw them see the change?

    python benchmarks/real_films.py NIH --out runs/real [--edits 400] [--seeds 2]

NIH names a folder in ChestX-ray14's layout (the development set: 705 films, 'No Finding' and 'Pneumonia' with what goes with
it). Five folds by patient. *Does it help*: arms baseline, + CARS edits, + sham edits, made from the training fold's films alone;
every training takes the same number of steps, every film is judged by the networks that did not train on its patient.
*Flips*: films edited to have an effusion, a pneumonia or nothing, judged by the baseline of the fold in which the source's
patient was left out: the share in which the label crosses its threshold (fitted on a further fold) as asked, among sources on
the other side of it; beside it the sham and the blur of the same films. The embedded model was trained on nine in ten of these
films with their labels, the test films among them: its edits may carry over what it learned there, and the sham arm has gone
through the same model. The same command goes on with what a stopped one left.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from does_it_help import compared, macro_of, markdown
from sklearn.model_selection import StratifiedGroupKFold
from statsmodels.stats.proportion import proportion_confint

from synthorax.classifiers import Classifier, HeadConfig, TrainingConfig, finetune_head, metrics, train
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.dataset import read_png, write_png
from synthorax.diffusion import load_model
from synthorax.editing import blur
from synthorax.files import atomic
from synthorax.perturbations import make_plan, prompt
from synthorax.perturbations.planning import PLAN
from synthorax.perturbations.prompts import SIDES
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import EditSettings, make_edits, plan_jobs
from synthorax.runs.measuring import known_targets
from synthorax.runs.plan_masks import write_masks
from synthorax.seeds import derive_seed
from synthorax.studies import import_studies, prepare, read_film

SIZE, FOLDS, PER_FLIP = 256, 5, 64
LABELS = ("Pneumonia", "Pleural Effusion")
#: Asked for -> before, after.
FLIPS = {
    "Pleural Effusion added": ([], ["effusion"]),
    "Pneumonia added": ([], ["consolidation"]),
    "Pneumonia removed": (["pneumonitis"], []),
}


def films_of(folder: Path, out: Path) -> tuple[pl.DataFrame, dict[str, Path]]:
    """The concept table, and each film at the model's size."""
    studies = import_studies(folder, "nih").frame
    files = {}
    for row in studies.iter_rows(named=True):
        files[row["image_id"]] = path = out / "sources" / f"{row['image_id']}.png"
        if not path.is_file():
            write_png(prepare(read_film(row["file_name"]), SIZE), path)
    return annotate_studies(studies, Vocabulary.load()), files


def made(out: Path, name: str, edits: pl.DataFrame, files: Mapping[str, Path], model, masks: str) -> tuple[RunFolder, list[dict], list[dict]]:  # fmt: skip
    """The edits of a plan and their shams, in the plan's order."""
    run = RunFolder.open(
        out / name, {"kind": "real films", "model_sha256": model.model_sha256, "masks": masks}
    )
    names = write_masks(run, edits, Path("plan.parquet"), masks, SIZE)
    jobs = plan_jobs(edits, lambda _: model.domain(is_simulated=False))
    jobs = [
        replace(job, edit_mask=m[0], keep_mask=m[1]) if (m := names.get(job.edit_id)) else job for job in jobs
    ]
    call = (
        lambda job: read_png(files[str(job.row["source_image_id"])]),
        model,
        EditSettings(**model.edit_settings),
    )
    edited = list(make_edits(run, "edits", jobs, *call))
    shams = list(make_edits(run, "sham", [replace(job, prompt=job.inversion_prompt) for job in jobs], *call))
    return run, edited, shams


def folds(table: pl.DataFrame) -> np.ndarray:
    """``(N,)`` number of each film's fold; a patient is in one."""
    of = np.empty(table.height, dtype=int)
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    sick = table[label_column("Pneumonia")].to_numpy()
    for number, (_, rows) in enumerate(split.split(sick, sick, table["patient_id"].to_numpy())):
        of[rows] = number
    return of


class Folds:
    """Five networks an arm and seed, each trained without two folds: one to fit thresholds on, one to judge."""

    def __init__(self, out: Path, table: pl.DataFrame, files: Mapping[str, Path], epochs: int):
        self.out, self.epochs = out, epochs
        self.image_ids = table["image_id"].to_list()
        self.paths = [files[image_id] for image_id in self.image_ids]
        self.targets = known_targets(table, [label_column(label) for label in LABELS])
        self.of = folds(table)

    def rows(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Which films the network of a fold trains on, and which fit its thresholds."""
        validation = self.of == (fold + 1) % FOLDS
        return ~validation & (self.of != fold), validation

    def _data(self, keep: np.ndarray) -> tuple[list[Path], np.ndarray]:
        return [self.paths[i] for i in np.flatnonzero(keep)], self.targets[keep]

    def network(
        self, arm: str, fold: int, seed: int, added: tuple[Sequence[Path], np.ndarray], n_steps: int
    ) -> Classifier:
        training, validation = self.rows(fold)
        films, targets = self._data(training)
        films, targets = [*films, *added[0]], np.concatenate([targets, added[1]])
        config = TrainingConfig(epochs=max(1, round(n_steps / len(films))), seed=seed)
        return train(config, films, targets, LABELS, validation=self._data(validation), out=self.out / f"mix-{arm}-{fold}-{seed}", note="NIH")  # fmt: skip

    def head(
        self, arm: str, fold: int, seed: int, start: Classifier, added: tuple[Sequence[Path], np.ndarray]
    ) -> Classifier:
        config = HeadConfig(epochs=30, learning_rate=1e-3, seed=seed)
        return finetune_head(start, list(added[0]), added[1], config, validation=self._data(self.rows(fold)[1]), out=self.out / f"head-{arm}-{fold}-{seed}")  # fmt: skip

    def judged(
        self, arms: Mapping[str, tuple[Sequence[Path], np.ndarray, np.ndarray]], seeds: int
    ) -> dict[tuple[str, str], np.ndarray]:
        """(recipe, arm) -> ``(seeds, N, L)``; an arm is its films, targets, and the film of the set that each comes from."""
        found: dict[tuple[str, str], np.ndarray] = {}
        for seed in range(seeds):
            for fold in range(FOLDS):
                training, _ = self.rows(fold)
                some = {arm: ([f for f, s in zip(films, source, strict=True) if training[s]], targets[training[source]]) for arm, (films, targets, source) in arms.items()}  # fmt: skip
                n_steps = self.epochs * (training.sum() + max(len(films) for films, _ in some.values()))
                start = self.network("baseline", fold, seed, ([], np.empty((0, len(LABELS)))), n_steps)
                models = {(recipe, "baseline"): start for recipe in ("mix", "head")}
                for arm, added in some.items():
                    models["mix", arm] = self.network(arm, fold, seed, added, n_steps)
                    models["head", arm] = self.head(arm, fold, seed, start, added)
                here = np.flatnonzero(self.of == fold)
                for key, model in models.items():
                    p = found.setdefault(key, np.full((seeds, len(self.of), len(LABELS)), np.nan, np.float32))
                    p[seed, here] = model.predict([self.paths[i] for i in here])
        return found


def targets_of(rows: Sequence[dict]) -> np.ndarray:
    """What each edit shall show; NaN where the source's own label is unknown and nothing was asked."""
    concepts = {label: set(Vocabulary.load().concepts_of(label)) for label in LABELS}
    return np.array([[1.0 if label in row["labels_after"] else np.nan if concepts[label] & {*row["concepts_unknown"]} else 0.0
                      for label in LABELS] for row in rows])  # fmt: skip


def flip_plan(table: pl.DataFrame) -> pl.DataFrame:
    """``PER_FLIP`` films of each row of :data:`FLIPS`, as a plan."""
    vocabulary = Vocabulary.load()
    rows = []
    for name, (before, after) in FLIPS.items():
        sick = "Pneumonia" if before else "No Relevant Finding"
        some = table.filter(pl.col(label_column(sick)) == 1).sample(fraction=1, shuffle=True, seed=3)
        if before:  # nothing else, so that the target is a film without findings
            some = some.filter(pl.all_horizontal(pl.col(label_column(label)).fill_null(0) == 0 for label in vocabulary.pathology_labels if label != sick))  # fmt: skip
        for row in some.head(PER_FLIP).iter_rows(named=True):
            rows.append({
                "edit_id": f"{row['image_id']}-{name.replace(' ', '-')}", "study_id": row["study_id"], "patient_id": row["patient_id"],
                "image_id": row["image_id"], "perturbation_type": "deletion" if before else "insertion", "index": 0,
                "concepts_before": before, "concepts_after": after, "concepts_unknown": [], "labels_before": [], "labels_after": [],
                "prompt": prompt(after, vocabulary, dict.fromkeys(after, SIDES[len(rows) % 2])), "inversion_prompt": prompt(before, vocabulary), "seed": derive_seed("flip", row["image_id"]),
            })  # fmt: skip
    return pl.DataFrame(rows, schema=PLAN)


def flips(run: RunFolder, plan: pl.DataFrame, edited: Sequence[dict], shams: Sequence[dict], files: Mapping[str, Path], networks: Folds, judges: Sequence[Classifier]) -> list[dict]:  # fmt: skip
    """For each kind of flip and each of edit, sham and blur: how often the judge sees what was asked for."""
    index = {image_id: i for i, image_id in enumerate(networks.image_ids)}
    found = []
    for name in FLIPS:
        label = LABELS.index(name.rsplit(" ", 1)[0])
        is_added = name.endswith("added")
        hits: dict[str, list[bool]] = {}
        for row, edit, sham in zip(plan.iter_rows(named=True), edited, shams, strict=True):
            if not row["edit_id"].endswith(name.replace(" ", "-")):
                continue
            judge = judges[networks.of[index[row["image_id"]]]]
            films = {"source": read_png(files[row["image_id"]])} | {kind: read_png(run.synthetic / made["file_name"]) for kind, made in (("edit", edit), ("sham", sham))}  # fmt: skip
            mask = None if edit["edit_mask_file_name"] is None else read_png(run.synthetic / edit["edit_mask_file_name"]) > 0.5  # fmt: skip
            films["blur"] = blur(films["source"], films["edit"], mask)
            seen = judge.predict(np.stack(list(films.values())))[:, label] >= judge.thresholds[label]
            if seen[0] == is_added:
                continue
            for kind, state in zip(films, seen, strict=True):
                hits.setdefault(kind, []).append(bool(state == is_added))
        for kind in ("edit", "sham", "blur"):
            n, k = len(hits[kind]), sum(hits[kind])
            low, high = proportion_confint(k, n, method="wilson")
            found.append(
                {
                    "flip": name,
                    "arm": kind,
                    "n": n,
                    "share": k / n,
                    "ci_low": float(low),
                    "ci_high": float(high),
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--edits", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--masks", nargs="+", default=["finding", "none"])
    parser.add_argument("--model", default=None)
    a = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    vocabulary, model = Vocabulary.load(), load_model(a.model)
    table, files = films_of(a.nih, a.out)
    networks = Folds(a.out / "classifiers", table, files, a.epochs)
    index = {image_id: i for i, image_id in enumerate(networks.image_ids)}
    plan = make_plan(table, vocabulary, per_type=1, seed=1, budget=a.edits).edits
    wanted, some_flips = flip_plan(table), {}
    arms: dict[str, tuple[list[Path], np.ndarray, np.ndarray]] = {}
    for masks in a.masks:
        run, edited, shams = made(a.out, f"cars-{masks}", plan, files, model, masks)
        source = np.array([index[row["source_image_id"]] for row in edited])
        arms[f"CARS, masks {masks}"] = (
            [run.synthetic / row["file_name"] for row in edited],
            targets_of(edited),
            source,
        )
        arms[f"sham, masks {masks}"] = ([run.synthetic / row["file_name"] for row in shams], networks.targets[source], source)  # fmt: skip
        some_flips[masks] = made(a.out, f"flips-{masks}", wanted, files, model, masks)
        _picture(some_flips[masks], files, a.out / f"flips_{masks}.png")
    found = networks.judged(arms, a.seeds)
    judges = [Classifier.load(networks.out / f"mix-baseline-{fold}-0") for fold in range(FOLDS)]
    seen = {masks: flips(run, wanted, edited, shams, files, networks, judges) for masks, (run, edited, shams) in some_flips.items()}  # fmt: skip
    kinds = {
        "AUROC": metrics.auroc,
        "AUPRC": metrics.auprc,
        "ECE": metrics.expected_calibration_error,
        "entropy": metrics.entropy,
    }
    figures = {f"macro, {kind}": (partial(macro_of, metric), slice(None)) for kind, metric in kinds.items()}
    for column, label in enumerate(LABELS):
        figures |= {
            f"{label}, {kind}": (partial(_one, kinds[kind], column), slice(None))
            for kind in ("AUROC", "AUPRC")
        }
    result = compared(found, figures, networks.targets, table["patient_id"].to_list(), ("baseline",), None)
    facts = {"settings": {k: str(v) for k, v in vars(a).items()}, "model_sha256": model.model_sha256, "films": table.height, "seconds": round(time.perf_counter() - began)}  # fmt: skip
    with atomic(a.out / "real.json") as temporary:
        temporary.write_text(json.dumps(facts | {"figures": result, "flips": seen}, indent=1))
    text = markdown(result) + "\n" + "\n".join(_flip_table(masks, rows) for masks, rows in seen.items())
    (a.out / "real.md").write_text(text)
    print(text)


def _one(
    metric: metrics.Metric, column: int, targets: np.ndarray, p: np.ndarray, w: np.ndarray
) -> np.ndarray:
    return macro_of(metric, targets[:, [column]], p[:, [column]], w)


def _flip_table(masks: str, rows: Sequence[dict]) -> str:
    lines = [
        f"\n**Flips, masks {masks}**\n",
        "| asked for | edit | sham | blur | films |",
        "| --- | --- | --- | --- | ---: |",
    ]
    for name in FLIPS:
        cells = [f"{100 * r['share']:.0f} % ({100 * r['ci_low']:.0f} to {100 * r['ci_high']:.0f})" for r in rows if r["flip"] == name]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} | {next(r['n'] for r in rows if r['flip'] == name)} |")
    return "\n".join(lines) + "\n"


def _picture(
    made_edits: tuple[RunFolder, list[dict], list[dict]], files: Mapping[str, Path], path: Path, each: int = 4
) -> None:
    """The first films of each flip, a column each: source, edit, sham."""
    run, edited, shams = made_edits
    picked = [i + PER_FLIP * k for k in range(len(FLIPS)) for i in range(each)]
    columns = [np.concatenate([read_png(files[edited[i]["source_image_id"]]), *(read_png(run.synthetic / some[i]["file_name"]) for some in (edited, shams))]) for i in picked if i < len(edited)]  # fmt: skip
    write_png(np.concatenate(columns, axis=1), path, Synthetic="YES")


if __name__ == "__main__":
    main()
