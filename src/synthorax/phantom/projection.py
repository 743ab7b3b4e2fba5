"""Cone-beam geometry of a chest film, as a grid whose depth axis follows the rays.

Each coronal slab of the CT is magnified by (source-detector / source-slab) once, when the atlas is built. On
that grid every ray runs along axis 0, so that projecting a volume, or a lesion, is a sum over axis 0. Turning
the patient shifts each slab by depth x tan(angle) before the sum. The rays' obliquity (under 1 %) is left out.
"""

import numpy as np
from scipy import sparse

from synthorax.errors import InputError

SIZE = 512  # film, px
HALF = SIZE // 2  # grid on which findings are shaped
VOXEL_MM = (0.703125, 0.703125, 2.5)
SOURCE_DETECTOR_MM = 1800.0
PIXEL_MM = 0.6875  # at the detector
OBJECT_PIXEL_MM = PIXEL_MM / 1.08  # at mid-chest
FIRST_ROW, LAST_ROW = 64, 432  # coronal CT rows that hold the body
ROWS_PER_SLAB = 4
N_SLABS = (LAST_ROW - FIRST_ROW) // ROWS_PER_SLAB
SLAB_MM = ROWS_PER_SLAB * VOXEL_MM[1]
MAX_ANGLE_DEG = 10.0

_DETECTOR_ROW = 430
_CENTRE_MM = (246 * VOXEL_MM[0], 74 * VOXEL_MM[2])
_TOP_MM = (125 * VOXEL_MM[2] - _CENTRE_MM[1]) * SOURCE_DETECTOR_MM / (
    SOURCE_DETECTOR_MM - (_DETECTOR_ROW - 250) * VOXEL_MM[1]
) + 36

MU_WATER = 0.0199  # 1/mm at 65 keV effective
MU_SOFT = MU_WATER * 1.045
BONE_SLOPE = 1.25  # chosen by eye


def attenuation(hounsfield: np.ndarray) -> np.ndarray:
    """Linear attenuation (1/mm) at 65 keV; bone rises 1.25 times as steeply as water."""
    slope = np.where(hounsfield < 0, 1.0, BONE_SLOPE)
    return (MU_WATER * (1 + slope * hounsfield / 1000)).clip(0)


def slab_depths_mm(n_bins: int) -> np.ndarray:
    """Depth of each bin's middle from mid-chest (mm, to the front), when the slabs are summed into ``n_bins``."""
    width = (LAST_ROW - FIRST_ROW) * VOXEL_MM[1] / n_bins
    return (np.arange(n_bins) + 0.5) * width - (LAST_ROW - FIRST_ROW) / 2 * VOXEL_MM[1]


def magnify(
    plane: np.ndarray, ct_row: float, *, voxel_x_mm: float = VOXEL_MM[0], step: int = 1, cubic: bool = True
):
    """One coronal CT plane as the film sees it.

    Args:
        plane: ``(X, Z)``, a coronal plane of the CT.
        ct_row: its row in the CT (0.703 mm each, from the back).
        voxel_x_mm: its spacing along X.
        step: take each ``step``-th film pixel (2 gives the half grid).
        cubic: Catmull-Rom along Z (slices are 2.5 mm), otherwise linear.

    Returns:
        ``(512 / step, 512 / step)`` float32, row 0 at the head, column 0 at the patient's right.
    """
    scale = (SOURCE_DETECTOR_MM - (_DETECTOR_ROW - ct_row) * VOXEL_MM[1]) / SOURCE_DETECTOR_MM
    z_mm = (_TOP_MM - np.arange(SIZE)[::step] * PIXEL_MM) * scale + _CENTRE_MM[1]
    x_mm = (np.arange(SIZE)[::step] - SIZE / 2 + 0.5) * PIXEL_MM * scale + _CENTRE_MM[0]
    along_z = _interpolation(np.clip(z_mm / VOXEL_MM[2], 0, plane.shape[1] - 1), plane.shape[1], cubic)
    along_x = _interpolation(np.clip(x_mm / voxel_x_mm, 0, plane.shape[0] - 1), plane.shape[0], False)
    return (along_x @ (along_z @ plane.T).T).T


def _interpolation(position: np.ndarray, n: int, cubic: bool) -> sparse.csr_matrix:
    """Sparse ``(len(position), n)`` matrix that samples a line at fractional positions."""
    reach, below = (2 if cubic else 1), np.floor(position).astype(int)
    rows, columns, weights = [], [], []
    for offset in range(-reach + 1, reach + 1):
        node = below + offset
        distance = np.abs(position - node)
        rows.append(np.arange(len(position)))
        columns.append(np.clip(node, 0, n - 1))
        weights.append(_catmull_rom(distance) if cubic else np.clip(1 - distance, 0, None))
    entries = (np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(len(position), n))


def _catmull_rom(t: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -1/2, for t >= 0."""
    inner, outer = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, inner, np.where(t < 2, outer, 0))


def project(
    bins: np.ndarray, pose_deg: tuple[float, float], *, pixel_mm: float, depths_mm: np.ndarray, edge: bool
):
    """Sum depth bins as a tilted and rotated patient would cast them.

    Args:
        bins: ``(D, H, W)`` line integrals per bin, any grid.
        pose_deg: (tilt, rotation); positive tilt lowers what lies in front.
        pixel_mm: size of a grid cell.
        depths_mm: ``(D,)`` from :func:`slab_depths_mm`.
        edge: repeat the border outside the grid (anatomy) instead of zeros (a boxed finding).

    Returns:
        ``(H + 2m, W + 2m)`` float32 with margin m, and m: a finding's box may cast its shadow outside the box.
    """
    if max(map(abs, pose_deg)) > MAX_ANGLE_DEG:
        raise InputError(
            f"pose is {pose_deg} degrees (tilt, rotation); expected at most {MAX_ANGLE_DEG:g} either way."
        )
    shifts = np.tan(np.deg2rad(pose_deg))[:, None] * depths_mm / pixel_mm
    margin = int(np.ceil(np.abs(shifts).max())) + 1
    height, width = bins.shape[1:]
    out = np.zeros((height + 2 * margin, width + 2 * margin), np.float32)
    for layer, dz, dx in zip(bins, *shifts, strict=True):
        rows, columns = np.flatnonzero(layer.any(1)), np.flatnonzero(layer.any(0))
        if not len(rows):
            continue
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        grow = [[0, 0], [0, 0]]
        if edge:
            grow = [
                [margin * (top == 0), margin * (bottom == height)],
                [margin * (left == 0), margin * (right == width)],
            ]
        piece = np.pad(layer[top:bottom, left:right], np.array(grow) + 1)
        if edge:
            inner = np.pad(layer[top:bottom, left:right], grow, mode="edge")
            piece[1:-1, 1:-1] = inner
        iz, ix = int(np.floor(dz)), int(np.floor(dx))
        fz, fx = np.float32(dz - iz), np.float32(dx - ix)
        piece = piece[:, 1:] + fx * (piece[:, :-1] - piece[:, 1:])
        piece = piece[1:] + fz * (piece[:-1] - piece[1:])
        _add(out, piece, margin + top - grow[0][0] + iz, margin + left - grow[1][0] + ix)
    return out, margin


def _add(canvas: np.ndarray, piece: np.ndarray, row: int, column: int) -> None:
    """Add a piece to a canvas at (row, column); what lies outside is cut off."""
    r0, c0 = max(row, 0), max(column, 0)
    r1, c1 = min(row + piece.shape[0], canvas.shape[0]), min(column + piece.shape[1], canvas.shape[1])
    canvas[r0:r1, c0:c1] += piece[r0 - row : r1 - row, c0 - column : c1 - column]
