"""A lobe that has lost its air, and a lung whose scaffold has thickened: atelectasis of a lobe, reticulonodular pattern."""

import numpy as np

from synthorax.phantom.atlas import LungGrid
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import blur, random_field, smoothstep
from synthorax.phantom.findings.displacement import raised_diaphragm, shifted_mediastinum
from synthorax.phantom.findings.shape import Shape, contour, fill
from synthorax.phantom.projection import MU_SOFT, OBJECT_PIXEL_MM, SIZE

Params = dict[str, object]

#: Where a lobe without air comes to lie: weights of upwards, towards the mediastinum, and forwards.
_TOWARDS = {
    "right_upper": (0.8, 0.5, 0.0),
    "left_upper": (0.5, 0.6, 0.6),
    "right_middle": (-0.2, 0.9, 0.2),
    "right_lower": (-0.5, 0.7, -0.5),
    "left_lower": (-0.5, 0.7, -0.5),
}


def draw_lobar_collapse(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    lobe = str(rng.choice(sorted(chest.atlas.lungs[side].lobes)))
    loss = float(rng.uniform(0.5, 0.8))
    return {
        "lobe": lobe,
        "loss": loss,
        "shift_mm": 14 * loss * float(rng.uniform(0.5, 1.0)) * (lobe != "right_middle"),
        "rise_mm": 30 * loss * float(rng.uniform(0.5, 1.0)) * (1.0 if lobe.endswith("lower") else 0.4),
        "severity": "partial" if loss < 0.65 else "marked",
        "texture": int(rng.integers(2**31)),
    }


def make_lobar_collapse(
    chest: Chest,
    side: str,
    lobe: str,
    loss: float,
    shift_mm: float,
    rise_mm: float,
    texture: int,
    **_: object,
) -> Shape:
    """A lobe that has lost a fraction ``loss`` of its volume: dense, behind a sharp displaced fissure, drawn to hilum.

    The mediastinum moves towards it and the hemidiaphragm rises; the rest of the lung spreads into the place.
    """
    grid = chest.atlas.lungs[side]
    within = grid.lobes[lobe]
    up, medial, forwards = _TOWARDS[lobe]
    bend = random_field(np.random.default_rng(texture), grid.inside.shape, (9, 22, 22))
    towards = -up * grid.row - medial * grid.lateral + forwards * grid.depth + 5 * bend
    fissure = np.quantile(towards[within > 0], loss)
    amount = smoothstep(-3, 3, towards - fissure) * smoothstep(-1.5, 1.5, within)
    delta, depth_mm = fill(chest, grid, 0.9 * amount * smoothstep(-0.5, 1.5, grid.inside))
    delta = delta + shifted_mediastinum(chest, grid, -shift_mm) + raised_diaphragm(chest, grid, rise_mm)
    return Shape(delta, depth_mm, extent_mm=6.0, region=smoothstep(4, 16, depth_mm))


def draw_reticulonodular(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    strength = float(rng.uniform(0.5, 1.0))
    return {
        "strength": strength,
        "n_nodules": int(rng.integers(200, 500)),
        "severity": "mild" if strength < 0.75 else "marked",
        "texture": int(rng.integers(2**31)),
    }


def make_reticulonodular(
    chest: Chest, side: str, strength: float, n_nodules: int, texture: int, **_: object
) -> Shape:
    """Thickened septa, a net seen in several depths, and many nodules of 2 to 5 mm; more of both below.

    The net is drawn on the film's plane: each layer is the level line of a random field.
    """
    rng = np.random.default_rng(texture)
    lung = chest.lung["R"] + chest.lung["L"]
    base = np.maximum.reduce([_low(chest.atlas.lungs[one]) for one in "RL"])
    amount = smoothstep(15, 90, lung) * (0.45 + 0.55 * base)
    net = np.zeros((SIZE, SIZE), np.float32)
    for _layer in range(4):
        sigma = float(rng.uniform(3.5, 6.0))
        net += contour(random_field(rng, (SIZE, SIZE), (sigma, sigma)), 0.0)
    patchy = np.clip(1 + 0.5 * random_field(rng, (SIZE, SIZE), (26, 26)), 0.2, 2)
    septa_mm = 5 * strength * net * patchy * amount
    chance = amount.ravel().astype(np.float64)
    places = rng.choice(chance.size, n_nodules, p=chance / chance.sum())
    nodules_mm = np.zeros((SIZE, SIZE), np.float32)
    for place, diameter in zip(places, rng.uniform(2, 5, n_nodules), strict=True):
        nodules_mm.ravel()[place] += diameter**3 * np.pi / 6 / OBJECT_PIXEL_MM**2
    depth_mm = blur(septa_mm, 0.5) + 2 * strength * blur(nodules_mm, 1.6) * smoothstep(5, 30, lung)
    haze = blur(depth_mm, 6.0)
    return Shape(MU_SOFT * depth_mm, depth_mm, extent_mm=0.3, region=smoothstep(0.3, 0.9, haze))


def _low(grid: LungGrid) -> np.ndarray:
    """``(512, 1)``: 0 at the apex, 1 at the base of a lung."""
    rows = np.arange(SIZE, dtype=np.float32)[:, None] * OBJECT_PIXEL_MM
    return smoothstep(grid.apex_mm, grid.base_mm, rows)
