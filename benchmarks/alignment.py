"""Does alignment make the generator obey its prompts more, and what moves with it?

    python benchmarks/alignment.py --cohort COHORT --out runs/alignment [--config embedded-alignment] [--beta 2000]

Two judges are trained on virtual patients of COHORT, on disjoint halves of them. The first ranks four films of each of the
training prompts (`synthorax rank`), its best and worst of a prompt are the pairs (`synthorax train alignment`). The second,
which had no part in that, says how far films of other prompts, drawn by the model before and after from the same seeds, show
what was asked: mean over labels and films, interval by prompt, paired. What must not move: MS-SSIM between seeds of a prompt
(higher = less diverse), and the share of films nearer to a preferred training film than one in a hundred of the films that
the model drew before. Everything is simulated, one anatomy. The same command resumes; each beta is an arm of its own.
"""

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import torch

from synthorax.classifiers import Classifier, TrainingConfig, load_tested, train
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.statistics import Replicates, bootstrap, mean_interval
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.dataset import metadata_frame, read_metadata, write_metadata, write_png
from synthorax.diffusion import load_model
from synthorax.diffusion.recipes import read_recipe
from synthorax.diffusion.train_alignment import AlignmentConfig, train_alignment
from synthorax.files import atomic
from synthorax.perturbations import prompt
from synthorax.phantom import withheld_pairs
from synthorax.phantom.combinations import has_pair
from synthorax.quality.memorisation import PIXEL_SIDE, nearest_by_pixel
from synthorax.quality.samples import seed_similarity
from synthorax.readers.ranking import rank, scores_of
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import FilmSettings, Job, make_films
from synthorax.runs.measuring import known_targets
from synthorax.seeds import derive_seed, generator
from synthorax.studies import read_manifest

SETTINGS = FilmSettings(2.5, 10, "dpm-solver")
SEEDS = 4


def judge(out: Path, studies: pl.DataFrame, half: int) -> Path:
    """A classifier trained on one half of the patients, thresholds and all."""
    vocabulary = Vocabulary.load()
    labels = vocabulary.pathology_labels
    table = annotate_studies(studies, vocabulary)
    files = dict(zip(studies["image_id"], studies["file_name"], strict=True))
    draw = np.array([derive_seed("judge", patient) for patient in table["patient_id"]])
    targets = known_targets(table, [label_column(label) for label in labels])
    paths = [files[image_id] for image_id in table["image_id"]]
    mine, tuned = draw % 2 == half, draw // 2 % 6 == 0
    some = [np.flatnonzero(mine & which) for which in (~tuned, tuned)]
    data = [([paths[i] for i in rows], targets[rows]) for rows in some]
    folder = out / f"judge-{half}"
    found = train(TrainingConfig(epochs=12, seed=half), *data[0], labels, validation=data[1], out=folder, note="simulated, virtual patients")  # fmt: skip
    print(f"judge {half}: validation macro AUROC {found.record.training['validation_macro_auroc']:.3f}, {len(some[0])} films", flush=True)  # fmt: skip
    return folder


def prompts(n: int) -> list[dict]:
    """Findings with sides, one or two labels, no withheld pair, in an order by chance."""
    vocabulary = Vocabulary.load()
    listed = withheld_pairs()
    single = [({name: side}, [name]) for name in vocabulary.pathologies for side in (("left", "right") if vocabulary.by_name[name].sided else (None,))]  # fmt: skip
    both = [({**a, **b}, [*x, *y]) for (a, x), (b, y) in combinations(single, 2) if x != y]
    found = []
    for sides, concepts in [*single, *both]:
        labels = list(dict.fromkeys(vocabulary.label_of(concept) for concept in concepts))
        if not has_pair(set(concepts), listed, vocabulary) and len(labels) == len(concepts):
            text = prompt(concepts, vocabulary, {c: s for c, s in sides.items() if s})
            found.append({"prompt": text, "concepts": concepts, "labels": labels})
    order = generator("alignment prompts").permutation(len(found))
    ranked = sorted((found[i] for i in order), key=lambda row: len(row["labels"]) > 1)
    n_single = sum(len(row["labels"]) == 1 for row in ranked)
    singles, rest = ranked[:n_single], ranked[n_single:]
    mixed = [row for pair in zip(singles, rest, strict=False) for row in pair] + rest[n_single:]
    return mixed[:n]


def drawn(out: Path, name: str, model, some: list[dict]) -> Path:
    """Films of each prompt from :data:`SEEDS` seeds."""
    run = RunFolder.open(out / name, {"model_sha256": model.model_sha256, "n": len(some)})
    jobs = [
        Job(f"p{i:03d}-{k}", row["prompt"], "", derive_seed("sample", row["prompt"], k), {"concepts_after": row["concepts"], "labels_after": row["labels"]}, domain=model.domain(True))
        for i, row in enumerate(some) for k in range(SEEDS)
    ]  # fmt: skip
    rows = list(make_films(run, "films", jobs, model, SETTINGS))
    write_metadata(metadata_frame([row | {"is_simulated": True} for row in rows]), run.synthetic)
    run.close()
    return out / name / "synthetic"


def films_of(folder: Path) -> tuple[pl.DataFrame, list[str]]:
    films = read_metadata(folder)
    return films, [str(folder / name) for name in films["file_name"]]


def figures(before: Path, after: Path, second: Path, pairs: Path) -> dict:
    """Reward and what must not move, before, after and their paired difference by prompt."""
    tested = load_tested(second)
    classifier = Classifier.load(second)
    limits = np.array(classifier.thresholds)
    chosen = load_films(pl.read_parquet(pairs)["chosen"].to_list(), PIXEL_SIDE)
    start = load_films(films_of(before)[1], PIXEL_SIDE)
    values: dict[str, list[Replicates]] = {}
    near = {}
    for arm, folder in (("before", before), ("after", after)):
        films, paths = films_of(folder)
        asked = np.array([[label in row for label in classifier.labels] for row in films["labels_after"]])
        seen = classifier.predict(paths) >= limits
        sized = load_films(paths, 256) / 255
        groups = films.with_row_index().group_by("prompt", maintain_order=True).agg("index")
        likeness = np.array([seed_similarity({p: sized[rows]})["MS-SSIM"].estimate for p, rows in groups.iter_rows()])  # fmt: skip
        per_film = {
            "score by the second judge": scores_of(films, paths, tested),
            "asked-for labels that are seen": (seen & asked).sum(1) / asked.sum(1),
            "labels not asked for that are seen": (seen & ~asked).sum(1) / (~asked).sum(1),
        }
        for name, each in per_film.items():
            values.setdefault(name, []).append(bootstrap(lambda w, e=each: w @ e / w.sum(-1), films["prompt"].to_list()))  # fmt: skip
        values.setdefault("MS-SSIM between seeds", []).append(bootstrap(lambda w, e=likeness: w @ e / w.sum(-1), groups["prompt"].to_list()))  # fmt: skip
        found = nearest_by_pixel(sized_to(paths), chosen, start)
        near[arm] = str(mean_interval(found.is_near.astype(float), films["prompt"].to_list()))
    result = {name: {"before": str(a.interval()), "after": str(b.interval()), "change": str(b.minus(a).difference())} for name, (a, b) in values.items()}  # fmt: skip
    return result | {"nearer to a preferred training film than 1 % of the films before": near}


def sized_to(paths: list[str]) -> np.ndarray:
    return load_films(paths, PIXEL_SIDE)


def picture(before: Path, after: Path, path: Path, n: int = 8) -> None:
    """A column a prompt: before above, after below, of the same seed."""
    rows = [load_films(films_of(folder)[1][: SEEDS * n : SEEDS], 256) / 255 for folder in (before, after)]
    write_png(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]), path, Synthetic="YES", Simulated="YES")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="embedded-alignment")
    parser.add_argument("--beta", type=float, nargs="+", default=[2000.0])
    parser.add_argument("--prompts", type=int, default=50, help="two in five are never trained on")
    parser.add_argument("--steps", type=int, default=100)
    a = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    model = load_model()
    studies = read_manifest(a.cohort / "studies.parquet")
    first, second = judge(a.out, studies, 0), judge(a.out, studies, 1)
    every = prompts(a.prompts)
    fitted = [row for i, row in enumerate(every) if i % 5 < 3]
    tested = [row for i, row in enumerate(every) if i % 5 >= 3]
    print(f"{len(fitted)} training prompts, {len(tested)} others", flush=True)
    candidates = drawn(a.out, "candidates", model, fitted)
    loop = rank(candidates, str(first), a.out / "ranking", second=str(second), margin=0.02)
    for c in loop:
        print(f"{c.what}: {c.first:.3f} and {c.second:.3f}, {c.ours}; t p {c.p_bonferroni:.2g}", flush=True)
    pairs = a.out / "ranking" / "pairs.parquet"
    print(f"{pl.read_parquet(pairs).height} pairs", flush=True)
    before = drawn(a.out, "before", model, tested)
    found = {}
    for beta in a.beta:
        config = AlignmentConfig(
            **read_recipe(a.config, AlignmentConfig).model_dump() | {"beta": beta, "steps": a.steps}
        )
        name = f"{config.loss}-{beta:g}"
        aligned = load_model(train_alignment(config, pairs, a.out / name, "cpu"))
        after = drawn(a.out, f"after-{name}", aligned, tested)
        found[name] = figures(before, after, second, pairs)
        picture(before, after, a.out / f"{name}.png")
        print(name, json.dumps(found[name], indent=1), flush=True)
    with atomic(a.out / "alignment.json") as temporary:
        facts = {"pairs": pl.read_parquet(pairs).height, "seconds": round(time.perf_counter() - began)}
        temporary.write_text(json.dumps(facts | {"loop": [f"{c.what}: {c.ours}, p {c.p_bonferroni:.3g}" for c in loop], "figures": found}, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
