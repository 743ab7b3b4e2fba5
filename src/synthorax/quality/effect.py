"""The change that an edit made, against the change that is true.

Virtual patients have the true counterfactual: the same patient with the findings asked for. With
e = edited - source and c = counterfactual - source on the pixels of the mask:

    gain        = <e, c> / <c, c>       1 right, 0 nothing of it, negative: the other way
    correlation = Pearson(e, c)         the right shape, whatever its strength
    error       = |e - c| / |c|         0 exact, 1 as good as leaving the source alone

A sham edit (same masks and sampling, the source's own findings as prompt) has gain 0 if it does nothing; it
is the floor beside every figure.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from synthorax.quality.films import GREY_LEVELS, checked_films

#: Below this root mean square, a tenth of a grey level of 255, the true change cannot be seen nor divided by.
INVISIBLE = 0.1 / GREY_LEVELS


@dataclass(frozen=True)
class Effect:
    """One edit against its truth. ``None`` where the true change is invisible in the mask.

    ``change`` and ``true_change`` are signed means in grey levels of 255 (positive = denser); their ratio is
    the edit's fidelity in brightness where the change has one sign, ``gain`` where it has both.
    """

    gain: float | None
    correlation: float | None
    error: float | None
    change: float
    true_change: float
    n_pixels: int


def effect(
    source: np.ndarray, edited: np.ndarray, counterfactual: np.ndarray, mask: np.ndarray | None = None
) -> Effect:
    """Compare an edit's change with the true one inside a mask.

    Args:
        source, edited, counterfactual: ``(H, W)`` in [0, 1].
        mask: bool ``(H, W)``, where the findings that were asked for (or taken away) are visible; all
            pixels by default, which dilutes small findings.
    """
    source, edited, counterfactual = checked_films(
        mask, source=source, edited=edited, counterfactual=counterfactual
    )
    mask = np.ones(source.shape, bool) if mask is None else mask
    e, c = (edited - source)[mask], (counterfactual - source)[mask]
    mean_e, mean_c = (float(x.mean()) * GREY_LEVELS if len(x) else 0.0 for x in (e, c))
    power = float(c @ c)
    if power <= INVISIBLE**2 * len(c):
        return Effect(None, None, None, mean_e, mean_c, len(c))
    return Effect(
        gain=float(e @ c) / power,
        correlation=_correlation(e, c),
        error=float(np.linalg.norm(e - c)) / power**0.5,
        change=mean_e,
        true_change=mean_c,
        n_pixels=len(c),
    )


def effect_of_edits(
    edits: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]],
) -> pl.DataFrame:
    """A row an edit, in order: ``edit_id`` and the fields of :class:`Effect`.

    Args:
        edits: ``(edit_id, source, edited, counterfactual, mask or None)``.
    """
    rows = [
        {"edit_id": edit_id, **asdict(effect(source, edited, truth, mask))}
        for edit_id, source, edited, truth, mask in edits
    ]
    columns = {"edit_id": pl.String} | dict.fromkeys(Effect.__dataclass_fields__, pl.Float64)
    return pl.DataFrame(rows, schema=columns | {"n_pixels": pl.Int64})


def _correlation(e: np.ndarray, c: np.ndarray) -> float | None:
    """Pearson's r; None where either change is the same on every pixel."""
    e, c = e - e.mean(), c - c.mean()
    scale = float(np.linalg.norm(e) * np.linalg.norm(c))
    return float(e @ c) / scale if scale > INVISIBLE**2 else None
