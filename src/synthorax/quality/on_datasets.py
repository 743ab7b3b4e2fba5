"""``synthorax evaluate samples``: datasets that models drew, beside real films, one row a figure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.loading import load_films
from synthorax.classifiers.statistics import Interval, mean_interval
from synthorax.dataset import read_metadata, write_png
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.quality.extractors import Extractor, load_extractor
from synthorax.quality.memorisation import PIXEL_SIDE, Nearest, nearest_by_feature, nearest_by_pixel
from synthorax.quality.samples import (
    factual_correctness,
    feature_map,
    frechet_distance,
    kernel_distance,
    seed_similarity,
)
from synthorax.seeds import generator
from synthorax.studies import read_manifest

#: Prompts whose films are compared with each other, films of each (ChexGen: four seeds), and films of a map of each kind, at
#: most.
PROMPTS, SEEDS, MAPPED = 100, 4, 500
#: Nearest pairs in the picture.
PICTURED = 8
#: Key of the training films' features; no dataset's folder can be named so.
TRAINING = "/training"
COLOURS = ("#222222", "#c0392b", "#2471a3", "#1e8449", "#b7950b", "#7d3c98")

SCHEMA = {
    "dataset": pl.String, "figure": pl.String, "value": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64,
    "extractor": pl.String, "n_features": pl.Int64, "n_real": pl.Int64, "n_synthetic": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A dataset that a model drew."""

    name: str
    rows: pl.DataFrame
    paths: list[str]


def evaluate_samples(
    datasets: Sequence[Path],
    real: Path,
    out: Path,
    *,
    extractor: str,
    oracle: str | None = None,
    trained_on: Sequence[Path] = (),
    size_px: int = 256,
    seed: int = 0,
) -> pl.DataFrame:
    """The figures of each dataset, written to ``out`` as samples.csv, samples.json, map.csv, map.svg and, with
    ``trained_on``, nearest.csv and nearest.png.

    Args:
        datasets: folders with ``metadata.parquet``; several models must have drawn the same prompts with the same seeds.
        real: a studies manifest; films of the same ``study_id`` are a sample's own real film.
        out: folder.
        extractor: as :func:`~synthorax.quality.extractors.load_extractor`.
        oracle: another such, whose labels say whether a sample shows what was asked for.
        trained_on: manifests of the films that the models were trained on; real films of other patients are the
            held-out baseline of the memorisation audit.
        size_px: films are compared with each other at this size.
        seed: of subsets and the map.

    Raises:
        InputError: a dataset without films, other prompts than the first, or nothing to compare with.
    """
    drawn = _drawn(datasets)
    films = read_manifest(real)
    network = load_extractor(extractor)
    real_paths = films["file_name"].to_list()
    features = {"real": network.features(real_paths)} | {d.name: network.features(d.paths) for d in drawn}
    _write_map(features, out, seed)
    if trained_on:
        training = pl.concat([read_manifest(path).select("patient_id", "file_name") for path in trained_on])
        features[TRAINING] = network.features(training["file_name"].to_list())
    rows = list(_floor(features["real"], network, seed))
    for d in drawn:
        rows += _distances(d, features, network, seed)
        rows += _pairs(d, films, network)
        rows += _likeness(d, size_px)
        if oracle is not None:
            rows += _obedience(d, load_extractor(oracle))
        if trained_on:
            rows += _audit(d, films, training, features, network, out)
    table = pl.DataFrame(rows, schema=SCHEMA)
    with atomic(out / "samples.csv") as temporary:
        table.write_csv(temporary)
    with atomic(out / "samples.json") as temporary:
        temporary.write_text(json.dumps({"real": str(real), "seed": seed, "figures": table.to_dicts()}, indent=1) + "\n")  # fmt: skip
    return table


def _drawn(datasets: Sequence[Path]) -> list[Drawn]:
    found: list[Drawn] = []
    for folder in datasets:
        rows = read_metadata(folder)
        if rows.is_empty():
            raise InputError(f"{folder} holds no films; generate some first.")
        name = folder.parent.name if folder.name == "synthetic" else folder.name
        if name in (d.name for d in found):
            raise InputError(f"two datasets are named {name!r}; rename one folder.")
        found.append(Drawn(name, rows, [str(folder / file) for file in rows["file_name"]]))
    first = sorted(zip(found[0].rows["prompt"], found[0].rows["seed"], strict=True))
    for d in found[1:]:
        if sorted(zip(d.rows["prompt"], d.rows["seed"], strict=True)) != first:
            raise InputError(
                f"{d.name} was drawn from other prompts or seeds than {found[0].name}; give each model the same list and seed."
            )
    return found


def _row(dataset: str, figure: str, found: Interval | float, extractor: str = "", n_features: int | None = None, n_real: int | None = None, n_synthetic: int | None = None) -> dict:  # fmt: skip
    value, low, high = (found.estimate, found.ci_low, found.ci_high) if isinstance(found, Interval) else (found, None, None)  # fmt: skip
    return dict(zip(SCHEMA, (dataset, figure, value, low, high, extractor, n_features, n_real, n_synthetic), strict=True))  # fmt: skip


def _floor(real: np.ndarray, network: Extractor, seed: int) -> Iterator[dict]:
    """The distances between two halves of the real films: what no model can be expected to beat."""
    order = generator("halves", seed).permutation(len(real))
    halves = np.array_split(real[order], 2)
    where = ("real halves", network.name, real.shape[1], *map(len, halves))
    yield _row(where[0], "Frechet distance", frechet_distance(halves[0], halves[1]), *where[1:])
    yield _row(where[0], "kernel distance", kernel_distance(halves[0], halves[1], seed)[0], *where[1:])


def _distances(d: Drawn, features: Mapping[str, np.ndarray], network: Extractor, seed: int) -> Iterator[dict]:
    real, own = features["real"], features[d.name]
    where = (network.name, real.shape[1], len(real), len(own))
    yield _row(d.name, "Frechet distance", frechet_distance(real, own), *where)
    mean, deviation = kernel_distance(real, own, seed)
    yield _row(d.name, "kernel distance", mean, *where)
    yield _row(d.name, "kernel distance, deviation over subsets", deviation, *where)


def _pairs(d: Drawn, films: pl.DataFrame, network: Extractor) -> Iterator[dict]:
    """Scores of each sample beside those of the real film whose report it was drawn from."""
    own = d.rows.with_columns(path=pl.Series(d.paths)).select("study_id", "path")
    both = own.join(films.unique("study_id", keep="first").select("study_id", "patient_id", "file_name"), on="study_id", how="inner")  # fmt: skip
    if network.scores is not None and both.height > 2:
        found = factual_correctness(network.scores(both["file_name"].to_list()), network.scores(both["path"].to_list()), both["patient_id"].to_list())  # fmt: skip
        yield _row(d.name, f"factual correctness, r over {len(network.labels)} scores", found, network.name, None, both.height, both.height)  # fmt: skip


def _likeness(d: Drawn, size_px: int) -> Iterator[dict]:
    """How alike films of one prompt are."""
    groups = d.rows.with_columns(path=pl.Series(d.paths)).group_by("prompt", maintain_order=True).agg("path").filter(pl.col("path").list.len() > 1)  # fmt: skip
    if groups.height:
        some = groups.head(PROMPTS).with_columns(pl.col("path").list.head(SEEDS))
        films = {prompt: load_films(paths, size_px) / 255 for prompt, paths in some.iter_rows()}
        for name, found in seed_similarity(films).items():
            yield _row(
                d.name, f"{name} between seeds of a prompt", found, n_synthetic=sum(map(len, films.values()))
            )


def _obedience(d: Drawn, oracle: Extractor) -> Iterator[dict]:
    """Share of films in which the oracle sees what was asked for."""
    asked = d.rows["labels_after"]
    if oracle.scores is None or asked.null_count() == len(asked):
        return
    known = np.flatnonzero(asked.is_not_null())
    limits = np.full(len(oracle.labels), 0.5) if oracle.thresholds is None else np.array(oracle.thresholds)
    seen = oracle.scores([d.paths[i] for i in known]) >= limits
    wanted = np.array([[label in asked[int(i)] for label in oracle.labels] for i in known])
    films = [str(i) for i in known]
    for index, label in enumerate(oracle.labels):
        for what, rows in ((f"{label}: seen where asked for", wanted[:, index]), (f"{label}: not seen elsewhere", ~wanted[:, index])):  # fmt: skip
            if rows.any():
                hits = (seen == wanted)[rows, index].astype(float)
                found = mean_interval(hits, [film for film, r in zip(films, rows, strict=True) if r])  # fmt: skip
                yield _row(d.name, what, found, oracle.name, n_synthetic=len(hits))
    whole = (seen == wanted).all(1).astype(float)
    yield _row(d.name, "every label as asked for", mean_interval(whole, films), oracle.name, n_synthetic=len(whole))  # fmt: skip


def _audit(d: Drawn, films: pl.DataFrame, training: pl.DataFrame, features: Mapping[str, np.ndarray], network: Extractor, out: Path) -> Iterator[dict]:  # fmt: skip
    """The memorisation audit of a dataset, with its list and picture."""
    held = np.flatnonzero(~films["patient_id"].is_in(training["patient_id"].unique().to_list()))
    if not len(held):
        raise InputError(
            "every patient of the real films is among those that the model was trained on; give --real with films of others."
        )
    paths = training["file_name"].to_list()
    small = [
        load_films(some, PIXEL_SIDE) for some in (d.paths, paths, films["file_name"].gather(held).to_list())
    ]
    by = {
        "feature": nearest_by_feature(features[d.name], features[TRAINING], features["real"][held]),
        "pixel": nearest_by_pixel(*small),
    }
    for kind, found in by.items():
        near = mean_interval(found.is_near.astype(float), d.paths)
        name = network.name if kind == "feature" else f"pixels at {PIXEL_SIDE} px"
        yield _row(d.name, f"nearer to a training film than 1 % of held-out films, by {kind}", near, name, None, len(held), len(d.paths))  # fmt: skip
    listed = _listed(d, by, paths)
    with atomic(out / f"nearest_{d.name}.csv") as temporary:
        listed.write_csv(temporary)
    top = listed.head(PICTURED)
    columns = [np.concatenate(list(load_films([a, b], 256) / 255)) for a, b in top.select("file_name", "nearest").iter_rows()]  # fmt: skip
    write_png(np.concatenate(columns, axis=1), out / f"nearest_{d.name}.png", Synthetic="YES")


def _listed(d: Drawn, by: Mapping[str, Nearest], paths: Sequence[str]) -> pl.DataFrame:
    """A row a sample and kind of distance, those below the limit first, then the nearest."""
    rows = [
        {"file_name": path, "by": kind, "nearest": paths[i], "distance": float(far), "limit": found.limit, "is_near": bool(far < found.limit)}
        for kind, found in by.items()
        for path, i, far in zip(d.paths, found.index, found.distance, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows).sort("is_near", pl.col("distance") / pl.col("limit"), descending=[True, False])


def _write_map(features: Mapping[str, np.ndarray], out: Path, seed: int) -> None:
    """t-SNE of real and synthetic films as a table and a drawing."""
    some = {
        name: x[generator("map", seed, name).permutation(len(x))[:MAPPED]] for name, x in features.items()
    }
    points = feature_map(np.concatenate(list(some.values())), seed)
    kinds = [name for name, x in some.items() for _ in x]
    with atomic(out / "map.csv") as temporary:
        pl.DataFrame({"set": kinds, "x": points[:, 0], "y": points[:, 1]}).write_csv(temporary)
    low, high = points.min(0), points.max(0)
    placed = 20 + (points - low) / np.maximum(high - low, 1e-9) * 560
    colour = dict(zip(some, COLOURS * len(some), strict=False))
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour[kind]}" fill-opacity=".55"/>' for (x, y), kind in zip(placed, kinds, strict=True))  # fmt: skip
    names = "".join(f'<text x="24" y="{620 + 20 * i}" fill="{colour[name]}">{name} ({len(x)})</text>' for i, (name, x) in enumerate(some.items()))  # fmt: skip
    with atomic(out / "map.svg") as temporary:
        temporary.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 {630 + 20 * len(some)}" font-family="sans-serif" font-size="14">{dots}{names}</svg>\n')  # fmt: skip
