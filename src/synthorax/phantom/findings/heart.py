"""The heart and the aorta, grown into the lungs: with age and build in every patient, a lot in cardiomegaly."""

import numpy as np

from synthorax.phantom.atlas import CELL_MM
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import smoothstep
from synthorax.phantom.findings.shape import Shape, fill
from synthorax.phantom.projection import SIZE


def draw_enlarged_heart(rng: np.random.Generator, chest: Chest, side: str) -> dict[str, object]:
    growth = float(rng.uniform(20, 34))
    return {"growth_mm": growth, "severity": "moderate" if growth < 27 else "marked"}


def make_enlarged_heart(chest: Chest, side: str, growth_mm: float, **_: object) -> Shape:
    """The heart's surface moved outwards by ``growth_mm``, more to the left and below than to the right and above."""
    delta, depth = grow_heart(chest, growth_mm, 0.0)
    return Shape(delta, depth, extent_mm=8.0)


def grow_heart(chest: Chest, growth_mm: float, lower_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """(delta, depth in mm) of tissue between the heart and its enlarged surface, where lung was.

    Args:
        chest: the posed chest.
        growth_mm: outwards at the left and low border; above the hila nothing grows.
        lower_mm: further growth at the heart's lower edge (fills the gap above the diaphragm).
    """
    delta, depth = np.zeros((2, SIZE, SIZE), np.float32)
    for side, share in (("L", 1.0), ("R", 0.55)):
        whole = chest.atlas.lungs[side]
        reach = share * growth_mm + lower_mm
        grid = whole.part((whole.heart > -1.2 - reach) & (whole.inside > -1.5))
        low = smoothstep(75 * CELL_MM, 135 * CELL_MM, grid.row)
        lowest = smoothstep(134 * CELL_MM, 150 * CELL_MM, grid.row)
        outwards = share * growth_mm * low + lower_mm * lowest
        amount = smoothstep(-1.2, 1.2, grid.heart + outwards) * smoothstep(-1.5, 0.8, grid.inside)
        added = fill(chest, grid, amount)
        delta, depth = delta + added[0], depth + added[1]
    return delta, depth


def widen_aorta(chest: Chest, growth_mm: float) -> np.ndarray:
    """``(512, 512)`` line integral of tissue between the aorta and its widened wall, where left lung was.

    Seen from the front this is a larger aortic knob and a wider descending aorta.
    """
    whole = chest.atlas.lungs["L"]
    grid = whole.part((whole.aorta > -1.2 - growth_mm) & (whole.inside > -1.5))
    arch = smoothstep(-25.0, -45.0, grid.row - grid.hilum[1])
    aorta = grid.aorta + growth_mm * (0.6 + 0.4 * arch)
    return fill(chest, grid, smoothstep(-1.2, 1.2, aorta) * smoothstep(-1.5, 0.8, grid.inside))[0]
