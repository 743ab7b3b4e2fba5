"""A CT brought onto the grid of the built-in one, so that all constants of geometry and anatomy hold.

The box of the lungs is moved and scaled, axis by axis, onto the built-in CT's. The lungs therefore get its size; shape,
heart, ribs and all proportions within the box stay the person's. The hila follow the pulmonary veins.

    reference voxel r --> x = low + (r * voxel - LOW) / (HIGH - LOW) * (high - low) mm --> affine^-1 x, a CT voxel
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from synthorax.errors import InputError
from synthorax.phantom.atlas import HILA_MM, Hila
from synthorax.phantom.ct import GROUPS, LUNGS, NUMBERS, Volume
from synthorax.phantom.projection import VOXEL_MM
from synthorax.phantom.wheel import Scan
from synthorax.seeds import generator

REFERENCE_SHAPE = (512, 512, 133)
#: Box (mm) that holds all but 1/1000 of the built-in CT's lungs at each end of each axis.
REFERENCE_BOX_MM = np.array([[59.0, 85.1, 64.5], [300.6, 264.1, 307.9]])
#: Middle (mm) of what lies of the built-in CT's pulmonary veins within 10 mm of each lung.
REFERENCE_VEINS_MM = {"R": (151.7, 176.8, 181.5), "L": (200.2, 161.5, 199.1)}
SCALES = (0.6, 1.6)
OUTLIERS = 0.001
_VOXEL = np.array(VOXEL_MM)


@dataclass(frozen=True)
class Registered:
    """A scan on the reference grid.

    Attributes:
        scan: ``(512, 512, 133)``, axes to left, front and head.
        scale: per axis, the built-in lungs' extent over this CT's.
        hila_mm: per side, as :data:`~synthorax.phantom.atlas.HILA_MM`.
    """

    scan: Scan
    scale: tuple[float, float, float]
    hila_mm: Hila


def register(volume: Volume) -> Registered:
    """Resample a CT and its labels to the reference grid by the box of the lungs.

    The CT is interpolated linearly, averaged first where its voxels are smaller; labels take the nearest voxel. Beyond
    the CT's first and last slice these go on; beyond its sides is air.

    Raises:
        InputError: lungs that are no adult's whole lungs.
    """
    low, high = lung_box_mm(volume)
    extent = REFERENCE_BOX_MM[1] - REFERENCE_BOX_MM[0]
    scale = extent / (high - low)
    if scale.min() < SCALES[0] or scale.max() > SCALES[1]:
        found, expected = (" x ".join(f"{mm:.0f}" for mm in box) for box in (high - low, extent))
        raise InputError(
            f"The lungs measure {found} mm (across, front to back, upwards); expected within {1 / SCALES[1]:.2f} and "
            f"{1 / SCALES[0]:.2f} times {expected}: the whole chest of an adult."
        )
    to_mm = np.diag([*(_VOXEL / scale), 1.0])
    to_mm[:3, 3] = low - REFERENCE_BOX_MM[0] / scale
    to_voxel = np.linalg.inv(volume.affine) @ to_mm
    hounsfield = _resample(_thickened(volume.hounsfield, to_voxel), to_voxel, order=1, outside=-1000)
    labels = _resample(volume.labels, to_voxel, order=0, outside=0)
    groups = {group: tuple(numbers.values()) for group, numbers in GROUPS.items()}
    scan = Scan(hounsfield, labels, NUMBERS, groups)
    hila = {side: _hilum(scan, side) for side in HILA_MM}
    return Registered(scan, tuple(scale.tolist()), hila)


def lung_box_mm(volume: Volume, n_points: int = 300_000) -> np.ndarray:
    """``(2, 3)`` low and high corner of the lungs (mm), a thousandth at each end left out against stray voxels.

    Points are drawn uniformly within the voxels, so that size and angle of the voxels leave no mark.
    """
    rng = generator("lung box")
    voxels = np.flatnonzero(volume.mask(*LUNGS))
    drawn = np.unravel_index(rng.choice(voxels, n_points), volume.labels.shape)
    index = np.stack(drawn) + rng.uniform(-0.5, 0.5, (3, n_points))
    mm = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    return np.quantile(mm, (OUTLIERS, 1 - OUTLIERS), axis=1)


def veins_mm(scan: Scan, side: str, within_mm: float = 10.0) -> np.ndarray:
    """Middle (mm) of the pulmonary veins next to a lung, on the reference grid."""
    word = {"R": "right", "L": "left"}[side]
    lung = scan.mask(*(name for name in LUNGS if name.endswith(word)))[::2, ::2]
    spacing = (2 * VOXEL_MM[0], 2 * VOXEL_MM[1], VOXEL_MM[2])
    near = ndimage.distance_transform_edt(~lung, sampling=spacing) < within_mm
    veins = np.argwhere(near & scan.mask("pulmonary_vein")[::2, ::2])
    if len(veins) == 0:
        raise InputError(
            f"No pulmonary vein lies within {within_mm:g} mm of the {word} lung; check the labels."
        )
    return veins.mean(0) * spacing


def _hilum(scan: Scan, side: str) -> tuple[float, float, float]:
    """Depth, row, column (mm): the built-in hilum, moved as the veins beside it are."""
    left, front, up = veins_mm(scan, side) - REFERENCE_VEINS_MM[side]
    depth, row, column = HILA_MM[side]
    return float(depth + front), float(row - up), float(column + left)


def _thickened(hounsfield: np.ndarray, to_voxel: np.ndarray) -> np.ndarray:
    """Blurred along each axis by what a reference voxel is larger than the CT's (box widths, as deviations)."""
    for axis, width in enumerate(np.abs(to_voxel[:3, :3]).max(1)):
        if width > 1.05:
            hounsfield = ndimage.gaussian_filter1d(
                hounsfield, np.sqrt((width**2 - 1) / 12), axis, mode="nearest"
            )
    return hounsfield


def _resample(field: np.ndarray, to_voxel: np.ndarray, order: int, outside: float) -> np.ndarray:
    """The field on the reference grid; slices beyond its first and last one repeat them."""
    out = ndimage.affine_transform(
        field, to_voxel[:3, :3], to_voxel[:3, 3], REFERENCE_SHAPE, order=order, mode="constant", cval=outside
    )
    middle = np.array([REFERENCE_SHAPE[0] / 2, REFERENCE_SHAPE[1] / 2, 0])
    first = (to_voxel[:3, :3] @ middle + to_voxel[:3, 3])[2]
    heights = first + to_voxel[2, 2] * np.arange(REFERENCE_SHAPE[2])
    scanned = np.flatnonzero((heights >= 0) & (heights <= field.shape[2] - 1))
    out[:, :, : scanned[0]] = out[:, :, scanned[:1]]
    out[:, :, scanned[-1] + 1 :] = out[:, :, scanned[-1:]]
    return out
