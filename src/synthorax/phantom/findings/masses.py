"""Findings that suggest malignancy: mass, nodule, metastases, an enlarged hilum, enlarged lymph nodes.

Round lesions are unions of balls with wavy outlines, whose chord along the ray is known in closed form. Their
``contrast`` multiplies soft tissue's attenuation (above 1: easier to see than in life).
"""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from synthorax.phantom.atlas import OUTWARD
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import shrink, smoothstep
from synthorax.phantom.findings.shape import Shape, distance_to, fill, pick_pixel
from synthorax.phantom.projection import MU_SOFT, OBJECT_PIXEL_MM, SIZE

Params = dict[str, object]


def draw_mass(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    diameter = float(rng.uniform(36, 64))
    row, column = pick_pixel(rng, chest, side, 0.36 * diameter / OBJECT_PIXEL_MM)
    return {
        "diameter_mm": diameter,
        "row_px": row,
        "column_px": column,
        "contrast": float(rng.uniform(1.1, 1.35)),
        "spicules": int(rng.integers(0, 22)),
        "severity": "large" if diameter > 50 else "moderate",
        "texture": _texture(rng),
    }


def make_mass(
    chest: Chest,
    side: str,
    diameter_mm: float,
    row_px: float,
    column_px: float,
    contrast: float,
    spicules: int,
    texture: int,
    **_: object,
) -> Shape:
    """One lobulated mass, sometimes spiculated."""
    rng = np.random.default_rng(texture)
    chord = _lobulated(rng, row_px, column_px, diameter_mm, chest.aspect)
    rays = _spicules(rng, row_px, column_px, diameter_mm, spicules)
    return _in_lung(chest, side, chord, contrast, 0.8 + 0.02 * diameter_mm, rays)


def draw_nodule(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    diameter = float(rng.uniform(15, 27))
    row, column = pick_pixel(rng, chest, side, 0.8 * diameter / OBJECT_PIXEL_MM)
    return {
        "diameter_mm": diameter,
        "row_px": row,
        "column_px": column,
        "contrast": float(rng.uniform(1.5, 1.9)),
        "severity": f"{diameter / 10:.1f} cm",
        "texture": _texture(rng),
    }


def make_nodule(
    chest: Chest,
    side: str,
    diameter_mm: float,
    row_px: float,
    column_px: float,
    contrast: float,
    texture: int,
    **_: object,
) -> Shape:
    """One small round lesion."""
    chord = _ball(np.random.default_rng(texture), row_px, column_px, diameter_mm / 2, 0.05, chest.aspect)
    return _in_lung(chest, side, chord, contrast, 1.2, np.zeros_like(chord))


def draw_metastases(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    n = int(rng.integers(10, 20))
    spots = []
    for i in range(n):
        diameter = float(rng.uniform(9, 22))
        row, column = pick_pixel(rng, chest, "RL"[i % 2], 0.55 * diameter / OBJECT_PIXEL_MM)
        spots.append([row, column, diameter, float(rng.uniform(1.3, 1.8))])
    return {"spots": spots, "severity": "multiple", "texture": _texture(rng)}


def make_metastases(chest: Chest, side: str, spots: list[list[float]], texture: int, **_: object) -> Shape:
    """Many small round nodules (row, column, diameter in mm, contrast) in both lungs."""
    rng = np.random.default_rng(texture)
    lung = chest.lung["R"] + chest.lung["L"]
    chord, depth = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)
    for row, column, diameter, contrast in spots:
        one = _ball(rng, row, column, diameter / 2, 0.03, chest.aspect)
        depth = np.maximum(depth, one)
        chord = np.maximum(chord, one * contrast)
    seen = smoothstep(4, 25, lung)
    chord, depth = (ndimage.gaussian_filter(image * seen, 0.9) for image in (chord, depth))
    return Shape(0.84 * MU_SOFT * chord, depth, extent_mm=2.0)


def draw_hilum(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    return {"balls": _hilar_balls(rng, 6, 13, 24, 15), "severity": "marked", "texture": _texture(rng)}


def draw_adenopathy(rng: np.random.Generator, chest: Chest, side: str) -> Params:
    right = _hilar_balls(rng, 5, 13, 18, 11)
    left = [[y + rng.normal(0, 2), z + rng.normal(0, 3), x, r] for y, z, x, r in right]
    return {
        "right": right,
        "left": [[float(v) for v in ball] for ball in left],
        "paratracheal_mm": float(rng.uniform(19, 27)),
        "severity": "bulky",
        "texture": _texture(rng),
    }


def make_hilum(chest: Chest, side: str, balls: list[list[float]], **_: object) -> Shape:
    """One hilum enlarged by an irregular cluster of balls (depth, row, outward, radius in mm from the hilum)."""
    return Shape(*_hilar_cluster(chest, side, balls, 1.2), extent_mm=6.0)


def make_adenopathy(
    chest: Chest,
    side: str,
    right: list[list[float]],
    left: list[list[float]],
    paratracheal_mm: float,
    **_: object,
) -> Shape:
    """Both hila enlarged by smooth nodes, and the right paratracheal stripe widened."""
    parts = [_hilar_cluster(chest, "R", right, 2.5), _hilar_cluster(chest, "L", left, 2.5)]
    grid = chest.atlas.lungs["R"]
    y, z, x = grid.hilum
    stripe = distance_to(grid, (y - 2, z - 48, x + 14), (1.2, 1.5, 1.0)) - paratracheal_mm
    parts.append(fill(chest, grid, smoothstep(2.5, -2.5, stripe) * smoothstep(-1, 1, grid.inside)))
    delta, depth_mm = np.sum(parts, axis=0)
    return Shape(delta, depth_mm, extent_mm=6.0)


def _hilar_balls(
    rng: np.random.Generator, n: int, low_mm: float, high_mm: float, spread_mm: float
) -> list[list[float]]:
    offsets = [
        (rng.normal(0, 9), rng.normal(4, spread_mm), rng.uniform(4, 20), rng.uniform(low_mm, high_mm))
        for _ in range(n)
    ]
    return [[float(v) for v in offset] for offset in offsets]


def _hilar_cluster(
    chest: Chest, side: str, balls: list[list[float]], softness_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    grid = chest.atlas.lungs[side]
    y, z, x = grid.hilum
    amount = np.zeros_like(grid.inside)
    for dy, dz, out, radius in balls:
        distance = distance_to(grid, (y + dy, z + dz, x + OUTWARD[side] * out), (1.25, 1.1, 1.0))
        amount = np.maximum(amount, smoothstep(softness_mm, -softness_mm, distance - radius))
    return fill(chest, grid, amount * smoothstep(-1, 1, grid.inside), 1.1 * MU_SOFT)


def _in_lung(
    chest: Chest, side: str, chord: np.ndarray, contrast: float, edge_px: float, extra: np.ndarray
) -> Shape:
    """A 2-D chord (mm) cut to the lung and made attenuation; ``extra`` is added line integral."""
    lung = chest.lung[side]
    inside = smoothstep(2, 22, lung)
    depth = ndimage.gaussian_filter(np.minimum(chord, lung) * inside, edge_px * 0.6)
    added = ndimage.gaussian_filter(extra * inside, 0.6)
    return Shape(0.84 * contrast * MU_SOFT * depth + added, depth, extent_mm=2.0)


def _lobulated(
    rng: np.random.Generator, row: float, column: float, diameter_mm: float, aspect: float
) -> np.ndarray:
    """``(512, 512)`` chord (mm) of a ball with three smaller ones at its rim."""
    radius = diameter_mm / 2
    chord = _ball(rng, row, column, 0.92 * radius, 0.06, aspect)
    for angle in rng.uniform(0, 2 * np.pi, 3):
        reach, part = 0.5 * radius / OBJECT_PIXEL_MM, rng.uniform(0.5, 0.68) * radius
        one = _ball(rng, row + reach * np.sin(angle), column + reach * np.cos(angle), part, 0.06, aspect)
        chord = np.maximum(chord, one + 0.25 * np.minimum(one, chord))
    return chord


def _ball(
    rng: np.random.Generator, row: float, column: float, radius_mm: float, wave: float, aspect: float
) -> np.ndarray:
    """``(512, 512)`` chord (mm) of a ball whose radius waves with the angle by a fraction ``wave``, round on film."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    y, x = (y - row) * OBJECT_PIXEL_MM * aspect, (x - column) * OBJECT_PIXEL_MM
    near = np.hypot(y, x) < 1.6 * radius_mm
    chord = np.zeros((SIZE, SIZE), np.float32)
    angle, phases, sizes = np.arctan2(y[near], x[near]), rng.uniform(0, 2 * np.pi, 4), rng.normal(0, wave, 4)
    outline = 1 + sum(
        s / k**0.5 * np.cos(k * angle + p) for k, s, p in zip((2, 3, 4, 5), sizes, phases, strict=True)
    )
    chord[near] = 2 * np.sqrt(np.clip((radius_mm * outline) ** 2 - y[near] ** 2 - x[near] ** 2, 0, None))
    return chord


def _spicules(rng: np.random.Generator, row: float, column: float, diameter_mm: float, n: int) -> np.ndarray:
    """``(512, 512)`` line integral of thin rays that leave the mass and taper."""
    canvas = Image.new("F", (2 * SIZE, 2 * SIZE), 0)
    pen, radius = ImageDraw.Draw(canvas), diameter_mm / 2 / OBJECT_PIXEL_MM
    for angle in rng.uniform(0, 2 * np.pi, n):
        length, width = rng.uniform(1.25, 1.75) * radius, rng.uniform(2, 4)
        u, v = np.cos(angle), np.sin(angle)
        wide = [
            (
                2 * (column + 0.7 * radius * u + s * v * width / 2),
                2 * (row + 0.7 * radius * v - s * u * width / 2),
            )
            for s in (-1, 1)
        ]
        tip = (2 * (column + length * u), 2 * (row + length * v))
        pen.polygon([*wide, tip], fill=0.16)
    return shrink(np.asarray(canvas), 2)


def _texture(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
