"""What does the autoencoder lose? PSNR and SSIM of films that it never saw, real and virtual, with intervals by patient.

    python benchmarks/reconstruction.py NIH COHORT [COHORT ...] --out runs/reconstruction [--model FOLDER]

NIH is ChestX-ray14's layout, of which one patient in ten was left out of the training (``seeds.is_held_out``); COHORT is one of
``synthorax phantom sample``, of another seed than the training's. SSIM is said with scikit-image's window, 7 px square, and with the one
of Wang et al. 2004, Gaussian with sigma 1.5. Writes ``reconstruction.json``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from synthorax.classifiers.statistics import mean_interval
from synthorax.dataset import read_png
from synthorax.diffusion import DiffusionModel, load_model
from synthorax.files import atomic
from synthorax.seeds import is_held_out
from synthorax.studies import import_studies, prepare, read_film, read_manifest


def measured(model: DiffusionModel, films: np.ndarray, patients: list[str]) -> dict[str, object]:
    x = torch.from_numpy(films.astype(np.float32))
    decoded = torch.cat([model.decode(model.encode(some)).float() for some in x.split(16)])
    y = decoded.clamp(0, 1).cpu().numpy()
    pairs = list(zip(films, y, strict=True))
    values = {
        "ssim": [structural_similarity(a, b, data_range=1.0) for a, b in pairs],
        "ssim_gaussian": [structural_similarity(a, b, data_range=1.0, gaussian_weights=True, use_sample_covariance=False) for a, b in pairs],
        "psnr_db": [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in pairs],
    }  # fmt: skip
    return {"n_films": len(films), **{name: str(mean_interval(np.array(v), patients)) for name, v in values.items()}}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", type=Path)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model, dtype="float32")
    real = [row for row in import_studies(arguments.nih, "nih").frame.iter_rows(named=True) if is_held_out(row["patient_id"])]  # fmt: skip
    films = np.stack([prepare(read_film(row["file_name"]), model.image_size) for row in real])
    found = {"model_sha256": model.model_sha256, "real": measured(model, films, [row["patient_id"] for row in real])}  # fmt: skip
    for cohort in arguments.cohorts:
        virtual = read_manifest(cohort / "studies.parquet")
        films = np.stack([read_png(path) for path in virtual["file_name"]])
        found[cohort.name] = measured(model, films, virtual["patient_id"].to_list())
    with atomic(arguments.out / "reconstruction.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
