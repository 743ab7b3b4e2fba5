"""Does a synthetic cohort show a bias that was put in on purpose, and does filling groups take it out? On virtual patients.

    python benchmarks/bias.py --cohort COHORT [--cohort COHORT ...] --out runs/bias [--steps 10] [--epochs 25]

COHORT is a folder of ``phantom sample``. Patients are split 50 / 10 / 40. **Women are underdiagnosed**: of the training and validation films,
four in five women's effusions and pneumothoraces are recorded as absent. Truth is the classifier on the test
patients, whom nothing has seen and whose labels are right. The embedded model makes a twin of each test film (findings, sides, sex, age, view in the
prompt) and the films that sex and label combinations of the biased set lack (``synthorax bias fill --by sex``); both are made again, up to
five times, until a judge of the training films reads the sex that was asked for. *Before*:
trained on the biased set, *after*: on it and the fill. F1 is weighted over labels; intervals by bootstrap over patients, the
difference paired. Sensitivity for what was not recorded is beside it, women and men. Everything is simulated, one anatomy.
``bias.md`` and ``bias.json`` hold it all; the same command goes on where it was stopped.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.stats import pearsonr

from synthorax.classifiers import Classifier, TrainingConfig, train
from synthorax.classifiers.examples import Examples, read_examples
from synthorax.classifiers.group_f1 import crossed, group_f1
from synthorax.classifiers.groups import groups_of
from synthorax.classifiers.statistics import bootstrap
from synthorax.classifiers.twins import bias_on_studies
from synthorax.concepts import Vocabulary, annotate_studies, label_column, write_concepts
from synthorax.dataset import read_metadata
from synthorax.files import atomic
from synthorax.generation.matching import filling, matched
from synthorax.runs.means import Means
from synthorax.runs.plan_edits import generate_films
from synthorax.seeds import generator
from synthorax.studies import read_manifest, split_by_patient, write_manifest

MISSED, SEX, SHARE, SIDE, LEAST, BUDGET = ("Pleural Effusion", "Pneumothorax"), "F", 0.8, 96, 10, 5
SPLITS = {"train": 0.5, "validation": 0.1, "test": 0.4}


def biased(cohorts: list[Path], out: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The manifest with its splits, and its concept table, in which women's findings are missing; written too."""
    films = pl.concat([read_manifest(folder / "studies.parquet") for folder in cohorts])
    films = split_by_patient(films.drop("split"), ["labels_present"], SPLITS)
    words = Vocabulary.load()
    draws = [generator("recorded", image_id).random() for image_id in films["image_id"]]
    is_missed = (films["sex"] == SEX) & (films["split"] != "test") & (pl.Series(draws) < SHARE)
    columns = [name for label in MISSED for name in (label_column(label), *words.concepts_of(label))]
    table = annotate_studies(films, words).with_columns(
        pl.when(is_missed).then(pl.lit(0, pl.Int8)).otherwise(pl.col(name)).alias(name) for name in columns
    )
    is_clear = is_missed & table.select(pl.sum_horizontal(words.pathologies) == 0).to_series()
    table = table.with_columns(
        pl.when(is_clear).then(pl.lit(1, pl.Int8)).otherwise(pl.col(name)).alias(name)
        for name in (words.unremarkable, label_column(words.no_finding_label))
    )
    write_manifest(films, out / "studies.parquet")
    write_concepts(table, out / "concepts.parquet", words)
    return films, table


def sex_reader(examples: Examples, films: pl.DataFrame, split: str, out: Path) -> Classifier:
    """Sex from a split's films."""
    sexes = films.filter(split=split)["sex"]
    targets = np.array([[one == "F", one == "M"] for one in sexes], np.float32)
    config = TrainingConfig(image_size_px=SIDE, epochs=10, precision="fp32")
    return train(config, list(examples.split(split).paths), targets, ["sex:F", "sex:M"], out=out, note="virtual patients")  # fmt: skip


def sexes_obeyed(run: Path, reader: Classifier, asked: pl.DataFrame) -> str:
    """In how many films of a run judge and reader see the sex that was asked for."""
    table = read_metadata(run / "synthetic").join(asked.select("study_id", "sex"), on="study_id")
    wanted = (table["sex"] == "M").to_numpy()
    stands = reader.predict([str(run / "synthetic" / name) for name in table["file_name"]]).argmax(1) == wanted  # fmt: skip
    first = json.loads((run / "judged.json").read_text())["groups"][0]
    return (
        f"{run.name}: the judge reads sex as asked in {100 * first['passed_at_first']:.0f} % of {first['n']} first tries, in "
        f"{100 * first['passed']:.0f} % after {first['mean_tries']:.2f} tries; another reader in {100 * stands.mean():.0f} % then.\n"
    )


def made(table: pl.DataFrame, out: Path, name: str, given: dict, limit: int | None = None) -> Path:
    """The run of a table of prompts, of which the judge of sex has films made again."""
    path = out / f"{name}.parquet"
    with atomic(path) as temporary:
        table.write_parquet(temporary)
    generate_films(path, out / name, given, 0, Means(limit=limit), judges=[str(out / "sex-judge")], budget=BUDGET, domain="simulated")  # fmt: skip
    return out / name


def taught(examples: Examples, more: tuple[list[str], np.ndarray], out: Path, epochs: int) -> Classifier:
    """A classifier on the training films and some more."""
    fitted, tuned = examples.split("train"), examples.split("validation")
    config = TrainingConfig(image_size_px=SIDE, epochs=epochs, precision="fp32")
    return train(
        config, [*fitted.paths, *more[0]], np.concatenate([fitted.targets, more[1]]), examples.labels,
        validation=(tuned.paths, tuned.targets), out=out, note="biased on purpose; virtual patients",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--twins", type=int, help="At most so many; cases without are left out of r.")
    parser.add_argument("--epochs", type=int, default=25)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    out, given = asked.out, {"guidance_scale": asked.guidance, "num_inference_steps": asked.steps}
    films, table = biased(asked.cohort, out)
    words = Vocabulary.load()
    examples = read_examples(out / "studies.parquet", out / "concepts.parquet")
    none = ([], np.zeros((0, len(examples.labels)), np.float32))
    sex_reader(examples, films, "train", out / "sex-judge")
    reader = sex_reader(examples, films, "test", out / "sex-reader")
    before = taught(examples, none, out / "before", asked.epochs)
    fitted = films.filter(split="train")
    fill = filling(fitted, table.filter(pl.col("image_id").is_in(fitted["image_id"].to_list())), words, by=["sex"])  # fmt: skip
    added = read_metadata(made(fill, out, "fill", given) / "synthetic")
    targets = np.array([[label in said for label in examples.labels] for said in added["labels_after"]], np.float32)  # fmt: skip
    paths = [str(out / "fill" / "synthetic" / name) for name in added["file_name"]]
    after = taught(examples, (paths, targets), out / "after", asked.epochs)
    tested = films.filter(split="test")
    of_tested = table.filter(pl.col("image_id").is_in(tested["image_id"].to_list()))
    twins_asked = matched(tested, of_tested, words)
    twins = made(twins_asked, out, "twins", given, asked.twins)
    found = {
        name: bias_on_studies(
            out / name, out / "studies.parquet", out / "concepts.parquet", twins, out / f"{name}-bias", least_patients=LEAST
        )
        for name in ("before", "after")
    }  # fmt: skip
    lines = [f"{fitted.height} training films ({fitted.filter(sex=SEX).height} of women), {fill.height} filled in, {tested.height} test films, {found['before']['n_cases']} of them with a twin.\n"]  # fmt: skip
    lines += [
        sexes_obeyed(twins, reader, twins_asked),
        sexes_obeyed(out / "fill", reader, fill),
    ]
    lines += correlations(found, out)
    lines += gaps(examples.split("test"), tested, {"before": before, "after": after})
    with atomic(out / "bias.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    with atomic(out / "bias.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(lines))


def correlations(found: dict, out: Path) -> list[str]:
    """r of the groups' F1 between test films and twins, by axis; and over all labels' F1 pooled from groups.csv."""
    lines = [
        "| model | groups | n | r [95 %] | p | worst on films | worst on twins |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in found.items():
        for axis in result["axes"]:
            r, worst = axis["agreement"], [f"{axis[kind]['worst_group']} {axis[kind]['worst']['estimate']:.2f}" for kind in ("films", "twins")]  # fmt: skip
            figure = "- | -" if r is None else f"{r['r']:.2f} [{r['ci_low']:.2f}, {r['ci_high']:.2f}] | {r['p_value']:.3f}"  # fmt: skip
            lines.append(
                f"| {name} | {axis['axis']} | {r['n_groups'] if r else 2} | {figure} | {' | '.join(worst)} |"
            )
        table = pl.read_csv(out / f"{name}-bias" / "groups.csv")
        r, p = pearsonr(table["films"], table["twins"])
        lines.append(f"| {name} | all of these, overlapping | {table.height} | {r:.2f} | {p:.3f} | | |")
    return lines


def gaps(examples: Examples, tested: pl.DataFrame, models: dict[str, Classifier]) -> list[str]:
    """Worst group and gap before and after on the test films, and what the sensitivity for what was missed does."""
    groups = groups_of(tested).to_dict(as_series=False)
    p = {name: model.predict(list(examples.paths)) for name, model in models.items()}
    lines = ["", "| on test films | before | after | after - before [95 %] |", "| --- | --- | --- | --- |"]
    for axes in (["sex"], ["sex", "age_group"]):
        figures = {
            name: group_f1(examples.targets, p[name], model.thresholds, examples.patient_ids, crossed(groups, axes), least_patients=LEAST).figures
            for name, model in models.items()
        }  # fmt: skip
        for said, function in (("worst F1", lambda v: np.nanmin(v, -1)), ("gap", lambda v: np.nanmax(v, -1) - np.nanmin(v, -1))):  # fmt: skip
            one, two = (figures[name].map(function) for name in ("before", "after"))
            lines.append(f"| {said}, {' x '.join(axes)} | {one.interval()} | {two.interval()} | {two.minus(one).difference()} |")  # fmt: skip
    for sex in ("F", "M"):
        rows = np.array([[one == sex] for one in tested["sex"]])
        for label in MISSED:
            k = examples.labels.index(label)
            here = rows[:, 0] & (examples.targets[:, k] == 1)
            figures = {
                name: bootstrap(lambda w, hit=(p[name][:, k] >= model.thresholds[k]) * here, here=here: (w @ hit) / (w @ here), examples.patient_ids)
                for name, model in models.items()
            }  # fmt: skip
            one, two = figures["before"], figures["after"]
            lines.append(f"| sensitivity, {label}, {sex} ({here.sum()}) | {one.interval()} | {two.interval()} | {two.minus(one).difference()} |")  # fmt: skip
    return lines


if __name__ == "__main__":
    main()
