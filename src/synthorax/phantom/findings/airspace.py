"""Findings that fill air spaces: lobar consolidation, bronchopneumonia, basal infection, ground glass, oedema, plates."""

import numpy as np
from scipy import ndimage

from synthorax.phantom.atlas import CELL_MM, LungGrid
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import random_field, smoothstep
from synthorax.phantom.findings.shape import Shape, clear_columns, distance_to, fill, pick_cell
from synthorax.phantom.projection import SIZE, SLAB_MM

Params = dict[str, object]


#: Groups of segments of each lobe: which way from the lobe's middle they lie (down, towards the side, forwards).
SEGMENTS: dict[str, dict[str, tuple[float, float, float]]] = {
    "right_upper": {"apical": (-1, 0, 0), "posterior": (0.4, 0, -1), "anterior": (0.4, 0, 1)},
    "right_middle": {"lateral": (0, 1, 0), "medial": (0, -1, 0)},
    "right_lower": {
        "superior": (-1, 0, 0),
        "lateral basal": (0.7, 0.7, 0),
        "posterior basal": (0.8, 0, -0.6),
    },
    "left_upper": {"apicoposterior": (-1, 0, -0.3), "anterior": (0, 0.3, 1), "lingular": (1, 0, 0.4)},
    "left_lower": {"superior": (-1, 0, 0), "lateral basal": (0.7, 0.7, 0), "posterior basal": (0.8, 0, -0.6)},
}


def draw_consolidation(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    lobe = str(rng.choice(sorted(chest.atlas.lungs[side].lobes)))
    extent = float(rng.uniform(0.55, 1.0))
    is_segmental = extent < 0.75
    return {
        "lobe": lobe,
        "segment": str(rng.choice(sorted(SEGMENTS[lobe]))) if is_segmental else None,
        "extent": extent,
        "severity": "focal" if is_segmental else "extensive",
        "texture": _texture(rng),
    }


def make_consolidation(
    chest: Chest, side: str, lobe: str, extent: float, texture: int, segment: str | None = None, **_: object
) -> Shape:
    """A lobe filled from a centre outwards, sharp at the fissure, ragged elsewhere, with air bronchograms.

    The centre lies in a segment, where one is named: in the third of the lobe that lies most that way.
    """
    rng, grid = np.random.default_rng(texture), chest.atlas.lungs[side]
    in_lobe = grid.lobes[lobe]
    allowed = (in_lobe > 10) & clear_columns(chest, grid) & (grid.lateral > 22)
    if segment:
        down, aside, forwards = SEGMENTS[lobe][segment]
        along = down * grid.row + aside * grid.lateral + forwards * grid.depth
        if allowed.any():
            allowed = allowed & (along >= np.quantile(along[allowed], 2 / 3))
    centre = pick_cell(rng, grid, allowed)
    radius = 34 + 36 * extent
    ragged = _noise(rng, grid, ((5, 11, 11), 0.55), ((2, 4.5, 4.5), 0.35), ((1.2, 2, 2), 0.18))
    outwards = (radius - distance_to(grid, centre, (0.95, 0.9, 1.05))) / radius
    amount = smoothstep(-0.3, 0.5, 1.6 * outwards + 0.5 * ragged)
    amount = (
        0.78 * amount * smoothstep(-1.5, 1.5, in_lobe + 0.6 * ragged) * smoothstep(-0.5, 1.5, grid.inside)
    )
    amount = amount * (1 - 0.95 * _bronchi(rng, grid, centre))
    return Shape(*fill(chest, grid, amount), extent_mm=6.0)


def draw_patches(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    n = int(rng.integers(4, 8))
    return {"n_patches": n, "severity": "multifocal", "texture": _texture(rng)}


def make_patches(chest: Chest, side: str, n_patches: int, texture: int, **_: object) -> Shape:
    """Bronchopneumonia: several ill-defined patches scattered through one lung."""
    rng, grid = np.random.default_rng(texture), chest.atlas.lungs[side]
    allowed = clear_columns(chest, grid) & (grid.inside > 9) & (grid.height > 0.15)
    amount = np.zeros_like(grid.inside)
    ragged = _noise(rng, grid, ((3, 6, 6), 0.5), ((1.2, 2.5, 2.5), 0.35))
    for _patch in range(n_patches):
        radius = rng.uniform(17, 29)
        outwards = (radius - distance_to(grid, pick_cell(rng, grid, allowed), (1.5, 1, 1))) / radius
        amount = np.maximum(amount, rng.uniform(0.6, 0.85) * smoothstep(-0.25, 0.6, outwards + 0.42 * ragged))
    return Shape(*fill(chest, grid, amount * smoothstep(-0.5, 1.5, grid.inside)), extent_mm=6.0)


def draw_infection(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    return {
        "radius_mm": float(rng.uniform(34, 48)),
        "cavity_mm": float(rng.uniform(26, 38)),
        "severity": "focal",
        "texture": _texture(rng),
    }


def make_infection(
    chest: Chest, side: str, radius_mm: float, cavity_mm: float, texture: int, **_: object
) -> Shape:
    """A patchy basal opacity round a cavity: a dense ring about a clear centre."""
    rng, grid = np.random.default_rng(texture), chest.atlas.lungs[side]
    seen = clear_columns(chest, grid) & (grid.inside > 12) & (grid.lateral > 28)
    rows = np.flatnonzero(seen.any((0, 2)))
    low = grid.row > grid.row[0, rows[int(0.62 * len(rows))], 0]
    centre = pick_cell(rng, grid, seen & low)
    distance = distance_to(grid, centre, (1.5, 1, 1))
    ragged = _noise(rng, grid, ((3, 7, 7), 0.5), ((1.3, 2.6, 2.6), 0.4))
    haze = 0.5 * smoothstep(
        -0.3, 0.7, (radius_mm - distance_to(grid, centre, (0.8, 0.8, 1.2))) / radius_mm + 0.45 * ragged
    )
    wall = distance - cavity_mm / 2 - 1.2 * ragged
    ring = smoothstep(-2, 1.5, wall) * smoothstep(11, 5, wall)
    amount = np.maximum(haze, ring) * smoothstep(-2.5, 1.5, wall)
    return Shape(*fill(chest, grid, amount * smoothstep(-0.5, 1.5, grid.inside)), extent_mm=6.0)


def draw_ground_glass(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    density = float(rng.uniform(0.3, 0.5))
    return {
        "density": density,
        "severity": "mild" if density < 0.38 else "moderate",
        "texture": _texture(rng),
    }


def make_ground_glass(chest: Chest, side: str, density: float, texture: int, **_: object) -> Shape:
    """Hazy, peripheral and basal opacity that leaves vessels visible, in one lung or both."""
    rng = np.random.default_rng(texture)
    delta: np.ndarray = np.zeros((SIZE, SIZE), np.float32)
    depth: np.ndarray = np.zeros((SIZE, SIZE), np.float32)
    for one in side:
        grid = chest.atlas.lungs[one]
        cloud = _noise(rng, grid, ((6, 12, 12), 0.7), ((2, 4, 4), 0.4), ((1, 1.8, 1.8), 0.25))
        where = cloud + 0.9 * smoothstep(40, 4, grid.inside) - 0.8 + 0.6 * grid.height
        amount = density * smoothstep(0.2, 1.2, where) * smoothstep(-0.5, 2, grid.inside)
        added = fill(chest, grid, amount)
        delta, depth = delta + added[0], depth + added[1] / density
    return Shape(delta, depth, extent_mm=20.0)


def draw_oedema(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    return {"strength": float(rng.uniform(0.35, 0.7)), "severity": "moderate", "texture": _texture(rng)}


def make_oedema(chest: Chest, side: str, strength: float, texture: int, **_: object) -> Shape:
    """Perihilar bat-wing haze and engorged vessels in both lungs."""
    rng = np.random.default_rng(texture)
    delta, depth = 0.8 * strength * chest.vessel, np.zeros((SIZE, SIZE), np.float32)
    for one in "RL":
        grid = chest.atlas.lungs[one]
        y, z, x = grid.hilum
        cloud = _noise(rng, grid, ((3, 5, 5), 0.6), ((1.2, 2.2, 2.2), 0.5))
        outwards = distance_to(grid, (y, z + 15, x), (1.2, 1.35, 1.0))
        amount = smoothstep(1.1, -0.35, (outwards - 55) / 55 + 0.22 * cloud) * smoothstep(2, 14, grid.inside)
        amount = amount * (0.12 + 0.4 * strength) * np.clip(1 + 0.35 * cloud, 0, 2)
        added = fill(chest, grid, amount + 0.05 * strength * smoothstep(-1, 2, grid.inside))
        delta, depth = delta + added[0], depth + added[1]
    return Shape(delta, depth, extent_mm=8.0)


def draw_atelectasis(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    return {"n_plates": int(rng.integers(1, 4)), "severity": "linear", "texture": _texture(rng)}


def make_atelectasis(chest: Chest, side: str, n_plates: int, texture: int, **_: object) -> Shape:
    """Linear atelectasis: thin curved plates above the diaphragm."""
    rng, grid = np.random.default_rng(texture), chest.atlas.lungs[side]
    _y, z, x = grid.hilum
    amount = np.zeros_like(grid.inside)
    outward = -1 if side == "R" else 1
    for _plate in range(n_plates):
        depth, row = rng.uniform(30, 60) * SLAB_MM, z + rng.uniform(35, 62)
        column = x + outward * rng.uniform(30, 60)
        across, front = grid.column - column, grid.depth - depth
        bend = -outward * rng.uniform(-0.35, 0.35) * across + 0.002 * across**2 + 0.05 * front
        plate = np.exp(-(((grid.row - row + bend) / rng.uniform(2.2, 3.6)) ** 2))
        amount = np.maximum(amount, 0.8 * plate * smoothstep(36, 22, np.hypot(front, across)))
    return Shape(*fill(chest, grid, amount * smoothstep(0, 2, grid.inside)), extent_mm=4.0)


def _bronchi(
    rng: np.random.Generator, grid: LungGrid, target_mm: tuple[float, float, float], n: int = 12
) -> np.ndarray:
    """0-1 on the box: air-filled tubes from the hilum through the filled lung, 2-3 mm in radius."""
    air = np.zeros(grid.inside.shape, np.float32)
    low = np.array([grid.depth[0, 0, 0], grid.row[0, 0, 0], grid.column[0, 0, 0]])
    cell = np.array([SLAB_MM, CELL_MM, CELL_MM])
    steps = np.arange(0, 1.25, 0.012)[:, None]
    for _tube in range(n):
        end = np.array(target_mm) + rng.normal(0, 1, 3) * (22, 22, 20)
        start = np.array(grid.hilum)
        bend = rng.normal(0, 7, 3)
        path = start + (end - start) * steps + bend * np.sin(np.pi * np.clip(steps, 0, 1))
        radius = rng.uniform(2.0, 3.0) * (1 - 0.55 * np.clip(steps[:, 0], 0, 1))
        index = np.rint((path - low) / cell).astype(int)
        ok = ((index >= 0) & (index < air.shape)).all(1)
        share = np.minimum(1, np.pi * radius[ok] ** 2 / (SLAB_MM * CELL_MM))
        np.maximum.at(air, tuple(index[ok].T), share.astype(np.float32))
    return np.minimum(2.4 * ndimage.gaussian_filter(air, (0.5, 0.6, 0.6)), 1)


def _noise(
    rng: np.random.Generator, grid: LungGrid, *octaves: tuple[tuple[float, float, float], float]
) -> np.ndarray:
    """Sum of random fields over the box: (correlation length in cells, weight) each."""
    fields = (np.float32(weight) * random_field(rng, grid.inside.shape, sigma) for sigma, weight in octaves)
    return sum(fields, np.zeros(grid.inside.shape, np.float32))


def _texture(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
