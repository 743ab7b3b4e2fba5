"""Structural fidelity of an edit (CARS table 3): SSIM and grey-level change against the source.

SSIM of the whole film rises by itself when a method copies pixels outside a mask, so it is given inside and
outside too. Wang et al. 2004: Gaussian window, sigma 1.5, radius 5 px, population covariance, K1 .01, K2 .03,
data range 1.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import polars as pl

from synthorax.errors import InputError
from synthorax.quality.films import DATA_RANGE, GREY_LEVELS, checked_films

SIGMA = 1.5
#: Pixels that a window reaches to each side, 3.5 sigma.
RADIUS_PX = 5


@dataclass(frozen=True)
class Structure:
    """One edit against its source. ``None`` where there is no mask or it leaves no pixel.

    ``ssim_outside`` averages pixels whose window touches no masked pixel, so that exact pixels outside the
    mask give exactly 1. Grey differences are mean absolute ones in levels of 255, on the mask as it is.
    """

    ssim: float
    ssim_inside: float | None
    ssim_outside: float | None
    grey_difference: float
    grey_difference_inside: float | None
    grey_difference_outside: float | None
    mask_fraction: float | None


def ssim_map(source: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """SSIM of each pixel's window, -1 to 1, ``(H - 10, W - 10)``: only windows that lie in the film.

    Args:
        source: ``(H, W)`` in [0, 1], at least 11 px a side.
        edited: the same shape.
    """
    from skimage.metrics import structural_similarity

    source, edited = checked_films(source=source, edited=edited)
    if min(source.shape) <= 2 * RADIUS_PX:
        raise InputError(f"the film is {source.shape} px; SSIM's window needs {2 * RADIUS_PX + 1} px a side.")
    _, similarity = structural_similarity(
        source,
        edited,
        data_range=DATA_RANGE,
        gaussian_weights=True,
        sigma=SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return similarity[RADIUS_PX:-RADIUS_PX, RADIUS_PX:-RADIUS_PX]


def structure(source: np.ndarray, edited: np.ndarray, mask: np.ndarray | None = None) -> Structure:
    """How much of the source an edit kept.

    Args:
        source: ``(H, W)`` in [0, 1].
        edited: the same shape.
        mask: bool ``(H, W)``, where the edit was allowed. Without one only the whole is given.
    """
    from scipy.ndimage import maximum_filter

    similarity = ssim_map(source, edited)
    change = np.abs(np.asarray(edited, dtype=np.float64) - source) * GREY_LEVELS
    if mask is None:
        return Structure(float(similarity.mean()), None, None, float(change.mean()), None, None, None)
    checked_films(mask, source=source)
    seen = maximum_filter(mask, size=2 * RADIUS_PX + 1)
    crop = (slice(RADIUS_PX, -RADIUS_PX),) * 2
    return Structure(
        ssim=float(similarity.mean()),
        ssim_inside=_mean(similarity, mask[crop]),
        ssim_outside=_mean(similarity, ~seen[crop]),
        grey_difference=float(change.mean()),
        grey_difference_inside=_mean(change, mask),
        grey_difference_outside=_mean(change, ~mask),
        mask_fraction=float(mask.mean()),
    )


def structure_of_edits(
    edits: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]],
) -> pl.DataFrame:
    """A row an edit, in order: ``edit_id`` and the fields of :class:`Structure`.

    Args:
        edits: ``(edit_id, source, edited, mask or None)``, e.g. a generator that reads them one at a time.
    """
    rows = [
        {"edit_id": edit_id, **asdict(structure(source, edited, mask))}
        for edit_id, source, edited, mask in edits
    ]
    columns = {"edit_id": pl.String} | dict.fromkeys(Structure.__dataclass_fields__, pl.Float64)
    return pl.DataFrame(rows, schema=columns)


def pairwise_ssim(images: np.ndarray) -> float:
    """Diversity of several images of one prompt: mean SSIM over their pairs, lower = more diverse (ChexGen).

    Args:
        images: ``(N, H, W)`` in [0, 1], at least two.
    """
    if len(images) < 2:
        raise InputError(f"{len(images)} image; diversity needs at least two of the same prompt.")
    return float(np.mean([ssim_map(a, b).mean() for a, b in combinations(images, 2)]))


def _mean(values: np.ndarray, where: np.ndarray) -> float | None:
    return float(values[where].mean()) if where.any() else None
