"""Soft tissue that moves when a lung gains or loses volume: the mediastinum sideways, a hemidiaphragm upwards.

Bones and the chest wall stay. The soft tissue over the spine moves too, so that a left-sided shift bends the spine's
shadow a little.
"""

import numpy as np

from synthorax.phantom.atlas import OUTWARD, LungGrid
from synthorax.phantom.chest import Chest
from synthorax.phantom.fields import Warp, smoothstep
from synthorax.phantom.projection import OBJECT_PIXEL_MM, SIZE


def shifted_mediastinum(chest: Chest, grid: LungGrid, away_mm: float) -> np.ndarray:
    """``(512, 512)``: the change as the mediastinum moves away from a lung (towards it if negative)."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    middle = np.mean([lung.hilum[2] for lung in chest.atlas.lungs.values()]) / OBJECT_PIXEL_MM
    reach = smoothstep(170, 70, np.abs(columns - middle))
    floor = dome_row_mm(grid) / OBJECT_PIXEL_MM
    reach = reach * smoothstep(60, 130, rows) * smoothstep(floor + 40, floor - 10, rows)
    moved = -OUTWARD[grid.side] * away_mm / OBJECT_PIXEL_MM * reach
    return Warp.to(rows, columns - moved, (SIZE, SIZE))(chest.soft) - chest.soft


def raised_diaphragm(chest: Chest, grid: LungGrid, up_mm: float) -> np.ndarray:
    """``(512, 512)``: the change as the dome under a lung rises, its sides less."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    floor = dome_row_mm(grid) / OBJECT_PIXEL_MM
    seen = grid.column[0, 0] / OBJECT_PIXEL_MM
    across = np.abs(columns - seen.mean()) / (np.ptp(seen) / 2)
    reach = smoothstep(1.0, 0.3, across) * smoothstep(floor - 50, floor, rows)
    reach = reach * smoothstep(floor + 130, floor + 40, rows)
    return Warp.to(rows + up_mm / OBJECT_PIXEL_MM * reach, columns, (SIZE, SIZE))(chest.soft) - chest.soft


def dome_row_mm(grid: LungGrid) -> float:
    """Row (mm) of the diaphragm's highest part: where lung ends downwards, away from heart and wall."""
    across = grid.lateral / grid.lateral.max()
    inside = grid.inside > 0
    lowest = inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
    at_heart = np.take_along_axis(grid.heart, lowest[:, None], 1)[:, 0] > -14
    counts = (inside.sum(1) > 40) & ~at_heart & (across[0] > 0.25) & (across[0] < 0.75)
    return float(np.percentile(grid.row[0, lowest[counts], 0], 4))
