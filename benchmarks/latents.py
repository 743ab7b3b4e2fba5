"""Latents in place of pixels: how much faster a classifier trains and reads, and what it loses.

    python benchmarks/latents.py --out runs/latents --cohort COHORT --nih NIH [--epochs 12] [--pixels 256 128 64]

One split by patient (six in ten train, one in ten validation, three in ten test), the same films, labels and steps for each
input: pixels of each size, and the embedded autoencoder's latents (32 x 16 x 16, an eighth of the values of 256 px)
in the same network without its stem. COHORT is a folder of virtual patients (the seven labels), NIH one in ChestX-ray14's
layout (Pneumonia, Pleural Effusion). Seconds are of the processor on one thread, so that a busy machine does not change
them; encoding is done once and stands in its own row. AUROC has intervals by patient; the differences are paired, against
the first size. The embedded autoencoder has trained on nine in ten of the NIH films, without their labels. The same command resumes.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from synthorax.classifiers import TrainingConfig, compare, evaluate, train
from synthorax.classifiers.latents import latents_of, open_autoencoder
from synthorax.classifiers.loading import load_films
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.files import atomic
from synthorax.runs.measuring import known_targets
from synthorax.seeds import derive_seed
from synthorax.studies import import_studies, read_manifest

LABELS = {"virtual patients": None, "ChestX-ray14": ("Pneumonia", "Pleural Effusion")}


def seconds(do: Callable[[], object]) -> tuple[float, object]:
    """Processor seconds of a call, and what it gave."""
    began = time.process_time()
    found = do()
    return time.process_time() - began, found


def measured(name: str, studies: pl.DataFrame, out: Path, epochs: int, sizes: list[int]) -> list[dict]:
    """A row an input."""
    vocabulary = Vocabulary.load()
    labels = LABELS[name] or vocabulary.pathology_labels
    table = annotate_studies(studies, vocabulary)
    files = dict(zip(studies["image_id"], studies["file_name"], strict=True))
    paths = [files[image_id] for image_id in table["image_id"]]
    targets = known_targets(table, [label_column(label) for label in labels])
    patients = np.array(table["patient_id"].to_list())
    draw = np.array([derive_seed("latents", patient) % 10 for patient in patients])
    fit, tune, test = draw < 6, draw == 6, draw > 6
    encoder = open_autoencoder("embedded")
    store = out / "store"
    encode_s, z = seconds(lambda: latents_of(paths, encoder, 256, store / name))
    inputs = {f"pixels {size}": (load_films(paths, size), TrainingConfig(epochs=epochs, image_size_px=size), None) for size in sizes}  # fmt: skip
    inputs["latents"] = (z, TrainingConfig(backbone="latent", epochs=epochs), encoder)
    rows, p = [], {}
    for arm, (x, config, autoencoder) in inputs.items():
        where = out / name / arm
        train_s, model = seconds(lambda x=x, c=config, a=autoencoder, w=where: train(c, x[fit], targets[fit], labels, validation=(x[tune], targets[tune]), out=w, autoencoder=a))  # fmt: skip
        read_s, p[arm] = seconds(lambda x=x, m=model: m.predict(x[test]))
        record = where / "seconds.json"
        if not record.is_file():  # a training that was loaded took no time
            with atomic(record) as temporary:
                temporary.write_text(json.dumps({"train": train_s}))
        train_s = json.loads(record.read_text())["train"]
        found = evaluate(targets[test], p[arm], labels, patients[test], model.thresholds)
        row = found.filter((pl.col("label") == "macro") & (pl.col("metric") == "auroc")).row(0, named=True)
        against = compare(targets[test], p[f"pixels {sizes[0]}"], p[arm], labels, patients[test], first_thresholds=model.thresholds, second_thresholds=model.thresholds)  # fmt: skip
        change = against.filter((pl.col("label") == "macro") & (pl.col("metric") == "auroc")).row(
            0, named=True
        )
        rows.append({
            "films": name, "input": arm, "n_train": int(fit.sum()), "n_test": int(test.sum()), "patients": len(set(patients[test])),
            "auroc": [row["estimate"], row["ci_low"], row["ci_high"]],
            "minus_first": [change["difference"], change["ci_low"], change["ci_high"]],
            "train_per_s": int(fit.sum()) * epochs / train_s, "read_per_s": int(test.sum()) / read_s,
        })  # fmt: skip
        print(rows[-1], flush=True)
    rows.append({"films": name, "encode_per_s": len(paths) / encode_s})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--nih", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--pixels", type=int, nargs="+", default=[256, 128, 64])
    a = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if a.nih:
        rows += measured("ChestX-ray14", import_studies(a.nih, "nih").frame, a.out, a.epochs, a.pixels)
    if a.cohort:
        rows += measured(
            "virtual patients", read_manifest(a.cohort / "studies.parquet"), a.out, a.epochs, a.pixels
        )
    with atomic(a.out / "latents.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=1))
    print("| films | input | train, films/s | read, films/s | AUROC | minus the first |")
    print("| --- | --- | ---: | ---: | --- | --- |")
    for row in rows:
        if "input" in row:
            cells = ["{:.3f} ({:.3f} to {:.3f})".format(*row[key]) for key in ("auroc", "minus_first")]
            print(f"| {row['films']} | {row['input']} | {row['train_per_s']:.0f} | {row['read_per_s']:.0f} | {' | '.join(cells)} |")  # fmt: skip
        else:
            print(f"| {row['films']} | encoding, once | | {row['encode_per_s']:.0f} | | |")


if __name__ == "__main__":
    main()
