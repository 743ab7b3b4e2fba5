"""Pleural findings: fluid that rises along the chest wall, pockets of it, and gas.

``level`` is the height of free fluid as a fraction of the lung's height above its lowest recess; ``rise_mm``
is how far it climbs the wall above that; ``size`` of gas is the depth at the apex as a fraction of 75 mm.
"""

import numpy as np

from synthorax.phantom.atlas import LungGrid
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import random_field, smoothstep, upsample
from synthorax.phantom.findings.shape import Shape, clear_columns, fill
from synthorax.phantom.projection import HALF, MU_WATER, SLAB_MM

Params = dict[str, object]
FLUID_MU = 1.03 * MU_WATER


def draw_effusion(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    level = float(rng.uniform(0.28, 0.6))
    severity = "moderate" if level < 0.46 else "large"
    return {
        "level": level,
        "rise_mm": float(rng.uniform(16, 26)),
        "severity": severity,
        "texture": _texture(rng),
        "layering": chest.is_supine,
    }


def draw_meniscus(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    level = float(rng.uniform(0.24, 0.36))
    return {
        "level": level,
        "rise_mm": float(rng.uniform(34, 48)),
        "severity": "moderate",
        "texture": _texture(rng),
    }


def make_free_fluid(
    chest: Chest, side: str, level: float, rise_mm: float, texture: int, layering: bool = False, **_: object
) -> Shape:
    """Free fluid: flooded below its level, a film thinning exponentially up the costal wall above it.

    Raising ``level`` never lowers the volume. Seen from the front the film along the wall is the meniscus. With
    ``layering`` (supine) the same volume lies behind the lung, up to one depth: a veil that thickens to the base.
    """
    grid = chest.atlas.lungs[side]
    surface = grid.base_mm - (0.10 + level) * (grid.base_mm - grid.apex_mm) * 0.95
    above = surface - grid.row
    wave = 3.0 * random_field(np.random.default_rng(texture), (1, *grid.inside.shape[1:]), (1, 16, 12))
    wall_film = (14 + 40 * level) * np.exp(-np.clip(above, -60, None) / rise_mm) - 5.0
    wall_film = wall_film * (0.35 + 0.65 * smoothstep(-5, 50, grid.lateral))
    tilt = 0.22 * np.clip(60 - grid.costal, 0, 60) - 6  # the pool's surface itself climbs towards the wall
    pool = smoothstep(9, -9, above - tilt + wave)
    amount = np.maximum(smoothstep(4, -4, grid.costal - wall_film - 0.5 * wave), pool)
    amount = amount * smoothstep(-1.2, 0.6, grid.inside)
    delta, depth_mm = fill(chest, grid, amount, FLUID_MU)
    delta, depth_mm = _thinner_recess(chest, delta), _thinner_recess(chest, depth_mm)
    if layering:
        volume = float(depth_mm.sum(dtype=np.float64))
        delta, depth_mm = fill(chest, grid, _layer(chest, grid, volume), FLUID_MU)
    return Shape(delta, depth_mm, extent_mm=6.0)


def _layer(chest: Chest, grid: LungGrid, volume: float) -> np.ndarray:
    """0-1 fluid behind the lung, from the back up to the depth at which it holds ``volume`` (mm, summed over pixels)."""
    inside = smoothstep(-1.2, 0.6, grid.inside)
    held = np.cumsum(inside.sum((1, 2), dtype=np.float64))  # by slab, from the back
    share = min(volume / float(chest.cast(inside, grid).sum(dtype=np.float64)), 1.0)
    surface = float(np.interp(share * held[-1], held, grid.depth[:, 0, 0] + SLAB_MM / 2))
    return inside * np.clip((surface - grid.depth) / SLAB_MM + 0.5, 0, 1)


def draw_blunted_angle(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    return {"height_mm": float(rng.uniform(28, 44)), "severity": "small", "texture": _texture(rng)}


def make_blunted_angle(chest: Chest, side: str, height_mm: float, texture: int, **_: object) -> Shape:
    """A little fluid that fills only the lateral costophrenic recess, with a concave upper edge."""
    grid = chest.atlas.lungs[side]
    across = grid.lateral / grid.lateral.max()
    seen = clear_columns(chest, grid)[0] & (across[0] > 0.6)
    floor = float(grid.row[0, np.flatnonzero(seen.any(1))[-1], 0])
    above = floor - grid.row
    wave = 2.0 * random_field(np.random.default_rng(texture), (1, *grid.inside.shape[1:]), (1, 12, 10))
    reach = 1.3 * height_mm * np.exp(-np.clip(above, 0, None) / (0.6 * height_mm)) + wave - 4
    amount = smoothstep(4, -4, grid.costal - reach) * smoothstep(0.35, 0.6, across)
    amount = amount * smoothstep(-1.2, 0.6, grid.inside) * smoothstep(2.2 * height_mm, 1.2 * height_mm, above)
    return Shape(*fill(chest, grid, amount, FLUID_MU), extent_mm=6.0)


def _thinner_recess(chest: Chest, of_fluid: np.ndarray) -> np.ndarray:
    """Upright, the recess behind the diaphragm is thinner than in this supine CT: less fluid over the abdomen."""
    return of_fluid * (1 - 0.55 * smoothstep(2.2, 3.6, chest.soft))


def draw_pocket(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    depth = float(rng.uniform(24, 44))
    return {
        "depth_mm": depth,
        "length_mm": float(rng.uniform(38, 62)),
        "height": float(rng.uniform(0.38, 0.66)),
        "severity": "moderate" if depth < 34 else "large",
        "texture": _texture(rng),
    }


def make_pocket(
    chest: Chest, side: str, depth_mm: float, length_mm: float, height: float, texture: int, **_: object
) -> Shape:
    """Loculated fluid: a lens against the lateral chest wall, and a thin layer at the base."""
    grid = chest.atlas.lungs[side]
    centre = grid.apex_mm + height * (grid.base_mm - grid.apex_mm)
    along = (grid.row - centre) / length_mm
    wave = 0.12 * random_field(np.random.default_rng(texture), (1, *grid.inside.shape[1:]), (1, 14, 14))
    lens = depth_mm * np.clip(1 - along**2 + wave, 0, None) ** 0.75
    lens = lens * smoothstep(0.25, 0.7, grid.lateral / grid.lateral.max())
    amount = smoothstep(2.5, -2.5, grid.costal - lens + 2) * (lens > 1) * smoothstep(-1.2, 0.6, grid.inside)
    return Shape(*fill(chest, grid, amount, FLUID_MU), extent_mm=6.0)


def draw_pneumothorax(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    size = float(rng.uniform(0.5, 0.95))
    return {"size": size, "severity": "moderate" if size < 0.7 else "large", "texture": _texture(rng)}


def make_pneumothorax(chest: Chest, side: str, size: float, texture: int, **_: object) -> Shape:
    """Gas between costal wall and lung, deepest at the apex: no markings, a pleural line, a denser lung."""
    grid = chest.atlas.lungs[side]
    air, gap, depth = _gas(grid, size, texture)
    delta, region, depth_mm = _gas_delta(chest, grid, air, gap, depth, size)
    return Shape(delta, depth_mm, extent_mm=4.0, region=region)


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
    dome = _dome_row_mm(grid, across)
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


def _dome_row_mm(grid: LungGrid, across: np.ndarray) -> float:
    """Row (mm) of the diaphragm's highest part: where lung ends downwards, away from heart and wall."""
    inside = grid.inside > 0
    lowest = inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
    at_heart = np.take_along_axis(grid.heart, lowest[:, None], 1)[:, 0] > -14
    counts = (inside.sum(1) > 40) & ~at_heart & (across[0] > 0.25) & (across[0] < 0.75)
    return float(np.percentile(grid.row[0, lowest[counts], 0], 4))


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
    delta = chest.cast(squeezed - parenchyma * air, grid) - chest.vessel * share
    edge = _contour(share, 0.5) * smoothstep(2, 6, depth_mm) * smoothstep(20, 50, lung)
    delta = delta + 0.12 * edge * upsample(_low_fade(grid))
    return delta, smoothstep(0.35, 0.65, share) * (lung > 10), depth_mm


def _low_fade(grid: LungGrid) -> np.ndarray:
    """``(256, 256)``: 1 in the upper lung, 0 at the base, where the pleural line is lost."""
    rows = np.zeros((HALF, HALF), np.float32)
    rows[grid.box[1]] = smoothstep(0.95, 0.75, grid.height[0])
    return rows


def _contour(share: np.ndarray, at: float) -> np.ndarray:
    """A one-millimetre line along a level of a smooth map: the visceral pleura seen on edge."""
    rise, run = np.gradient(share)
    steep = np.hypot(rise, run) + 1e-3
    return np.exp(-(((share - at) / steep / 0.9) ** 2)) * (steep > 0.008)


def _texture(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
