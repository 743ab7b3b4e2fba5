"""Does the model draw what it is asked for? Eight findings: alone, two at once, denied, and in wording it was not taught.

    python benchmarks/obedience.py --train COHORT [COHORT ...] --test COHORT --out runs/obedience [--model FOLDER] [--seeds 40]

The oracle learns from the training cohorts' films through the model's autoencoder, and from their masks where each finding is (nine in
ten patients; the tenth sets its thresholds), and is tested on the test cohort's, other patients of ``synthorax phantom sample --site
training --pairs any``. It never sees a drawn film before it judges it. A film obeys if the oracle sees each finding asked for and none denied. The
*floor* is how often the same finding is seen on films of 'No findings.'; the ceiling is the oracle's sensitivity. Intervals:
95 %, by bootstrap over patients for the oracle, Wilson's over films for the prompts. Everything is simulated, one anatomy.
The same command resumes. Writes ``obedience.json``, ``obedience.md`` and ``films.png``.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import torch
from statsmodels.stats.proportion import proportion_confint

from synthorax.classifiers import Classifier, TrainingConfig, train
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.metrics import sensitivity, specificity, threshold_at_specificity, thresholds_of
from synthorax.classifiers.places import CELL_PX, cells_of
from synthorax.classifiers.statistics import bootstrap_interval
from synthorax.dataset import metadata_frame, read_metadata, write_metadata, write_png
from synthorax.diffusion import DiffusionModel, load_model
from synthorax.files import atomic
from synthorax.phantom import cohort_masks, withheld_pairs
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import FilmSettings, Job, make_films
from synthorax.seeds import derive_seed, is_held_out
from synthorax.studies import read_manifest

#: Finding -> its label where it has one, wording of the training captions, denial.
FINDINGS: dict[str, tuple[str | None, str, str]] = {
    "pneumothorax": ("Pneumothorax", "{Side} pneumothorax.", "No evidence of pneumothorax."),
    "effusion": ("Pleural Effusion", "{Side} effusion.", "No pleural effusion is identified."),
    "consolidation": ("Pneumonia", "{Side} consolidation.", "No focal consolidation."),
    "nodule or mass": ("Suspicious Malignancy", "{Side} mass.", "No pulmonary nodule or mass."),
    "cardiomegaly": ("Cardiomegaly", "Enlarged heart.", "The heart is not enlarged."),
    "oedema": (None, "Pulmonary oedema.", "No pulmonary edema."),
    "atelectasis": (None, "Atelectasis.", "No atelectasis."),
    "pacemaker": (None, "Pacemaker in place.", "No pacemaker."),
}
#: The masks of a cohort that show each of them.
MASKS: dict[str, tuple[str, ...]] = {
    "pneumothorax": ("absent_lung_markings",),
    "effusion": ("effusion", "fluid", "meniscus_sign", "costophrenic_angle"),
    "consolidation": ("consolidation",),
    "nodule or mass": ("mass", "nodule"),
    "cardiomegaly": ("enlarged_heart",),
    "oedema": ("oedema",),
    "atelectasis": ("atelectasis", "lobar_collapse"),
    "pacemaker": ("pacemaker",),
}
#: Other wordings, asked of a language model as a radiologist's sentences; it saw neither captions nor code. The second such set: the
#: synonyms that the first one lacked were added to the vocabularies before this one was read.
WORDINGS: dict[str, tuple[str, ...]] = {
    "pneumothorax": (
        "Moderate {side} PTX, measuring approximately 3 cm at the apex.",
        "A visceral pleural line is visible at the {side} apex, diagnostic of a small pneumothorax.",
        "{side}-sided tension pneumothorax with contralateral mediastinal shift; clinical team informed by telephone.",
        "Interval increase in size of the {side} apicolateral pneumothorax.",
        "Trace {side} pneumothorax persists following chest drain removal.",
        "Air is present within the {side} pleural space, with the lung edge displaced 2 cm from the lateral chest wall.",
    ),
    "effusion": (
        "Blunting of the {side} costophrenic angle due to a small pleural effusion.",
        "Moderate-sized {side} pleural effusion, increased since the prior study.",
        "There is layering pleural fluid at the {side} base.",
        "Large {side} hydrothorax with a meniscus reaching the level of the hilum.",
        "Loculated {side} pleural collection tracking along the lateral chest wall.",
        "Persistent small volume {side} basal effusion.",
    ),
    "consolidation": (
        "Dense airspace opacification in the {side} lower zone with air bronchograms, consistent with lobar pneumonia.",
        "Patchy consolidation is seen in the {side} mid zone.",
        "{side} upper lobe consolidation, new compared with the previous radiograph.",
        "Confluent airspace disease in the {side} perihilar region, compatible with infection.",
        "The {side} lower lobe is consolidated.",
        "Focal {side} basilar infiltrate representing pneumonia.",
    ),
    "nodule or mass": (
        "There is a 12 mm well-circumscribed pulmonary nodule in the {side} upper zone.",
        "Spiculated mass projected over the {side} hilum; urgent CT chest and 2WW referral advised.",
        "Solitary rounded lesion in the {side} mid zone measuring 2.4 cm, recommend CT for further characterization.",
        "A 5 cm cavitating mass lesion occupies the {side} lung apex.",
        "Stable calcified granuloma-type nodule in the {side} lower lobe.",
        "Coin lesion noted in the periphery of the {side} lung, enlarged since last year.",
    ),
    "cardiomegaly": (
        "Cardiomegaly, CTR 0.61.",
        "The cardiac silhouette is moderately enlarged.",
        "Increased cardiothoracic ratio on this PA film.",
        "There is mild enlargement of the cardiopericardial silhouette, stable from prior.",
        "Heart size is markedly increased with a globular configuration.",
        "Transverse cardiac diameter exceeds 50% of the thoracic width, in keeping with cardiac enlargement.",
    ),
    "oedema": (
        "Bilateral perihilar bat-wing airspace shadowing consistent with acute pulmonary oedema.",
        "Moderate interstitial pulmonary edema with Kerley B lines.",
        "Upper lobe venous diversion and septal lines, in keeping with pulmonary oedema.",
        "Findings of fluid overload with mild interstitial edema.",
        "There is florid alveolar oedema throughout both lungs, worse than yesterday.",
        "Pulmonary vascular congestion with superimposed interstitial oedema, reflecting decompensated CCF.",
    ),
    "atelectasis": (
        "Linear atelectasis at the lung bases.",
        "Bibasilar subsegmental atelectatic change related to low lung volumes.",
        "There is volume loss in the lower lobe with a retrocardiac sail sign, indicating lobar collapse.",
        "Plate-like atelectasis noted in the mid zone.",
        "Discoid bands of collapse are present at both bases post-operatively.",
        "Right middle lobe collapse with loss of the adjacent heart border.",
    ),
    "pacemaker": (
        "Dual-chamber pacemaker in situ with lead tips projected over the right atrium and right ventricle.",
        "A left pectoral permanent pacing device is present, leads intact.",
        "PPM noted with satisfactory lead position.",
        "Cardiac pacemaker generator overlies the left upper chest with its wires terminating in the RA and RV.",
        "There is a biventricular (CRT) pacemaker with leads in the expected positions.",
        "Left subclavian-approach pacer, unchanged.",
    ),
}
NORMAL = "No findings."


def targets(studies: pl.DataFrame, concepts: pl.DataFrame) -> np.ndarray:
    """``(N, 8)``: 1 seen, 0 not, NaN where another finding of the same kind leaves it open."""
    table = studies.join(concepts.drop("patient_id"), on="study_id", how="left", maintain_order="left")
    others = [set(row) for row in table["other_findings"].to_list()]

    def named(*names: str) -> np.ndarray:
        return np.array([bool(row & set(names)) for row in others])

    def any_of(*names: str) -> np.ndarray:
        return (table.select(names).to_numpy() == 1).any(1)

    consolidation, tumour = any_of("consolidation"), any_of("mass", "nodule")
    columns = [
        any_of("label_pneumothorax").astype(float),
        any_of("label_pleural_effusion").astype(float),
        np.where(any_of("label_pneumonia") & ~consolidation, np.nan, consolidation),
        np.where(any_of("label_suspicious_malignancy") & ~tumour, np.nan, tumour),
        any_of("label_cardiomegaly").astype(float),
        named("oedema").astype(float),
        named("atelectasis", "lobar_collapse").astype(float),
        named("pacemaker").astype(float),
    ]
    return np.stack(columns, axis=1)


def places(cohort: Path, masks: Mapping[str, Sequence[str]], size: int) -> np.ndarray:
    """Where each finding is on a cohort's films, bool ``(N, L, size / 16, size / 16)``."""
    films = read_manifest(cohort / "studies.parquet")["image_id"].to_list()
    there = set(pl.read_parquet(cohort / "findings.parquet")["finding"])
    found = np.zeros((len(films), len(masks), size // CELL_PX, size // CELL_PX), bool)
    for i, names in enumerate(masks.values()):
        for name in there.intersection(names):
            found[:, i] |= cells_of(cohort_masks(cohort / "studies.parquet", films, name), size)
    return found


def through(
    model: DiffusionModel, cohorts: list[Path], out: Path, size: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The cohorts' films through the autoencoder, ``(N, size, size)`` uint8; their targets and patients."""
    every, wanted, patients = [], [], []
    for cohort in cohorts:
        store = out / f"through-{cohort.name}.npy"
        studies = read_manifest(cohort / "studies.parquet")
        if not store.is_file():
            rows = []
            for batch in np.array_split(studies["file_name"].to_list(), max(1, len(studies) // 16)):
                films = torch.from_numpy(load_films(list(batch), model.image_size).astype(np.float32) / 255)
                with torch.autocast("cpu", model.dtype, enabled=model.dtype != torch.float32):
                    decoded = model.decode(model.encode(films))
                rows.append(load_films(decoded.float().numpy(), model.image_size))
            with atomic(store) as temporary, temporary.open("wb") as file:
                np.save(file, np.concatenate(rows))
        every.append(load_films(np.load(store), size))
        wanted.append(targets(studies, pl.read_parquet(cohort / "concepts.parquet")))
        patients += studies["patient_id"].to_list()
    return np.concatenate(every), np.concatenate(wanted), patients


def oracle(films: np.ndarray, wanted: np.ndarray, where: np.ndarray, patients: list[str], out: Path, size: int, epochs: int) -> Classifier:  # fmt: skip
    tuned = np.array([is_held_out(patient) for patient in patients])
    config = TrainingConfig("small_peaks", epochs=epochs, image_size_px=size, seed=5)
    return train(
        config, films[~tuned], wanted[~tuned], list(FINDINGS), places=where[~tuned], validation=(films[tuned], wanted[tuned]), out=out / "oracle",
        note=f"simulated, through the autoencoder, {len(set(patients))} virtual patients",
    )  # fmt: skip


def thresholds(oracle: Classifier, films: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where sensitivity and specificity are nearest to equal on the tuning films."""
    return thresholds_of(wanted, oracle.predict(films), _equal)


def _equal(y: np.ndarray, p: np.ndarray) -> float:
    tried = [threshold_at_specificity(y, p, least) for least in np.linspace(0.5, 0.995, 100)]
    best = [abs(float(sensitivity(y, p, threshold=t)) - float(specificity(y, p, threshold=t))) for t in tried]
    return tried[int(np.argmin(best))]


def asked(seeds: int) -> list[dict]:
    """The prompts: set, text, findings asked for, findings denied."""
    listed = {frozenset(pair) for pair in withheld_pairs()}
    found = []

    def add(kind: str, text: str, present: tuple[str, ...], denied: tuple[str, ...], n: int) -> None:
        for k in range(n):
            side = ("left", "right")[k % 2]
            said = text.format(side=side, Side=side.capitalize())
            found.append(
                {"set": kind, "prompt": said, "asked": list(present), "denied": list(denied), "k": k}
            )

    for name, (_, taught, denial) in FINDINGS.items():
        add("one finding", taught, (name,), (), seeds)
        add("denied alone", denial, (), (name,), seeds // 4)
    for name, others in WORDINGS.items():
        for k in range(seeds):
            side = ("left", "right")[k % 2]
            said = others[k // 2 % len(others)].format(side=side, Side=side.capitalize())
            found.append(
                {"set": "the same, other wording", "prompt": said, "asked": [name], "denied": [], "k": k}
            )
    for a, b in combinations(FINDINGS, 2):
        pair = frozenset(label for label in (FINDINGS[a][0], FINDINGS[b][0]) if label)
        kind = "two findings, never seen together" if pair in listed else "two findings"
        add(kind, f"{FINDINGS[a][1]} {FINDINGS[b][1]}", (a, b), (), max(2, seeds // 5))
        if pair not in listed:
            add(
                "one asked, one denied", f"{FINDINGS[a][1]} {FINDINGS[b][2]}", (a,), (b,), max(1, seeds // 10)
            )
            add(
                "one asked, one denied", f"{FINDINGS[b][1]} {FINDINGS[a][2]}", (b,), (a,), max(1, seeds // 10)
            )
    add("floor", NORMAL, (), (), 2 * seeds)
    return found


def drawn(model: DiffusionModel, prompts: list[dict], out: Path, settings: FilmSettings) -> list[str]:
    """The films' paths, in the prompts' order; one prompt and number has one seed, whatever the model."""
    run = RunFolder.open(
        out / "films", {"model_sha256": model.model_sha256, "n": len(prompts), "settings": str(settings)}
    )
    jobs = [
        Job(f"p{i:04d}", row["prompt"], "", derive_seed("obedience", ",".join(row["asked"] + row["denied"]), row["k"]), {}, domain=model.domain(True))
        for i, row in enumerate(prompts)
    ]  # fmt: skip
    rows = list(make_films(run, "films", jobs, model, settings))
    write_metadata(metadata_frame([row | {"is_simulated": True} for row in rows]), run.synthetic)
    run.close()
    return [str(run.synthetic / name) for name in read_metadata(run.synthetic)["file_name"]]


def share(hits: np.ndarray) -> str:
    if not len(hits):
        return ""
    low, high = proportion_confint(int(hits.sum()), len(hits), method="wilson")
    return f"{100 * hits.mean():.0f} % ({100 * low:.0f} to {100 * high:.0f}), n {len(hits)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--seeds", type=int, default=40, help="films a finding; other sets follow")
    parser.add_argument("--size", type=int, default=192, help="side of the films that the oracle sees, px")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sampler", default="dpm-solver")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    model = load_model(arguments.model)
    prompts = asked(arguments.seeds)
    settings = FilmSettings(arguments.guidance, arguments.steps, arguments.sampler)
    films, wanted, patients = through(model, arguments.train, out, arguments.size)
    where = np.concatenate([places(cohort, MASKS, arguments.size) for cohort in arguments.train])
    judge = oracle(films, wanted, where, patients, out, arguments.size, arguments.epochs)
    tuned = np.array([is_held_out(patient) for patient in patients])
    limits = thresholds(judge, films[tuned], wanted[tuned])
    films, wanted, patients = through(model, [arguments.test], out, arguments.size)
    scores = judge.predict(films)
    paths = drawn(model, prompts, out, settings)
    seen = judge.predict(paths) >= limits
    asked_for, denied = (
        np.array([[name in row[key] for name in FINDINGS] for row in prompts]) for key in ("asked", "denied")
    )
    obeys = (seen | ~asked_for).all(1) & (~seen | ~denied).all(1)
    sets = np.array([row["set"] for row in prompts])
    lines = [
        "| finding | oracle: balanced accuracy | sensitivity | specificity | floor | asked for | other wording | denied alone |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    balanced = []
    for i, name in enumerate(FINDINGS):
        known = ~np.isnan(wanted[:, i])
        y, p = wanted[known, i], scores[known, i]
        who = [patient for patient, is_known in zip(patients, known, strict=True) if is_known]

        def both(w: np.ndarray, y=y, p=p, t=limits[i]) -> np.ndarray:
            return (sensitivity(y, p, w, threshold=t) + specificity(y, p, w, threshold=t)) / 2

        interval = bootstrap_interval(both, who)
        balanced.append(interval.estimate)
        of = {kind: share(seen[(sets == kind) & (asked_for | denied)[:, i], i] ^ (kind == "denied alone")) for kind in ("one finding", "the same, other wording", "denied alone")}  # fmt: skip
        lines.append(
            f"| {name} | {interval} | {float(sensitivity(y, p, threshold=limits[i])):.2f} ({int(y.sum())}) "
            f"| {float(specificity(y, p, threshold=limits[i])):.2f} | {share(seen[sets == 'floor', i])} | {' | '.join(of.values())} |"
        )
    lines += ["", "| prompts | obeyed | findings seen that nobody asked for, a film |", "| --- | --- | --- |"]
    for kind in dict.fromkeys(sets):
        some = sets == kind
        lines.append(
            f"| {kind} | {share(obeys[some]) if kind != 'floor' else ''} | {(seen & ~asked_for)[some].sum(1).mean():.2f} |"
        )
    text = "\n".join(lines) + f"\n\nMacro balanced accuracy of the oracle: {np.mean(balanced):.3f}.\n"
    (out / "obedience.md").write_text(text)
    record = {
        "model": model.model_id, "model_sha256": model.model_sha256, "settings": str(settings), "thresholds": limits.tolist(),
        "oracle_balanced_accuracy": dict(zip(FINDINGS, balanced, strict=True)),
        "films": [row | {"seen": [n for n, s in zip(FINDINGS, line, strict=True) if s]} for row, line in zip(prompts, seen, strict=True)],
    }  # fmt: skip
    (out / "obedience.json").write_text(json.dumps(record, indent=1))
    picture(out / "films.png", paths, sets, asked_for)
    print(text)


def picture(path: Path, paths: list[str], sets: np.ndarray, asked_for: np.ndarray, n: int = 4) -> None:
    """A column a finding, its first films below each other."""
    columns = []
    for i in range(len(FINDINGS)):
        rows = np.flatnonzero((sets == "one finding") & asked_for[:, i])[:n]
        columns.append(np.concatenate(load_films([paths[k] for k in rows], 192) / 255))
    write_png(np.concatenate(columns, axis=1).astype(np.float32), path, Synthetic="YES", Simulated="YES")


if __name__ == "__main__":
    main()
