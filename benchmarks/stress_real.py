"""The acquisition shift on real films: does a classifier of COVID-19 read the hospital?

    python benchmarks/stress_real.py NIH HANNOVER --out runs/stress-real

Films: 'No Finding' of ChestX-ray14 (target 0) and the COVID-19 films of Hannover (target 1), whose markers, borders and grey
values differ. *Tested*: a network trained on whole films. *Robust comparison*, the site removed as far as it can be: the
same network on lungs alone, each film's grey values in the lungs equalised, black outside. Patients are halved; each half is
read by the networks that learned from the other. People drew the lungs of 51 of these Hannover films (V7 Labs, in
torchxrayvision's package): they are the edit masks, and a segmenter that learns from them, turned, scaled and lit in many ways,
finds the lungs of all other films. RadEdit's acquisition shift: the 51 films edited to show no finding, edit = lungs, keep =
everything else; with sham and blur. The embedded model was trained on both sets. The same command goes on with what a stopped
one left.
"""

import argparse
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
import torchxrayvision
from PIL import Image
from skimage.exposure import equalize_hist
from skimage.measure import label, regionprops
from skimage.transform import AffineTransform, warp

from synthorax.classifiers import Classifier, TrainingConfig, train
from synthorax.classifiers.models import TestedModel
from synthorax.dataset import read_png, write_png
from synthorax.diffusion import load_model
from synthorax.downstream import Segmenter, SegmenterConfig, train_segmenter
from synthorax.quality.pictures import outlined
from synthorax.seeds import derive_seed, generator
from synthorax.stress import (
    SHIFTS,
    make_stressed,
    measure,
    read_films,
    write_page,
)
from synthorax.studies import import_studies, prepare, read_film

SIZE, LABEL, VARIANTS = 256, "COVID-19", 8
PROMPT, CAPTION = "No findings.", "Consolidation."


def drawn_lungs() -> dict[str, np.ndarray]:
    """image_id -> lungs that people drew, bool ``(SIZE, SIZE)``, of the film's central square."""
    path = Path(torchxrayvision.__file__).parent / "data/semantic_masks_v7labs_lungs.zip"
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if Path(name).suffix:
                picture = Image.open(io.BytesIO(archive.read(name))).convert("L").resize((SIZE, SIZE))
                found[Path(name).stem] = np.asarray(picture) > 127
    return found


def lung_finder(films: np.ndarray, lungs: np.ndarray, out: Path):
    """A segmenter of real films: each of the few is seen in :data:`VARIANTS` guises."""
    seen, masks = [], []
    for index, (film, mask) in enumerate(zip(films, lungs, strict=True)):
        for variant in range(VARIANTS):
            draw = generator("guise", index, variant)
            turn = AffineTransform(scale=1 / draw.uniform(0.65, 1.1), rotation=np.deg2rad(draw.uniform(-8, 8)), translation=draw.uniform(-20, 20, 2))  # fmt: skip
            middle = AffineTransform(translation=(SIZE / 2, SIZE / 2))
            place = middle.inverse + turn + middle
            moved = [warp(x.astype(float), place, order=1, mode="edge" if is_film else "constant") for x, is_film in ((film, True), (mask, False))]  # fmt: skip
            if draw.random() < 0.5:
                moved = [x[:, ::-1] for x in moved]
            low, high = draw.uniform(0, 0.3), draw.uniform(0.7, 1)
            seen.append(low + (high - low) * moved[0] ** draw.uniform(0.5, 2))
            masks.append(moved[1] > 0.5)
    config = SegmenterConfig(image_size_px=128, epochs=8)
    train_segmenter(config, np.clip(seen, 0, 1).astype(np.float32), masks, out=out / "segmenter", note="V7 Labs' lungs of Hannover films")  # fmt: skip
    return Segmenter.load(out / "segmenter")  # as a run that goes on has it, to the last bit


def lungs_in(probability: np.ndarray) -> np.ndarray:
    """The two largest parts, bool ``(H, W)``."""
    parts = label(probability >= 0.5)
    largest = sorted(regionprops(parts), key=lambda region: -region.area)[:2]
    return np.isin(parts, [region.label for region in largest])


def films_of(nih: Path, hannover: Path, out: Path) -> tuple[pl.DataFrame, Callable[[np.ndarray], np.ndarray]]:
    """The films at one size as a stress test's table, and the segmenter; ``half`` says which networks may read a patient."""
    drawn, rows = drawn_lungs(), []
    for folder, name, target in ((nih, "nih", 0), (hannover, "hannover", 1)):
        frame = import_studies(folder, name).frame
        if name == "nih":
            frame = frame.filter(pl.col("labels_present").list.contains("No Finding"))
        for row in frame.iter_rows(named=True):
            image_id = f"{name}_{row['image_id'].removesuffix('.png')}"
            film, mask = out / f"films/{image_id}.png", out / f"lungs/{image_id}.png"
            if not film.is_file():
                write_png(prepare(read_film(row["file_name"]), SIZE), film)
            if has := target == 1 and row["image_id"] in drawn:
                write_png(drawn[row["image_id"]], mask)
            patient = f"{name}_{row['patient_id']}"
            rows.append({
                "file_name": str(film), "patient_id": patient, "target": target, "image_id": image_id, "edit_mask_file_name": str(mask) if has else None,
                "caption": CAPTION if target else PROMPT, "half": derive_seed("half", patient) % 2,
            })  # fmt: skip
    table = pl.DataFrame(rows, infer_schema_length=None)
    table.write_parquet(out / "films.parquet")
    known = table.filter(pl.col("edit_mask_file_name").is_not_null())
    films, masks = (
        np.stack([read_png(path) for path in known[name]]) for name in ("file_name", "edit_mask_file_name")
    )
    return table, lung_finder(films, masks > 0.5, out)


def lungs_alone(film: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Grey values in the lungs by their rank, black outside."""
    return np.where(lungs, equalize_hist(film, mask=lungs), 0).astype(np.float32)


def crossed(name: str, networks: list[Classifier], half_of: dict[str, int], look) -> TestedModel:
    """Each film read by the network that learned from the other half; ``look`` is what that network sees of it."""

    def predict(paths: list[str]) -> np.ndarray:
        found = np.empty((len(paths), 1))
        for half, network in enumerate(networks):
            rows = [i for i, path in enumerate(paths) if half_of[Path(path).stem] == half]
            if rows:
                found[rows] = network.predict(np.stack([look(paths[i]) for i in rows]))
        return found

    return TestedModel(name, predict, None, (LABEL,), takes_paths=True)


def picture(table: pl.DataFrame, folder: Path, n: int = 8) -> None:
    """A column a patient: the film with its lungs, edit, sham, blur."""
    files = {
        row[0]: row[1:] for row in table.select("image_id", "file_name", "edit_mask_file_name").iter_rows()
    }
    ids = (
        table.filter(pl.col("edit_mask_file_name").is_not_null())
        .unique("patient_id", maintain_order=True)["image_id"]
        .to_list()
    )
    chosen = [ids[i] for i in np.linspace(0, len(ids) - 1, n).round().astype(int)]
    columns = []
    for image_id in chosen:
        film, mask = map(read_png, files[image_id])
        arms = [read_png(folder / f"{arm}/{image_id}.png") for arm in ("edited", "sham", "blur")]
        grey = [np.repeat(np.rint(arm * 255).astype(np.uint8)[..., None], 3, axis=2) for arm in arms]
        columns.append(np.concatenate([outlined(film, mask), *grey]))
    Image.fromarray(np.concatenate(columns, axis=1)).resize((n * 160, 4 * 160)).save(folder / "edits.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", type=Path)
    parser.add_argument("hannover", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10, help="Of the classifiers.")
    parser.add_argument("--guidance-scale", type=float, help="Default: the embedded model's own.")
    arguments = parser.parse_args()
    out = arguments.out
    table, find = films_of(arguments.nih, arguments.hannover, out)
    half_of = dict(table.select("image_id", "half").iter_rows())

    def whole(path: str) -> np.ndarray:
        return read_png(path).astype(np.float32)

    def lungs_only(path: str) -> np.ndarray:
        film = read_png(path)
        return lungs_alone(film, lungs_in(find(film[None].astype(np.float32))[0]))

    models = {}
    for name, look in (("whole films", whole), ("lungs alone", lungs_only)):
        networks = []
        for half in (0, 1):  # the network that reads this half learns from the other
            some = table.filter(pl.col("half") != half)
            films = np.stack([look(path) for path in some["file_name"]])
            config = TrainingConfig(epochs=arguments.epochs, seed=half)
            targets = some["target"].to_numpy()[:, None].astype(np.float32)
            networks.append(train(config, films, targets, [LABEL], out=out / f"model-{name.split()[0]}-{half}", note="NIH, Hannover"))  # fmt: skip
        models[name] = crossed(name, networks, half_of, look)
    sheet = [
        outlined(film, lungs_in(find(film[None].astype(np.float32))[0]))
        for film in map(read_png, table["file_name"].gather_every(table.height // 15)[:15])
    ]
    Image.fromarray(np.concatenate([np.concatenate(sheet[i : i + 5], 1) for i in (0, 5, 10)])).save(
        out / "lungs_found.png"
    )
    films = read_films(out / "films.parquet")
    shift = replace(SHIFTS["acquisition"], prompt=PROMPT)
    own = {} if arguments.guidance_scale is None else {"guidance_scale": arguments.guidance_scale}
    folder = out / f"stressed-{arguments.guidance_scale or 'own'}"
    stressed = make_stressed(films, shift, load_model(), folder, preset="balanced", **own)
    found = measure(models["whole films"], films, stressed, folder, robust=models["lungs alone"])
    found.save(folder)
    write_page(found, stressed, folder)
    picture(table, folder)
    for figures in (found.tested, found.robust):
        print(
            figures.model,
            {name: str(value) for name, value in figures.accuracy.items()},
            "fall",
            figures.fall,
        )
    for control in found.controls:
        print("passes" if control.passes else "FAILS ", control.name, control.said)
    print(found.verdict)
    print(json.dumps({"n_edited": found.n_edited, "n_patients": found.n_patients}))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
