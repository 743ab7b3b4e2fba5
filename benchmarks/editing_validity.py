"""Are edits valid? On virtual patients with their true counterfactuals: presets, retries, sham and blur.

    python benchmarks/editing_validity.py --out runs/validity [--n 24] [--patients 300] [--model FOLDER]

``--n`` additions and as many removals are made with the finding's exact region as edit mask. *Valid*: the oracle, a
classifier of other virtual patients that never saw an edit, finds every label as the target has it, the automatic
checks (``editing.checks``) pass, and lung area and cardiothoracic ratio stay within the limits of ``downstream.anatomy`` (the
ratio not where the heart's size was asked for). The judge of the retries is a third classifier, of patients of its own. The ceiling is
the true counterfactual, and the same through the autoencoder; the floors are the source itself, the sham edit and the
blur. Intervals: Wilson, 95 %, one edit a patient and type. Everything is simulated, one anatomy. The same command goes
on with what a stopped one left. Writes ``validity.json``, ``validity.md`` and ``failures.png``.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from statsmodels.stats.proportion import proportion_confint

from synthorax.classifiers import Classifier, TrainingConfig, train
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.dataset import read_metadata, write_png
from synthorax.diffusion import load_model
from synthorax.downstream.anatomy import LIMITS, Segmenters, anatomy, changes
from synthorax.editing import METHODS, PRESETS, blur, check, edit, edit_until, evaluations, sham
from synthorax.editing.masks import dilate
from synthorax.editing.retry import Tried
from synthorax.perturbations import make_plan, prompt
from synthorax.phantom import counterfactual_pairs, sample_cohort
from synthorax.quality.structure import structure
from synthorax.runs.demo import MASK_MARGIN_PX
from synthorax.runs.measuring import known_targets
from synthorax.seeds import derive_seed
from synthorax.studies import read_manifest

SIZE, SEED = 256, 777000
KINDS = {"insertion": "addition", "deletion": "removal"}
ROUND_TRIP = "the same through the autoencoder"
HEART = "Cardiomegaly"
#: Beyond this a grey level of the true counterfactual counts as the finding's.
VISIBLE = 0.08


def cohort(out: Path, site: str, name: str, number: int, n: int, renderings: int) -> Path:
    return sample_cohort(n, SEED + number, out / name, size=SIZE, pairs="any", renderings=renderings, atlases=["built-in"], site=site)  # fmt: skip


def classifier(folder: Path, validation: Path, out: Path, seed: int, epochs: int) -> Classifier:
    """Labels from a cohort's films; thresholds from other patients' films."""
    labels = Vocabulary.load().pathology_labels

    def data(where: Path) -> tuple[list[Path], np.ndarray]:
        films = read_metadata(where).filter(pl.col("source_image_id").is_null())["file_name"]
        table = pl.read_parquet(where / "concepts.parquet")
        return [where / name for name in films], known_targets(table, [label_column(name) for name in labels])

    return train(TrainingConfig(epochs=epochs, seed=seed), *data(folder), labels, validation=data(validation), out=out, note="simulated")  # fmt: skip


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
    rows: list[dict], model, judge: Classifier, budget: int
) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """Name, films ``(N, 256, 256)`` and evaluations an edit (shared inversions counted once an edit) of each arm."""
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
    yield "true counterfactual", truth, None
    decoded = model.decode(model.encode(torch.from_numpy(truth))).float().numpy()
    yield ROUND_TRIP, decoded, None
    yield "source, unedited", source, None
    exact = edit(source, sent["prompt"], inversion_prompts=sent["inversion_prompt"], **call)
    yield "sham", sham(source, sent["inversion_prompt"], **call), cost["exact"]
    yield (
        "blur",
        np.stack([blur(s, e, row["edit_mask"]) for s, e, row in zip(source, exact, rows, strict=True)]),
        None,
    )
    yield "exact", exact, cost["exact"]
    for preset in ("balanced", "fast"):
        films = edit(
            source, sent["prompt"], inversion_prompts=sent["inversion_prompt"], preset=preset, **call
        )
        yield preset, films, cost[preset]
    target = states(rows, "labels_after", judge.labels)
    thresholds = np.array(judge.thresholds)

    def margin(films: np.ndarray, which: Sequence[int]) -> np.ndarray:
        """How far the judge's nearest label is on the target's side of its threshold; 0 = just there."""
        logits, at = (np.log(p / (1 - p)) for p in (judge.predict(films).clip(1e-6, 1 - 1e-6), thresholds))
        return ((logits - at) * np.where(target[list(which)], 1, -1)).min(1)

    tried: Tried = edit_until(
        source, sent["prompt"], margin, inversion_prompts=sent["inversion_prompt"], preset="fast", accept=0.0,
        budget=budget, **call,
    )  # fmt: skip
    yield f"fast, up to {budget} tries", tried.images, float(tried.n_tries.mean() * cost["fast"])


def share(hits: np.ndarray) -> dict:
    low, high = proportion_confint(int(hits.sum()), len(hits), method="wilson")
    return {"share": float(hits.mean()), "ci_low": float(low), "ci_high": float(high), "n": len(hits)}


def judged(films: np.ndarray, rows: list[dict], oracle: Classifier, segmenters: Segmenters, is_composed: bool) -> pl.DataFrame:  # fmt: skip
    """One row an edit: whether it is valid, and how near it is to the true counterfactual inside the mask.

    Films that were not composed with their source have no seam to check.
    """
    films = films.astype(np.float32)
    change = changes(
        anatomy(np.stack([row["source"] for row in rows]), segmenters), anatomy(films, segmenters)
    )
    stays = {name: np.abs(values) <= LIMITS[name] for name, values in change.items()}
    found = oracle.predict(films) >= np.array(oracle.thresholds)
    wanted, was = (states(rows, key, oracle.labels) for key in ("labels_after", "labels_before"))
    table = []
    for film, row, state, target, before, lungs, ratio in zip(films, rows, found, wanted, was, stays["lung_area"], stays["cardiothoracic_ratio"], strict=True):  # fmt: skip
        found_by_checks = check(row["source"], film, row["edit_mask"], row["keep_mask"]).problems()
        problems = found_by_checks if is_composed else []
        changed = target != before
        is_kept = bool(lungs and (ratio or HEART in np.array(oracle.labels)[changed]))
        inside = structure(row["truth"], film, row["edit_mask"])
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
        })  # fmt: skip
    return pl.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=24, help="additions, and removals")
    parser.add_argument(
        "--patients", type=int, default=300, help="virtual patients that the oracle learns from"
    )
    parser.add_argument(
        "--judge-patients", type=int, default=150, help="others, of whom the retries' judge does"
    )
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--budget", type=int, default=4)
    parser.add_argument("--site", default="public", help="style of the films")
    parser.add_argument("--model", default=None)
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    out, epochs = arguments.out, arguments.epochs
    torch.set_num_threads(1)
    began = time.perf_counter()
    validation = cohort(out, arguments.site, "val", 2, 60, 2)
    oracle = classifier(
        cohort(out, arguments.site, "oracle", 1, arguments.patients, 4),
        validation,
        out / "oracle_model",
        1,
        epochs,
    )
    judge = classifier(
        cohort(out, arguments.site, "judge", 4, arguments.judge_patients, 4),
        validation,
        out / "judge_model",
        2,
        epochs,
    )
    rows = pairs(cohort(out, arguments.site, "edit", 3, max(60, 5 * arguments.n // 2), 1), arguments.n)
    for row in rows:
        row["seed"] = derive_seed(SEED, row["edit_id"])
    model = load_model(arguments.model, dtype=arguments.dtype)
    segmenters = Segmenters.load()
    results, per_film = [], {}
    for name, films, cost in arms(rows, model, judge, arguments.budget):
        table = per_film[name] = judged(films, rows, oracle, segmenters, is_composed=name != ROUND_TRIP)
        for kind in ("addition", "removal"):
            some = table.filter(type=kind)
            results.append({
                "arm": name, "type": kind, "evaluations": cost,
                **{key: share(some[key].to_numpy()) for key in ("valid", "labels", "asked", "anatomy")},
                "ssim_inside": some["ssim_inside"].mean(), "grey_difference_inside": some["grey_difference_inside"].mean(),
                "per_finding": {f: share(part["asked"].to_numpy()) for (f,), part in some.group_by("finding", maintain_order=True)},
            })  # fmt: skip
        if name == "fast":
            _picture(out / "failures.png", rows, films, table)
    found = {
        "model": model.model_id, "model_sha256": model.model_sha256, "dtype": str(model.dtype), "settings": model.edit_settings,
        "methods": list(METHODS), "n": arguments.n, "site": arguments.site, "oracle_patients": arguments.patients, "judge_patients": arguments.judge_patients,
        "oracle_on_true_films": _oracle_alone(rows, oracle, model), "seconds": round(time.perf_counter() - began),
        "results": results,
    }  # fmt: skip
    (out / "validity.json").write_text(json.dumps(found, indent=1))
    (out / "validity.md").write_text(_markdown(results))
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
        "| arm | type | evaluations | valid (95 % interval) | all labels | label asked for | lungs and heart stay | SSIM to truth, inside | grey difference, inside |",
        "| --- | --- | ---: | --- | --- | --- | --- | ---: | ---: |",
    ]
    for row in results:
        shares = [f"{100 * s['share']:.0f} % ({100 * s['ci_low']:.0f} to {100 * s['ci_high']:.0f})" for s in (row["valid"], row["labels"], row["asked"], row["anatomy"])]  # fmt: skip
        cost = "" if row["evaluations"] is None else f"{row['evaluations']:.0f}"
        lines.append(f"| {row['arm']} | {row['type']} | {cost} | {' | '.join(shares)} | {row['ssim_inside']:.3f} | {row['grey_difference_inside']:.1f} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def _picture(path: Path, rows: list[dict], films: np.ndarray, table: pl.DataFrame, n: int = 8) -> None:
    """The first edits that are not valid, a column each: source, edit, truth."""
    failed = [i for i, valid in enumerate(table["valid"]) if not valid][:n]
    if failed:
        columns = [np.concatenate([rows[i]["source"], films[i], rows[i]["truth"]]) for i in failed]
        write_png(np.concatenate(columns, axis=1), path, Synthetic="YES", Simulated="YES")


if __name__ == "__main__":
    main()
