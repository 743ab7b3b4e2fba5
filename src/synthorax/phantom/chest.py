"""One patient's chest: the atlas tilted and rotated, with this patient's ribs, vessels, heart and soft tissue.

Maps here lie in the atlas's frame; :mod:`synthorax.phantom.patient` warps them onto the film.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from synthorax.phantom.anatomy import Anatomy
from synthorax.phantom.atlas import OUTWARD, Atlas, Hila, LungGrid
from synthorax.phantom.fields import Warp, blur, random_field, shrink, smoothstep, upsample, wide_blur
from synthorax.phantom.projection import (
    HALF,
    MU_SOFT,
    MU_WATER,
    OBJECT_PIXEL_MM,
    SIZE,
    SLAB_MM,
    DepthBins,
)
from synthorax.seeds import generator

SCAN_TOP_PX = 46  # rows above were not scanned and are extrapolated
FIELD_OF_WARP_PX = 60.0


@dataclass(frozen=True)
class Chest:
    """A posed chest.

    Attributes:
        atlas: the shared anatomy.
        pose_deg: (tilt, rotation).
        soft, rib, bone, vessel: ``(512, 512)`` line integrals; ``vessel`` holds the drawn tree too.
        lung: per side, ``(512, 512)`` mm of lung along the ray.
        heart: ``(512, 512)`` mm of heart along the ray.
        clear: per side, ``(512, 512)`` bool: lung that heart and diaphragm do not hide.
        aspect: how much higher than wide the film shows a square of the atlas's frame.
        is_supine: whether the patient lies, so that free fluid layers behind the lung.
    """

    atlas: Atlas
    pose_deg: tuple[float, float]
    soft: np.ndarray
    rib: np.ndarray
    bone: np.ndarray
    vessel: np.ndarray
    lung: dict[str, np.ndarray]
    heart: np.ndarray
    clear: dict[str, np.ndarray]
    aspect: float
    is_supine: bool

    @cached_property
    def clear_depth(self) -> dict[str, np.ndarray]:
        """Per side, ``(512, 512)`` distance (px) of each clear pixel to the rim of clear lung."""
        return {side: ndimage.distance_transform_edt(clear) for side, clear in self.clear.items()}

    def cast(self, field: np.ndarray, grid: LungGrid) -> np.ndarray:
        """``(512, 512)`` line integral of a 3-D field over a lung's box (per mm, so times mm)."""
        return self.cast_box(field, grid.box)

    def cast_box(self, field: np.ndarray, box: tuple[slice, slice, slice]) -> np.ndarray:
        """The same for a field over any box of the half grid."""
        bins = DepthBins.boxed(field, box, max(map(abs, self.pose_deg)))
        return upsample(SLAB_MM * bins.cast(self.pose_deg))

    def place(self, centre_mm: tuple[float, float, float]) -> tuple[float, float]:
        """Row and column (px, atlas frame) where a point of the grid is projected."""
        depth = centre_mm[0] - self.atlas.mu.shape[0] / 2 * SLAB_MM
        shift = np.tan(np.deg2rad(self.pose_deg)) * depth
        return (centre_mm[1] + shift[0]) / OBJECT_PIXEL_MM, (centre_mm[2] + shift[1]) / OBJECT_PIXEL_MM


def pose_chest(atlas: Atlas, anatomy: Anatomy, seed: int) -> Chest:
    """Tilt and rotate the atlas and give it this patient's ribs and vessels; the atlas is not touched."""
    pose = (anatomy.tilt_deg, anatomy.rotation_deg)
    maps = {name: bins.cast(pose) for name, bins in atlas.bins.items()}
    maps["rib"] = _sharpen(maps["rib"], 0.9)
    maps["bone"] = _sharpen(maps["bone"], 0.5)
    _extrapolate_top(maps)
    heart, *lungs = (upsample(SLAB_MM * atlas.organs[name].cast(pose)) for name in ("heart", "R", "L"))
    lung = dict(zip("RL", lungs, strict=True))
    clear = {side: (mm > 45) & (heart < 5) & (maps["soft"] < 2.4) for side, mm in lung.items()}
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    rib_rows = rows + anatomy.rib_shift_px + anatomy.rib_slope * np.abs(columns - HALF)
    maps["rib"] = Warp.to(rib_rows, columns, (SIZE, SIZE))(maps["rib"])
    sway = warp_fields(generator(seed, "vessel warp"), 8.0)
    own = Warp.to(rows + sway[0], columns + sway[1], (SIZE, SIZE))(maps["vessel"])
    tree = vessel_tree(generator(seed, "vessel tree"), lung, atlas.hila_mm)
    vessel = anatomy.vessel_gain * own + anatomy.tree_gain * tree
    aspect = anatomy.width / anatomy.lung_stretch
    is_supine = anatomy.position == "supine"
    return Chest(
        atlas, pose, maps["soft"], maps["rib"], maps["bone"], vessel, lung, heart, clear, aspect, is_supine
    )


def healthy_line_integral(chest: Chest, anatomy: Anatomy, seed: int) -> np.ndarray:
    """``(512, 512)``: everything but findings, in the atlas's frame."""
    body = smoothstep(0.1, 0.9, chest.soft)
    total = chest.soft + chest.vessel + anatomy.rib_gain * chest.rib + 1.25 * chest.bone
    total = total + anatomy.habitus * body * (0.75 + 0.25 * wide_blur(body, 20))
    if anatomy.breast_mm:
        total = total + breasts(generator(seed, "breasts"), anatomy.breast_mm) * body
    if anatomy.shoulder_slope:
        total = total * shoulders(anatomy.shoulder_slope, anatomy.shoulder_px)
    along_rows, along_columns = total - blur(total, (2.6, 0)), total - blur(total, (0, 1.6))
    return (total + anatomy.sharpening * (along_rows + 0.5 * along_columns)).astype(np.float32)


def shoulders(slope: float, foot_px: float) -> np.ndarray:
    """``(512, 512)``, 1 in the body and 0 in the air above hanging shoulders; the neck goes on upwards.

    Args:
        slope: fall of the shoulders, rows per column.
        foot_px: row where neck and shoulder meet.
    """
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    aside = np.abs(columns - 258)
    edge = foot_px - 120 * smoothstep(66, 44, aside) + slope * np.clip(aside - 55, 0, None)
    return smoothstep(-4, 40, rows - edge)


def warp_fields(rng: np.random.Generator, deviation_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth ``(512, 512)`` displacement maps."""
    sigma = (FIELD_OF_WARP_PX, FIELD_OF_WARP_PX)
    first, second = (deviation_px * random_field(rng, (SIZE, SIZE), sigma) for _ in range(2))
    return first, second


def breasts(rng: np.random.Generator, thickness_mm: float) -> np.ndarray:
    """``(512, 512)`` line integral of two soft shadows: fading upwards, rounded and uneven below."""
    pixels = np.arange(SIZE, dtype=np.float32)
    out = np.zeros((SIZE, SIZE), np.float32)
    middle_row, radius = rng.uniform(250, 290), rng.uniform(66, 94)
    for outward, middle_column in ((-1, 142), (1, 376)):
        uneven = random_field(rng, (SIZE, SIZE), (34, 34)) * 0.06
        column, half_width = middle_column + outward * rng.uniform(2, 16), radius * rng.uniform(1.0, 1.18)
        row = middle_row + rng.normal(0, 5)
        box = tuple(  # outside it there is none
            slice(max(0, int(at - 1.4 * reach)), int(at + 1.4 * reach))
            for at, reach in ((row, radius), (column, half_width))
        )
        u, v = (pixels[box[1]] - column) / half_width, ((pixels[box[0]] - row) / radius)[:, None]
        inside = np.clip(1 - (u * u + v * v) * (1 + uneven[box]), 0, None)
        edge = 0.75 + 0.25 * smoothstep(-0.4, 0.9, v)  # the lower fold is the sharper edge
        out[box] += inside ** (1.25 - 0.55 * edge * smoothstep(0, 0.8, v)) * smoothstep(-1.5, 0.4, v)
    return MU_WATER * 0.93 * thickness_mm * blur(out, 2.0)


def vessel_tree(
    rng: np.random.Generator,
    lung: dict[str, np.ndarray],
    hila_mm: Hila,
    n_generations: int = 9,
) -> np.ndarray:
    """``(512, 512)`` line integral of this patient's own vessels: trees that fork at the end of each branch."""
    scale, n_points = 2, 5
    canvases = [Image.new("F", (SIZE * scale, SIZE * scale), 0) for _ in range(3)]
    pens = [ImageDraw.Draw(canvas) for canvas in canvases]
    for side, hilum in hila_mm.items():
        outward, inside = OUTWARD[side], lung[side] > 15
        n = 9
        x = hilum[2] / OBJECT_PIXEL_MM + outward * (4 + rng.normal(2, 5, n))
        y = hilum[1] / OBJECT_PIXEL_MM + rng.normal(0, 20, n)
        angle = 0.6 * np.sort(rng.uniform(-1.45, 1.35, n)) + 0.4 * np.linspace(-1.35, 1.25, n)
        width = rng.uniform(2.8, 4.8, n)
        for generation in range(n_generations + 1):
            length = rng.uniform(16, 34, (len(x), 1)) * 0.86**generation / n_points
            bend = rng.normal(0, 0.05, (len(x), 1)) + rng.normal(0, 0.07, (len(x), n_points))
            turns = angle[:, None] + np.cumsum(bend, axis=1)
            xs = np.column_stack([x, x[:, None] + outward * np.cumsum(np.cos(turns) * length, axis=1)])
            ys = np.column_stack([y, y[:, None] + np.cumsum(np.sin(turns) * length, axis=1)])
            row, column = ys[:, -1].astype(int).clip(0, SIZE - 1), xs[:, -1].astype(int).clip(0, SIZE - 1)
            keep = inside[row, column]
            xs, ys, angle, width = xs[keep], ys[keep], turns[keep, -1], width[keep]
            paths = (np.stack([xs, ys], axis=-1) * scale).reshape(len(xs), 2 * (n_points + 1)).tolist()
            for i, (path, w) in enumerate(zip(paths, width.tolist(), strict=True)):
                ink = w * OBJECT_PIXEL_MM * MU_SOFT * 1.15
                pens[i % 3].line(path, fill=ink, width=max(1, round(w * scale * 0.75)))
            forks = width > 0.75
            x, y, angle, width = xs[forks, -1], ys[forks, -1], angle[forks], width[forks]
            share = rng.uniform(0.68, 0.9, len(x))
            fork = rng.uniform(0.2, 0.55, len(x)) * rng.choice([-1, 1], len(x))
            x, y = np.tile(x, 2), np.tile(y, 2)
            angle = np.concatenate([angle - 0.35 * fork, angle + fork])
            width = np.concatenate([width * np.maximum(share, 0.72), width * (1 - 0.45 * share)])
    ink = np.sum([shrink(np.asarray(canvas), scale) for canvas in canvases], axis=0)
    return blur(ink, 0.45) * smoothstep(5, 60, lung["R"] + lung["L"])


def _sharpen(image: np.ndarray, amount: float) -> np.ndarray:
    """Undo some of the 2.5 mm slices' blur of bone along the body."""
    return np.clip(image + amount * (blur(image, 0.6) - blur(image, (5, 3))), 0, None)


def _extrapolate_top(maps: dict[str, np.ndarray]) -> None:
    """Continue the maps above the scan, in place: sideways blur, shoulders sloping away."""
    rows = np.stack([image[SCAN_TOP_PX : SCAN_TOP_PX + 3].mean(0) for image in maps.values()])
    from_middle = np.abs(np.arange(SIZE) - 262) * OBJECT_PIXEL_MM
    for height in range(SCAN_TOP_PX + 1):
        lines = ndimage.gaussian_filter1d(rows, 0.5 + height * 0.5)
        shoulder = np.clip(175 - height * OBJECT_PIXEL_MM * 2.2 - from_middle, 0, None)
        for (name, image), line in zip(maps.items(), lines, strict=True):
            if name == "soft":
                line = line * smoothstep(0, 45, shoulder) * (1 - 0.004 * height)
            elif name != "bone":
                line = line * np.exp(-height / 10)
            image[SCAN_TOP_PX - height] = line
