"""Cone-beam geometry of a chest film, as a grid whose depth axis follows the rays.

Each coronal slab of the CT is magnified by (source-detector / source-slab) once, when the atlas is built. On
that grid every ray runs along axis 0, so that projecting a volume, or a lesion, is a sum over axis 0. Turning
the patient shifts each slab by depth x tan(angle) before the sum. The rays' obliquity (under 1 %) is left out.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg.blas import saxpy

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
CENTRAL_ROW = _TOP_MM / PIXEL_MM  # film row of the central ray
DETECTOR_MM = (_DETECTOR_ROW - (FIRST_ROW + LAST_ROW) / 2) * VOXEL_MM[1]  # mid-chest to the detector

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


@dataclass(frozen=True)
class DepthBins:
    """Depth bins of line integrals, summed as a tilted and rotated patient casts them.

    Attributes:
        padded: ``(D, H + 2m, W + 2m)`` float32, with a margin of m cells.
        rows: ``(D, 2)`` first row of each bin that is not all zero, and the row after its last one.
        margin: m.
        corner: row and column of the bins' first cell (without margin) on the grid.
        side: of the grid, cells.
        depths_mm: ``(D,)`` from :func:`slab_depths_mm`.
        pixel_mm: size of a grid cell.
    """

    padded: np.ndarray
    rows: np.ndarray
    margin: int
    corner: tuple[int, int]
    side: int
    depths_mm: np.ndarray
    pixel_mm: float

    @classmethod
    def of(cls, bins: np.ndarray, step: float) -> "DepthBins":
        """Bins of the whole chest, with a margin that no pose exceeds and that repeats the border.

        Args:
            bins: ``(D, 512, 512)``, whole numbers of ``step``.
            step: line integral of one.
        """
        depths_mm = slab_depths_mm(len(bins))
        margin = _margin(depths_mm, OBJECT_PIXEL_MM, MAX_ANGLE_DEG)
        around = ((0, 0), (margin, margin), (margin, margin))
        padded = np.pad(bins, around, mode="edge")
        rows = _filled(padded)
        return cls(padded * np.float32(step), rows, margin, (0, 0), bins.shape[1], depths_mm, OBJECT_PIXEL_MM)

    @classmethod
    def boxed(
        cls, field: np.ndarray, box: tuple[slice, slice, slice], max_angle_deg: float = MAX_ANGLE_DEG
    ) -> "DepthBins":
        """A field over a box of the half grid (zero outside it), its slabs added in pairs.

        Args:
            field: ``(Y, Z, X)``, attenuation or 0-1.
            box: where it lies on the ``(92, 256, 256)`` grid.
            max_angle_deg: the largest angle that will be cast.
        """
        depth, row, column = box
        first, lead = divmod(depth.start, 2)
        depths_mm = slab_depths_mm(N_SLABS // 2)[first : (depth.stop + 1) // 2]
        margin = _margin(depths_mm, 2 * OBJECT_PIXEL_MM, max_angle_deg)
        height, width = field.shape[1:]
        padded = np.zeros((len(depths_mm), height + 2 * margin, width + 2 * margin), np.float32)
        bins = padded[:, margin : margin + height, margin : margin + width]
        front, back = field[lead::2], field[1 - lead :: 2]  # of each pair
        bins[lead : lead + len(front)] = front
        bins[: len(back)] += back
        rows = _filled(bins) + margin
        return cls(padded, rows, margin, (row.start, column.start), HALF, depths_mm, 2 * OBJECT_PIXEL_MM)

    def cast(self, pose_deg: tuple[float, float]) -> np.ndarray:
        """``(side, side)`` float32: the bins' sum along the rays.

        A shift of rows and columns is one shift of the flattened bin, and a fractional one the weighted sum of four.

        Args:
            pose_deg: (tilt, rotation); positive tilt lowers what lies in front.

        Raises:
            InputError: an angle beyond the margin.
        """
        if max(map(abs, pose_deg)) > MAX_ANGLE_DEG:
            raise InputError(
                f"pose is {pose_deg} degrees (tilt, rotation); expected at most {MAX_ANGLE_DEG:g} either way."
            )
        down, right = np.tan(np.deg2rad(pose_deg))[:, None] * self.depths_mm / self.pixel_mm
        height, width = self.padded.shape[1:]
        (top, bottom), (left, end_column) = (
            (max(0, self.margin - start), min(n, self.side + self.margin - start))
            for start, n in zip(self.corner, (height, width), strict=True)
        )
        total = np.zeros(height * width, np.float32)
        for plane, (first, last), z, x in zip(self.padded, self.rows * width, down, right, strict=True):
            flat, row, column = plane.ravel(), int(np.floor(z)), int(np.floor(x))
            for i, of_row in ((row, 1 - (z - row)), (row + 1, z - row)):
                for j, of_column in ((column, 1 - (x - column)), (column + 1, x - column)):
                    shift = i * width + j
                    begin, end = max(first, top * width - shift), min(last, bottom * width - shift)
                    if begin < end:
                        saxpy(flat, total, end - begin, of_row * of_column, begin, 1, begin + shift, 1)
        grid = np.zeros((self.side, self.side), np.float32)
        row, column = self.corner[0] - self.margin, self.corner[1] - self.margin
        grid[row + top : row + bottom, column + left : column + end_column] = total.reshape(height, width)[
            top:bottom, left:end_column
        ]
        return grid


def _margin(depths_mm: np.ndarray, pixel_mm: float, angle_deg: float) -> int:
    return int(np.ceil(np.tan(np.deg2rad(angle_deg)) * float(np.abs(depths_mm).max()) / pixel_mm)) + 1


def _filled(bins: np.ndarray) -> np.ndarray:
    """``(D, 2)``: each bin's first row that is not all zero, and the row after its last one."""
    filled = (bins != 0).any(2)
    last = np.where(filled.any(1), filled.shape[1] - filled[:, ::-1].argmax(1), 0)
    return np.stack([filled.argmax(1), last], 1)
