"""What a recipe returns, and what recipes share: places in the lung and tissue added to it."""

from dataclasses import dataclass

import numpy as np

from synthorax.phantom.atlas import LungGrid
from synthorax.phantom.chest import Chest
from synthorax.phantom.projection import MU_SOFT, SIZE

SIDE_WORDS = {"R": "right", "L": "left", "RL": "bilateral"}


@dataclass(frozen=True)
class Shape:
    """A finding in the atlas's frame, before the patient's warp.

    Attributes:
        delta: ``(512, 512)`` what it adds to the line integral (negative for gas).
        depth_mm: ``(512, 512)`` how much of it lies along the ray.
        extent_mm: from which depth a pixel belongs to its extent, hidden parts included.
        region: ``(512, 512)`` 0-1, where a change of grey is not the measure of what is seen (gas); else None.
    """

    delta: np.ndarray
    depth_mm: np.ndarray
    extent_mm: float
    region: np.ndarray | None = None


def fill(
    chest: Chest, grid: LungGrid, amount: np.ndarray, mu: float = MU_SOFT
) -> tuple[np.ndarray, np.ndarray]:
    """Replace a 0-1 amount of lung by tissue of attenuation ``mu``; returns (delta, depth in mm)."""
    return chest.cast(np.maximum(mu - grid.mu, 0) * amount, grid), chest.cast(amount, grid)


def pick_pixel(rng: np.random.Generator, chest: Chest, side: str, rim_px: float) -> tuple[float, float]:
    """A random pixel (row, column) of clear lung at least ``rim_px`` from its rim, or the deepest one."""
    depth = chest.clear_depth[side]
    inner = np.flatnonzero(depth.ravel() >= min(rim_px, depth.max()))
    row, column = divmod(int(inner[rng.integers(len(inner))]), SIZE)
    return float(row), float(column)


def clear_columns(chest: Chest, grid: LungGrid) -> np.ndarray:
    """``(1, Z, X)`` bool on a lung's box: columns whose lung is seen, not hidden by heart or diaphragm.

    The pose moves lung by a few pixels only, so the middle of the chest stands for the whole ray.
    """
    return chest.clear[grid.side][::2, ::2][grid.box[1], grid.box[2]][None]


def pick_cell(rng: np.random.Generator, grid: LungGrid, allowed: np.ndarray) -> tuple[float, float, float]:
    """Depth, row, column (mm) of a random cell of ``allowed`` (broadcast to the box)."""
    allowed = np.broadcast_to(allowed, grid.inside.shape)
    if not allowed.any():
        allowed = grid.inside > 6
    cells = np.flatnonzero(allowed.ravel())
    i, j, k = np.unravel_index(int(cells[rng.integers(len(cells))]), allowed.shape)
    return float(grid.depth[i, 0, 0]), float(grid.row[0, j, 0]), float(grid.column[0, 0, k])


def distance_to(grid: LungGrid, centre_mm: tuple[float, float, float], stretch=(1.0, 1.0, 1.0)) -> np.ndarray:
    """Distance (mm) from a point, axes divided by ``stretch``."""
    squares = (
        ((axis - c) / s) ** 2
        for axis, c, s in zip((grid.depth, grid.row, grid.column), centre_mm, stretch, strict=True)
    )
    return np.sqrt(sum(squares))


def contour(share: np.ndarray, at: float) -> np.ndarray:
    """0-1: a one-millimetre line along a level of a smooth map, such as pleura seen on edge."""
    rise, run = np.gradient(share)
    steep = np.hypot(rise, run) + 1e-3
    return np.exp(-(((share - at) / steep / 0.9) ** 2)) * (steep > 0.008)
