"""Does the scan propose what truly hurts most? Virtual patients, whose true films with each finding exist.

    python benchmarks/stress_scan.py --out runs/scan [--train 60] [--sources 20] [--preset fast]

A small network learns consolidation against films without findings and nothing else, so other opacities may pass for one. The
scan puts findings and devices into other patients' clean films by the embedded editor; beside its change stands the change on
the same patients' true films with that finding (on the left where it has a side). Everything is simulated, one anatomy. The
same command goes on with what a stopped one left. Writes ``scan_truth.json`` and prints a table.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.stats import spearmanr

from synthorax.classifiers import TestedModel, TrainingConfig, train
from synthorax.dataset import write_png
from synthorax.diffusion import load_model
from synthorax.files import atomic
from synthorax.phantom import Atlas, VirtualPatient
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator
from synthorax.stress import make_stressed, measure_scan, read_films, scan_shifts

SIZE, TESTED = 256, "consolidation"
#: The scan's concept -> the phantom's name, where they differ.
PHANTOM = {"pulmonary_oedema": "oedema"}
CHOSEN = "mass,opacities,infection,effusion,enlarged_heart,absent_lung_markings,pulmonary_oedema,chest_drain,pacemaker"


def film(folder: Path, patient: VirtualPatient, index: int, name: str) -> Path:
    """The patient's film with one finding, on the left where it can be, or clean."""
    path = folder / f"{index:05d}_{name}.png"
    if not path.is_file():
        shown = [] if name == "clean" else [on_the_left(patient, PHANTOM.get(name, name))]
        write_png(patient.render(shown, size=SIZE).image, path, Synthetic="YES", Simulated="YES")
    return path


def on_the_left(patient: VirtualPatient, name: str):
    recipe, finding = (CONCEPTS | INCIDENTAL)[name], patient.finding(name)
    if finding.side == "L" or "L" not in recipe.sides:
        return finding
    drawn = recipe.draw(generator(patient.seed, name, "left"), patient.chest, "L")
    return patient.finding(name, {"side": "L", **drawn})


def patients(first: int, n: int, atlas: Atlas):
    """Virtual patients without incidental findings, with their numbers."""
    found, index = 0, first
    while found < n:
        patient = VirtualPatient(derive_seed("stress scan", index), atlas, site="mixed")
        if not patient.incidentals:
            found += 1
            yield index, patient
        index += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--train", type=int, default=60, help="patients that the network learns from, two films each"
    )
    parser.add_argument("--sources", type=int, default=20, help="patients whose films are edited")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--px", type=int, default=96)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--concepts", default=CHOSEN)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out, began, atlas = arguments.out, time.process_time(), Atlas.load()
    shifts = scan_shifts(arguments.concepts.split(","))
    paths, targets = [], []
    for index, patient in track(patients(0, arguments.train, atlas), "Films: train", total=arguments.train, unit="patients"):  # fmt: skip
        paths += [film(out / "train", patient, index, name) for name in (TESTED, "clean")]
        targets += [1.0, 0.0]
    rows = []
    for index, patient in track(patients(10_000, arguments.sources, atlas), "Films: sources", total=arguments.sources, unit="patients"):  # fmt: skip
        for name in ("clean", TESTED, *shifts):
            film(out / "sources", patient, index, name)
        rows.append({"file_name": f"{index:05d}_clean.png", "patient_id": str(index), "image_id": str(index), "target": 0})  # fmt: skip
    pl.DataFrame(rows).write_csv(out / "sources/films.csv")
    table = read_films(out / "sources/films.csv")
    config = TrainingConfig(image_size_px=arguments.px, epochs=arguments.epochs)
    network = train(config, paths, np.float32(targets)[:, None], [TESTED], out=out / "model", note="simulated, one anatomy")  # fmt: skip
    tested = TestedModel("consolidation against clean", network.predict)
    editor = load_model()
    sets = {
        name: (out / name, make_stressed(table, shift, editor, out / name, is_simulated=True, preset=arguments.preset))
        for name, shift in shifts.items()
    }  # fmt: skip
    scan = measure_scan(tested, sets, {name: shift.prompt for name, shift in shifts.items()})

    def answers_0(name: str) -> float:
        return float(
            (~tested.says([str(out / f"sources/{row['patient_id']}_{name}.png") for row in rows])).mean()
        )

    clean = answers_0("clean")
    true = {row.name: answers_0(row.name) - clean for row in scan.rows}
    rank = spearmanr([row.change.estimate for row in scan.rows], [true[row.name] for row in scan.rows])
    print(f"accuracy on clean films {100 * clean:.0f} %, finding seen in {100 * (1 - answers_0(TESTED)):.0f} %, {len(rows)} patients, {time.process_time() - began:.0f} s of processor\n")  # fmt: skip
    print("| what comes in | scan: edits minus shams (95 %) | p (Holm) | true films minus clean |\n| --- | ---: | ---: | ---: |")  # fmt: skip
    for row in scan.rows:
        change = row.change
        print(f"| {row.prompt} | {100 * change.estimate:+.0f} ({100 * change.ci_low:+.0f} to {100 * change.ci_high:+.0f}) | {row.p_adjusted:.3f} | {100 * true[row.name]:+.0f} |")  # fmt: skip
    print(f"\n{scan.proposal} Spearman with the truth {rank.statistic:.2f}.")
    record = {"clean": clean, "true": true, "spearman": float(rank.statistic), "settings": {k: str(v) for k, v in vars(arguments).items() if k != "out"}, "scan": json.loads(scan.save(out).read_text())}  # fmt: skip
    with atomic(out / "scan_truth.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
