"""CARS's tables 1 to 4 in the paper's form, ours above, the paper's figures below."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.training import train
from synthorax.files import atomic
from synthorax.proof.cohort import Cohort
from synthorax.proof.figures import LOWER_IS_BETTER
from synthorax.proof.recipe import Recipe
from synthorax.proof.tables import Table, arrow, mean_of, number, spread
from synthorax.quality.agreement import agreement
from synthorax.quality.structure import structure_of_edits
from synthorax.quality.summary import OVERALL, summarise
from synthorax.runs.measuring import concept_targets
from synthorax.studies import read_film

NAMES = {
    "auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "entropy": "Entropy", "ece": "ECE",
    "positive_dice": "positive Dice", "negative_dice": "negative Dice", "map50": "mAP50", "mar50": "mAR50",
    "mae": "MAE", "mse": "MSE", "pearson": "Pearson's r",
}  # fmt: skip
AGREEMENT = ("jaccard", "hamming", "u_fp", "u_fn")
TYPES = ("intra_class", "insertion", "deletion", "outer_class", OVERALL)
CEILING = " true counterfactuals (ceiling)"


@lru_cache
def paper() -> dict[str, Any]:
    """The figures that CARS prints."""
    return yaml.safe_load((Path(__file__).parent / "cars_figures.yaml").read_text())


def tables_1_and_2(
    estimates: pl.DataFrame, comparisons: pl.DataFrame, backbones: Sequence[str]
) -> list[Table]:
    """Baseline, and the differences of each arm, a column a backbone; means over seeds."""
    note = "Ours: mean over seeds; bold: better, and the 95 % interval over patients leaves out 0. Paper: bold as printed."
    return [
        _by_backbone("table1", "Macro AUROC, AUPRC and F1 (CARS, table 1)", ("auroc", "auprc", "f1"), estimates, comparisons, backbones, note),
        _by_backbone("table2", "Predictive entropy and ECE (CARS, table 2)", ("entropy", "ece"), estimates, comparisons, backbones, note),
    ]  # fmt: skip


def structure_of_arms(cohort: Cohort) -> pl.DataFrame:
    """SSIM of every synthetic film with its source: ``arm, perturbation_type, ssim``."""
    real = dict(zip(cohort.concepts.image_ids, cohort.concepts.paths, strict=True))
    found = []
    for name, arm in cohort.arms.items():
        rows = [
            (row, source)
            for row in arm.frame.iter_rows(named=True)
            if (source := _source(row, real)) is not None
        ]
        frame = structure_of_edits(_pair(row, source) for row, source in rows)
        types = pl.Series("perturbation_type", [row["perturbation_type"] for row, _ in rows], dtype=pl.String)
        found.append(frame.select(pl.lit(name).alias("arm"), types, "ssim"))
    return pl.concat(found)


def table_3(structure: pl.DataFrame) -> Table:
    """SSIM by perturbation type, a column an arm."""
    arms = structure["arm"].unique(maintain_order=True).to_list()
    ours = {
        (arm, row["perturbation_type"]): row
        for arm in arms
        for row in summarise(structure.filter(arm=arm), ["ssim"]).iter_rows(named=True)
    }
    rows = []
    for kind in TYPES:
        cells = [kind.replace("_", "-")]
        for arm in arms:
            row = ours.get((arm, kind))
            cells.append(spread(row["mean"], row["sd"]) if row else number(None))
            if arm in paper()["ssim"]:
                cells.append(spread(*paper()["ssim"][arm].get(kind, (None, None))))
        rows.append(tuple(cells))
    heads = [head for arm in arms for head in ([arm, f"{arm}, paper"] if arm in paper()["ssim"] else [arm])]
    n = ", ".join(f"{arm} {structure.filter(arm=arm).height}" for arm in arms)
    return Table(
        "table3", "SSIM of source and synthetic film (CARS, table 3)", ("type", *heads), tuple(rows),
        f"Mean ± sd over films ({n}); films without a source at hand are left out.",
    )  # fmt: skip


def agreement_of_arms(
    cohort: Cohort, recipe: Recipe, folder: Path, reader: Path | None, device: str
) -> pl.DataFrame:
    """Concepts read back from every synthetic film: ``arm`` and the columns of :func:`~synthorax.quality.agreement.agreement`.

    The reader is given, or trained on the real films of patients that no synthetic film was made from. Where true
    counterfactuals are at hand they are read too: the reader's ceiling.
    """
    judge = Classifier.load(reader, device) if reader else _reader(cohort, recipe, folder, device)
    found = []
    for name, arm in cohort.arms.items():
        known = arm.frame.filter(pl.col("concepts_after").is_not_null())
        read = {name: known, name + CEILING: known.filter(pl.col("counterfactual_file_name").is_not_null())}
        for row_name, frame in read.items():
            if not frame.height:
                continue
            column = "file_name" if row_name == name else "counterfactual_file_name"
            rows = [
                {**row, "concepts_unknown": row["concepts_unknown"] or []}
                for row in frame.iter_rows(named=True)
            ]
            files = [Path(row["folder"]) / row[column] for row in rows]
            targets = concept_targets(rows, judge.labels)
            read_back = judge.predict(files) >= np.asarray(judge.thresholds)
            found.append(agreement(targets, read_back.astype(float)).with_columns(arm=pl.lit(row_name)))
    return pl.concat(found)


def table_4(read_back: pl.DataFrame, reader: str) -> Table:
    """Semantic agreement, a row an arm."""
    rows = []
    for arm in read_back["arm"].unique(maintain_order=True):
        frame = read_back.filter(arm=arm)
        cells = [spread(frame[name].mean(), frame[name].std()) for name in AGREEMENT]  # type: ignore[arg-type]
        rows.append((arm, "ours", str(frame.height), str(int(frame["is_empty_read_back"].sum())), *cells))
        if arm in paper()["agreement"]:
            rows.append(
                (
                    arm,
                    "paper",
                    "10000",
                    number(None),
                    *(spread(*paper()["agreement"][arm][name]) for name in AGREEMENT),
                )
            )
    heads = ("arm", "", "films", "empty", "Jaccard", "Hamming", "U_FP", "U_FN")
    note = f"Mean ± sd over films. Ours is read back by {reader}, the paper's by LLaVA-Rad; 'empty': nothing read where something was asked for."
    return Table("table4", "Concepts read back (CARS, table 4)", heads, tuple(rows), note, n_heads=2)


def kept(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """Write a table that took long, and give it back."""
    with atomic(path) as temporary:
        frame.write_parquet(temporary)
    return frame


def _by_backbone(
    name: str, title: str, metrics: Sequence[str], estimates: pl.DataFrame, comparisons: pl.DataFrame,
    backbones: Sequence[str], note: str,
) -> Table:  # fmt: skip
    printed = paper()["backbones"]
    places = {backbone: i for i, backbone in enumerate(paper()["columns"])}
    rows = []
    macro = estimates.filter(label="macro", arm="baseline")
    for metric in metrics:
        found = [
            mean_of(macro.filter(backbone=backbone, metric=metric)["estimate"]) for backbone in backbones
        ]
        rows.append(("Baseline", NAMES[metric], "ours", *map(number, found)))
        rows.append(
            ("", "", "paper", *(_printed(printed["baseline"], metric, places.get(b)) for b in backbones))
        )
    for arm in comparisons["arm"].unique(maintain_order=True):
        for metric in metrics:
            cells = []
            for backbone in backbones:
                row = comparisons.filter(arm=arm, backbone=backbone, metric=metric).row(0, named=True)
                cells.append(arrow(row["difference"], row["verdict"] == "better"))
            rows.append(
                (f"Finetuned {arm}", f"\N{GREEK CAPITAL LETTER DELTA} {NAMES[metric]}", "ours", *cells)
            )
            if arm in printed:
                shown = [_printed(printed[arm], metric, places.get(b), is_change=True) for b in backbones]
                rows.append(("", "", "paper", *shown))
    heads = [paper()["columns"].get(backbone, backbone) for backbone in backbones]
    return Table(name, title, ("", "", "", *heads), tuple(rows), note, n_heads=3)


def _printed(
    figures: Mapping[str, Sequence[float]], metric: str, place: int | None, is_change: bool = False
) -> str:
    if place is None:
        return number(None)
    value = figures[metric][place]
    return arrow(value, (value > 0) != (metric in LOWER_IS_BETTER)) if is_change else number(value)


def _source(row: Mapping, real: Mapping[str, str]) -> Path | None:
    """The source as the editor saw it, else the real film."""
    if row["source_file_name"] and (place := Path(row["folder"]) / row["source_file_name"]).is_file():
        return place
    film = real.get(row["source_image_id"])
    return None if film is None else Path(film)


def _pair(row: Mapping, source: Path) -> tuple[str, np.ndarray, np.ndarray, None]:
    edited = read_film(Path(row["folder"]) / row["file_name"]).pixels
    before = read_film(source).pixels
    if before.shape != edited.shape:
        before = load_films([source], len(edited))[0] / np.float32(255)
    return row["image_id"], before, edited, None


def _reader(cohort: Cohort, recipe: Recipe, folder: Path, device: str) -> Classifier:
    sources = {patient for arm in cohort.arms.values() for patient in arm.examples.patient_ids}
    validation = cohort.concepts.split("validation")
    apart = {*validation.patient_ids} | sources
    films = cohort.concepts.where([patient not in apart for patient in cohort.concepts.patient_ids])
    return train(
        recipe.training("reader"), films.paths, films.targets, films.labels,
        validation=(validation.paths, validation.targets), out=folder / "cells" / "reader", device=device,
        note=f"reads concepts back; {len(films)} real films of patients that no synthetic film was made from",
    )  # fmt: skip
