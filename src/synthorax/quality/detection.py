"""Boxes against published ones: AP and recall at an overlap of one half, with intervals by patient.

As COCO counts (Lin et al. 2014, cocoeval): detections of a film and label in the order of their score, at most 100, each takes
the free true box that it overlaps most, if IoU >= 0.5. AP is the mean over recalls 0, .01, ..., 1 of the largest precision at
that recall or beyond; AR the recall of all of them; mAP50 and mAR50 their means over the labels that have a true box.

| here | there |
| --- | --- |
| ``w`` | how often a film is in a resample |
| ``is_hit`` | a detection that took a true box |
| ``order`` | detections of a label by falling score |

torchmetrics' MeanAveragePrecision gives the same (docs/measures.md) but wants pycocotools, and matching anew for every
resample of an interval; a film's matches do not depend on the others, so here films are matched once and weighted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.statistics import Replicates, bootstrap
from synthorax.errors import InputError
from synthorax.studies.annotations import read_annotations
from synthorax.studies.tables import numbers_in, read_json, read_table, require_columns

LEAST_IOU = 0.5
MOST_DETECTIONS = 100
RECALLS = np.linspace(0, 1, 101)
CORNERS = ("x_min", "y_min", "x_max", "y_max")
DETECTIONS = ("image_id", "label", "score", *CORNERS)


@dataclass(frozen=True, eq=False)
class Matched:
    """One label's detections by falling score, and how many true boxes each film has.

    Attributes:
        film: ``(D,)`` index of each detection's film.
        is_hit: ``(D,)`` bool.
        n_true: ``(N,)`` true boxes of each film.
    """

    film: np.ndarray
    is_hit: np.ndarray
    n_true: np.ndarray


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes ``(A, 4)`` and ``(B, 4)`` (x_min, y_min, x_max, y_max): ``(A, B)``."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def hits(detections: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Whether each detection of one film and label ``(D, 4)``, in the order of their score, takes a true box ``(T, 4)``."""
    overlap = iou(detections, true)
    free = np.ones(len(true), dtype=bool)
    is_hit = np.zeros(len(detections), dtype=bool)
    for index, row in enumerate(overlap):
        best = np.where(free, row, -1)
        # Of equal overlaps the last is taken, as cocoeval does.
        chosen = len(best) - 1 - int(best[::-1].argmax()) if len(best) else -1
        if chosen >= 0 and best[chosen] >= LEAST_IOU - 1e-10:
            free[chosen], is_hit[index] = False, True
    return is_hit


def average_precision(matched: Matched, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AP50 and recall of each resample, from counts ``(B, N)``; NaN where a resample has no true box."""
    found = []
    for counts in w:
        n_true = float(counts @ matched.n_true)
        if not n_true:
            found.append((np.nan, np.nan))
            continue
        weight = counts[matched.film]
        true = np.cumsum(weight * matched.is_hit)
        seen = np.cumsum(weight)
        precision = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(true / n_true, RECALLS, side="left")
        reached = at < len(envelope)
        found.append(
            (
                float(envelope[at[reached]].sum() / len(RECALLS)),
                float(true[-1] / n_true) if len(true) else 0.0,
            )
        )
    values = np.array(found)
    return values[:, 0], values[:, 1]


def match(truth: pl.DataFrame, detections: pl.DataFrame, films: Sequence[str], label: str) -> Matched:
    """Detections and true boxes (columns :data:`CORNERS`, ``image_id``, ``label``) of one label."""
    index = {image: number for number, image in enumerate(films)}
    true = truth.filter(label=label).partition_by("image_id", as_dict=True)
    found = detections.filter(label=label).sort("score", descending=True, maintain_order=True)
    n_true = np.zeros(len(films))
    for (image,), boxes in true.items():
        n_true[index[str(image)]] = boxes.height
    film, score, is_hit = [], [], []
    each = found.partition_by("image_id", as_dict=True, maintain_order=True)
    for image in films:  # of equal scores the earlier film's comes first, as in cocoeval
        boxes = each.get((image,), found.clear()).head(MOST_DETECTIONS)
        there = true.get((image,))
        corners = np.empty((0, 4)) if there is None else there.select(CORNERS).to_numpy()
        film += [index[image]] * boxes.height
        score += boxes["score"].to_list()
        is_hit += hits(boxes.select(CORNERS).to_numpy(), corners).tolist()
    order = np.argsort(-np.array(score, dtype=float), kind="stable")
    return Matched(np.array(film, dtype=int)[order], np.array(is_hit, dtype=bool)[order], n_true)


def detection_figures(
    detections: pl.DataFrame,
    annotations: Path | str,
    *,
    labels: Sequence[str] | None = None,
    rater: str | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Replicates]:
    """``map50``, ``mar50``, and ``ap50 <label>``, ``ar50 <label>`` of each label, over all annotated films.

    Args:
        detections: from :func:`read_detections`.
        annotations: a folder made by ``synthorax studies annotations``; masks count by their boxes.
        labels: those to measure; default all that have a true box.
        rater: whose boxes are the truth, where a set has several raters.
        n_resamples: of the bootstrap, by patient (a film without patient is one of its own).
        seed: of the bootstrap.

    Raises:
        InputError: a detection on a film that is not annotated, or films with several raters and none chosen.
    """
    frame = read_annotations(annotations)
    if rater is not None:
        frame = frame.filter(rater=rater)
        if frame.is_empty():
            raise InputError(
                f"{annotations} has no rater {rater!r}; look at the column 'rater' of annotations.parquet."
            )
    several = (
        frame.group_by("image_id")
        .agg(pl.col("rater").drop_nulls().n_unique().alias("n"))
        .filter(pl.col("n") > 1)
    )
    if several.height:
        raise InputError(
            f"{several.height} films of {annotations} have boxes of several raters, which would count as several findings; choose one with --rater."
        )
    people = frame.select("image_id", pl.coalesce("patient_id", "image_id").alias("patient")).unique("image_id", maintain_order=True)  # fmt: skip
    films = people["image_id"].to_list()
    strange = set(detections["image_id"]) - set(films)
    if strange:
        raise InputError(
            f"a detection is on film {min(strange)!r}, which {annotations} does not have; leave it out."
        )
    truth = frame.drop_nulls("x_min")
    measured = list(labels or sorted(truth["label"].drop_nulls().unique()))
    absent = [label for label in measured if label not in truth["label"]]
    if absent or not measured:
        raise InputError(
            f"no true box of {absent[0] if absent else 'any label'!r} in {annotations}; name other labels."
        )
    return replicates_of(truth, detections, films, people["patient"].to_list(), measured, n_resamples, seed)


def replicates_of(
    truth: pl.DataFrame,
    detections: pl.DataFrame,
    films: Sequence[str],
    patients: Sequence[str],
    labels: Sequence[str],
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Replicates]:
    """The same of true boxes (``image_id, label`` and :data:`CORNERS`) on the films, whose patients are resampled."""
    matches = [match(truth, detections, films, label) for label in labels]

    def all_figures(w: np.ndarray) -> np.ndarray:
        pairs = [average_precision(each, w) for each in matches]
        ap, ar = (np.stack([pair[which] for pair in pairs], axis=1) for which in (0, 1))
        return np.concatenate([_mean(ap), _mean(ar), ap, ar], axis=1)

    replicates = bootstrap(all_figures, patients, n_resamples=n_resamples, seed=seed)
    names = [
        "map50",
        "mar50",
        *(f"ap50 {label}" for label in labels),
        *(f"ar50 {label}" for label in labels),
    ]
    return {name: replicates[number] for number, name in enumerate(names)}


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the labels that a resample has a true box of, ``(B, 1)``."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=1, keepdims=True)
    n = known.sum(axis=1, keepdims=True)
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def read_detections(path: Path | str, annotations: Path | str) -> pl.DataFrame:
    """Detections as :data:`DETECTIONS`.

    Args:
        path: a CSV or Parquet with these columns, or COCO's results (a JSON list of image_id, category_id, bbox, score) whose
            ids are those of the annotations' ``coco.json``.
        annotations: the annotations' folder.

    Raises:
        InputError: a missing column or key, an id that ``coco.json`` lacks, or a cell that is no number.
    """
    path = Path(path)
    if path.suffix == ".json":
        return _coco_results(path, Path(annotations) / "coco.json")
    frame = read_table(path)
    require_columns(frame, DETECTIONS, path)
    cells = numbers_in(frame, ("score", *CORNERS), path)
    rows = [
        (image, label, *row)
        for image, label, row in zip(frame["image_id"], frame["label"], cells, strict=True)
    ]
    return _table(rows, path)


def _coco_results(path: Path, truth: Path) -> pl.DataFrame:
    told = read_json(truth, dict)
    images = {film["id"]: film["image_id"] for film in told["images"]}
    labels = {category["id"]: category["name"] for category in told["categories"]}
    rows = []
    for number, row in enumerate(read_json(path, list), 1):
        try:
            image, label = images[row["image_id"]], labels[row["category_id"]]
            x, y, width, height = map(float, row["bbox"])
            rows.append((image, label, float(row["score"]), x, y, x + width, y + height))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} entry {number}: {json.dumps(row)[:80]}; expected image_id and category_id of {truth}, bbox "
                f"[x, y, width, height] and score ({error}). Correct it."
            ) from error
    return _table(rows, path)


def _table(rows: Sequence[tuple], path: Path) -> pl.DataFrame:
    kinds = {name: pl.String if name in ("image_id", "label") else pl.Float64 for name in DETECTIONS}
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    if frame.null_count().sum_horizontal()[0]:
        row = frame.with_row_index("row", 1).filter(pl.any_horizontal(pl.all().is_null()))["row"][0]
        raise InputError(
            f"{path} row {row} has a blank cell; expected all of {', '.join(DETECTIONS)}. Fill it."
        )
    return frame
