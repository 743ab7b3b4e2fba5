"""Are edits valid? On virtual patients with their true counterfactuals: presets, retries, sham and blur.

    python benchmarks/editing_validity.py --oracle A --judge B --edit C --out runs/validity [--n 200] [--model FOLDER]

A, B and C are cohorts of ``synthorax phantom sample --site training --pairs any --atlas built-in``, different patients each. ``--n``
additions and as many removals of C's films are made with the finding's exact region as edit mask. *Valid*: the oracle, a
classifier of A's patients that never saw an edit, finds every label as the target has it, the automatic
checks (``editing.checks``) pass, and lung area and cardiothoracic ratio stay within the limits of ``downstream.anatomy`` (the
ratio not where the heart's size was asked for). The judge of the retries is another classifier, of B's patients; with ``--real``
a second oracle reads pneumonia and effusion, from real films alone. The editing score is the shipped encoder's, which saw
neither edits nor C. *New noise*: ``balanced`` with ``fresh_noise`` 0.8, its sham, and tries of both (:data:`RETRIED`), of which
the judge sees the labels, and the segmenters that measure lungs and heart those. The ceiling is
the true counterfactual, and the same through the autoencoder; the floors are the source itself, the sham edit and the
blur. Where the true counterfactual does not pass (fluid hides a pneumonia from the oracle), no edit can be judged: a column counts the
others alone. *Size*: pixels inside the mask that an edit changed visibly, over those that the true counterfactual changed; *place*: how far
the centres of both changes are apart (medians). Intervals: Wilson, 95 %, one edit a patient and type. Everything is simulated, one anatomy.
The same command goes on where it stopped, training and films of each arm included (``arms/``). Writes ``validity.json`` and
``validity.md`` after each arm, and ``failures.png``.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from obedience import places
from real_films import LABELS, films_of
from statsmodels.stats.proportion import proportion_confint

from synthorax.classifiers import Classifier, TrainingConfig, train
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.metrics import auroc
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.dataset import read_metadata, write_png
from synthorax.diffusion import load_model
from synthorax.downstream.anatomy import LIMITS, Segmenters, anatomy, changes
from synthorax.downstream.image_text import ImageText
from synthorax.editing import METHODS, PRESETS, blur, check, edit, edit_until, evaluations, sham
from synthorax.editing.masks import dilate
from synthorax.editing.retry import Tried
from synthorax.files import atomic
from synthorax.perturbations import make_plan, prompt
from synthorax.phantom import counterfactual_pairs
from synthorax.phantom.projection import OBJECT_PIXEL_MM
from synthorax.quality.editing_score import editing_scores
from synthorax.quality.structure import structure
from synthorax.runs.demo import MASK_MARGIN_PX
from synthorax.runs.measuring import known_targets
from synthorax.seeds import derive_seed, is_held_out
from synthorax.stress.shifts import LEAST_SCORE
from synthorax.studies import read_manifest

SIZE, SEED = 256, 777000
KINDS = {"insertion": "addition", "deletion": "removal"}
ROUND_TRIP = "the same through the autoencoder"
HEART = "Cardiomegaly"
#: Beyond this a grey level of the true counterfactual counts as the finding's.
VISIBLE = 0.08
#: Of the arms with new noise: its share, tries, and the margin in logits at which a try is enough.
FRESH, TRIES, ENOUGH = 0.8, 8, 0.5
#: The retries' share of new noise, and what guidance is multiplied with try by try.
RETRIED = {
    "removal": (0.8, (1.0, 1.0, 0.7, 1.4, 1.0, 1.4, 0.7, 1.0)),
    "addition": (0.7, (0.7, 1.0, 0.7, 0.55, 0.7, 1.0, 0.7, 1.4)),
}
#: Side of a pixel of these films at mid-chest.
MM = OBJECT_PIXEL_MM * 512 / SIZE


def classifier(cohorts: Sequence[Path], out: Path, seed: int, epochs: int, size: int) -> Classifier:
    """Labels and places from the cohorts' films, nine in ten patients; thresholds from the others."""
    vocabulary = Vocabulary.load()
    labels = vocabulary.pathology_labels
    masks = {label: vocabulary.concepts_of(label) for label in labels}
    films, targets, tuned = [], [], []
    for cohort in cohorts:
        rows = read_metadata(cohort).filter(pl.col("source_image_id").is_null())
        table = pl.read_parquet(cohort / "concepts.parquet")
        films += [cohort / name for name in rows["file_name"]]
        targets.append(known_targets(table, [label_column(name) for name in labels]))
        tuned += [is_held_out(patient) for patient in table["patient_id"]]
    pixels, wanted, keep = load_films(films, size), np.concatenate(targets), ~np.array(tuned)
    where = np.concatenate([places(cohort, masks, size) for cohort in cohorts])
    config = TrainingConfig("small_peaks", epochs=epochs, image_size_px=size, seed=seed)
    return train(
        config,
        pixels[keep],
        wanted[keep],
        labels,
        places=where[keep],
        validation=(pixels[~keep], wanted[~keep]),
        out=out,
        note="simulated",
    )


def of_real_films(folder: Path, out: Path) -> Classifier:
    """The second oracle: pneumonia and effusion from real films alone, nine in ten patients; thresholds from the others."""
    table, files = films_of(folder, out)
    films = load_films([files[image_id] for image_id in table["image_id"]], 128)
    wanted = known_targets(table, [label_column(name) for name in LABELS])
    keep = ~np.array([is_held_out(patient) for patient in table["patient_id"]])
    config = TrainingConfig(epochs=25, seed=3)
    return train(config, films[keep], wanted[keep], LABELS, validation=(films[~keep], wanted[~keep]), out=out / "second_model", note="ChestX-ray14")  # fmt: skip


def pairs(patients: Path, n: int) -> list[dict]:
    """``n`` additions and ``n`` removals: source, true counterfactual, masks, prompts."""
    vocabulary = Vocabulary.load()
    table = annotate_studies(read_manifest(patients / "studies.parquet"), vocabulary)
    plan = make_plan(table, vocabulary, list(KINDS), per_type=1, strategy="coverage", seed=SEED).edits
    rows = [
        row for kind in KINDS for row in plan.filter(perturbation_type=kind).head(n).iter_rows(named=True)
    ]
    films = counterfactual_pairs(
        [(row["image_id"], row["concepts_before"], row["concepts_after"]) for row in rows], SIZE
    )
    found = []
    for row, (before, after) in zip(rows, films, strict=True):
        changed = set(after.masks) ^ set(before.masks)
        region = np.any([{**before.masks, **after.masks}[name] for name in changed], axis=0)
        edit_mask = dilate(region | (np.abs(after.image - before.image) > VISIBLE), MASK_MARGIN_PX)
        found.append({
            **row, "source": before.image.astype(np.float32), "truth": after.image.astype(np.float32),
            "edit_mask": edit_mask, "keep_mask": ~dilate(edit_mask, MASK_MARGIN_PX),
            "prompt": prompt(row["concepts_after"], vocabulary, after.sides),
            "inversion_prompt": prompt(row["concepts_before"], vocabulary, before.sides),
        })  # fmt: skip
    return found


def states(rows: Sequence[dict], key: str, labels: Sequence[str]) -> np.ndarray:
    return np.array([[label in row[key] for label in labels] for row in rows])


def arms(
    rows: list[dict],
    model,
    judge: Classifier,
    folder: Path,
    segmenters: Segmenters,
    before: dict,
) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """Name, films ``(N, 256, 256)`` and evaluations an edit (shared inversions counted once an edit) of each arm.

    Edited films are kept in ``folder`` and read again where model, settings and edits are the same, and the judge where one chose.
    """
    source, truth = (np.stack([row[name] for row in rows]) for name in ("source", "truth"))
    settings = model.edit_settings
    domain = model.domain(is_simulated=True)
    sent = {
        name: [f"{domain} {row[name]}".strip() for row in rows] for name in ("prompt", "inversion_prompt")
    }
    call = {
        "model": model, "seeds": [row["seed"] for row in rows], "negative_prompts": [domain] * len(rows),
        "edit_masks": [row["edit_mask"] for row in rows], "keep_masks": [row["keep_mask"] for row in rows],
        "batch_size": 16, **settings,
    }  # fmt: skip
    cost = {
        name: evaluations("radedit", settings["num_inference_steps"], settings["skip"], name)
        for name in PRESETS
    }
    target = states(rows, "labels_after", judge.labels)
    thresholds = np.array(judge.thresholds)
    pixels = source.tobytes() + truth.tobytes()

    def kept(
        name: str, make: Callable[[], tuple[np.ndarray, float]], chosen: object = None
    ) -> tuple[str, np.ndarray, float]:
        state = [model.model_sha256, str(model.dtype), settings, sent, call["seeds"], chosen]
        key = hashlib.sha256(json.dumps(state).encode() + pixels).hexdigest()
        path = folder / f"{name.replace(' ', '_').replace(',', '')}.npz"
        if path.exists() and (stored := np.load(path))["key"] == key:
            return name, stored["films"], float(stored["cost"])
        films, spent = make()
        with atomic(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, films=films, cost=spent, key=key)
        return name, films, spent

    def edited(preset: str) -> tuple[np.ndarray, float]:
        films = edit(
            source, sent["prompt"], inversion_prompts=sent["inversion_prompt"], preset=preset, **call
        )
        return films, cost[preset]

    is_heart = (target != states(rows, "labels_before", judge.labels))[:, list(judge.labels).index(HEART)]

    def margin(films: np.ndarray, which: Sequence[int]) -> np.ndarray:
        """How far within its limit is what is nearest to it: a label, in logits, or lungs and heart, 1 = unchanged."""
        logits, at = (np.log(p / (1 - p)) for p in (judge.predict(films).clip(1e-6, 1 - 1e-6), thresholds))
        labels = ((logits - at) * np.where(target[which], 1, -1)).min(1)
        change = changes({name: found[which] for name, found in before.items()}, anatomy(films, segmenters))
        within = {name: 1 - np.abs(values) / LIMITS[name] for name, values in change.items()}
        ratio = np.where(is_heart[which], np.inf, within["cardiothoracic_ratio"])
        return np.nan_to_num(np.minimum(labels, np.minimum(within["lung_area"], ratio)), nan=-9.0)

    kinds = np.array([KINDS[row["perturbation_type"]] for row in rows])

    def retried(kind: str, asked: str) -> tuple[np.ndarray, float]:
        """The edits of a kind, and evaluations an edit."""
        which, (fresh, strengths) = np.flatnonzero(kinds == kind), RETRIED[kind]
        own = {key: [value[i] for i in which] if isinstance(value, list) else value for key, value in call.items()}  # fmt: skip
        prompts, inverted = ([sent[key][i] for i in which] for key in (asked, "inversion_prompt"))
        tried: Tried = edit_until(
            source[which], prompts, lambda films, some: margin(films, which[some]), inversion_prompts=inverted,
            preset="balanced", fresh_noise=fresh, strengths=strengths, accept=ENOUGH, budget=TRIES, **own,
        )  # fmt: skip
        return tried.images, float(tried.n_tries.mean() * cost["balanced"])

    def both(name: str, asked: str) -> tuple[str, np.ndarray, float]:
        films, spent = np.empty_like(source), []
        for kind, how in RETRIED.items():
            chosen = [TRIES, ENOUGH, how, judge.thresholds]
            _, films[kinds == kind], some = kept(f"{name}, {kind}s", lambda kind=kind: retried(kind, asked), chosen)  # fmt: skip
            spent.append(some)
        return name, films, float(np.mean(spent))

    yield "true counterfactual", truth, None
    decoded = model.decode(model.encode(torch.from_numpy(truth))).float().numpy()
    yield ROUND_TRIP, decoded, None
    yield "source, unedited", source, None
    exact = kept("exact", lambda: edited("exact"))
    yield kept("sham", lambda: (sham(source, sent["inversion_prompt"], **call), cost["exact"]))
    pairs_of = zip(source, exact[1], rows, strict=True)
    yield "blur", np.stack([blur(before, after, row["edit_mask"]) for before, after, row in pairs_of]), None
    yield exact
    for preset in ("balanced", "fast"):
        yield kept(preset, lambda preset=preset: edited(preset))
    new = {"preset": "balanced", "fresh_noise": FRESH}
    yield kept(
        "sham, new noise", lambda: (sham(source, sent["inversion_prompt"], **new, **call), cost["balanced"])
    )
    yield kept(
        "balanced, new noise",
        lambda: (
            edit(source, sent["prompt"], inversion_prompts=sent["inversion_prompt"], **new, **call),
            cost["balanced"],
        ),
    )
    yield both(f"balanced, new noise, up to {TRIES} tries", "prompt")
    yield both(f"its sham, up to {TRIES} tries", "inversion_prompt")


def share(hits: np.ndarray) -> dict:
    if not len(hits):
        return {"share": None, "ci_low": None, "ci_high": None, "n": 0}
    low, high = proportion_confint(int(hits.sum()), len(hits), method="wilson")
    return {"share": float(hits.mean()), "ci_low": float(low), "ci_high": float(high), "n": len(hits)}


def judged(films: np.ndarray, rows: list[dict], oracle: Classifier, second: Classifier | None, segmenters: Segmenters, encoder: ImageText, before: dict, true: dict, is_composed: bool) -> pl.DataFrame:  # fmt: skip
    """One row an edit: whether it is valid, and how near it is to the true counterfactual inside the mask.

    ``before`` and ``true`` are the anatomy of sources and true counterfactuals. Films that were not composed with their source
    have no seam to check.
    """
    films = films.astype(np.float32)
    after = anatomy(films, segmenters)
    change = changes(before, after)
    ratio_error = np.abs(after["cardiothoracic_ratio"] - true["cardiothoracic_ratio"])
    stays = {name: np.abs(values) <= LIMITS[name] for name, values in change.items()}
    found = oracle.predict(films) >= np.array(oracle.thresholds)
    wanted, was = (states(rows, key, oracle.labels) for key in ("labels_after", "labels_before"))
    sources, texts = np.stack([row["source"] for row in rows]), ([row[key] for row in rows] for key in ("inversion_prompt", "prompt"))  # fmt: skip
    scores = editing_scores(encoder, sources, films, *texts)
    also = also_asked(films, rows, second) if second else [None] * len(rows)
    table = []
    for i, (film, row, state, target, old) in enumerate(zip(films, rows, found, wanted, was, strict=True)):
        found_by_checks = check(row["source"], film, row["edit_mask"], row["keep_mask"]).problems()
        problems = found_by_checks if is_composed else []
        changed = target != old
        is_heart = HEART in np.array(oracle.labels)[changed]
        is_kept = bool(stays["lung_area"][i] and (is_heart or stays["cardiothoracic_ratio"][i]))
        inside = structure(row["truth"], film, row["edit_mask"])
        n_changed, centre = _changed(film, row)
        n_true, true_centre = _changed(row["truth"], row)
        table.append({
            "type": KINDS[row["perturbation_type"]],
            "finding": ", ".join(np.array(oracle.labels)[changed]),
            "asked": bool((state == target)[changed].all()),
            "labels": bool((state == target).all()),
            "anatomy": is_kept,
            "valid": bool((state == target).all()) and is_kept and not problems,
            "problems": " ".join(problems),
            "ssim_inside": inside.ssim_inside,
            "grey_difference_inside": inside.grey_difference_inside,
            "size": n_changed / n_true if n_true else np.nan,
            "place_mm": float(np.hypot(*(centre - true_centre))) * MM,
            "ratio_error": float(ratio_error[i]) if is_heart else np.nan,
            "second": also[i],
            "score": float(scores[i]),
            "scored": bool(scores[i] >= LEAST_SCORE),
        })  # fmt: skip
    return pl.DataFrame(table, schema_overrides={"second": pl.Boolean})


def also_asked(films: np.ndarray, rows: list[dict], second: Classifier) -> list[bool | None]:
    """Whether the second oracle finds the labels that changed as asked; None where it knows none of them."""
    found = second.predict(films) >= np.array(second.thresholds)
    wanted, was = (states(rows, key, second.labels) for key in ("labels_after", "labels_before"))
    changed = wanted != was
    return [bool((f == w)[c].all()) if c.any() else None for f, w, c in zip(found, wanted, changed, strict=True)]  # fmt: skip


def _auroc(scores: np.ndarray, valid: np.ndarray) -> float | None:
    """How often a valid edit's score is above another's that is not; None where all or none are."""
    return float(auroc(valid.astype(float), scores)) if 0 < valid.sum() < len(valid) else None


def _changed(film: np.ndarray, row: dict) -> tuple[int, np.ndarray]:
    """Pixels inside the mask that differ visibly from the source, and their centre; NaN of none."""
    where = np.argwhere((np.abs(film - row["source"]) > VISIBLE) & row["edit_mask"])
    return len(where), where.mean(0) if len(where) else np.full(2, np.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle", type=Path, nargs="+", required=True, help="cohorts that it learns from")
    parser.add_argument("--judge", type=Path, nargs="+", required=True, help="others, for the retries' judge")
    parser.add_argument("--edit", type=Path, required=True, help="a cohort whose films are edited")
    parser.add_argument("--real", type=Path, help="ChestX-ray14's layout, for the second oracle")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200, help="additions, and removals")
    parser.add_argument(
        "--size", type=int, default=192, help="side of the films that oracle and judge see, px"
    )
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--model", default=None)
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    out = arguments.out
    torch.set_num_threads(1)
    began = time.perf_counter()
    oracle, judge = (
        classifier(cohorts, out / f"{name}_model", seed, arguments.epochs, arguments.size)
        for seed, (name, cohorts) in enumerate((("oracle", arguments.oracle), ("judge", arguments.judge)), 1)
    )
    rows = pairs(arguments.edit, arguments.n)
    for row in rows:
        row["seed"] = derive_seed(SEED, row["edit_id"])
    model = load_model(arguments.model, dtype=arguments.dtype)
    segmenters, encoder = Segmenters.load(), ImageText.shipped()
    second = arguments.real and of_real_films(arguments.real, out)
    before, true = (anatomy(np.stack([row[key] for row in rows]), segmenters) for key in ("source", "truth"))
    found = {
        "model": model.model_id, "model_sha256": model.model_sha256, "dtype": str(model.dtype), "settings": model.edit_settings,
        "methods": list(METHODS), "n": arguments.n,
        "cohorts": {key: [str(folder) for folder in getattr(arguments, key)] for key in ("oracle", "judge")} | {"edit": str(arguments.edit)},
        "oracle_on_true_films": _oracle_alone(rows, oracle, model), "second_on_true_films": second and _oracle_alone(rows, second, model),
    }  # fmt: skip
    results = []
    for name, films, cost in arms(rows, model, judge, out / "arms", segmenters, before):
        table = judged(
            films, rows, oracle, second, segmenters, encoder, before, true, is_composed=name != ROUND_TRIP
        )
        if not results:
            judgeable = table["valid"]  # of the true counterfactuals, the first arm
        table = table.with_columns(of_judgeable=pl.when(judgeable).then("valid"))
        for kind in ("addition", "removal"):
            some = table.filter(type=kind)
            results.append({
                "arm": name, "type": kind, "evaluations": cost,
                **{key: share(some[key].drop_nulls().to_numpy()) for key in ("valid", "of_judgeable", "labels", "asked", "anatomy", "second", "scored")},
                "score_tells_valid": _auroc(some["score"].to_numpy(), some["valid"].to_numpy()),
                **{key: some[key].mean() for key in ("ssim_inside", "grey_difference_inside")},
                "per_finding": {
                    f: {key: share(part[key].to_numpy()) for key in ("valid", "asked")} | {key: part[key].fill_nan(None).quantile(0.5) for key in ("size", "place_mm", "ratio_error")}
                    for (f,), part in some.group_by("finding", maintain_order=True)
                },
            })  # fmt: skip
        if name == "fast":
            _picture(out / "failures.png", rows, films, table)
        said = found | {"seconds": round(time.perf_counter() - began), "results": results}
        for file, text in (
            ("validity.json", json.dumps(said, indent=1)),
            ("validity.md", _markdown(results)),
        ):
            with atomic(out / file) as unfinished:
                unfinished.write_text(text)
    print(_markdown(results))


def _oracle_alone(rows: list[dict], oracle: Classifier, model) -> dict:
    """Sensitivity and specificity of the oracle on autoencoder round trips of the true films, by label."""
    truth = torch.from_numpy(np.stack([row["truth"] for row in rows]))
    found = oracle.predict(model.decode(model.encode(truth)).float().numpy()) >= np.array(oracle.thresholds)
    wanted = states(rows, "labels_after", oracle.labels)
    return {
        label: {
            "sensitivity": share(f[w]) if w.any() else None,
            "specificity": share(~f[~w]) if (~w).any() else None,
        }
        for label, f, w in zip(oracle.labels, found.T, wanted.T, strict=True)
    }


def _markdown(results: list[dict]) -> str:
    lines = [
        "| arm | type | evaluations | valid (95 % interval) | where the true film is | all labels | label asked for | the same, second oracle | lungs and heart stay | editing score .2 or more | SSIM to truth, inside | grey difference, inside |",
        "| --- | --- | ---: | --- | --- | --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for row in results:
        shares = [
            _percent(row[key])
            for key in ("valid", "of_judgeable", "labels", "asked", "second", "anatomy", "scored")
        ]
        cost = "" if row["evaluations"] is None else f"{row['evaluations']:.0f}"
        lines.append(f"| {row['arm']} | {row['type']} | {cost} | {' | '.join(shares)} | {row['ssim_inside']:.3f} | {row['grey_difference_inside']:.1f} |")  # fmt: skip
    lines += ["", "| `exact`, type | finding | n | valid | label asked for | size | place, mm | cardiothoracic ratio, error |", "| --- | --- | ---: | --- | --- | ---: | ---: | ---: |"]  # fmt: skip
    for row in results:
        for finding, found in row["per_finding"].items() if row["arm"] == "exact" else ():
            shares = [_percent(found[key]) for key in ("valid", "asked")]
            numbers = [
                "" if found[key] is None else f"{found[key]:.{digits}f}"
                for key, digits in (("size", 2), ("place_mm", 0), ("ratio_error", 3))
            ]
            lines.append(f"| {row['type']} | {finding} | {found['valid']['n']} | {' | '.join(shares + numbers)} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def _percent(s: dict) -> str:
    if not s["n"]:
        return ""
    return f"{100 * s['share']:.0f} % ({100 * s['ci_low']:.0f} to {100 * s['ci_high']:.0f})"


def _picture(path: Path, rows: list[dict], films: np.ndarray, table: pl.DataFrame, n: int = 8) -> None:
    """The first edits that are not valid, a column each: source, edit, truth."""
    failed = [i for i, valid in enumerate(table["valid"]) if not valid][:n]
    if failed:
        columns = [np.concatenate([rows[i]["source"], films[i], rows[i]["truth"]]) for i in failed]
        write_png(np.concatenate(columns, axis=1), path, Synthetic="YES", Simulated="YES")


if __name__ == "__main__":
    main()
