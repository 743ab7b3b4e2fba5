"""The atlas as an AP film sees it.

Notation: d depth from mid-chest (mm, to the front), SID source-detector distance, M(d) magnification.

    PA, detector at the front:  M(d) = SID / (SID - f + d),  f from mid-chest to the detector
    AP, detector at the back:   M(d) = SID / (SID - b - d),  b from mid-chest to the detector

The stored grid follows the rays of a PA film and is true to size at mid-chest. An AP film is therefore the same
planes, each resized about the central ray by [M_ap(d) / M_ap(0)] / [M_pa(d) / M_pa(0)]: what lies in front (the
heart) grows, what lies behind shrinks.
"""

from collections.abc import Iterator

import numpy as np

from synthorax.phantom.fields import Warp
from synthorax.phantom.projection import (
    CENTRAL_ROW,
    DETECTOR_MM,
    N_SLABS,
    SIZE,
    SOURCE_DETECTOR_MM,
    slab_depths_mm,
)

AP_SOURCE_DETECTOR_MM = 1100.0
AP_DETECTOR_MM = 150.0  # mid-chest to the cassette under the back


def ap_over_pa(depth_mm: np.ndarray | float) -> np.ndarray | float:
    """Size on an AP film over size on a PA film, both 1 at mid-chest.

    Args:
        depth_mm: from mid-chest, to the front.
    """
    pa = (SOURCE_DETECTOR_MM - DETECTOR_MM) / (SOURCE_DETECTOR_MM - DETECTOR_MM + depth_mm)
    ap = (AP_SOURCE_DETECTOR_MM - AP_DETECTOR_MM) / (AP_SOURCE_DETECTOR_MM - AP_DETECTOR_MM - depth_mm)
    return ap / pa


def seen_from_front(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The atlas's arrays, each plane ``(D, H, W)`` resized as the AP beam has it; types are kept."""
    out = {name: planes.copy() for name, planes in arrays.items()}
    for shape in {planes.shape for planes in arrays.values()}:
        alike = [name for name, planes in arrays.items() if planes.shape == shape]
        for i, warps in enumerate(_warps(*shape)):
            for plane, target in ((arrays[name][i], out[name][i]) for name in alike):
                if plane.min() < plane.max():
                    target[:] = np.rint(np.mean([warp(plane) for warp in warps], axis=0))
    return out


def _warps(n: int, height: int, width: int) -> Iterator[list[Warp]]:
    """For each plane one warp a slab that it stands for, whose mean it becomes: no steps at the rim."""
    factors = np.asarray(ap_over_pa(slab_depths_mm(N_SLABS))).reshape(n, -1)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    row, column = CENTRAL_ROW * height / SIZE, (width - 1) / 2
    for of_slabs in factors.tolist():
        yield [
            Warp.to(row + (rows - row) / f, column + (columns - column) / f, (height, width))
            for f in of_slabs
        ]
