"""Does a dataset show what it was asked for: concepts read back from its films, beside what a reader can reach.

    film -> describer -> report -> annotator -> concepts        or        film -> concept reader -> concepts

The ceiling is the same reader on true counterfactuals where the dataset has them, the floor what it reads in the
unedited sources and in shams. See :mod:`~synthorax.quality.agreement` for Jaccard, Hamming, U_FP and U_FN.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.answers import keep, kept
from synthorax.classifiers.held_out import plain
from synthorax.classifiers.models import TestedModel
from synthorax.classifiers.statistics import N_RESAMPLES, mean_interval
from synthorax.concepts import Vocabulary, annotate
from synthorax.dataset import read_metadata
from synthorax.errors import InputError
from synthorax.files import atomic, sha256_of
from synthorax.progress import track
from synthorax.quality.agreement import agreement
from synthorax.quality.describers import FILMS_AT_ONCE, QUESTION, Describe
from synthorax.quality.summary import summarise

METRICS = ("jaccard", "hamming", "u_fp", "u_fn")
DATASET, CEILING, SOURCES, SHAMS = "dataset", "ceiling: counterfactuals", "floor: sources", "floor: shams"
#: Films by path, concepts -> ``(n, C)`` 1 read, 0 not, NaN cannot tell; and the report of each, where there is one.
Reader = Callable[[Sequence[Path], Sequence[str]], tuple[np.ndarray, list[str | None]]]


def reader_of_text(
    describe: Describe, vocabulary: Vocabulary, name: str, answers: Path | None = None
) -> Reader:
    """Films by way of words: what the annotator finds in the describer's report; a report without text reads nothing.

    Args:
        describe: who writes.
        vocabulary: how the report is read.
        name: of the describer, under which its reports are kept.
        answers: a file that keeps reports as they come, so that a killed command goes on.
    """
    known = kept(answers)

    def read(paths: Sequence[Path], concepts: Sequence[str]) -> tuple[np.ndarray, list[str | None]]:
        keys = [f"{name} {QUESTION} {sha256_of(path)}" for path in paths]
        missing = {key: path for key, path in zip(keys, paths, strict=True) if key not in known}
        written = describe(list(missing.values())) if missing else []
        for key, text in zip(missing, written, strict=True):
            keep(answers, key, text=text)
            known[key] = {"text": text}
        texts = [known[key]["text"] for key in keys]
        vectors = [annotate(text, vocabulary).vector for text in texts]
        return np.array([[float(c in vector.present) for c in concepts] for vector in vectors]), texts

    return read


def reader_of_model(model: TestedModel) -> Reader:
    """A concept reader: a model whose outputs are named as concepts; of others it cannot tell.

    Raises:
        InputError: from the reader, if it gives no concept.
    """

    def read(paths: Sequence[Path], concepts: Sequence[str]) -> tuple[np.ndarray, list[str | None]]:
        own = {plain(label): (label, i) for i, label in enumerate(model.labels or ())}
        places = [i for i, concept in enumerate(concepts) if plain(concept) in own]
        if not places:
            raise InputError(
                f"{model.name} gives {', '.join(model.labels or ['outputs without names'])}; expected concepts: "
                f"{', '.join(concepts)}. Train one with 'train classifier --outputs concepts'."
            )
        given = [own[plain(concepts[i])] for i in places]
        thresholds = [model.thresholds[k] if model.thresholds else model.threshold for _, k in given]
        found = np.full((len(paths), len(concepts)), np.nan)
        found[:, places] = model.table([str(path) for path in paths], [label for label, _ in given]) >= thresholds  # fmt: skip
        return found, [None] * len(paths)

    return read


def arms_of(folder: Path | str, vocabulary: Vocabulary, limit: int | None = None) -> pl.DataFrame:
    """What is read back: the dataset's valid films, and what stands beside its edits.

    Args:
        folder: a run, or a dataset's folder.
        vocabulary: must know the dataset's concepts.
        limit: at most so many films of the dataset, evenly over it.

    Returns:
        ``arm, perturbation_type, image_id, patient_id, is_simulated, file_name`` (path), ``asked, unknown`` (concepts).

    Raises:
        InputError: no dataset there, no film, concepts that the vocabulary does not know, or a file that is missing.
    """
    run = Path(folder)
    data = run / "synthetic" if (run / "synthetic" / "metadata.parquet").is_file() else run
    films = read_metadata(data).filter(pl.col("is_valid").fill_null(True), pl.col("concepts_after").is_not_null())  # fmt: skip
    if not films.height:
        raise InputError(f"{data} has no valid film with concepts_after; there is nothing to read back.")
    if limit is not None and limit < films.height:
        films = films[np.linspace(0, films.height - 1, limit).round().astype(int).tolist()]
    edits = films.filter(pl.col("perturbation_type").is_not_null())
    parts = [
        _arm(DATASET, films, "file_name", data),
        _arm(CEILING, edits, "counterfactual_file_name", data),
        _arm(SOURCES, edits, "source_file_name", data),
    ]
    if (run / "controls" / "metadata.parquet").is_file():
        shams = read_metadata(run / "controls").select("image_id", pl.col("file_name").alias("sham"))
        parts.append(_arm(SHAMS, edits.join(shams, on="image_id"), "sham", run / "controls"))
    table = pl.concat(parts)
    foreign = sorted({c for row in table["asked"] for c in row} - set(vocabulary.concepts))
    if foreign:
        raise InputError(f"{data} has the concept {foreign[0]!r}, which vocabulary {vocabulary.name!r} has not. Name its own by --vocabulary.")  # fmt: skip
    absent = next((name for name in table["file_name"] if not Path(name).is_file()), None)
    if absent:
        raise InputError(f"{absent} does not exist; {data} is not whole. Repair the run, or make it again.")
    return table


def semantic_agreement(
    arms: pl.DataFrame, reader: Reader, vocabulary: Vocabulary, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """Agreement of each film, and its mean by arm and perturbation type with 95 % intervals by patient.

    Args:
        arms: from :func:`arms_of`.
        reader: who reads; one that never saw what it judges, nor what made it.
        vocabulary: its concepts but ``unremarkable``, which is the absence of the others.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        A row a film (``arms`` with ``read, report`` and :func:`~.agreement.agreement`'s columns), and a row an arm,
        type (``overall`` last) and metric: ``mean, sd, ci_low, ci_high, n, n_left_out, n_patients, n_empty_read_back``.
    """
    concepts = vocabulary.pathologies
    paths = [Path(name) for name in arms["file_name"].unique(maintain_order=True)]
    read: dict[str, np.ndarray] = {}
    reports: dict[str, str | None] = {}
    starts = range(0, len(paths), FILMS_AT_ONCE)
    for start in track(starts, "Films read back", unit="batches"):
        some = paths[start : start + FILMS_AT_ONCE]
        values, texts = reader(some, concepts)
        read |= {str(path): row for path, row in zip(some, values, strict=True)}
        reports |= {str(path): text for path, text in zip(some, texts, strict=True)}
    targets = [
        [np.nan if c in (unknown or ()) else float(c in asked) for c in concepts]
        for asked, unknown in arms.select("asked", "unknown").iter_rows()
    ]
    values = np.array([read[name] for name in arms["file_name"]])
    named = [[c for c, value in zip(concepts, row, strict=True) if value == 1] for row in values]
    films = arms.with_columns(
        pl.Series("read", named, dtype=pl.List(pl.String)),
        pl.Series("report", [reports[name] for name in arms["file_name"]], dtype=pl.String),
    ).hstack(agreement(np.array(targets), values))
    parts = [
        _summary(arm, part, n_resamples, seed)
        for (arm,), part in films.group_by("arm", maintain_order=True)
    ]  # fmt: skip
    return films, pl.concat(parts)


def write_semantic(films: pl.DataFrame, summary: pl.DataFrame, out: Path | str, reader: str) -> None:
    """Write ``semantic.parquet`` (a row a film), ``semantic.csv`` and ``semantic.json``."""
    out = Path(out)
    with atomic(out / "semantic.parquet") as temporary:
        films.write_parquet(temporary)
    with atomic(out / "semantic.csv") as temporary:
        summary.write_csv(temporary)
    told = {
        "reader": reader,
        "simulated": bool(films["is_simulated"].any()),
        "interval": "95 % percentile bootstrap over patients",
    }
    with atomic(out / "semantic.json") as temporary:
        temporary.write_text(json.dumps({**told, "agreement": summary.to_dicts()}, indent=1) + "\n")


def _arm(name: str, rows: pl.DataFrame, column: str, folder: Path) -> pl.DataFrame:
    path = pl.col(column).map_elements(lambda file: str(folder / file), return_dtype=pl.String)
    return rows.filter(pl.col(column).is_not_null()).select(
        pl.lit(name).alias("arm"), "perturbation_type", "image_id", "patient_id", "is_simulated", path.alias("file_name"),
        pl.col("concepts_after").alias("asked"), pl.col("concepts_unknown").alias("unknown"),
    )  # fmt: skip


def _summary(arm: str, part: pl.DataFrame, n_resamples: int, seed: int) -> pl.DataFrame:
    kinds = part["perturbation_type"].unique(maintain_order=True)
    groups = [*(part.filter(pl.col("perturbation_type").eq_missing(kind)) for kind in kinds), part]
    added = []
    for group in groups:
        for metric in METRICS:
            some = group.drop_nulls(metric)
            values = some[metric].to_numpy()
            interval = mean_interval(values, some["patient_id"].to_list(), n_resamples=n_resamples, seed=seed) if len(values) else None  # fmt: skip
            added.append({
                "ci_low": interval and interval.ci_low, "ci_high": interval and interval.ci_high,
                "n_patients": some["patient_id"].n_unique(), "n_empty_read_back": int(some["is_empty_read_back"].sum()),
            })  # fmt: skip
    schema = {"ci_low": pl.Float64, "ci_high": pl.Float64, "n_patients": pl.Int64, "n_empty_read_back": pl.Int64}  # fmt: skip
    table = summarise(part, METRICS).hstack(pl.DataFrame(added, schema=schema))
    return table.select(pl.lit(arm).alias("arm"), "perturbation_type", "metric", "mean", "sd", "ci_low", "ci_high", "n", "n_left_out", "n_patients", "n_empty_read_back")  # fmt: skip
