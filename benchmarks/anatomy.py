"""How well the shipped segmenters measure lungs and heart: against the truth, and on films whose heart and lungs stay.

    python benchmarks/anatomy.py --out runs/anatomy [--n 200] [--hannover HANNOVER]

n virtual patients of other seeds than the training's, site `public`. Each film and its true counterfactual with another random
set of findings: Dice and the cardiothoracic ratio's error against the masks; the change measured where the heart stays, whose
95th percentile is what `evaluate anatomy` calls none; and the change where it grows, beside the true one. With HANNOVER (RALF's
films) Dice with the lungs that people drew of 51 of them (V7 Labs, in torchxrayvision's package): people leave out what heart and
opacities cover. Virtual patients are simulated, one anatomy. Writes ``anatomy.md`` and ``anatomy.png``.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from stress_real import drawn_lungs

from synthorax.classifiers.statistics import mean_interval
from synthorax.concepts import Vocabulary
from synthorax.downstream.anatomy import LIMITS, Segmenters, anatomy, changes
from synthorax.files import atomic
from synthorax.phantom import counterfactual_pairs, draw_concepts
from synthorax.phantom.patient import cohort_patient_ids
from synthorax.quality.pictures import outlined
from synthorax.quality.segmentation import dice
from synthorax.seeds import generator
from synthorax.studies import import_studies, prepare, read_film

SIZE, SEED = 256, 777910
HEART = "enlarged_heart"


def drawn(n: int) -> list[tuple[str, list[str], list[str]]]:
    """Films with their findings before and after; in every fourth pair only the heart's size differs."""
    vocabulary, found = Vocabulary.load(), []
    for i, patient in enumerate(cohort_patient_ids(SEED, n, "public", ["built-in"])):
        before, after = (
            [*draw_concepts(generator("anatomy", i, k), vocabulary, "any", frozenset())] for k in (0, 1)
        )
        after = [c for c in after if c != HEART] + [HEART] * (HEART in before)
        if i % 4 == 0:
            before = [c for c in before if c != HEART]
            after = [*before, HEART]
        found.append((f"{patient}_0", before, after))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--hannover", type=Path)
    arguments = parser.parse_args()
    segmenters = Segmenters.load()
    asked = drawn(arguments.n)
    pairs = list(counterfactual_pairs(asked, SIZE))
    patients = [image_id for image_id, *_ in asked]
    grows = np.array([HEART in after and HEART not in before for _, before, after in asked])
    images = [np.stack([pair[k].image for pair in pairs]).astype(np.float32) for k in (0, 1)]
    masks = {
        name: each(images[0]) >= 0.5
        for name, each in (("lungs", segmenters.lungs), ("heart", segmenters.heart))
    }
    truth = {"lungs": [a.lung_mask for a, _ in pairs], "heart": [a.heart_mask for a, _ in pairs]}
    lines = ["| figure | value |", "| --- | --- |"]

    def say(name: str, values: np.ndarray, who: list[str]) -> None:
        lines.append(f"| {name} | {mean_interval(np.asarray(values, float), who)}, n {len(who)} |")

    for name, found in masks.items():
        say(f"Dice, {name}", [dice(t, m) for t, m in zip(truth[name], found, strict=True)], patients)
    before, after = (anatomy(films, segmenters) for films in images)
    ratios = np.array([[film.cardiothoracic_ratio for film in pair] for pair in pairs])
    say(
        "cardiothoracic ratio, absolute error",
        np.abs(before["cardiothoracic_ratio"] - ratios[:, 0]),
        patients,
    )
    say("cardiothoracic ratio, error", before["cardiothoracic_ratio"] - ratios[:, 0], patients)
    change = changes(before, after)
    for name, limit in LIMITS.items():
        kept = np.abs(change[name][~grows])
        lines.append(f"| {name}, heart kept: 95th percentile of the change (limit {limit:g}) | {np.quantile(kept, 0.95):.3f}; {(kept <= limit).mean():.0%} within |")  # fmt: skip
    who = [p for p, g in zip(patients, grows, strict=True) if g]
    say("cardiothoracic ratio, heart grown: measured change", change["cardiothoracic_ratio"][grows], who)
    say("the true change", np.diff(ratios)[grows, 0], who)
    say("lung area, heart grown: measured change", change["lung_area"][grows], who)
    save(arguments.out / "anatomy.png", images[0], masks, Synthetic="YES", Simulated="YES")
    if arguments.hannover:
        drawn_by_people = drawn_lungs()
        places = dict(
            import_studies(arguments.hannover, "hannover").frame.select("image_id", "file_name").iter_rows()
        )
        lungs = {image_id: mask for image_id, mask in drawn_by_people.items() if image_id in places}
        films = np.stack([prepare(read_film(places[image_id]), SIZE) for image_id in lungs])
        found = {
            name: each(films) >= 0.5
            for name, each in (("lungs", segmenters.lungs), ("heart", segmenters.heart))
        }
        overlaps = [dice(t, f) for t, f in zip(lungs.values(), found["lungs"], strict=True)]
        say("Dice, lungs that people drew (Hannover)", overlaps, [*lungs])
        save(arguments.out / "real.png", films, found)
    text = "\n".join(lines) + "\n"
    with atomic(arguments.out / "anatomy.md") as temporary:
        temporary.write_text(text)
    print(text)


def save(path: Path, films: np.ndarray, masks: dict[str, np.ndarray], n: int = 8, **marks: str) -> None:
    """A column a film: lungs outlined, heart outlined."""
    rows = [np.concatenate([outlined(film, mask) for film, mask in zip(films[:n], found, strict=False)], axis=1) for found in masks.values()]  # fmt: skip
    info = PngInfo()
    for key, value in marks.items():
        info.add_text(key, value)
    with atomic(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="png", pnginfo=info)


if __name__ == "__main__":
    main()
