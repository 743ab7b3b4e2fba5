"""Calibration: the reliability diagram, and one temperature that makes probabilities honest (Guo et al. 2017)."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from markupsafe import Markup, escape

from synthorax.classifiers.metrics import ECE_BINS, checked
from synthorax.errors import InputError

#: Probabilities are kept this far from 0 and 1 before their logit is taken (float32's sigmoid ends there).
_NEAREST = 1e-7
_LOWEST, _HIGHEST = 0.05, 20.0
_PANEL, _EDGE, _COLUMNS = 200, 34, 5


def reliability(y: np.ndarray, p: np.ndarray, n_bins: int = ECE_BINS) -> pl.DataFrame:
    """The reliability diagram of one label: ``bin_low, bin_high, n, mean_probability, observed_rate``."""
    known = ~np.isnan(y)
    y, p = y[known], p[known]
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    frame = pl.DataFrame({"bin": bins, "p": p, "y": y}).group_by("bin")
    frame = frame.agg(pl.len(), pl.mean("p"), pl.mean("y"))
    edges = pl.DataFrame({"bin": np.arange(n_bins), "bin_low": np.arange(n_bins) / n_bins})
    return edges.join(frame, on="bin", how="left", maintain_order="left").select(
        "bin_low",
        bin_high=pl.col("bin_low") + 1 / n_bins,
        n=pl.col("len").fill_null(0),
        mean_probability="p",
        observed_rate="y",
    )


def reliability_table(targets: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> pl.DataFrame:
    """:func:`reliability` of each label, with a column ``label`` first."""
    pairs = zip(labels, targets.T, probabilities.T, strict=True)
    return pl.concat([reliability(y, p).select(pl.lit(name).alias("label"), pl.all()) for name, y, p in pairs])  # fmt: skip


def reliability_figure(table: pl.DataFrame) -> Markup:
    """A diagram a label as one SVG: a dot a bin (area = films), the diagonal is perfect calibration."""
    panels = []
    groups = list(table.group_by("label", maintain_order=True))
    for place, ((label,), part) in enumerate(groups):
        row, column = divmod(place, _COLUMNS)
        most = part["n"].max() or 1
        dots = "".join(
            f'<circle cx="{_PANEL * row["mean_probability"]:.1f}" cy="{_PANEL * (1 - row["observed_rate"]):.1f}" '
            f'r="{1.5 + 7 * (row["n"] / most) ** 0.5:.1f}"><title>{row["n"]} films: {row["mean_probability"]:.3f} '
            f"predicted, {row['observed_rate']:.3f} observed</title></circle>"
            for row in part.iter_rows(named=True)
            if row["n"]
        )
        panels.append(
            f'<g transform="translate({_EDGE + column * (_PANEL + _EDGE)} {_EDGE + row * (_PANEL + 2 * _EDGE)})">'
            f'<rect width="{_PANEL}" height="{_PANEL}" fill="none" stroke="#9aa"/>'
            f'<line y1="{_PANEL}" x2="{_PANEL}" stroke="#9aa" stroke-dasharray="4 4"/>'
            f'<g fill="#1f6f8b" fill-opacity=".75">{dots}</g><text y="-10">{escape(label)} ({part["n"].sum()} films)</text>'
            f'<text y="{_PANEL + 16}">0</text><text x="{_PANEL}" y="{_PANEL + 16}" text-anchor="end">1</text>'
            f'<text x="{_PANEL / 2}" y="{_PANEL + 16}" text-anchor="middle">predicted</text>'
            f'<text transform="rotate(-90)" x="-{_PANEL / 2}" y="-8" text-anchor="middle">observed</text></g>'
        )
    width = _EDGE + min(len(groups), _COLUMNS) * (_PANEL + _EDGE)
    height = -(-len(groups) // _COLUMNS) * (_PANEL + 2 * _EDGE)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{height}" fill="#fff"/>{"".join(panels)}</svg>'
    )


def negative_log_likelihood(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over known films and labels, in nats."""
    known = ~np.isnan(targets)
    y, p = targets[known], np.clip(probabilities[known], _NEAREST, 1 - _NEAREST)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def fit_temperature(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The T > 0 with the least negative log-likelihood of sigmoid(logit(p) / T) on validation films.

    One temperature for all labels; above 1 the model was too sure. It lies within 0.05 and 20, which are reached where
    the films are told apart without an error, or not at all.

    Args:
        targets: ``(N, L)`` 0, 1 or NaN (unknown, left out).
        probabilities: ``(N, L)``.

    Raises:
        InputError: no known film.
    """
    from scipy.optimize import minimize_scalar

    targets, probabilities = checked(targets, probabilities)
    if np.isnan(targets).all():
        raise InputError("no validation film has a known label; a temperature needs some. Give a split 'validation'.")  # fmt: skip
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(targets, with_temperature(probabilities, np.exp(log_t))),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """sigmoid(logit(p) / T): the order of the films stays, hence AUROC and AUPRC do."""
    from scipy.special import expit, logit

    return expit(logit(np.clip(probabilities, _NEAREST, 1 - _NEAREST)) / temperature)
