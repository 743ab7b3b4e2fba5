"""Lines, tubes and devices, drawn on the film plane in the atlas's frame; contrasts were set by eye."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import CubicSpline

from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import shrink
from synthorax.phantom.findings.shape import Shape
from synthorax.phantom.projection import SIZE

Points = Sequence[tuple[float, float]]
_SCALE = 2
TUBES = ("endotracheal tube", "central venous catheter", "gastric tube")


def draw_jitter(rng: np.random.Generator, chest: Chest, side: str) -> dict[str, object]:
    """Small random offsets (px) for whatever device is placed."""
    return {"jitter": [float(v) for v in rng.uniform(-1, 1, 12)], "severity": ""}


def make_chest_drain(chest: Chest, side: str, jitter: list[float], **_: object) -> Shape:
    """A drain from the lateral wall towards the apex."""
    a, b = 6 * jitter[0], 8 * jitter[1]
    right: Points = [(20 + a, 330), (78, 300), (112, 240), (128, 180), (140 + b, 118)]
    path = right if side == "R" else [(SIZE + 6 - x, y) for x, y in right]
    return _device(_tube(_curve(path), 9, 0.22, stripe=0.42))


def make_pacemaker(chest: Chest, side: str, jitter: list[float], **_: object) -> Shape:
    """A generator below the left clavicle with an atrial and a ventricular lead."""
    x, y = 392 + 6 * jitter[0], 120 + 6 * jitter[1]
    canvas = Image.new("F", (SIZE * _SCALE, SIZE * _SCALE), 0)
    pen, (cx, cy) = ImageDraw.Draw(canvas), (x * _SCALE, y * _SCALE)
    pen.rounded_rectangle((cx - 44, cy - 40, cx + 44, cy + 42), radius=30, fill=2.6)
    pen.rounded_rectangle((cx - 38, cy - 10, cx + 38, cy + 36), radius=20, fill=3.4)
    pen.rounded_rectangle((cx - 30, cy - 38, cx + 34, cy - 16), radius=8, fill=1.5)
    image = shrink(ndimage.gaussian_filter(np.asarray(canvas), 1.0), _SCALE)
    ventricle = [
        (-14, -14),
        (-2, -30),
        (345, 96),
        (300, 112),
        (256, 148),
        (237, 205),
        (238, 262),
        (262, 300),
        (306, 312),
    ]
    atrium = [
        (-14, -11),
        (2, -26),
        (345, 100),
        (300, 118),
        (254, 158),
        (234, 210),
        (232, 255),
        (246, 268),
        (236, 240),
    ]
    for lead in (ventricle, atrium):
        path = _curve([(x + lead[0][0], y + lead[0][1]), (x + lead[1][0], y + lead[1][1]), *lead[2:]])
        image = image + ndimage.gaussian_filter(_stroke(path, 2.2, 0.8) + _stroke(path[-14:], 3.2, 1.2), 0.5)
    return _device(image)


def make_ecg(chest: Chest, side: str, jitter: list[float], **_: object) -> Shape:
    """Four electrodes with their wires."""
    image = np.zeros((SIZE, SIZE), np.float32)
    for i, (x, y) in enumerate(((120.0, 110.0), (400.0, 115.0), (110.0, 330.0), (420.0, 335.0))):
        x, y = x + 18 * jitter[3 * i], y + 18 * jitter[3 * i + 1]
        canvas = Image.new("F", (SIZE * _SCALE, SIZE * _SCALE), 0)
        pen = ImageDraw.Draw(canvas)
        for radius, ink in ((11, 0.05), (4.5, 0.9), (2, 1.6)):
            pen.ellipse(tuple(_SCALE * v for v in (x - radius, y - radius, x + radius, y + radius)), fill=ink)
        end = 256 + 60 * jitter[3 * i + 2]
        wire = [(x, y), (x + 0.3 * (end - x), y + 35), (x + 0.7 * (end - x), y + 100), (end, 520)]
        image = image + shrink(np.asarray(canvas), _SCALE) + _stroke(_curve(wire), 1.3, 0.55)
    return _device(ndimage.gaussian_filter(image, 0.5))


def draw_tubes(rng: np.random.Generator, chest: Chest, side: str) -> dict[str, object]:
    """One to three of :data:`TUBES`."""
    drawn = draw_jitter(rng, chest, side)
    which = rng.permutation(TUBES)[: int(rng.integers(1, len(TUBES) + 1))]
    return drawn | {"which": [name for name in TUBES if name in which]}


def make_tubes(
    chest: Chest, side: str, jitter: list[float], which: Sequence[str] = TUBES, **_: object
) -> Shape:
    """Endotracheal tube, central venous catheter and gastric tube, each or several of them."""
    a, b, c = (4 * j for j in jitter[:3])
    trachea: Points = [(252 + a, -5), (250 + a, 40), (249, 90), (249, 138 + 2 * c)]
    vein: Points = [(205 + b, -5), (212 + b, 40), (222, 90), (226, 150), (228, 205)]
    gastric: Points = [(262, -5), (260, 80), (258 + c, 200), (262, 290), (300, 345), (352, 372)]
    drawn: dict[str, tuple[Points, float, float, float]] = {
        "endotracheal tube": (trachea, 7.5, 0.12, 0.35),
        "central venous catheter": (vein, 3.0, 0.3, 0.0),
        "gastric tube": (gastric, 4.2, 0.15, 0.4),
    }
    tubes = (drawn[name] for name in which)
    return _device(
        np.sum([_tube(_curve(path), width, ink, stripe) for path, width, ink, stripe in tubes], axis=0)
    )


def _device(image: np.ndarray) -> Shape:
    image = image.astype(np.float32)
    return Shape(image, (image > 0.05).astype(np.float32), extent_mm=0.5)


def _curve(points: Points, n: int = 400) -> np.ndarray:
    nodes = np.array(points, dtype=float)
    return CubicSpline(np.linspace(0, 1, len(nodes)), nodes)(np.linspace(0, 1, n))


def _stroke(path: np.ndarray, width_px: float, ink: float) -> np.ndarray:
    canvas = Image.new("F", (SIZE * _SCALE, SIZE * _SCALE), 0)
    line = [(float(x) * _SCALE, float(y) * _SCALE) for x, y in path]
    ImageDraw.Draw(canvas).line(line, fill=ink, width=max(1, round(width_px * _SCALE)), joint="curve")
    return shrink(np.asarray(canvas), _SCALE)


def _tube(path: np.ndarray, width_px: float, ink: float, stripe: float = 0.0) -> np.ndarray:
    """A hollow tube: denser walls, an opaque stripe where it has one."""
    wall = np.clip(_stroke(path, width_px, 1.0) - _stroke(path, 0.6 * width_px, 1.0), 0, 1)
    image = _stroke(path, width_px, 0.55 * ink) + 0.45 * ink * wall
    if stripe:
        image = image + _stroke(path, max(0.8, 0.2 * width_px), stripe)
    return ndimage.gaussian_filter(image, 0.5)
