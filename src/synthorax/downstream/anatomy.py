"""Does an edit leave lungs and heart as they were: cardiothoracic ratio and lung area, before and after.

    CTR        widest column range of the heart / of the lungs
    lung area  pixels of the lungs / pixels of the film

on the largest piece of the heart and the pieces of the lungs that have a tenth of the largest one's area, found by two
segmenters. The shipped ones (``embedded/``) learned from virtual patients alone, whose lungs reach behind heart and effusion: what
covers a lung does not shrink it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import polars as pl
from scipy.ndimage import label, sum_labels

from synthorax.classifiers.loading import Films, load_films
from synthorax.classifiers.statistics import mean_interval
from synthorax.concepts import Vocabulary
from synthorax.dataset import read_metadata
from synthorax.downstream.segmenter import Segmenter
from synthorax.errors import InputError
from synthorax.files import atomic

#: Largest change of the CTR, and of the lung area as a share of it before, that counts as none: at least 95 of 100 true
#: counterfactuals of virtual patients whose heart stays lie within (docs/editing.md).
LIMITS: Mapping[str, float] = {"cardiothoracic_ratio": 0.03, "lung_area": 0.02}
#: Share of the largest piece's area that a piece of the lungs needs.
PIECE = 0.1


@dataclass(frozen=True)
class Segmenters:
    """What finds lungs and heart."""

    lungs: Segmenter
    heart: Segmenter

    @classmethod
    def load(cls, lungs: Path | None = None, heart: Path | None = None, device: str = "cpu") -> "Segmenters":
        """From folders of 'train segmenter'; None takes the shipped one."""
        shipped = files("synthorax.downstream") / "embedded"
        found = []
        for name, folder in (("lungs", lungs), ("heart", heart)):
            with as_file(shipped / name) as path:
                found.append(Segmenter.load(folder or path, device))
        return cls(*found)


def anatomy(films: Films, segmenters: Segmenters) -> dict[str, np.ndarray]:
    """``cardiothoracic_ratio`` and ``lung_area`` of films, ``(N,)`` each; NaN where no lung (or for the ratio no heart) is found.

    Args:
        films: ``(N, H, W)`` in [0, 1] or paths, frontal.
        segmenters: from :meth:`Segmenters.load`.
    """
    found = [
        each.squares(load_films(films, each.size)) >= 0.5 for each in (segmenters.lungs, segmenters.heart)
    ]
    lungs, hearts = (
        [_pieces(mask, least) for mask in masks] for masks, least in zip(found, (PIECE, 1), strict=True)
    )
    ratios = [_width(heart) / _width(lung) for heart, lung in zip(hearts, lungs, strict=True)]
    return {
        "cardiothoracic_ratio": np.array(ratios, dtype=float),
        "lung_area": np.array([lung.mean() or np.nan for lung in lungs], dtype=float),
    }


def _pieces(mask: np.ndarray, least: float) -> np.ndarray:
    """The connected pieces of a mask that have that share of the largest one's area."""
    pieces, n = label(mask)
    if not n:
        return mask
    areas = sum_labels(mask, pieces, np.arange(n + 1))
    return (areas >= least * areas.max())[pieces] & mask


def _width(mask: np.ndarray) -> float:
    """Columns, as a share of the film; NaN of an empty mask."""
    columns = np.flatnonzero(mask.any(0))
    return (columns[-1] - columns[0] + 1) / mask.shape[1] if len(columns) else np.nan


def changes(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of two results of :func:`anatomy`: the CTR's difference, and the lung area's as a share of it before."""
    ratio, area = ([found[name] for found in (before, after)] for name in LIMITS)
    return {"cardiothoracic_ratio": ratio[1] - ratio[0], "lung_area": area[1] / area[0] - 1}


def evaluate_anatomy(dataset: Path, out: Path, segmenters: Segmenters, *, seed: int = 0) -> pl.DataFrame:
    """What the edits of a dataset did to lungs and heart.

    Args:
        dataset: a folder with ``metadata.parquet``; films with a source are measured.
        out: folder for films.csv and anatomy.json.
        segmenters: from :meth:`Segmenters.load`.
        seed: of the bootstrap.

    Returns:
        A row a figure and ``heart``: ``asked`` (an enlarged heart came or went by request) or ``kept``; mean change with its 95 %
        interval by patient, share of films within :data:`LIMITS` (of those kept), films, films that could not be measured.

    Raises:
        InputError: no film has a source, or films are real and the segmenters know virtual patients alone.
    """
    table = read_metadata(dataset).filter(pl.col("source_file_name").is_not_null())
    if table.is_empty():
        raise InputError(f"{dataset} has no edit: source_file_name is empty throughout.")
    knows = [each.record["note"] for each in (segmenters.lungs, segmenters.heart)]
    if not table["is_simulated"].all() and any(note.startswith("simulated") for note in knows):
        raise InputError(
            f"{dataset} holds edits of real films, on which the shipped segmenters are often wrong: they know virtual patients alone. "
            "Give --lungs and --heart, folders of 'train segmenter' that learned from real films."
        )
    before, after = (anatomy([str(dataset / name) for name in table[column]], segmenters) for column in ("source_file_name", "file_name"))  # fmt: skip
    change = changes(before, after)
    vocabulary = Vocabulary.load()
    enlarged = {name for name in vocabulary.pathologies if vocabulary.label_of(name) == "Cardiomegaly"}
    asked = [bool(enlarged & (set(a or ()) ^ set(b or ()))) for a, b in table.select("concepts_before", "concepts_after").iter_rows()]  # fmt: skip
    films = table.select("image_id", "patient_id", "perturbation_type").with_columns(
        heart=pl.Series(["asked" if each else "kept" for each in asked]),
        **{f"{name}_{when}": pl.Series(found[name]) for name in LIMITS for when, found in (("before", before), ("after", after))},
        **{f"{name}_change": pl.Series(change[name]) for name in LIMITS},
    )  # fmt: skip
    rows = []
    for (heart,), some in films.group_by("heart", maintain_order=True):
        for name, limit in LIMITS.items():
            known = some.filter(pl.col(f"{name}_change").is_finite())
            values = known[f"{name}_change"].to_numpy()
            interval = mean_interval(values, known["patient_id"].to_list(), seed=seed) if len(known) else None
            rows.append({
                "figure": name, "heart": heart, "change": interval and interval.estimate, "ci_low": interval and interval.ci_low,
                "ci_high": interval and interval.ci_high, "within": float((np.abs(values) <= limit).mean()) if len(known) else None,
                "n": len(known), "n_not_measured": len(some) - len(known),
            })  # fmt: skip
    with atomic(out / "films.csv") as temporary:
        films.write_csv(temporary)
    with atomic(out / "anatomy.json") as temporary:
        temporary.write_text(json.dumps({"limits": dict(LIMITS), "figures": rows}, indent=1) + "\n")
    return pl.DataFrame(rows)
