"""Do findings lie where masks and boxes ask for them? On held-out virtual patients, with control and without.

    python benchmarks/spatial_control.py judge --patients COHORT --out runs/spatial
    python benchmarks/spatial_control.py measure --patients COHORT --out runs/spatial --control RUN/control [--n 48]

COHORT is a folder of ``phantom sample`` in the style ``public``; its held-out patients (``seeds.is_held_out``) are measured
on, the others teach judge and control. **The judge** is a small U-Net that finds gas, fluid, opacity, mass and heart
enlargement, taught on films and on round trips through the autoencoder; it never sees a generated film. **Asked** is a
held-out film's own masks (or the boxes round them), with the prompt of its findings and sides; films with and without
control share prompt and seed. *Dice*: what the judge finds on the generated film against the mask asked for. *Centre in
box*: the middle of what the judge finds lies in a box asked for. *Difference inside*: share of the absolute difference
between the films with and without control, both with the prompt 'Virtual patient.' alone, that lies in the mask. Ceiling:
the judge on the held-out film itself, through the autoencoder; floors: no control, and a mask's share of the film.
Intervals: bootstrap over patients, 95 %. Everything is simulated, one anatomy. ``measure`` writes ``spatial.md``,
``spatial.json`` and ``spatial.png``.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, pixel_shuffle, pixel_unshuffle

from synthorax.concepts import Vocabulary
from synthorax.dataset import read_png, write_png
from synthorax.diffusion import load_model, sample
from synthorax.diffusion.annotations import Annotation, draw
from synthorax.diffusion.control import classes_of, read_card, with_control
from synthorax.diffusion.train_control import annotations_of, findings_beside
from synthorax.files import atomic
from synthorax.perturbations import prompt
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator, is_held_out

SIZE, SIDE, PATCH = 256, 128, 4
#: What the judge tells apart, and the findings that look so.
GROUPS = {
    "gas": ("absent_lung_markings", "irregular_diaphragm"),
    "fluid": ("effusion", "fluid", "meniscus_sign", "costophrenic_angle"),
    "opacity": ("consolidation", "infection", "opacities", "pneumonitis", "irregular_parenchyma"),
    "mass": ("mass", "nodule", "adenopathy", "irregular_hilum"),
    "heart": ("enlarged_heart",),
}
#: What is measured; the judge does not find the other groups well enough even on held-out films (``judge`` prints how well).
MEASURED = ("gas", "fluid", "heart")
STEPS, BATCH, N_TRIPS, BATCH_FILMS = 700, 8, 600, 16
KINDS = ("masks", "boxes", "no control")


def halved(film: np.ndarray) -> np.ndarray:
    return film.reshape(SIDE, len(film) // SIDE, SIDE, -1).mean((1, 3))


def grouped(masks: dict[str, np.ndarray]) -> np.ndarray:
    """bool ``(groups, 128, 128)``."""
    found = np.zeros((len(GROUPS), SIDE, SIDE), bool)
    for k, names in enumerate(GROUPS.values()):
        for name in names:
            if name in masks:
                found[k] |= halved(masks[name].astype(np.float32)) > 0.5
    return found


def cohort(patients: Path) -> tuple[pl.DataFrame, dict[str, Annotation]]:
    """The films, held-out ones first, and the annotations by image_id."""
    studies = pl.read_parquet(patients / "studies.parquet")
    held_out = pl.col("patient_id").map_elements(is_held_out, return_dtype=pl.Boolean)
    studies = studies.with_columns(is_held_out=held_out).sort(
        "is_held_out", descending=True, maintain_order=True
    )
    names = [name for group in GROUPS.values() for name in group]
    return studies, annotations_of(findings_beside(patients / "studies.parquet"), names, SIZE)


def round_trips(model, films: np.ndarray) -> np.ndarray:
    parts = np.array_split(films, len(films) // 16 + 1)
    return np.concatenate([
        model.decode(model.encode(torch.from_numpy(some))).numpy() for some in track(parts, "Round trips")
    ])  # fmt: skip


def judge_network():
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=SIDE // PATCH, in_channels=PATCH**2, out_channels=len(GROUPS) * PATCH**2,
        block_out_channels=(48, 64, 96), down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3,
        layers_per_block=1, norm_num_groups=8, attention_head_dim=32,
    )  # fmt: skip


def logits_of(net, films: np.ndarray) -> torch.Tensor:
    """``(N, groups, 128, 128)`` from films ``(N, 128, 128)`` in [0, 1]."""
    x = pixel_unshuffle(torch.from_numpy(films.astype(np.float32))[:, None] * 2 - 1, PATCH)
    return pixel_shuffle(net(x, 0).sample, PATCH)


@torch.no_grad()
def judged(net, films: np.ndarray) -> np.ndarray:
    """bool ``(N, groups, 128, 128)`` from films ``(N, 256, 256)``."""
    net.eval()
    small = np.stack([halved(film) for film in films])
    parts = np.array_split(small, len(small) // 32 + 1)
    return np.concatenate([(logits_of(net, some) > 0).numpy() for some in parts])


def dice(found: np.ndarray, asked: np.ndarray) -> float:
    return float(2 * (found & asked).sum() / max(1, found.sum() + asked.sum()))


def teach_judge(patients: Path, out: Path) -> None:
    studies, of = cohort(patients)
    path = out / "judge.npz"
    if not path.is_file():
        films = np.stack([read_png(patients / name) for name in studies["file_name"]])
        n = int(studies["is_held_out"].sum()) + N_TRIPS
        small = np.stack([halved(film) for film in films])
        trips = np.stack([halved(film) for film in round_trips(load_model(), films[:n])])
        masks = np.stack([grouped(of[name].masks if name in of else {}) for name in studies["image_id"]])
        with atomic(path) as temporary:
            np.savez(temporary, films=small, trips=trips, masks=masks)
    there = np.load(path)
    films, trips, masks = there["films"], there["trips"], there["masks"]
    n_held_out = int(studies["is_held_out"].sum())
    torch.manual_seed(0)
    net = judge_network().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, STEPS)
    for step in track(range(STEPS), "Judge"):
        rng = generator("judge", step)
        plain = rng.integers(n_held_out, len(films), BATCH // 2)
        tripped = rng.integers(n_held_out, len(trips), BATCH // 2)
        x = np.concatenate([films[plain], trips[tripped]])
        x = np.clip(x ** rng.uniform(0.85, 1.18, (BATCH, 1, 1)) + rng.normal(0, 0.01, x.shape), 0, 1)
        y = torch.from_numpy(masks[np.concatenate([plain, tripped])].astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            logits = logits_of(net, x)
        logits = logits.float()
        p = logits.sigmoid()
        overlap = (2 * (p * y).sum((0, 2, 3)) + 1) / (p.sum((0, 2, 3)) + y.sum((0, 2, 3)) + 1)
        loss = binary_cross_entropy_with_logits(logits, y) + 1 - overlap.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    net.save_pretrained(out / "judge")
    net.eval()
    with torch.no_grad():
        found = (logits_of(net, trips[:n_held_out]) > 0).numpy()
    for k, name in enumerate(GROUPS):
        there = masks[:n_held_out, k].any((1, 2))
        values = [dice(found[i, k], masks[i, k]) for i in np.flatnonzero(there)]
        alarms = (found[:n_held_out][~there][:, k].sum((1, 2)) >= 20).mean()
        print(
            f"held-out round trips, {name}: Dice {np.mean(values):.3f} (n = {there.sum()}), false alarms {alarms:.1%}"
        )


def asked_films(patients: Path, n: int) -> list[dict]:
    """Held-out films with a finding of the groups: image_id, patient, prompt, annotation, the film itself."""
    studies, of = cohort(patients)
    vocabulary, found = Vocabulary.load(), []
    concepts = pl.read_parquet(patients / "concepts.parquet")
    present = {
        row["study_id"]: [c for c in vocabulary.pathologies if row[c] == 1] for row in concepts.to_dicts()
    }
    for row in studies.filter("is_held_out").iter_rows(named=True):
        wanted = {name for group in MEASURED for name in GROUPS[group]}
        if row["image_id"] in of and wanted & of[row["image_id"]].masks.keys() and len(found) < n:
            sides = {entry["concept"]: entry["side"] for entry in row["sides"]}
            found.append({
                "image_id": row["image_id"], "patient_id": row["patient_id"], "annotation": of[row["image_id"]],
                "prompt": f"Virtual patient. {prompt(present[row['image_id']], vocabulary, sides)}",
                "film": read_png(patients / row["file_name"]),
            })  # fmt: skip
    return found


def drawn(
    model, rows: Sequence[dict], pictures: np.ndarray | None, *, says: bool, guidance: float
) -> np.ndarray:
    """Films ``(N, 256, 256)``; a film's seed is its own, whatever it is asked."""
    films = []
    for some in track(
        np.array_split(np.arange(len(rows)), -(-len(rows) // BATCH_FILMS)), "Films", unit="batches"
    ):
        one = model if pictures is None else model.annotated(pictures[some])
        prompts = [rows[i]["prompt"] if says else "Virtual patient." for i in some]
        seeds = [derive_seed("spatial", rows[i]["image_id"]) for i in some]
        films.append(sample(one, prompts, seeds, negative_prompts=["Virtual patient."] * len(some),
                            guidance_scale=guidance if says else 1.0, num_inference_steps=20).numpy())  # fmt: skip
    return np.concatenate(films)


def interval(values: Sequence[float], patients: Sequence[str]) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval over patients."""
    frame = (
        pl.DataFrame({"value": values, "patient": patients})
        .group_by("patient", maintain_order=True)
        .agg("value")
    )
    groups, rng = frame["value"].to_list(), generator("bootstrap")
    means = [
        np.mean(np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]))
        for _ in range(1000)
    ]
    return float(np.mean(values)), *(float(x) for x in np.quantile(means, [0.025, 0.975]))


def measure(patients: Path, out: Path, control: Path, n: int, guidance: float) -> None:
    from diffusers import UNet2DModel

    model = load_model()
    steered, colours = with_control(model, control), classes_of(read_card(control))
    rows = asked_films(patients, n)
    pictures = {
        "masks": np.stack([draw(Annotation(masks=row["annotation"].masks), colours, SIZE) for row in rows]),
        "boxes": np.stack([draw(Annotation(boxes=row["annotation"].boxes), colours, SIZE) for row in rows]),
    }
    films = {kind: drawn(steered, rows, pictures.get(kind), says=True, guidance=guidance) for kind in KINDS}
    films["held-out film"] = round_trips(model, np.stack([row["film"] for row in rows]))
    plain = {
        kind: drawn(steered, rows, pictures.get(kind), says=False, guidance=1)
        for kind in ("masks", "no control")
    }
    net = UNet2DModel.from_pretrained(out / "judge")
    found = {kind: judged(net, some) for kind, some in films.items()}
    asked = np.stack([grouped(row["annotation"].masks) for row in rows])
    lines, figures = (
        ["| finding | n | " + " | ".join(films) + " |", "| --- | --- |" + " --- |" * len(films)],
        {},
    )

    def line(title: str, values: dict[str, list[float]], of: list[str]) -> None:
        figures[title] = {kind: (*interval(some, of), len(some)) for kind, some in values.items()}
        cells = [f"{m:.2f} [{low:.2f}, {high:.2f}]" for m, low, high, _ in figures[title].values()]
        lines.append(f"| {title} | {len(of)} | " + " | ".join(cells) + " |")

    in_box: dict[str, list[float]] = {kind: [] for kind in films}
    of_all: list[str] = []
    for name in MEASURED:
        k = list(GROUPS).index(name)
        index = np.flatnonzero(asked[:, k].any((1, 2)))
        of = [rows[i]["patient_id"] for i in index]
        if len(index):
            line(
                f"Dice, {name}",
                {kind: [dice(found[kind][i, k], asked[i, k]) for i in index] for kind in films},
                of,
            )
            for kind in films:
                in_box[kind] += [
                    float(centre_in_box(found[kind][i, k], rows[i], GROUPS[name])) for i in index
                ]
            of_all += of
    line("centre in a box", in_box, of_all)
    difference = np.abs(plain["masks"] - plain["no control"])
    union = np.stack([np.any(list(row["annotation"].masks.values()), axis=0) for row in rows])
    inside = (difference * union).sum((1, 2)) / difference.sum((1, 2))
    area = union.mean((1, 2))
    of = [row["patient_id"] for row in rows]
    figures["difference inside"] = {
        "share": (*interval(inside, of), len(of)),
        "area": (*interval(area, of), len(of)),
    }
    (
        (m, low, high, _),
        (a, *_),
    ) = figures["difference inside"]["share"], figures["difference inside"]["area"]
    lines.append(f"\nDifference inside the mask, prompt 'Virtual patient.' alone: {m:.2f} [{low:.2f}, {high:.2f}] of it in {a:.2f} of the film (n = {len(of)}).")  # fmt: skip
    (out / "spatial.md").write_text("\n".join(lines) + "\n")
    (out / "spatial.json").write_text(json.dumps({"n": len(rows), "guidance": guidance, **figures}, indent=1))
    print("\n".join(lines))
    sheet(out / "spatial.png", rows, pictures, films)


def centre_in_box(found: np.ndarray, row: dict, names: Sequence[str]) -> bool:
    """Of the largest part that the judge finds, in pixels of the film; nothing found is not in a box."""
    from scipy import ndimage

    labels, n = ndimage.label(found)
    if not n:
        return False
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    y, x = (SIZE / SIDE * (value + 0.5) for value in ndimage.center_of_mass(labels == largest))
    return any(
        name in names and box.x <= x < box.x + box.width and box.y <= y < box.y + box.height
        for name, box in row["annotation"].boxes
    )


def sheet(
    path: Path, rows: Sequence[dict], pictures: dict[str, np.ndarray], films: dict[str, np.ndarray]
) -> None:
    """Columns: masks asked for, with masks, with boxes, no control, the held-out film; a row a film."""
    chosen, seen = [], set()
    for i, row in enumerate(rows):
        kinds = frozenset(row["annotation"].masks)
        if kinds not in seen and len(chosen) < 8 and len(kinds) <= 2:
            seen.add(kinds)
            chosen.append(i)
    panels = [
        pictures["masks"].mean(-1) / 255,
        films["masks"],
        films["boxes"],
        films["no control"],
        films["held-out film"],
    ]
    image = np.concatenate([np.concatenate([panel[i] for panel in panels], 1) for i in chosen]).astype(
        np.float32
    )
    write_png(image, path, Synthetic="YES", Simulated="YES")
    print(path, [rows[i]["prompt"] for i in chosen])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["judge", "measure"])
    parser.add_argument("--patients", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--control", type=Path)
    parser.add_argument("--n", type=int, default=48)
    parser.add_argument("--guidance", type=float, default=2.0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if given.step == "judge":
        teach_judge(given.patients, given.out)
    else:
        measure(given.patients, given.out, given.control, given.n, given.guidance)
