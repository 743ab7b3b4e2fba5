"""Does alignment make the generator obey its prompts more, and what moves with it? A sweep, and two confirmations.

    python benchmarks/alignment.py --cohort COHORT --out runs/alignment [--arms NAME ...] [--prompts 48 24 48 55]

Two judges are trained on virtual patients of COHORT, on disjoint halves of them. The first ranks four films of each of the
training prompts (`synthorax rank`), of which the pairs come (`synthorax train alignment`): `best`, its best and its worst of a
prompt; `unlike`, the two furthest apart in score of which the preferred one is *less* like the prompt's other films
(MS-SSIM), so that what is preferred is not what is typical; `matched`, the two nearest in brightness that yet differ
in score, so that exposure does not decide (a judge's score falls with brightness). The second, which had no part in that, says how far films
drawn before and after from the same seeds show what was asked: mean over labels and films, interval by prompt, paired. Since a
judge may follow exposure, the films before with the exposure of those after are measured too.

Every arm is measured on the development prompts. One of them, by :func:`choose`'s rule, is measured once more on
prompts that no choice has seen, from other seeds. Declared before that: obedience has risen where the score's interval lies above 0; diversity has
stayed where the upper end of the change of MS-SSIM between the seeds of a prompt (higher = less diverse) is below MARGIN;
memorisation has stayed where no rise is shown of the share of films nearer to a preferred training film than one in a
hundred of the films before. A second confirmation, declared after the first had missed and before its films were drawn, asks for
the asked-for labels that are seen instead of the score, on the prompts that are left, all of two labels. Everything is simulated, one anatomy. The same command resumes.
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import torch

from synthorax.classifiers import Classifier, TrainingConfig, load_tested, train
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.statistics import Difference, bootstrap, mean_interval
from synthorax.concepts import Vocabulary, annotate_studies, label_column
from synthorax.dataset import metadata_frame, read_metadata, read_png, write_metadata, write_png
from synthorax.diffusion import load_model
from synthorax.diffusion.recipes import read_recipe
from synthorax.diffusion.train_alignment import AlignmentConfig, train_alignment
from synthorax.files import atomic
from synthorax.perturbations import prompt
from synthorax.phantom import withheld_pairs
from synthorax.phantom.combinations import has_pair
from synthorax.quality.memorisation import PIXEL_SIDE, nearest_by_pixel
from synthorax.quality.samples import ms_ssim_matrix
from synthorax.readers.ranking import rank, scores_of
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import FilmSettings, Job, make_films
from synthorax.runs.measuring import known_targets
from synthorax.seeds import derive_seed, generator
from synthorax.studies import read_manifest

SEEDS, GUIDANCE = 4, 2.5
#: Of MS-SSIM.
MARGIN = 0.01
#: Least difference of score in a pair.
GAP = 0.02


@dataclass(frozen=True)
class Arm:
    """``pairs``: best, unlike or matched; ``changes`` of the recipe; ``strength``: share of the weights' change that
    is kept; the films' ``guidance``."""

    pairs: str
    changes: dict = field(default_factory=dict)
    strength: float = 1.0
    guidance: float = GUIDANCE


ARMS = {
    "best": Arm("best"),
    "unlike": Arm("unlike"),
    "matched": Arm("matched", {"steps": 50}),
    "matched, half": Arm("matched", {"steps": 50}, strength=0.5),
    "matched, guidance 2": Arm("matched", {"steps": 50}, guidance=2.0),
}


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


def drawn(
    out: Path, name: str, model, some: list[dict], guidance: float = GUIDANCE, seed: str = "sample"
) -> Path:
    """Films of each prompt from :data:`SEEDS` seeds."""
    run = RunFolder.open(out / name, {"model_sha256": model.model_sha256, "n": len(some)})
    jobs = [
        Job(f"p{i:03d}-{k}", row["prompt"], "", derive_seed(seed, row["prompt"], k), {"concepts_after": row["concepts"], "labels_after": row["labels"]}, domain=model.domain(True))
        for i, row in enumerate(some) for k in range(SEEDS)
    ]  # fmt: skip
    rows = list(make_films(run, "films", jobs, model, FilmSettings(guidance, 10, "dpm-solver")))
    write_metadata(metadata_frame([row | {"is_simulated": True} for row in rows]), run.synthetic)
    run.close()
    return out / name / "synthetic"


def unlike_pairs(ranking: pl.DataFrame) -> pl.DataFrame:
    """Of each prompt the two films furthest apart in score of which the better is the less like the others."""
    rows = []
    for (text,), group in ranking.group_by("prompt", maintain_order=True):
        films, score = group["path"].to_list(), group["score"].to_numpy()
        likeness = ms_ssim_matrix(load_films(films, 256) / 255).mean(1)
        gap = np.where(likeness[:, None] <= likeness, score[:, None] - score, -np.inf)
        best, worst = np.unravel_index(gap.argmax(), gap.shape)
        if gap[best, worst] >= GAP:
            rows.append({"prompt": text, "chosen": films[best], "rejected": films[worst]})
    return pl.DataFrame(rows)


def exposed(before: Path, after: Path, out: Path) -> Path:
    """The films before, each with the mean and the deviation of the film after of the same seed: its exposure alone."""
    films = read_metadata(before)
    for name in films["file_name"]:
        x, y = read_png(before / name), read_png(after / name)
        film = (x - x.mean()) / x.std() * y.std() + y.mean()
        write_png(film.clip(0, 1), out / name, Synthetic="YES", Simulated="YES")
    write_metadata(films, out)
    return out


def measured(folder: Path, second: Path, chosen: np.ndarray, start: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each prompt, ``(P,)``; ``chosen`` are the preferred training films, ``start`` the films before."""
    films = read_metadata(folder)
    paths = [str(folder / name) for name in films["file_name"]]
    classifier = Classifier.load(second)
    asked = np.array([[label in row for label in classifier.labels] for row in films["labels_after"]])
    seen = classifier.predict(paths) >= np.array(classifier.thresholds)
    sized = load_films(paths, 256) / 255
    near = nearest_by_pixel(load_films(paths, PIXEL_SIDE), chosen, start).is_near
    per_film = {
        "score": scores_of(films, paths, load_tested(second)),
        "asked for and seen": (seen & asked).sum(1) / asked.sum(1),
        "not asked for and seen": (seen & ~asked).sum(1) / (~asked).sum(1),
        "near a preferred training film": near,
        "brightness": sized.mean((1, 2)),
    }
    found = {name: each.reshape(-1, SEEDS).mean(1) for name, each in per_film.items()}
    likeness = [ms_ssim_matrix(each)[np.triu_indices(SEEDS, 1)].mean() for each in sized.reshape(-1, SEEDS, *sized.shape[1:])]  # fmt: skip
    return found | {"MS-SSIM between seeds": np.array(likeness)}


def changes(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, Difference]:
    """After minus before, interval by prompt."""
    found = {}
    for name, first in before.items():
        difference = after[name] - first
        found[name] = bootstrap(lambda w, d=difference: w @ d / w.sum(-1), range(len(first))).difference()
    return found


def choose(found: dict[str, dict[str, Difference]]) -> str:
    """The highest lower end of the score's change among the arms whose films did not become more alike (a quarter of
    MARGIN at most, of the estimate); without one, the arm that became least alike."""
    likeness = {name: c["MS-SSIM between seeds"].estimate for name, c in found.items()}
    kept = [name for name in found if likeness[name] <= MARGIN / 4]
    return max(kept, key=lambda name: found[name]["score"].ci_low) if kept else min(likeness, key=lambda name: likeness[name])  # fmt: skip


def picture(before: Path, after: Path, path: Path, n: int = 8) -> None:
    """A column a prompt: before above, after below, of the same seed."""
    rows = [load_films([str(folder / name) for name in read_metadata(folder)["file_name"][: SEEDS * n : SEEDS]], 256) / 255 for folder in (before, after)]  # fmt: skip
    write_png(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]), path, Synthetic="YES", Simulated="YES")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="embedded-alignment")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--prompts", type=int, nargs=4, default=[48, 24, 48, 55], help="training, development, confirmations")  # fmt: skip
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument(
        "--no-confirmation", action="store_true", help="the sweep alone, while arms are added"
    )
    a = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    model = load_model()
    studies = read_manifest(a.cohort / "studies.parquet")
    first, second = judge(a.out, studies, 0), judge(a.out, studies, 1)
    every = prompts(sum(a.prompts))
    fitted, developed, confirmed, again = (
        every[sum(a.prompts[:i]) : sum(a.prompts[: i + 1])] for i in range(4)
    )
    candidates = drawn(a.out, "candidates", model, fitted)
    loop = rank(candidates, str(first), a.out / "ranking", second=str(second), margin=GAP)
    rank(candidates, str(first), a.out / "ranking-matched", margin=GAP, matched=True)
    tables = {"best": a.out / "ranking" / "pairs.parquet", "unlike": a.out / "ranking" / "unlike.parquet", "matched": a.out / "ranking" / "matched.parquet"}  # fmt: skip
    order = {f"{model.domain(True)} {row['prompt']}": i for i, row in enumerate(fitted)}
    matched = pl.read_parquet(a.out / "ranking-matched" / "pairs.parquet")
    with atomic(tables["matched"]) as temporary:
        matched.sort(pl.col("prompt").replace_strict(order)).write_parquet(temporary)
    ranking = pl.read_parquet(a.out / "ranking" / "ranking.parquet")
    if not tables["unlike"].is_file():
        with atomic(tables["unlike"]) as temporary:
            unlike_pairs(ranking.with_columns(path=pl.lit(f"{candidates}/") + pl.col("file_name"))).write_parquet(temporary)  # fmt: skip
    n_pairs = {name: pl.read_parquet(table).height for name, table in tables.items()}
    print(f"pairs: {n_pairs}", *(f"{c.what}: {c.ours}; t p {c.p_bonferroni:.2g}" for c in loop), sep="\n", flush=True)  # fmt: skip

    def films(name: str, some: list[dict], of: str, seed: str) -> Path:
        """The films of an arm."""
        arm = ARMS[name]
        recipe = read_recipe(a.config, AlignmentConfig).model_dump()
        config = AlignmentConfig(**recipe | {"steps": a.steps} | arm.changes)
        slug = "-".join([arm.pairs, *(f"{key}={value}" for key, value in arm.changes.items())])
        aligned = load_model(train_alignment(config, tables[arm.pairs], a.out / slug, "cpu"))
        start = dict(model.pipeline.unet.named_parameters())
        with torch.no_grad():
            for key, weight in aligned.pipeline.unet.named_parameters():
                weight.copy_(torch.lerp(start[key], weight, arm.strength))
        return drawn(a.out, f"{of}-{name}", aligned, some, arm.guidance, seed)

    def measure(names: list[str], some: list[dict], of: str, seed: str) -> dict:
        """name -> its changes; the figures before under "before"."""
        folder = drawn(a.out, f"{of}-before", model, some, GUIDANCE, seed)
        start = load_films([str(folder / name) for name in read_metadata(folder)["file_name"]], PIXEL_SIDE)
        found = {}
        for name in [None, *names]:
            ours = films(name, some, of, seed) if name else folder
            table = tables[ARMS[name].pairs if name else "best"]
            chosen = load_films(pl.read_parquet(table)["chosen"].to_list(), PIXEL_SIDE)
            before = measured(folder, second, chosen, start)
            if name is None:
                found["before"] = {key: mean_interval(each, range(len(each))) for key, each in before.items()}
            else:
                after = measured(ours, second, chosen, start)
                control = measured(exposed(folder, ours, a.out / f"{of}-{name}-exposure" / "synthetic"), second, chosen, start)  # fmt: skip
                found[name] = changes(before, after)
                found[f"{name}: exposure alone"] = changes(before, control)
                found[f"{name}: beyond exposure"] = changes(control, after)
                picture(folder, ours, a.out / f"{of}-{name}.png")
            for arm in list(found)[-1 if name is None else -3 :]:
                print(f"{of}, {arm}:", {key: str(each) for key, each in found[arm].items()}, flush=True)
        return found

    found = {"development": measure(a.arms, developed, "development", "sample")}
    name = choose({arm: found["development"][arm] for arm in a.arms})
    print(f"chosen of {len(a.arms)}: {name}", flush=True)
    if not a.no_confirmation:
        for of, some, figure in (
            ("confirmation", confirmed, "score"),
            ("second confirmation", again, "asked for and seen"),
        ):
            found[of] = measure([name], some, of, of.replace("confirmation", "confirm"))
            c = found[of][name]
            verdicts = {f"{figure} rises": c[figure].ci_low > 0, "diversity stays": c["MS-SSIM between seeds"].ci_high < MARGIN, "memorisation stays": not c["near a preferred training film"].ci_low > 0}  # fmt: skip
            print(of, verdicts, flush=True)
    with atomic(a.out / "alignment.json") as temporary:
        figures = {of: {arm: {key: str(each) for key, each in c.items()} for arm, c in each.items()} for of, each in found.items()}  # fmt: skip
        facts = {"pairs": n_pairs, "tried": len(a.arms), "chosen": name, "seconds": round(time.perf_counter() - began)}  # fmt: skip
        temporary.write_text(json.dumps(facts | figures, indent=1))


if __name__ == "__main__":
    main()
