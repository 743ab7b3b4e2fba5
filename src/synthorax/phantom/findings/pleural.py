"""Pleural fluid: free fluid that rises along the chest wall, and pockets of it.

``level`` is the height of free fluid as a fraction of the lung's height above its lowest recess; ``rise_mm``
is how far it climbs the wall above that.
"""

import numpy as np

from synthorax.phantom.atlas import LungGrid
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import random_field, smoothstep
from synthorax.phantom.findings.shape import Shape, clear_columns, fill
from synthorax.phantom.projection import MU_WATER, SLAB_MM

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


def _texture(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
