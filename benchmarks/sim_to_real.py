"""Trained on virtual patients alone, tested on real films: writes docs/sim_to_real.md.

    python benchmarks/sim_to_real.py NIH [--cohort FOLDER] [--epochs 8]

Real films are those of a folder of ChestX-ray14 in five folds by patient; each is scored by a classifier that was
trained on the other folds, and by one that was trained on no real film. FOLDER is any cohort of ``synthorax phantom
sample``; without it one is made in ``runs`` and kept. Both use the room ``classifiers``: its small network, its
augmentation. One network tells both Pneumonia and Effusion from No Finding; a film that is neither the finding nor
normal is unknown to it. Three preparations of the films are tried on both sides alike, none of them chosen by a result.
"""

import argparse
import json
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageOps

from synthorax.classifiers import TrainingConfig, train
from synthorax.classifiers.augmentation import Augmentation
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.metrics import auroc
from synthorax.classifiers.statistics import bootstrap_difference, bootstrap_interval
from synthorax.phantom import sample_cohort
from synthorax.quality.realism import inside, patient_folds
from synthorax.studies import import_studies, read_manifest

PATIENTS, RENDERINGS, COHORT_SEED, SEED, N_FOLDS, SIZE = 240, 3, 20261124, 0, 5, 96
#: What is told from a normal film: our label of the virtual patients, ChestX-ray14's of the real ones.
ASKED = {"Pneumonia": "Pneumonia", "Effusion": "Pleural Effusion"}
NORMAL = {"real": "No Finding", "simulated": "No Relevant Finding"}
STRONG = Augmentation(
    rotation_degrees=10, shift_fraction=0.1, zoom_fraction=0.2, contrast_fraction=0.4, brightness_fraction=0.2
)
PAGE = Path(__file__).parents[1] / "docs" / "sim_to_real.md"


def equalised(films: np.ndarray) -> np.ndarray:
    """Histogram equalisation of each film without its border, ``(N, S, S)`` uint8."""
    inner = inside(films)
    return np.stack([np.asarray(ImageOps.equalize(Image.fromarray(film))) for film in inner])


PREPARATIONS = {
    "as they are": (lambda films: films, Augmentation()),
    "border cut, equalised": (equalised, Augmentation()),
    "border cut, equalised, strong augmentation": (equalised, STRONG),
}


def targets(labels: list[list[str] | None], wanted: Iterable[str], normal: str) -> np.ndarray:
    """``(N, L)``: 1 where a film has the label, 0 where it is normal, NaN otherwise."""
    rows = [
        [1.0 if name in (x or []) else 0.0 if normal in (x or []) else np.nan for name in wanted]
        for x in labels
    ]
    return np.array(rows, np.float32)


def scores(config: TrainingConfig, films, y, tested, folds=None) -> np.ndarray:
    """``(N, L)`` of the tested films, by one classifier or by one a fold that never saw that fold's patients."""
    if folds is None:
        return train(config, films, y, list(ASKED)).predict(tested)
    found = np.empty((len(tested), len(ASKED)))
    for fold in np.unique(folds):
        kept = folds != fold
        found[~kept] = train(config, films[kept], y[kept], list(ASKED)).predict(tested[~kept])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", type=Path)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    asked = parser.parse_args()
    began = time.perf_counter()
    cohort = asked.cohort or sample_cohort(
        PATIENTS, COHORT_SEED, "runs/sim-to-real", size=256, renderings=RENDERINGS
    )
    made = json.loads((cohort / "cohort.json").read_text())
    n_atlases = len(made.get("atlases", [None]))  # left out where the built-in one is alone
    anatomies = "one anatomy" if n_atlases == 1 else f"{n_atlases} anatomies"
    real = import_studies(asked.nih, "nih").frame.sort("image_id")
    simulated = read_manifest(cohort / "studies.parquet").sort("image_id")
    pixels = {
        kind: load_films(frame["file_name"].to_list(), SIZE)
        for kind, frame in (("real", real), ("simulated", simulated))
    }
    y = {
        "real": targets(real["labels_present"].to_list(), ASKED, NORMAL["real"]),
        "simulated": targets(simulated["labels_present"].to_list(), ASKED.values(), NORMAL["simulated"]),
    }
    known = {kind: ~np.isnan(values).all(1) for kind, values in y.items()}
    y = {kind: values[known[kind]] for kind, values in y.items()}
    patients = real["patient_id"].to_numpy()[known["real"]]
    folds = patient_folds(y["real"][:, 0] == 1, patients.tolist(), N_FOLDS, SEED)
    rows = []
    for preparation, (prepare, augmentation) in PREPARATIONS.items():
        films = {kind: prepare(pixels[kind][known[kind]]) for kind in pixels}
        config = TrainingConfig(epochs=asked.epochs, augmentation=augmentation, seed=SEED)
        found = {
            "simulated": scores(config, films["simulated"], y["simulated"], films["real"]),
            "real": scores(config, films["real"], y["real"], films["real"], folds),
        }
        for i, name in enumerate(ASKED):
            tested = ~np.isnan(y["real"][:, i])
            who = patients[tested].tolist()
            statistic = {k: partial(auroc, y["real"][tested, i], p[tested, i]) for k, p in found.items()}
            cells = [f"{(y[k][:, i] == 1).sum()} / {(y[k][:, i] == 0).sum()}" for k in ("real", "simulated")]
            cells += [str(bootstrap_interval(statistic[k], who)) for k in ("simulated", "real")]
            cells.append(str(bootstrap_difference(statistic["real"], statistic["simulated"], who)))
            rows.append(f"| {name} | {preparation} | {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    real_hearts = real.filter(pl.col("labels_present").list.contains("Cardiomegaly")).height
    hearts = simulated.filter(pl.col("labels_present").list.contains("Cardiomegaly"))
    others = simulated.filter(~pl.col("labels_present").list.contains("Cardiomegaly"))
    heart, other = hearts["cardiothoracic_ratio"], others["cardiothoracic_ratio"]
    is_ap = pl.col("view_position") == "AP"
    ap = [
        f"{real.filter(pl.col('labels_present').list.contains(name)).select(is_ap.mean()).item():.0%} of {name}"
        for name in (NORMAL["real"], *ASKED)
    ]
    page = [
        "# Trained on virtual patients, tested on real films",
        "",
        f"Written by `python benchmarks/sim_to_real.py NIH --epochs {asked.epochs}`; do not edit. Simulated, {anatomies}: "
        f"{simulated.height} films of {simulated['patient_id'].n_unique()} virtual patients, `synthorax phantom sample "
        f"--n {made['n']} --seed {made['seed']} --size {made['size']} --renderings {made['renderings']}`. Real: "
        f"{real.height} films of {real['patient_id'].n_unique()} patients of NIH ChestX-ray14 (Wang et al. 2017; NIH "
        f"Clinical Center), {N_FOLDS} folds by patient. The room `classifiers`' small network at {SIZE} px, seed {SEED}, "
        f"{asked.epochs} epochs, the same settings on both sides. AUROC on the real films with 95 % intervals by "
        "bootstrap over patients; .5 is chance. One seed: the spread between trainings is not in the intervals.",
        "",
        "| finding against normal | preparation of all films | real films, with / without | simulated films, with / without | "
        "trained on simulated | trained on real | simulated minus real |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *sorted(rows, reverse=True),
        "",
        f"The labels of ChestX-ray14 are mined from reports. The views differ between the kinds of real films (AP: "
        f"{', '.join(ap)}), so part of what a classifier of real films learns may be the view; in the simulated films "
        "view and finding are drawn apart.",
        "",
        "## Cardiomegaly",
        "",
        f"Only {real_hearts} real films have the label, too few for an AUROC. The true cardiothoracic ratios of the "
        f"{heart.len()} simulated films with cardiomegaly are {heart.mean():.3f} ({heart.min():.3f} to {heart.max():.3f}), "
        f"of the {other.len()} others {other.mean():.3f} ({other.min():.3f} to {other.max():.3f}). Real ratios are not "
        "given: they need a segmentation model, which is not part of this project.",
        "",
    ]
    PAGE.write_text("\n".join(page))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
