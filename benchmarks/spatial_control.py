"""Do findings lie where masks and boxes ask for them? On held-out virtual patients, with control and without.

    python benchmarks/spatial_control.py judge --patients COHORT --out runs/control-benchmark
    python benchmarks/spatial_control.py measure --patients COHORT --control RUN/control --out runs/control-benchmark

COHORT is a folder of ``phantom sample``; its held-out patients (``seeds.is_held_out``) are measured on, the others teach
the judge and the control. **The judge** is a small U-Net that finds gas, fluid, opacity, mass and heart enlargement, taught on
films and on their round trips through the autoencoder. **Asked** is a held-out film's own mask (or the boxes round it),
with the prompt of its findings and sides; films with and without control share prompt and seed. *Dice*: what the judge
finds on the generated film against the mask asked for. *Centre in box*: the middle of what the judge finds lies in a box
asked for. Ceiling: the judge on the held-out film itself, through the autoencoder; floor: no control. Intervals: bootstrap
over patients, 95 %. Everything is simulated, one anatomy.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import torch

from synthorax.dataset import read_png
from synthorax.diffusion import load_model
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.seeds import generator, is_held_out

SIDE = 128
#: What the judge tells apart, and the findings that look so.
GROUPS = {
    "gas": ("absent_lung_markings", "irregular_diaphragm"),
    "fluid": ("effusion", "fluid", "meniscus_sign", "costophrenic_angle"),
    "opacity": ("consolidation", "infection", "opacities", "pneumonitis", "irregular_parenchyma"),
    "mass": ("mass", "nodule", "adenopathy", "irregular_hilum"),
    "heart": ("enlarged_heart",),
}
JUDGE_STEPS, JUDGE_BATCH = 2200, 8


def halved(film: np.ndarray) -> np.ndarray:
    return film.reshape(SIDE, film.shape[0] // SIDE, SIDE, -1).mean((1, 3))


def cohort(patients: Path, out: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """image_ids; films and round trips, uint8 ``(N, 2, 128, 128)``; masks, bool ``(N, groups, 128, 128)``; is_held_out."""
    studies = pl.read_parquet(patients / "studies.parquet")
    ids = studies["image_id"].to_list()
    held_out = np.array([is_held_out(patient) for patient in studies["patient_id"]])
    path = out / "judge.npz"
    if not path.is_file():
        model = load_model()
        films = np.stack([read_png(patients / name) for name in studies["file_name"]])
        trips = [model.decode(model.encode(torch.from_numpy(some))).numpy()
                 for some in track(np.array_split(films, len(films) // 32 + 1), "Round trips")]  # fmt: skip
        both = np.stack([np.stack([halved(film) for film in kind]) for kind in (films, np.concatenate(trips))], 1)
        masks = np.zeros((len(ids), len(GROUPS), SIDE, SIDE), bool)
        row = {name: i for i, name in enumerate(ids)}
        for found in pl.read_parquet(patients / "findings.parquet").iter_rows(named=True):
            for k, names in enumerate(GROUPS.values()):
                if found["finding"] in names:
                    masks[row[found["image_id"]], k] |= halved(read_png(patients / found["mask_file_name"])) > 0.5
        with atomic(path) as temporary:
            np.savez(temporary, films=np.rint(both * 255).astype(np.uint8), masks=masks)
    there = np.load(path)
    return ids, there["films"], there["masks"], held_out


def judge_network():
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=SIDE, in_channels=1, out_channels=len(GROUPS), block_out_channels=(16, 32, 64, 96, 128),
        down_block_types=("DownBlock2D",) * 5, up_block_types=("UpBlock2D",) * 5, layers_per_block=1,
        norm_num_groups=8, add_attention=True, attention_head_dim=32,
    )  # fmt: skip


def teach_judge(patients: Path, out: Path) -> None:
    _, films, masks, held_out = cohort(patients, out)
    torch.manual_seed(0)
    net = judge_network().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, JUDGE_STEPS)
    own = np.flatnonzero(~held_out)
    for step in track(range(JUDGE_STEPS), "Judge"):
        rng = generator("judge", step)
        index = rng.choice(own, JUDGE_BATCH)
        x = films[index, rng.integers(0, 2, JUDGE_BATCH)].astype(np.float32) / 255
        x = np.clip(x ** rng.uniform(0.85, 1.18, (JUDGE_BATCH, 1, 1)) + rng.normal(0, 0.01, x.shape), 0, 1)
        y = torch.from_numpy(masks[index].astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(torch.from_numpy(x.astype(np.float32))[:, None] * 2 - 1, 0).sample
        p = logits.float().sigmoid()
        dice = 1 - (2 * (p * y).sum((0, 2, 3)) + 1) / (p.sum((0, 2, 3)) + y.sum((0, 2, 3)) + 1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), y) + dice.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 200 == 199:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    net.save_pretrained(out / "judge")
    found = judged(net, films[held_out, 1].astype(np.float32) / 255)
    for k, name in enumerate(GROUPS):
        there = masks[held_out, k].sum((1, 2)) > 0
        values = dices(found[:, k], masks[held_out, k])[there]
        alarms = (found[~there, k].sum((1, 2)) >= 20).mean()
        print(f"judge on held-out round trips, {name}: Dice {values.mean():.3f} (n = {there.sum()}), false alarms {alarms:.1%}")


@torch.no_grad()
def judged(net, films: np.ndarray) -> np.ndarray:
    """bool ``(N, groups, 128, 128)`` from films ``(N, 128, 128)`` in [0, 1]."""
    net.eval()
    parts = [net(torch.from_numpy(some)[:, None] * 2 - 1, 0).sample.numpy() > 0
             for some in np.array_split(films.astype(np.float32), len(films) // 32 + 1)]  # fmt: skip
    return np.concatenate(parts)


def dices(found: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return 2 * (found & asked).sum((1, 2)) / np.maximum(found.sum((1, 2)) + asked.sum((1, 2)), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["judge", "measure"])
    parser.add_argument("--patients", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    teach_judge(asked.patients, asked.out)
