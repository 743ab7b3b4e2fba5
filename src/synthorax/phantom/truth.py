"""What is known about a film beyond its pixels: how much of a finding there is, its boxes, the anatomy's masks."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from synthorax.phantom.chest import Chest
from synthorax.phantom.findings.shape import SIDE_WORDS, Shape
from synthorax.phantom.projection import OBJECT_PIXEL_MM, SLAB_MM

#: Least share of the film that a part of a mask must cover to get a box of its own.
SMALLEST_PART = 1e-4
RIB_LINE_INTEGRAL, BONE_MM = 0.05, 1.5


class Box(NamedTuple):
    """A box in pixels, COCO's way: corner, width, height."""

    x: int
    y: int
    width: int
    height: int


def boxes(mask: np.ndarray) -> list[Box]:
    """A box round each connected part of a mask, largest part first; specks are left out.

    Args:
        mask: ``(H, W)`` bool.
    """
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    found = ndimage.find_objects(parts)
    order = sorted(range(1, len(sizes)), key=lambda part: (-sizes[part], part))
    large = [found[part - 1] for part in order if sizes[part] >= SMALLEST_PART * mask.size]
    return [Box(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in large]


def amounts(chest: Chest, shape: Shape, side: str) -> dict[str, float]:
    """How much of a finding there is in this chest.

    Returns:
        ``volume_ml`` at mid-chest's scale (a tenth off at the chest wall, front or back) and ``lung_fraction``, that
        volume over the volume of the lung or lungs of its side (gas: the share of the hemithorax that is gas).
    """
    pixel_ml = OBJECT_PIXEL_MM**2 / 1000
    volume = float(shape.depth_mm.sum(dtype=np.float64)) * pixel_ml
    lung = sum(float(chest.lung[one].sum(dtype=np.float64)) for one in side) * pixel_ml
    return {"volume_ml": volume, "lung_fraction": volume / lung}


def structure_maps(chest: Chest) -> dict[str, tuple[np.ndarray, float]]:
    """Each structure's ``(512, 512)`` map in the atlas's frame and the level above which a pixel belongs to it.

    Lungs are left to :class:`~synthorax.phantom.patient.VirtualPatient`. Lobes overlap on a film, as they do in life.
    """
    atlas = chest.atlas
    maps: dict[str, tuple[np.ndarray, float]] = {"ribs": (chest.rib, RIB_LINE_INTEGRAL)}
    for grid in atlas.lungs.values():
        for name, inside in grid.lobes.items():
            side, lobe = name.split("_")
            maps[f"lobe_{side}_{lobe}"] = (chest.cast((inside > 0) & (grid.inside > 0), grid), SLAB_MM)
    for name in ("aorta", "clavicle_R", "clavicle_L"):
        box = atlas.box_of(name)
        key = name if name == "aorta" else f"clavicle_{SIDE_WORDS[name[-1]]}"
        maps[key] = (chest.cast_box(atlas.distance(name, box) > 0, box), BONE_MM)
    return maps
