"""Is the fall that a stress test predicts the fall that comes? Virtual patients, whose truly shifted films exist.

    python benchmarks/stress_truth.py --out runs/stress [--train 300] [--sources 100] [--truth 150] [--models 8]

Two shifts. *Manifestation*: does a model of pneumothorax need the lung's edge, or the drain that goes with it? *Acquisition*:
a model of consolidation, or of the hospital (site ``ward`` against ``clinic``)? For each, ``--models`` networks whose training
films carry the bias at strengths spread evenly from 0 (finding and shortcut are independent) to 1 (one goes only with the
other), and one more of strength 0, the robust reference. The stress test edits the finding away and keeps the shortcut; its
predicted accuracy stands beside the accuracy on films of *other* patients who truly have the shortcut alone, and beside that
on the sources' own true counterfactuals, which differs by the editor alone. LANCE and DiffEdit edit the same sources for the
same models. The null shift is the sham edit. Everything is simulated, one anatomy. The same command goes on with what a
stopped one left. Writes ``truth.json``, ``truth.md``, ``truth.svg`` and ``edits_<shift>.png``.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from synthorax.classifiers import Classifier, TestedModel, TrainingConfig, train
from synthorax.concepts import Vocabulary
from synthorax.dataset import read_png, write_png
from synthorax.diffusion import load_model
from synthorax.files import atomic
from synthorax.perturbations import prompt
from synthorax.phantom import Atlas, VirtualPatient
from synthorax.progress import track
from synthorax.quality.effect import effect
from synthorax.seeds import derive_seed, generator
from synthorax.stress import SHIFTS, Shift, make_stressed, measure

SIZE = 256
SITES = ("ward", "clinic")
#: Shift -> finding, and the shortcut that a model may learn in its place.
BIASES = {
    "manifestation": ("absent_lung_markings", "a chest drain"),
    "acquisition": ("consolidation", "the site ward"),
}
#: Depth of the gas at the apex, of 75 mm: small, or no network needs the drain.
GAS = (0.25, 0.45)
METHODS = ("radedit", "diffedit", "lance")
FILMS = [(finding, shortcut) for finding in (1, 0) for shortcut in (1, 0)]


def film_name(index: int, finding: int, shortcut: int) -> str:
    return f"{index:05d}_f{finding}s{shortcut}.png"


def render(folder: Path, shift: str, first: int, n: int, atlas: Atlas) -> list[int]:
    """Films of ``n`` patients with and without finding and shortcut, masks beside; returns the patients' numbers.

    Pneumothoraces are of :data:`GAS`'s sizes, without tension.
    """
    concept, _ = BIASES[shift]
    found = []
    for index in track(range(first, first + n), f"{shift}: {folder.name}", unit="patients"):
        found.append(index)
        if (folder / f"{index:05d}.json").is_file():
            continue
        seed, record = derive_seed("stress", shift, index), {}
        if shift == "manifestation":
            patients = dict.fromkeys((1, 0), VirtualPatient(seed, atlas, site="mixed"))
        else:
            patients = {1: VirtualPatient(seed, atlas, site=SITES[0]), 0: VirtualPatient(seed, atlas, site=SITES[1])}  # fmt: skip
        for present, shortcut in FILMS:
            patient = patients[shortcut]
            finding = patient.finding(concept)
            if shift == "manifestation":
                size = float(generator(seed, "gas").uniform(*GAS))
                finding = patient.finding(concept, finding.params | {"side": finding.side, "size": size, "shift_mm": 0.0, "sulcus_mm": 0.0})  # fmt: skip
            shown = [finding] * present
            if shift == "manifestation" and shortcut:
                drain = patient.finding("chest_drain").params
                shown.append(patient.finding("chest_drain", drain | {"side": finding.side}))
            film = patient.render(shown, size=SIZE)
            write_png(film.image, folder / film_name(index, present, shortcut), Synthetic="YES", Simulated="YES")  # fmt: skip
            if present and shortcut:
                record = {"caption": prompt([concept], Vocabulary.load(), film.sides)}
                mask = film.masks[concept]
                if shift == "acquisition":  # boxes, as BIMCV has them
                    mask = np.zeros_like(mask)
                    for box in film.boxes[concept]:
                        mask[box.y : box.y + box.height, box.x : box.x + box.width] = True
                else:
                    write_png(film.masks["chest_drain"], folder / f"{index:05d}_drain.png")
                write_png(mask, folder / f"{index:05d}_mask.png")
                record["mask_px"] = int(mask.sum())
        with atomic(folder / f"{index:05d}.json") as temporary:
            temporary.write_text(json.dumps(record))
    return found


def biased(patients: list[int], strength: float, *name: object) -> list[tuple[int, int, int]]:
    """Of each patient a film with the finding and one without; the shortcut goes along with this strength."""
    draw = generator("stress bias", *name)
    films = []
    for index in patients:
        for finding in (1, 0):
            shortcut = int(draw.random() < 0.5 + (strength if finding else -strength) / 2)
            films.append((index, finding, shortcut))
    return films


def trained(
    folder: Path, films: list[tuple[int, int, int]], targets: list[int], label: str, out: Path, config
) -> Classifier:
    paths = [folder / film_name(*film) for film in films]
    return train(config, paths, np.array(targets, np.float32)[:, None], [label], out=out, note="simulated, one anatomy")  # fmt: skip


def rows_of(folder: Path, films: list[tuple[int, int, int]], role: str) -> pl.DataFrame:
    """The stress test's table; sources have masks and a caption."""
    rows = []
    for film in films:
        index = film[0]
        masks = {
            "edit_mask_file_name": f"{index:05d}_mask.png",
            "keep_mask_file_name": f"{index:05d}_drain.png",
        }
        extra = {
            name: str(folder / file) if role == "source" and (folder / file).is_file() else None
            for name, file in masks.items()
        }
        caption = (
            json.loads((folder / f"{index:05d}.json").read_text())["caption"] if role == "source" else None
        )
        rows.append({
            "file_name": str(folder / film_name(*film)), "patient_id": str(index), "target": film[1], "image_id": f"{role}_{film_name(*film)[:-4]}",
            "role": role, **extra, "caption": caption,
        })  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"edit_mask_file_name": pl.String, "keep_mask_file_name": pl.String, "caption": pl.String, "target": pl.Int8})  # fmt: skip


def one_shift(shift: str, arguments, model, atlas: Atlas) -> dict:
    out = arguments.out / shift
    began = time.process_time()
    n_train, n_sources, n_truth = arguments.train, arguments.sources, arguments.truth
    pool = render(out / "train", shift, 0, n_train, atlas)
    first = 10_000
    drawn = render(out / "sources", shift, first, n_sources, atlas)
    # What cannot be seen has no mask: such films cannot be edited.
    seen = [i for i in drawn if json.loads((out / f"sources/{i:05d}.json").read_text())["mask_px"]]
    others = render(out / "truth", shift, 20_000, n_truth, atlas)
    methods = arguments.methods.split(",")
    config = TrainingConfig(arguments.backbone, image_size_px=arguments.px, epochs=arguments.epochs)
    strengths = np.linspace(0, 1, arguments.models).tolist()
    label = BIASES[shift][0]

    def network(strength: float, name: str, seed: int) -> TestedModel:
        films = biased(pool, strength, shift, name)
        found = trained(out / "train", films, [film[1] for film in films], label, out / "models" / name, replace(config, seed=seed))  # fmt: skip
        return TestedModel(f"{shift}, strength {strength:.2f}", found.predict)

    tested = [network(s, f"strength-{s:.3f}", 1 + i) for i, s in enumerate(strengths)]
    robust = network(0.0, "robust", 100)
    sources = rows_of(out / "sources", [(i, 1, 1) for i in seen], "source")
    recipe: Shift = replace(SHIFTS[shift], prompt="No findings.")
    sets = {
        method: make_stressed(
            sources,
            recipe,
            model,
            out / method,
            is_simulated=True,
            method=method,
            preset=arguments.preset,
            **({"fresh_noise": arguments.fresh_noise} if arguments.fresh_noise and method != "lance" else {}),
        )
        for method in methods
    }
    true_films = [str(out / "truth" / film_name(i, 0, 1)) for i in others]
    own_films = [str(out / "sources" / film_name(i, 0, 1)) for i in seen]
    rows = []
    for strength, one in zip(strengths, tested, strict=True):
        real = rows_of(out / "truth", biased(others, strength, shift, "real"), "test")
        table = pl.concat([sources, real])
        tests = {m: measure(one, table, sets[m], out / m, robust=robust) for m in methods}
        main = tests["radedit"]
        rows.append({
            "strength": strength,
            "real": main.tested.accuracy["real"].estimate,
            "true_shifted": float((~one.says(true_films)).mean()),
            "own_counterfactual": float((~one.says(own_films)).mean()),
            "predicted": {m: t.tested.accuracy["edited"].estimate for m, t in tests.items()},
            "interval": [main.tested.accuracy["edited"].ci_low, main.tested.accuracy["edited"].ci_high],
            "sham_change": main.tested.sham_change.estimate,
            "blur": main.tested.accuracy["blur"].estimate,
            "source": main.tested.accuracy["source"].estimate,
            "verdict": main.verdict, "is_believed": {m: t.is_believed for m, t in tests.items()},
            "controls": {c.name: c.said for c in main.controls},
        })  # fmt: skip
    _picture(out, methods, seen[:6], arguments.out / f"edits_{shift}.png")
    found = {
        "shift": shift, "finding": label, "shortcut": BIASES[shift][1], "n_train_films": 2 * len(pool), "n_sources": len(seen),
        "n_truth": len(others), "models": rows, "summary": {m: summary(rows, m) for m in methods},
    }  # fmt: skip
    if shift == "manifestation":
        found["drains_removed"] = drains_removed(out, seen[:40], pool, config, model, arguments.preset)
    found["cpu_seconds"] = round(time.process_time() - began)
    return found


def drains_removed(out: Path, some: list[int], pool: list[int], config, model, preset: str) -> dict:
    """Can the editor take the drain away instead? A detector of drains, and the change against the true film."""
    films = biased(pool, 0.0, "drains")
    detector = trained(out / "train", films, [film[2] for film in films], "chest_drain", out / "models/drains", config)  # fmt: skip
    reader = TestedModel("drains", detector.predict)
    table = rows_of(out / "sources", [(i, 1, 1) for i in some], "source").with_columns(
        edit_mask_file_name="keep_mask_file_name"
    )
    shift = Shift("drain", prompt="Pneumothorax.", keep="rest", dilation_px=5)
    gains = []
    shown = []
    for caption, rows in table.group_by(
        "caption", maintain_order=True
    ):  # the finding stays, whatever its side
        folder = out / f"drain-{len(shown)}"
        made = make_stressed(rows, replace(shift, prompt=caption[0]), model, folder, is_simulated=True, preset=preset)  # fmt: skip
        shown += [str(folder / name) for name in made.filter(perturbation_type="drain")["file_name"]]
    order = [Path(name).stem for name in shown]
    for name, path in zip(order, shown, strict=True):
        index = int(name.split("_")[1])
        before, truth = (read_png(out / "sources" / film_name(index, 1, shortcut)) for shortcut in (1, 0))
        gains.append(effect(before, read_png(path), truth, read_png(out / f"sources/{index:05d}_drain.png") > 0))  # fmt: skip
    return {
        "n": len(some),
        "drain_seen_in_sources": float(reader.says(table["file_name"].to_list()).mean()),
        "drain_seen_after_edit": float(reader.says(shown).mean()),
        "drain_seen_in_true_films_without": float(
            reader.says([str(out / "sources" / film_name(i, 1, 0)) for i in some]).mean()
        ),
        "median_gain": float(np.median([g.gain for g in gains if g.gain is not None])),
        "median_error": float(np.median([g.error for g in gains if g.error is not None])),
    }


def summary(rows: list[dict], method: str) -> dict:
    """Mean absolute error, whole and in each third of the range of the truth; null shift; correlation."""
    truth = np.array([row["true_shifted"] for row in rows])
    predicted = np.array([row["predicted"][method] for row in rows])
    own = np.array([row["own_counterfactual"] for row in rows])
    error = np.abs(predicted - truth)
    edges = np.linspace(truth.min(), truth.max(), 4)
    third = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, 2)
    return {
        "mean_absolute_error": float(error.mean()),
        "by_third": [float(error[third == i].mean()) if (third == i).any() else None for i in range(3)],
        "n_by_third": [int((third == i).sum()) for i in range(3)],
        "edges": edges.tolist(),
        "mean_error": float((predicted - truth).mean()),
        "against_own_counterfactuals": float(np.abs(predicted - own).mean()),
        "null_shift_mean_absolute": float(np.mean([abs(row["sham_change"]) for row in rows])),
        "null_shift_largest": float(np.max([abs(row["sham_change"]) for row in rows])),
        "pearson": float(np.corrcoef(truth, predicted)[0, 1]),
        "n_believed": sum(row["is_believed"].get(method, False) for row in rows),
    }


def _picture(out: Path, methods: list[str], some: list[int], path: Path) -> None:
    """A column a source: source, RadEdit, true counterfactual, the other methods, sham, blur."""
    columns = []
    for i in some:
        name = f"source_{film_name(i, 1, 1)}"
        films = [out / "sources" / film_name(i, 1, 1), out / f"radedit/edited/{name}", out / "sources" / film_name(i, 0, 1)]  # fmt: skip
        films += [out / method / "edited" / name for method in methods if method != "radedit"]
        films += [out / "radedit/sham" / name, out / "radedit/blur" / name]
        columns.append(np.concatenate([read_png(film) for film in films]))
    write_png(np.concatenate(columns, axis=1), path, Synthetic="YES", Simulated="YES")


def _markdown(found: list[dict]) -> str:
    lines = []
    for shift in found:
        lines += [
            f"**{shift['shift'].capitalize()}** ({shift['finding']}; shortcut: {shift['shortcut']}). {shift['n_train_films']} training films a model, {shift['n_sources']} edited, {shift['n_truth']} truly shifted patients.",
            "",
            "| strength | real | truly shifted | own counterfactuals | RadEdit predicts (95 %) | DiffEdit | LANCE | blur | sham change | controls |",
            "| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |",
        ]
        for row in shift["models"]:
            low, high = row["interval"]
            p = row["predicted"]
            others = " | ".join(f"{100 * p[m]:.0f}" if m in p else "" for m in METHODS[1:])
            lines.append(
                f"| {row['strength']:.2f} | {100 * row['real']:.0f} | {100 * row['true_shifted']:.0f} | {100 * row['own_counterfactual']:.0f} | "
                f"{100 * p['radedit']:.0f} ({100 * low:.0f} to {100 * high:.0f}) | {others} | {100 * row['blur']:.0f} | "
                f"{100 * row['sham_change']:+.0f} | {'pass' if row['is_believed']['radedit'] else row['verdict'].removeprefix('No verdict: ').rstrip('.')} |"
            )
        lines += ["", "| | mean absolute error | lowest third | middle | highest | mean error | against own counterfactuals | null shift, mean (largest) | r |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
        for method, s in shift["summary"].items():
            thirds = [
                f"{100 * e:.1f} ({n})" if e is not None else "none"
                for e, n in zip(s["by_third"], s["n_by_third"], strict=True)
            ]
            lines.append(f"| {method} | {100 * s['mean_absolute_error']:.1f} | {' | '.join(thirds)} | {100 * s['mean_error']:+.1f} | {100 * s['against_own_counterfactuals']:.1f} | {100 * s['null_shift_mean_absolute']:.1f} ({100 * s['null_shift_largest']:.1f}) | {s['pearson']:.2f} |")  # fmt: skip
        lines.append("")
    return "\n".join(lines)


COLOURS = {"radedit": "#0b6e7f", "diffedit": "#d99a00", "lance": "#b3261e"}


def _plot(found: list[dict]) -> str:
    """Predicted over true accuracy, a panel a shift."""
    side, gap = 300, 70
    parts = []
    for k, shift in enumerate(found):
        left = 55 + k * (side + gap)

        def at(x: float, y: float, left: int = left) -> tuple[float, float]:
            return left + side * x, 40 + side * (1 - y)

        (x0, y0), (x1, y1) = at(0, 0), at(1, 1)
        parts += [
            f'<rect x="{left}" y="40" width="{side}" height="{side}" fill="#fff" stroke="#9aa5ad"/>',
            f'<path d="M{x0} {y0 - 0.05 * side}L{x1 - 0.05 * side} {y1}M{x0 + 0.05 * side} {y0}L{x1} {y1 + 0.05 * side}" stroke="#cfd6da" stroke-dasharray="3 3"/>',
            f'<path d="M{x0} {y0}L{x1} {y1}" stroke="#9aa5ad"/>',
            f'<text x="{left + side / 2}" y="28" text-anchor="middle" font-weight="600">{shift["shift"].capitalize()} shift (simulated)</text>',
            f'<text x="{left + side / 2}" y="{40 + side + 38}" text-anchor="middle">accuracy on truly shifted patients, %</text>',
        ]
        for tick in (0, 0.5, 1):
            x, y = at(tick, tick)
            parts.append(f'<text x="{x}" y="{40 + side + 18}" text-anchor="middle">{100 * tick:.0f}</text>')
            parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{100 * tick:.0f}</text>')
        for row in shift["models"]:
            x, _ = at(row["true_shifted"], 0)
            low, high = (at(0, end)[1] for end in row["interval"])
            parts.append(f'<path d="M{x} {low}L{x} {high}" stroke="{COLOURS["radedit"]}" opacity=".5"/>')
            for method, colour in reversed([item for item in COLOURS.items() if item[0] in row["predicted"]]):
                x, y = at(row["true_shifted"], row["predicted"][method])
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if method == "radedit" else 3.5}" fill="{colour}"/>'
                )
    foot = 40 + side + 62
    for i, (method, colour) in enumerate(COLOURS.items()):
        parts.append(f'<circle cx="{65 + 110 * i}" cy="{foot}" r="5" fill="{colour}"/><text x="{76 + 110 * i}" y="{foot + 5}">{method}</text>')  # fmt: skip
    parts.append(f'<text x="{76 + 330}" y="{foot + 5}">dashed: 5 points; bars: 95 % by patient</text>')
    parts.append(
        f'<text transform="translate(16 {40 + side / 2}) rotate(-90)" text-anchor="middle">accuracy that the stress test predicts, %</text>'
    )
    width, height = 55 + 2 * side + gap + 20, foot + 20
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="13" fill="#1d2730"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--train", type=int, default=300, help="patients that the models learn from, two films each"
    )
    parser.add_argument("--sources", type=int, default=100, help="patients whose films are edited")
    parser.add_argument("--truth", type=int, default=150, help="other patients, truly shifted")
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--backbone", default="small", help="the networks")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--px", type=int, default=96, help="side of the networks' input")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--fresh-noise", type=float, default=0.0, help="of RadEdit's and DiffEdit's edits")
    parser.add_argument("--methods", default=",".join(METHODS), help="radedit among them")
    parser.add_argument("--shifts", default=",".join(BIASES))
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, atlas = load_model(arguments.model), Atlas.load()
    found = [one_shift(shift, arguments, model, atlas) for shift in arguments.shifts.split(",")]
    settings = {name: str(value) for name, value in vars(arguments).items() if name != "out"}
    record = {"model": model.model_id, "model_sha256": model.model_sha256, "settings": settings, "shifts": found}  # fmt: skip
    for name, text in (("truth.json", json.dumps(record, indent=1)), ("truth.md", _markdown(found)), ("truth.svg", _plot(found))):  # fmt: skip
        with atomic(arguments.out / name) as temporary:
            temporary.write_text(text)
    print(_markdown(found))


if __name__ == "__main__":
    main()
