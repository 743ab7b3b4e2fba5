"""Is the loss of Dice that the population shift predicts the loss that comes? Virtual patients, whose lungs are known.

    python benchmarks/stress_population.py --out runs/population [--train 80] [--sources 24] [--truth 24] [--models 8]

``--models`` U-Nets learn lungs from films of virtual patients, ``--most`` of which show oedema, a pacemaker or a consolidation.
``--bias masks``: what is dense is left out of the training masks, as automatic masks do: from nothing (strength 0) to
``--left-out`` of all that is covered, the densest first, spread evenly. ``--bias films``: the masks are exact, the covered films
go from ``--most`` (strength 0) to none. One more of strength 0 is the robust reference. The stress test puts each abnormality
into other healthy patients' lungs. Its predicted change of Dice stands beside the change on the same patients' true films with
the abnormality (own counterfactuals: the distance is the editor's alone) and on other patients (truly shifted). LANCE and
DiffEdit edit the same films. The null shift is the sham. Everything is simulated, one anatomy. The same command goes on with
what a stopped one left. Writes ``BIAS.json``, ``BIAS.md``, ``BIAS.svg`` and ``population_edits.png``.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from stress_truth import COLOURS, METHODS, summary

from synthorax.dataset import read_png, write_png
from synthorax.diffusion import load_model
from synthorax.downstream import SegmenterConfig, train_segmenter
from synthorax.files import atomic
from synthorax.phantom import Atlas, VirtualPatient
from synthorax.phantom.findings import CONCEPTS
from synthorax.phantom.patient import reduce_area, reduce_mask
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator
from synthorax.stress import (
    EMBEDDED_PROMPTS,
    POPULATION,
    TestedSegmenter,
    make_lungs_stressed,
    measure_population,
    read_lungs,
)
from synthorax.stress.population import edits_of, in_own_words, overlaps

SIZE = 256
#: What is shown, and the stress test's abnormality and lung.
SHOWN = {
    "oedema": ("oedema", "both"),
    "pacemaker": ("pacemaker", "left"),
    "consolidation_left": ("consolidation", "left"),
    "consolidation_right": ("consolidation", "right"),
}

#: Line integral from which lung counts as covered.
COVERED = 0.05


def render(folder: Path, first: int, n: int, atlas: Atlas, one_each: bool) -> list[int]:
    """Clean films of ``n`` patients without incidental findings, lungs, and one or all of :data:`SHOWN`; their numbers."""
    found, index = [], first
    for place in track(range(n), f"Films: {folder.name}", unit="patients"):
        while not _film_set(folder, index, atlas, place if one_each else None):
            index += 1
        found.append(index)
        index += 1
    return found


def _film_set(folder: Path, index: int, atlas: Atlas, place: int | None) -> bool:
    done = folder / f"{index:05d}.json"
    if done.is_file():
        return json.loads(done.read_text())
    patient = VirtualPatient(derive_seed("stress population", index), atlas, site="mixed")
    is_clean = not patient.incidentals
    if is_clean:
        wanted = list(SHOWN) if place is None else [list(SHOWN)[place % len(SHOWN)]]
        for name in ("clean", *wanted):
            shown = [] if name == "clean" else [_finding(patient, name)]
            if place is not None and shown:  # added to the line integral: what training masks may leave out
                np.save(folder / f"{index:05d}.npy", reduce_area(np.maximum(shown[0].delta, 0), SIZE).astype(np.float16))  # fmt: skip
            write_png(patient.render(shown, size=SIZE).image, folder / f"{index:05d}_{name}.png", Synthetic="YES", Simulated="YES")  # fmt: skip
        for side in ("left", "right"):
            write_png(reduce_mask(patient.structures[f"lung_{side}"], SIZE), folder / f"{index:05d}_{side}.png")  # fmt: skip
    with atomic(done) as temporary:
        temporary.write_text(json.dumps(is_clean))
    return is_clean


def _finding(patient: VirtualPatient, name: str):
    """The patient's own; a consolidation on the side that the patient does not have it is drawn anew."""
    concept, side = SHOWN[name][0], {"left": "L", "right": "R"}.get(SHOWN[name][1])
    finding = patient.finding(concept)
    if concept != "consolidation" or finding.side == side:
        return finding
    drawn = CONCEPTS[concept].draw(generator(patient.seed, name), patient.chest, side)
    return patient.finding(concept, {"side": side, **drawn})


def lungs(folder: Path, index: int) -> np.ndarray:
    return np.logical_or(*(read_png(folder / f"{index:05d}_{side}.png") > 0 for side in ("left", "right")))


def films_of(patients: list[int], share: float) -> list[str]:
    """One film a patient, a share of them with an abnormality, as evenly over its kinds as the share allows."""
    names = []
    for place, index in enumerate(patients):
        turn = place // len(SHOWN)
        is_covered = int((turn + 1) * share + 1e-9) > int(turn * share + 1e-9)
        names.append(f"{index:05d}_{list(SHOWN)[place % len(SHOWN)] if is_covered else 'clean'}.png")
    return names


def masks_of(folder: Path, films: list[str], left_out: float) -> list[np.ndarray]:
    """The films' lungs without the densest share of all that is covered in them."""
    masks = [lungs(folder, int(film[:5])) for film in films]
    added = [np.zeros((SIZE, SIZE)) if "clean" in film else np.load(folder / f"{film[:5]}.npy").astype(float) for film in films]  # fmt: skip
    covered = np.concatenate([density[mask & (density > COVERED)] for mask, density in zip(masks, added, strict=True)])  # fmt: skip
    if not left_out or not len(covered):
        return masks
    densest = np.quantile(covered, 1 - left_out)
    return [mask & (density <= densest) for mask, density in zip(masks, added, strict=True)]


def changes(segmenter: TestedSegmenter, folder: Path, patients: list[int]) -> dict[str, float]:
    """Abnormality -> true change of mean Dice against the same patients' clean films."""
    truth = [lungs(folder, index) for index in patients]

    def dice(name: str) -> float:
        paths = [str(folder / f"{index:05d}_{name}.png") for index in patients]
        return float(overlaps(segmenter, paths, truth)[:, 0].mean())

    clean, found = dice("clean"), {kind: [] for kind in POPULATION}
    for name, (kind, _) in SHOWN.items():
        found[kind].append(dice(name) - clean)
    return {kind: float(np.mean(values)) for kind, values in found.items()}


def dice_on(segmenter: TestedSegmenter, sets: dict, out: Path) -> float:
    """Mean Dice on another method's edits."""
    edits = edits_of(sets)
    truth = [lungs(out / "sources", int(name)) for name in edits["image_id"]]
    return float(overlaps(segmenter, edits["edited"].to_list(), truth)[:, 0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=80, help="patients that the segmenters learn from")
    parser.add_argument("--sources", type=int, default=24, help="patients whose films are edited")
    parser.add_argument("--truth", type=int, default=24, help="other patients, truly shifted")
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--bias", choices=("masks", "films"), default="masks")
    parser.add_argument(
        "--most", type=float, default=0.75, help="share of covered films, of the unbiased one"
    )
    parser.add_argument(
        "--left-out", type=float, default=0.75, help="of what is covered, by the most biased one"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--px", type=int, default=64, help="side of the networks' input")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--methods", default=",".join(METHODS), help="radedit among them")
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out, began = arguments.out, time.process_time()
    editor, atlas = load_model(arguments.model), Atlas.load()
    pool = render(out / "train", 0, arguments.train, atlas, True)
    drawn = render(out / "sources", 10_000, arguments.sources, atlas, False)
    others = render(out / "truth", 20_000, arguments.truth, atlas, False)
    rows = [
        {"file_name": f"{i:05d}_clean.png", "patient_id": str(i), "image_id": str(i), "caption": "No findings.",
         "left_lung_mask_file_name": f"{i:05d}_left.png", "right_lung_mask_file_name": f"{i:05d}_right.png"}
        for i in drawn
    ]  # fmt: skip
    pl.DataFrame(rows).write_csv(out / "sources/films.csv")
    table = read_lungs(out / "sources/films.csv")
    methods = arguments.methods.split(",")
    sets = {
        method: {
            kind: make_lungs_stressed(
                table, in_own_words(POPULATION[kind], EMBEDDED_PROMPTS[kind]), editor, out / method / kind,
                is_simulated=True, method=method, preset=arguments.preset,
            )
            for kind in POPULATION
        }
        for method in methods
    }  # fmt: skip

    def segmenter(strength: float, name: str, seed: int) -> TestedSegmenter:
        share = arguments.most * (1 - strength if arguments.bias == "films" else 1)
        left_out = arguments.left_out * strength if arguments.bias == "masks" else 0.0
        films = films_of(pool, share)
        masks = masks_of(out / "train", films, left_out)
        config = SegmenterConfig(image_size_px=arguments.px, epochs=arguments.epochs, seed=seed)
        found = train_segmenter(config, [out / "train" / film for film in films], masks, out=out / f"models-{arguments.bias}" / name, note="simulated, one anatomy")  # fmt: skip
        return TestedSegmenter(f"{arguments.bias}, strength {strength:.2f}", found)

    strengths = np.linspace(0, 1, arguments.models).tolist()
    robust = segmenter(0.0, "robust", 100)
    found: dict[str, list[dict]] = {kind: [] for kind in POPULATION}
    for number, strength in enumerate(strengths):
        one = segmenter(strength, f"strength-{strength:.3f}", 1 + number)
        test = measure_population(one, table, sets["radedit"], robust=robust)
        true, own = changes(one, out / "truth", others), changes(one, out / "sources", drawn)
        for place, kind in enumerate(POPULATION):
            main_one = test.shifts[place]
            before = main_one.tested.means["source"]["dice"].estimate
            edited = main_one.tested.changes["edited"]
            found[kind].append({
                "strength": strength, "real": before,
                "true_shifted": true[kind], "own_counterfactual": own[kind],
                "predicted": {
                    m: edited["dice"].estimate if m == "radedit" else dice_on(one, sets[m][kind], out) - before
                    for m in methods
                },
                "interval": [edited["dice"].ci_low, edited["dice"].ci_high],
                "assd_px": edited["assd_px"].estimate, "hd95_px": edited["hd95_px"].estimate,
                "sham_change": main_one.tested.changes["sham"]["dice"].estimate,
                "blur_change": main_one.tested.changes["blur"]["dice"].estimate,
                "verdict": main_one.verdict, "is_believed": {"radedit": main_one.is_believed},
                "failed": [c.name for c in main_one.controls if not c.passes],
            })  # fmt: skip
    _picture(out, sets["radedit"], drawn[:6])
    record = {
        "model": editor.model_id, "model_sha256": editor.model_sha256, "cpu_seconds": round(time.process_time() - began),
        "settings": {name: str(value) for name, value in vars(arguments).items() if name != "out"},
        "shifts": {kind: {"models": rows, "summary": {m: summary(rows, m) for m in methods}} for kind, rows in found.items()},
    }  # fmt: skip
    text = _markdown(record, methods)
    for name, content in ((f"{arguments.bias}.json", json.dumps(record, indent=1)), (f"{arguments.bias}.md", text), (f"{arguments.bias}.svg", _plot(record))):  # fmt: skip
        with atomic(out / name) as temporary:
            temporary.write_text(content)
    print(text)


def _picture(out: Path, sets: dict, some: list[int]) -> None:
    """A column a patient: source, then of each abnormality edit and true film; sham and blur of the last."""
    columns = []
    for index in some:
        films = [out / f"sources/{index:05d}_clean.png"]
        for name, (kind, lung) in SHOWN.items():
            edit = edits_of({lung: sets[kind][lung]}).row(by_predicate=pl.col("image_id") == str(index), named=True)  # fmt: skip
            films += [edit["edited"], out / f"sources/{index:05d}_{name}.png"]
        films += [edit["sham"], edit["blur"]]
        columns.append(np.concatenate([read_png(film) for film in films]))
    write_png(np.concatenate(columns, axis=1), out / "population_edits.png", Synthetic="YES", Simulated="YES")


def _markdown(record: dict, methods: list[str]) -> str:
    lines = []
    for kind, shift in record["shifts"].items():
        lines += [
            f"**{kind.capitalize()}**", "",
            "| strength | Dice, real | truly shifted | own counterfactuals | RadEdit predicts (95 %) | DiffEdit | LANCE | blur | sham | average distance | 95th percentile | controls that fail |",
            "| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        ]  # fmt: skip
        for row in shift["models"]:
            p, (low, high) = row["predicted"], (100 * end for end in row["interval"])
            compared = " | ".join(f"{100 * p[m]:+.1f}" if m in p else "" for m in METHODS[1:])
            lines.append(
                f"| {row['strength']:.2f} | {100 * row['real']:.1f} | {100 * row['true_shifted']:+.1f} | {100 * row['own_counterfactual']:+.1f} | "
                f"{100 * p['radedit']:+.1f} ({low:+.1f} to {high:+.1f}) | {compared} | {100 * row['blur_change']:+.1f} | {100 * row['sham_change']:+.1f} | "
                f"{row['assd_px']:+.1f} | {row['hd95_px']:+.1f} | {', '.join(row['failed']) or 'none'} |"
            )
        lines += ["", "| | mean absolute error | lowest third | middle | highest | mean error | against own counterfactuals | null shift, mean (largest) | r |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
        for method in methods:
            s = shift["summary"][method]
            thirds = " | ".join(f"{100 * e:.1f} ({n})" if e is not None else "none" for e, n in zip(s["by_third"], s["n_by_third"], strict=True))  # fmt: skip
            lines.append(f"| {method} | {100 * s['mean_absolute_error']:.1f} | {thirds} | {100 * s['mean_error']:+.1f} | {100 * s['against_own_counterfactuals']:.1f} | {100 * s['null_shift_mean_absolute']:.1f} ({100 * s['null_shift_largest']:.1f}) | {s['pearson']:.2f} |")  # fmt: skip
        lines.append("")
    return "\n".join(lines)


def _plot(record: dict) -> str:
    """Predicted over true change of Dice, a panel an abnormality, all on one scale."""
    side, gap, top = 250, 60, 40
    values = [v for s in record["shifts"].values() for r in s["models"] for v in (r["true_shifted"], *r["interval"], *r["predicted"].values())]  # fmt: skip
    low, high = np.floor(20 * min(values)) / 20, np.ceil(20 * max(values)) / 20
    parts = []
    for k, (kind, shift) in enumerate(record["shifts"].items()):
        left = 60 + k * (side + gap)

        def at(x: float, y: float, left: int = left) -> tuple[float, float]:
            return left + side * (x - low) / (high - low), top + side * (high - y) / (high - low)

        (x0, y0), (x1, y1) = at(low, low), at(high, high)
        band = side * 0.05 / (high - low)
        parts += [
            f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="#fff" stroke="#9aa5ad"/>',
            f'<path d="M{x0} {y0 - band}L{x1 - band} {y1}M{x0 + band} {y0}L{x1} {y1 + band}" stroke="#cfd6da" stroke-dasharray="3 3"/>',
            f'<path d="M{x0} {y0}L{x1} {y1}" stroke="#9aa5ad"/>',
            f'<text x="{left + side / 2}" y="28" text-anchor="middle" font-weight="600">{kind.capitalize()} (simulated)</text>',
            f'<text x="{left + side / 2}" y="{top + side + 38}" text-anchor="middle">true change of Dice, points</text>',
        ]
        for tick in np.linspace(low, high, 3):
            x, y = at(tick, tick)
            parts.append(f'<text x="{x}" y="{top + side + 18}" text-anchor="middle">{100 * tick:z.0f}</text><text x="{left - 6}" y="{y + 4}" text-anchor="end">{100 * tick:z.0f}</text>')  # fmt: skip
        for row in shift["models"]:
            (x, above), (_, below) = (at(row["true_shifted"], end) for end in row["interval"])
            parts.append(f'<path d="M{x} {above}L{x} {below}" stroke="{COLOURS["radedit"]}" opacity=".5"/>')
            for method, value in reversed(row["predicted"].items()):
                x, y = at(row["true_shifted"], value)
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if method == "radedit" else 3.5}" fill="{COLOURS[method]}"/>')  # fmt: skip
    foot = top + side + 62
    for i, (method, colour) in enumerate(COLOURS.items()):
        parts.append(f'<circle cx="{65 + 110 * i}" cy="{foot}" r="5" fill="{colour}"/><text x="{76 + 110 * i}" y="{foot + 5}">{method}</text>')  # fmt: skip
    parts.append(f'<text x="406" y="{foot + 5}">dashed: 5 points; bars: 95 % by patient</text>')
    parts.append(f'<text transform="translate(16 {top + side / 2}) rotate(-90)" text-anchor="middle">predicted change, points</text>')  # fmt: skip
    width, height = 60 + 3 * (side + gap), foot + 20
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="13" fill="#1d2730"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    main()
