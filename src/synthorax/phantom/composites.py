"""Simulated findings on real films: what teaches a model a finding's look on a film that is not virtual.

A virtual patient is fitted to a real film without findings; what the finding changes on the virtual film is carried
over. The result is neither a real patient nor an exact truth: the tissue is simulated, its place is as good as the fit,
and dense organs hide it as they would only roughly.

| variable | meaning |
| --- | --- |
| r, h, f | real film, the virtual patient without and with findings (strict), grey in (0, 1) |
| A | map from the virtual to the real film: scales (down, across) and shifts |
| d | logit f - logit h, warped by A; the result is sigmoid(logit r + d) |

The logit undoes the film's S-shaped curve, so that a change is smaller where the film is nearly white or black.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import ndimage, optimize

from synthorax.concepts import Vocabulary
from synthorax.dataset import write_png
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.phantom.cohort_tables import STUDY_COLUMNS
from synthorax.phantom.counterfactuals import counterfactual_pairs
from synthorax.phantom.fields import shrink
from synthorax.phantom.patient import Film
from synthorax.phantom.reports import write_report
from synthorax.progress import track
from synthorax.seeds import derive_seed, is_held_out
from synthorax.studies import prepare, read_film

SOURCE = "composite"
SMALL, FIT = 32, 64  # px: films are matched at the one size, fitted at the other
SCALES_DOWN, SCALES_ACROSS = (0.86, 0.93, 1.0, 1.08, 1.16), (0.9, 1.0, 1.1)
SHIFTS = (-2.0, 0.0, 2.0)  # px of 32
TRIES, PER_VIRTUAL = 12, 8  # fits tried for a real film; how often a virtual film is used at most
GAS = ("absent_lung_markings", "irregular_diaphragm")
POOLS = ("effusion", "fluid", "meniscus_sign", "costophrenic_angle")


@dataclass(frozen=True)
class Fit:
    """A: a point (row, column) of the virtual film, relative to the middle, times scale plus shift is its place."""

    down: float
    across: float
    row: float  # shifts as fractions of the film's side
    column: float
    correlation: float

    @property
    def is_good(self) -> bool:
        """Alike, and without the large shifts that stand for a film that lies askew."""
        scales = max(self.down, self.across, 1 / self.down, 1 / self.across)
        return self.correlation > 0.78 and scales < 1.22 and abs(self.row) < 0.13 and abs(self.column) < 0.07

    def warp(self, image: np.ndarray) -> np.ndarray:
        """A virtual map on the real film's grid; outside the virtual film it repeats its border."""
        size = image.shape[0]
        scale, middle = np.array([self.down, self.across]), (size - 1) / 2
        shift = np.array([self.row, self.column]) * size
        offset = middle - (middle + shift) / scale
        return ndimage.affine_transform(image, 1 / scale, offset, order=1, mode="nearest")


def make_composites(
    cohort: Path, films: pl.DataFrame, out: Path, *, size: int = 256, per_film: int = 8, workers: int = 2
) -> Path:
    """Put a cohort's findings on real films and write them as a set.

    Each real film gets the findings of up to ``per_film`` virtual films: of the twelve most alike, those that fit well.

    Args:
        cohort: folder of ``phantom sample``.
        films: manifest rows of real frontal films without findings. Held-out patients, real or virtual, are passed over.
        out: folder for ``images/`` and ``studies.parquet`` (source ``composite``, patient and view of the real film,
            sides of the virtual one, a report of its findings).
        size: side of the films, pixels.
        per_film: composites of a real film, at most.
        workers: processes.

    Returns:
        ``studies.parquet``.

    Raises:
        InputError: no real film, or no film with findings in the cohort.
    """
    studies = pl.read_parquet(cohort / "studies.parquet")
    states = pl.read_parquet(cohort / "concepts.parquet").rename({"study_id": "image_id"})
    vocabulary = Vocabulary.load()
    table = studies.join(states, on="image_id", how="left", maintain_order="left")
    rows = [
        row | {"concepts": [c for c in vocabulary.pathologies if row[c] == 1]}
        for row in table.iter_rows(named=True)
    ]
    rows = [row for row in rows if row["concepts"] and not is_held_out(row["patient_id"])]
    films = films.filter(~pl.col("patient_id").map_elements(is_held_out, return_dtype=pl.Boolean))
    if not rows or films.is_empty():
        raise InputError(
            f"{films.height} real films and {len(rows)} virtual ones with findings; expected one of each."
        )
    asked = [(row["image_id"], (), tuple(row["concepts"])) for row in rows]
    pairs = list(
        track(
            counterfactual_pairs(asked, size, mode="strict", workers=workers),
            "Virtual films",
            total=len(rows),
        )
    )
    tiny = np.stack([_standardised(shrink(healthy.image, size // SMALL)) for healthy, _ in pairs])
    used = np.zeros(len(rows), dtype=int)
    made = []
    for of_film in track(films.to_dicts(), "Findings on real films"):
        real = prepare(read_film(of_film["file_name"]), size)
        taken = 0
        for index in _most_alike(real, tiny, used >= PER_VIRTUAL):
            healthy, sick = pairs[index]
            fitted = fit(healthy.image, real)
            if not fitted.is_good:
                continue
            row = rows[index]
            image = composite(real, healthy, sick, row["concepts"], fitted)
            name = f"{row['image_id']}__on__{of_film['image_id']}"
            write_png(image, out / "images" / f"{name}.png", Synthetic="YES", Simulated="findings")
            kept = {key: of_film[key] for key in ("patient_id", "view_position", "sex", "age")}
            made.append(
                {key: row[key] for key in STUDY_COLUMNS}
                | kept
                | {"study_id": name, "image_id": name, "file_name": f"images/{name}.png", "source": SOURCE}
                | {"report": _report(name, row["concepts"], sick, of_film["view_position"])}
            )
            used[index] += 1
            taken += 1
            if taken == per_film:
                break
    with atomic(out / "studies.parquet") as temporary:
        pl.DataFrame(made, schema=STUDY_COLUMNS).write_parquet(temporary)
    return out / "studies.parquet"


def _report(name: str, concepts: Sequence[str], sick: Film, view_position: str | None) -> str:
    """What the composite shows: the findings, without the virtual patient's devices, which stay behind."""
    params: dict[str, Any] = sick.params["findings"]  # type: ignore[assignment]
    return write_report(
        {c: params[c] for c in concepts},
        {},
        is_unremarkable=False,
        view_position=view_position or "frontal",
        seed=derive_seed(name, "report"),
    )


def composite(
    real: np.ndarray, healthy: Film, sick: Film, concepts: Sequence[str], fitted: Fit
) -> np.ndarray:
    """The real film with the virtual one's findings, ``(H, W)`` float32 in [0, 1].

    Gas takes the vessels away: within it, structures thinner than ribs are smoothed. Fluid has no lower edge of its
    own: below the virtual dome it goes on, fading over a twentieth of the film, so that no gap is left where the real
    dome is lower; an enlarged heart goes on inwards likewise.
    """
    size = real.shape[0]
    d = _logit(sick.image) - _logit(healthy.image)
    d[np.abs(d) < 1e-3] = 0
    d = fitted.warp(d)
    if any(name in POOLS for name in concepts):
        pool = fitted.warp(_union(sick, POOLS, size).astype(np.float32)) > 0.5
        d = np.maximum(d, _poured(np.where(pool, np.maximum(d, 0), 0), fade_px=size / 20))
    if "enlarged_heart" in concepts:
        heart = fitted.warp(sick.extents["enlarged_heart"].astype(np.float32)) > 0.5
        d = np.maximum(d, _to_the_middle(np.where(heart, np.maximum(d, 0), 0), fade_px=size / 12))
    base = real
    if any(name in GAS for name in concepts):
        gas = ndimage.gaussian_filter(fitted.warp(_union(sick, GAS, size).astype(np.float32)), size / 256)
        smooth = ndimage.median_filter(real, max(3, size // 40))
        base = real + gas * (smooth - real)
    changed = 1 / (1 + np.exp(-(_logit(base) + d)))
    return np.where((d == 0) & (base == real), real, changed).astype(np.float32)


def fit(healthy: np.ndarray, real: np.ndarray) -> Fit:
    """The scales and shifts at which the virtual film correlates best with the real one (Nelder-Mead from rest)."""
    small, target = (shrink(image, image.shape[0] // FIT) for image in (healthy, real))
    inner = slice(FIT // 8, -FIT // 8)
    wanted = _standardised(target[inner, inner])

    def correlation(p: np.ndarray) -> float:
        warped = Fit(float(np.exp(p[0])), float(np.exp(p[1])), p[2] / 10, p[3] / 10, 0.0).warp(small)
        return float(_standardised(warped[inner, inner]) @ wanted)

    simplex = np.vstack([np.zeros(4), np.diag([0.1, 0.08, 0.4, 0.4])])
    options = {"initial_simplex": simplex, "xatol": 5e-3, "fatol": 1e-4, "maxfev": 160}
    best = optimize.minimize(lambda p: -correlation(p), np.zeros(4), method="Nelder-Mead", options=options)
    down, across = np.clip(np.exp(best.x[:2]), 0.8, 1.25)
    row, column = np.clip(best.x[2:] / 10, -0.15, 0.15)
    return Fit(float(down), float(across), float(row), float(column), float(-best.fun))


def _most_alike(real: np.ndarray, tiny: np.ndarray, is_full: np.ndarray) -> list[int]:
    """The virtual films worth a fit, over a grid of scales and shifts of the real one, best first."""
    small = shrink(real, real.shape[0] // SMALL)
    tries = np.stack(
        [
            _standardised(Fit(down, across, row / SMALL, column / SMALL, 0.0).warp(small))
            for down in SCALES_DOWN
            for across in SCALES_ACROSS
            for row in SHIFTS
            for column in SHIFTS
        ]
    )
    score = np.where(is_full, -np.inf, (tries @ tiny.T).max(0))
    return [i for i in np.argsort(-score)[:TRIES].tolist() if not is_full[i]]


def _standardised(image: np.ndarray) -> np.ndarray:
    """Flat, zero mean, unit length: a product of two is their correlation."""
    flat = image.ravel() - image.mean()
    return flat / max(float(np.linalg.norm(flat)), 1e-6)


def _logit(grey: np.ndarray) -> np.ndarray:
    inside = np.clip(grey, 0.01, 0.99)
    return np.log(inside / (1 - inside))


def _union(film: Film, concepts: Sequence[str], size: int) -> np.ndarray:
    masks = [film.extents[name] for name in concepts if name in film.extents]
    return np.any(masks, axis=0) if masks else np.zeros((size, size), bool)


def _to_the_middle(d: np.ndarray, fade_px: float) -> np.ndarray:
    """A change carried from either side to the film's middle, fading with the distance."""
    half = d.shape[1] // 2
    left, right = (_poured(part.T, fade_px).T for part in (d[:, :half], d[:, half:][:, ::-1]))
    return np.hstack([left, right[:, ::-1]])


def _poured(d: np.ndarray, fade_px: float) -> np.ndarray:
    """A change carried downwards, fading with the distance below."""
    out, keep = d.copy(), float(np.exp(-1 / fade_px))
    for row in range(1, len(d)):
        out[row] = np.maximum(d[row], out[row - 1] * keep)
    return out
