"""Pleural gas: pneumothorax, and a hemidiaphragm that gas under tension flattens.

``size`` is the gas's depth at the apex as a fraction of 75 mm; ``shift_mm`` how far the mediastinum moves away;
``sulcus_mm`` how much deeper the lateral costophrenic recess reaches.
"""

import numpy as np
from scipy import ndimage

from synthorax.phantom.atlas import LungGrid
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import Warp, random_field, smoothstep, upsample
from synthorax.phantom.findings.displacement import dome_row_mm, shifted_mediastinum
from synthorax.phantom.findings.shape import Shape, contour
from synthorax.phantom.projection import HALF, SIZE

Params = dict[str, object]


def draw_pneumothorax(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    size = float(rng.uniform(0.5, 0.95))
    drawn: Params = {
        "size": size,
        "severity": "moderate" if size < 0.7 else "large",
        "texture": _texture(rng),
    }
    shift, sulcus = rng.uniform(3, 8), rng.uniform(8, 22)
    under_tension = float(size > 0.75)
    return drawn | {"shift_mm": float(shift) * under_tension, "sulcus_mm": float(sulcus) * under_tension}


def make_pneumothorax(
    chest: Chest,
    side: str,
    size: float,
    texture: int,
    shift_mm: float = 0.0,
    sulcus_mm: float = 0.0,
    **_: object,
) -> Shape:
    """Gas between costal wall and lung, deepest at the apex: no markings, a pleural line, a denser lung.

    The lung's vessels move with it towards the hilum.
    """
    grid = chest.atlas.lungs[side]
    air, gap, depth = _gas(grid, size, texture)
    delta, region, depth_mm = _gas_delta(chest, grid, air, gap, depth, size)
    if sulcus_mm:
        freed = _sulcus(grid, sulcus_mm)
        freed_mm = chest.cast(freed, grid)
        delta = delta - chest.cast(0.85 * grid.mu * freed, grid)
        depth_mm, region = depth_mm + freed_mm, np.maximum(region, smoothstep(30, 60, freed_mm))
    if shift_mm:
        delta = delta + shifted_mediastinum(chest, grid, shift_mm)
    return Shape(delta, depth_mm, extent_mm=4.0, region=region)


def _sulcus(grid: LungGrid, sulcus_mm: float) -> np.ndarray:
    """0-1: what gas frees below the lateral recess, deepest at the chest wall."""
    inside = grid.inside > 0
    lowest = inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
    floor = grid.row[0, lowest, 0][:, None]
    deeper = sulcus_mm * smoothstep(0.45, 0.95, grid.lateral / grid.lateral.max())
    below = smoothstep(1.0, -2.0, grid.inside) * (grid.row > floor - 5)
    freed = below * smoothstep(3, -3, grid.row - floor - deeper) * smoothstep(1, 5, grid.costal)
    return freed * inside.any(1, keepdims=True) * smoothstep(0.45, 0.6, grid.lateral / grid.lateral.max())


def draw_depressed_diaphragm(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    return {
        "size": float(rng.uniform(0.35, 0.6)),
        "drop_mm": float(rng.uniform(24, 42)),
        "severity": "moderate",
        "texture": _texture(rng),
    }


def make_depressed_diaphragm(
    chest: Chest, side: str, size: float, drop_mm: float, texture: int, **_: object
) -> Shape:
    """Gas under tension: the hemidiaphragm is flat and low, the lateral sulcus deep; gas fills the dome's place."""
    grid = chest.atlas.lungs[side]
    air, gap, depth = _gas(grid, size, texture)
    delta, region, depth_mm = _gas_delta(chest, grid, air, gap, depth, size)
    across = grid.lateral / grid.lateral.max()
    dome = dome_row_mm(grid)
    surface = dome + drop_mm * smoothstep(0.0, 0.35, across) + 22 * smoothstep(0.5, 1.0, across)
    freed = (
        smoothstep(1.0, -2.0, grid.inside) * (grid.row > dome - 40) * smoothstep(3, -3, grid.row - surface)
    )
    freed = (
        freed * smoothstep(1, 5, grid.costal) * smoothstep(2, -4, grid.heart) * smoothstep(0.0, 0.3, across)
    )
    freed_mm = chest.cast(freed, grid)
    delta = delta - chest.cast(0.85 * grid.mu * freed, grid)
    region = np.maximum(region, smoothstep(30, 60, freed_mm))
    return Shape(delta, depth_mm + freed_mm, extent_mm=4.0, region=region)


def _gas(grid: LungGrid, size: float, texture: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """0-1 gas, distance (mm) inside the remaining lung's surface, and the gap's intended depth (mm)."""
    ripple = 1 + 0.10 * random_field(np.random.default_rng(texture), (1, *grid.inside.shape[1:]), (1, 30, 30))
    depth = size * 75 * (smoothstep(1.05, 0.0, grid.height) + 0.05) * ripple
    depth = depth * smoothstep(-8, 25, grid.lateral + np.clip(0.35 - grid.height, 0, 1) * 60)
    gap = grid.costal - depth
    air = smoothstep(-0.6, 0.6, grid.inside) * smoothstep(1.2, -1.2, gap) * (depth > 1.5)
    return air, gap, depth


def _gas_delta(
    chest: Chest, grid: LungGrid, air: np.ndarray, gap: np.ndarray, depth: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(delta, region, depth in mm): parenchyma and vessels leave the gas; the pleura and the squeezed lung add."""
    parenchyma = np.minimum(grid.mu, 0.006) * smoothstep(-1, 1.5, grid.inside)
    squeezed = (
        smoothstep(-0.6, 0.6, grid.inside) * smoothstep(-1, 1, gap) * 1.6 * size * np.minimum(grid.mu, 0.008)
    )
    depth_mm = chest.cast(air, grid)
    lung = chest.lung[grid.side]
    share = np.clip(depth_mm / np.maximum(lung, 1), 0, 1) * (lung > 8)
    own = chest.vessel * smoothstep(2, 12, lung)
    blood = 1 - 0.6 * depth_mm.sum() / lung.sum()  # a lung that holds less air is given less blood
    delta = chest.cast(squeezed - parenchyma * air, grid) + blood * collapse(own, chest, grid, share) - own
    edge = contour(share, 0.5) * smoothstep(2, 6, depth_mm) * smoothstep(20, 50, lung)
    delta = delta + 0.12 * edge * upsample(_low_fade(grid))
    return delta, smoothstep(0.35, 0.65, share) * (lung > 10), depth_mm


def collapse(vessel: np.ndarray, chest: Chest, grid: LungGrid, share: np.ndarray) -> np.ndarray:
    """Vessels drawn towards the hilum until none lies where most of the lung is gas; their sum stays the same.

    Along each direction the lung's rim comes in from ``R`` to ``S``, where gas takes half of the ray. A point at
    ``r = u S`` shows what was at ``r (1 + a u)``, ``a = R / S - 1``, times the area that came together,
    ``(1 + a u)(1 + 2 a u)``: the hilum stays, the periphery moves most.

    Args:
        vessel: ``(512, 512)`` line integral of one lung's vessels.
        chest, grid: whose they are.
        share: ``(512, 512)`` fraction of the lung along each ray that is gas.
    """
    row, column = chest.place(grid.hilum)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    y, x = rows - row, columns - column
    n = 360
    turn = np.linspace(-np.pi, np.pi, n, endpoint=False)[:, None]
    steps = np.arange(0.0, 360.0)
    at = [row + steps * np.sin(turn), column + steps * np.cos(turn)]
    in_lung = ndimage.map_coordinates(chest.lung[grid.side], at, order=1) > 8
    kept = in_lung & (ndimage.map_coordinates(share, at, order=1) < 0.5)
    rim, line = (
        ndimage.gaussian_filter1d(np.where(mask, steps, 0).max(1), 3, mode="wrap") + 8
        for mask in (in_lung, kept)
    )
    angle = (np.arctan2(y, x) + np.pi) / (2 * np.pi) * n
    near_rim, near_line = (
        ndimage.map_coordinates(radius, angle[None], order=1, mode="grid-wrap") for radius in (rim, line)
    )
    pulled = (np.maximum(near_rim / near_line, 1) - 1) * np.hypot(y, x) / near_line
    moved = Warp.to(row + y * (1 + pulled), column + x * (1 + pulled), (SIZE, SIZE))(vessel)
    together = moved * (1 + pulled) * (1 + 2 * pulled)
    return together + smoothstep(0, 0.4, pulled) * (ndimage.gaussian_filter(together, 1.3) - together)


def _low_fade(grid: LungGrid) -> np.ndarray:
    """``(256, 256)``: 1 in the upper lung, 0 at the base, where the pleural line is lost."""
    rows = np.zeros((HALF, HALF), np.float32)
    rows[grid.box[1]] = smoothstep(0.95, 0.75, grid.height[0])
    return rows


def _texture(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
