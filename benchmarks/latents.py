"""Latents in place of pixels: how much faster a classifier trains and reads, and what it loses.

    python benchmarks/latents.py --out runs/latents --cohort COHORT --nih NIH [--inputs "pixels 256:1" "pixels 128" latents]

Five folds by patient; predictions are pooled out of fold, so every film is tested once, and intervals of the macro AUROC are by
patient and paired. `INPUT:K` runs the first K folds only: it is compared on the films that both have. Inputs are pixels of any
size and the embedded autoencoder's latents (32 x 16 x 16, made from 256 px) in the same network without its stem's halvings:

* `latents`: as they are, as many epochs as the pixels; `latents x4`: four times as many, about the seconds of 128 px;
* `latents views`, `latents views x4`: three augmented copies of each film are encoded too and take turns with it, in as many steps.

'As good' was declared before the figures as: the interval of the difference lies above minus MARGIN; 'equal', within
it on both sides. COHORT is a folder of virtual patients (the seven labels), NIH one in ChestX-ray14's layout (Pneumonia,
Pleural Effusion), of which the autoencoder has seen nine in ten, without labels. Seconds are of the processor on one
thread, so that a busy machine does not change them; encoding is done once and stands in its own row. The same command resumes.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch

from synthorax.classifiers import TrainingConfig, metrics, train
from synthorax.classifiers.augmentation import N_DRAWS, Augmentation, augment
from synthorax.classifiers.latents import latents_of, open_autoencoder
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.statistics import Difference, Replicates, bootstrap
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.files import atomic
from synthorax.runs.measuring import known_targets
from synthorax.seeds import derive_seed, generator
from synthorax.studies import import_studies, read_manifest

LABELS = {"virtual patients": None, "ChestX-ray14": ("Pneumonia", "Pleural Effusion")}
MARGIN = 0.03
FOLDS, VIEWS = 5, 3
INPUTS = ["pixels 256", "pixels 128", "pixels 64", "latents", "latents x4", "latents views", "latents views x4"]  # fmt: skip


def seconds(do: Callable[[], object]) -> tuple[float, object]:
    """Processor seconds of a call, and what it gave."""
    began = time.process_time()
    found = do()
    return time.process_time() - began, found


class Cohort:
    """Films with their labels and folds, and what the classifiers read of them."""

    def __init__(self, name: str, studies: pl.DataFrame, out: Path, epochs: int):
        vocabulary = Vocabulary.load()
        self.name, self.out, self.epochs = name, out / name, epochs
        self.labels = LABELS[name] or vocabulary.pathology_labels
        table = annotate_studies(studies, vocabulary)
        files = dict(zip(studies["image_id"], studies["file_name"], strict=True))
        self.paths = [files[image_id] for image_id in table["image_id"]]
        self.targets = known_targets(table, [label_column(label) for label in self.labels])
        self.patients = table["patient_id"].to_list()
        self.fold = np.array([derive_seed("latents", patient) % FOLDS for patient in self.patients])
        self.encoder = open_autoencoder("embedded")

    def input(self, arm: str) -> tuple[np.ndarray, TrainingConfig]:
        """``(V, N, ...)``: V views of each film, the first the film itself; and how to train on them."""
        if arm.startswith("pixels"):
            size = int(arm.split()[1])
            return load_films(self.paths, size)[None], TrainingConfig(epochs=self.epochs, image_size_px=size)
        n = self.epochs * (4 if arm.endswith("x4") else 1)
        config = TrainingConfig(backbone="latent", epochs=n)  # fmt: skip
        if "views" in arm:
            return np.stack([self.plain, *self.views]), replace(config, epochs=n // (1 + VIEWS))
        return self.plain[None], config

    @cached_property
    def plain(self) -> np.ndarray:
        return latents_of(self.paths, self.encoder, 256, self.out / "store")

    @cached_property
    def views(self) -> list[np.ndarray]:
        """Films augmented as in training on pixels, then encoded: :data:`VIEWS` latents of each."""
        found = []
        for view in range(VIEWS):
            path = self.out / f"view-{view}.npy"
            if not path.is_file():
                films = load_films(self.paths, 256)
                draws = generator("view", view).uniform(-1, 1, (len(films), N_DRAWS))
                moved = augment(torch.from_numpy(films)[:, None].float() / 255, draws, Augmentation())[:, 0]
                with atomic(path) as temporary, temporary.open("wb") as file:
                    np.save(file, latents_of((moved * 255).round().to(torch.uint8).numpy(), self.encoder, 256))  # fmt: skip
            found.append(np.load(path))
        return found

    def encoding_speed(self) -> float:
        """Films a second of 64 of them."""
        some = load_films(self.paths[:64], 256)
        return len(some) / seconds(lambda: latents_of(some, self.encoder, 256))[0]

    def run(self, arm: str, n_folds: int) -> dict:
        """Probabilities out of fold (NaN where none was run) and the seconds of all folds."""
        p, spent, x = np.full(self.targets.shape, np.nan), [], None
        for k in range(n_folds):
            record = self.out / arm / f"fold-{k}.npz"
            if not record.is_file():
                if x is None:
                    x, config = self.input(arm)
                self._fold(arm, k, x, config, record)
            stored = np.load(record)
            p[self.fold == k] = stored["p"]
            spent.append([stored[key] for key in ("train_s", "read_s", "trained", "read")])
        train_s, read_s, trained, read = np.sum(spent, axis=0)
        return {"p": p, "folds": n_folds, "train_s": train_s / n_folds, "train_per_s": trained / train_s, "read_per_s": read / read_s}  # fmt: skip

    def _fold(self, arm: str, k: int, x: np.ndarray, config: TrainingConfig, record: Path) -> None:
        fit, test = self.fold != k, self.fold == k
        films, targets = x[:, fit].reshape(-1, *x.shape[2:]), np.tile(self.targets[fit], (len(x), 1))
        encoder = None if arm.startswith("pixels") else self.encoder
        train_s, model = seconds(lambda: train(config, films, targets, self.labels, autoencoder=encoder))
        read_s, p = seconds(lambda: model.predict(x[0, test]))
        with atomic(record) as temporary, temporary.open("wb") as file:
            np.savez(file, p=p, train_s=train_s, read_s=read_s, trained=len(films) * config.epochs, read=test.sum())  # fmt: skip

    def auroc(self, *p: np.ndarray) -> list[Replicates]:
        """The macro AUROC of each, on the films that all have read."""
        read = np.all([~np.isnan(each[:, 0]) for each in p], axis=0)
        y, patients = self.targets[read], [patient for patient, here in zip(self.patients, read, strict=True) if here]  # fmt: skip
        return [bootstrap(lambda w, e=each[read]: metrics.macro(metrics.per_label(metrics.auroc, y, e, w)), patients) for each in p]  # fmt: skip


def verdict(difference: Difference) -> str:
    low, high = difference.ci_low > -MARGIN, difference.ci_high < MARGIN
    return "equal" if low and high else "as good" if low else "not shown"


def compared(cohort: Cohort, inputs: dict[str, int]) -> list[dict]:
    """A row an input."""
    found: dict[str, dict] = {}
    for arm, n_folds in inputs.items():
        found[arm] = row = cohort.run(arm, n_folds)
        [own] = cohort.auroc(row["p"])
        row |= {"films": cohort.name, "input": arm, "n": own.n_images, "patients": own.n_patients, "auroc": str(own.interval())}  # fmt: skip
        for other, there in found.items():
            if other.startswith("pixels") and other != arm:
                difference = (pair := cohort.auroc(row["p"], there["p"]))[0].minus(pair[1]).difference()
                row[f"minus {other}"] = f"{difference.estimate:+.3f} ({difference.ci_low:+.3f} to {difference.ci_high:+.3f}), {verdict(difference)}"  # fmt: skip
        print({key: value for key, value in row.items() if key != "p"}, flush=True)
    return [{key: value for key, value in row.items() if key != "p"} for row in found.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--nih", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--inputs", nargs="+", default=INPUTS, help="INPUT or INPUT:FOLDS")
    a = parser.parse_args()
    torch.set_num_threads(1)
    inputs = {name.split(":")[0]: int([*name.split(":"), FOLDS][1]) for name in a.inputs}
    studies = {}
    if a.cohort:
        studies["virtual patients"] = read_manifest(a.cohort / "studies.parquet")
    if a.nih:
        studies["ChestX-ray14"] = import_studies(a.nih, "nih").frame
    rows = []
    for name, frame in studies.items():
        cohort = Cohort(name, frame, a.out, a.epochs)
        rows += compared(cohort, inputs)
        print(f"{name}: encoding {cohort.encoding_speed():.1f} films/s", flush=True)
    with atomic(a.out / "latents.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=1))
    against = [f"minus {name}" for name in inputs if name.startswith("pixels")]
    print("| " + " | ".join(("films", "input", "n", "train, s a fold", "train, films/s", "read, films/s", "AUROC", *against)) + " |")  # fmt: skip
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |" + " --- |" * len(against))
    for row in rows:
        cells = [row["films"], row["input"], row["n"], *(f"{row[key]:.0f}" for key in ("train_s", "train_per_s", "read_per_s")), row["auroc"], *(row.get(key, "") for key in against)]  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
