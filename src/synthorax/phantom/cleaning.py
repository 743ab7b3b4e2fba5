"""From a contrast-enhanced angiogram to a healthy, unenhanced chest.

The built-in CT was taken supine, arms up, with iodine in the vessels, on a table, and its owner has a nodule in the
left lung. Table, iodine, streaks and nodule are removed; a band at the left base stays. Of
another CT, table and iodine are removed; what its owner's lungs show stays.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from synthorax.phantom.wheel import Scan

#: How far (slices) below a nodule lies the lung that replaces it.
NODULE_DONOR_SHIFT = 22


@dataclass(frozen=True)
class CleanScan:
    """Hounsfield units without table, iodine and nodule, and the masks that projection needs (all ``(X, Y, Z)``)."""

    hounsfield: np.ndarray
    bone: np.ndarray
    ribs: np.ndarray
    lungs: dict[str, np.ndarray]
    lobes: dict[str, np.ndarray]
    heart: np.ndarray
    aorta: np.ndarray
    clavicles: dict[str, np.ndarray]


LOBES = {
    "left_upper": "lung_upper_lobe_left",
    "left_lower": "lung_lower_lobe_left",
    "right_upper": "lung_upper_lobe_right",
    "right_middle": "lung_middle_lobe_right",
    "right_lower": "lung_lower_lobe_right",
}


def clean(scan: Scan) -> CleanScan:
    """Remove what does not belong into a healthy chest; the scan itself is left as it is."""
    labels = scan.labels.copy()
    hu = scan.hounsfield.copy()
    hu[~_body(hu)] = -1000
    np.clip(hu, -1000, 1500, out=hu)
    bone = scan.mask_of(
        n
        for g in ("vertebrae", "skeleton", "ribs")
        for n in scan.groups[g]
        if n != scan.names["costal_cartilages"]
    )
    _remove_iodine(hu, scan, bone)
    left = (scan.names["lung_upper_lobe_left"], scan.names["lung_lower_lobe_left"])
    if scan.nodule_box:
        _remove_nodule(hu, labels, bone, left, scan.nodule_box)
    scan = Scan(hu, labels, scan.names, scan.groups)
    ribs = scan.mask_of(n for name, n in scan.names.items() if name.startswith("rib_"))
    hu[scan.mask("rib_right_1")] = np.minimum(hu[scan.mask("rib_right_1")], 330)  # venous iodine in the label
    hu[scan.mask("rib_right_2")] = np.minimum(hu[scan.mask("rib_right_2")], 420)
    front = ribs.copy()
    front[:, :285] = False
    hu[front] = np.minimum(hu[front], 200)  # bright caps at the ribs' front ends
    lobes = {name: scan.mask(structure) for name, structure in LOBES.items()}
    lungs = {
        "R": _close_lung(lobes["right_upper"] | lobes["right_middle"] | lobes["right_lower"]),
        "L": _close_lung(lobes["left_upper"] | lobes["left_lower"]),
    }
    heart = scan.mask("heart", "atrial_appendage_left")
    clavicles = {"R": scan.mask("clavicula_right"), "L": scan.mask("clavicula_left")}
    return CleanScan(hu, bone, ribs, lungs, lobes, heart, scan.mask("aorta"), clavicles)


def _body(hu: np.ndarray) -> np.ndarray:
    """The largest connected thing above -350 HU, holes filled: drops table and blanket."""
    body = ndimage.binary_opening(hu[::2, ::2] > -350, np.ones((5, 5, 1)))
    parts, _ = ndimage.label(body)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = parts == sizes.argmax()
    for k in range(body.shape[2]):
        body[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
    body = ndimage.binary_dilation(body, np.ones((3, 3, 1)))
    return np.repeat(np.repeat(body, 2, 0), 2, 1)


def _remove_iodine(hu: np.ndarray, scan: Scan, bone: np.ndarray) -> None:
    """Set enhanced blood to 45 HU and calm the streaks round the dense veins, in place."""
    lung_names = [name for name in scan.names if name.startswith("lung_")]
    lung = scan.mask(*lung_names, "trachea")
    cartilage = scan.mask("costal_cartilages")
    near_bone = ndimage.binary_dilation(bone, np.ones((5, 5, 1)))
    near_bone |= ndimage.binary_dilation(bone, np.ones((3, 3, 3)))
    hu[~near_bone & ~lung & ~cartilage & (hu > 70)] = 45
    hu[scan.mask_of(scan.groups["cardiac"]) & ~bone] = 45
    hu[lung] = np.minimum(hu[lung], 45)
    hu[cartilage] = np.minimum(hu[cartilage], 180)
    rim = near_bone & ~bone & ~lung & (hu > 350)  # partial-volume rim of bone
    hu[rim] = 60
    hu[bone] = np.minimum(hu[bone], 850)
    veins = scan.mask("brachiocephalic_vein_left", "brachiocephalic_vein_right", "superior_vena_cava")
    near = ndimage.binary_dilation(veins[::2, ::2], np.ones((11, 11, 5)))
    near = np.repeat(np.repeat(near, 2, 0), 2, 1)
    streaks = near & ~lung & ~bone & (hu > -250)
    hu[streaks] = np.clip(hu[streaks], -20, 60)


def _remove_nodule(
    hu: np.ndarray,
    labels: np.ndarray,
    bone: np.ndarray,
    left: tuple[int, int],
    box: tuple[slice, slice, slice],
) -> None:
    """Blend lung from below over the nodule in the left lung, in place."""
    donor_box = (*box[:2], slice(box[2].start - NODULE_DONOR_SHIFT, box[2].stop - NODULE_DONOR_SHIFT))
    lung = np.isin(labels[box], left)
    hull = ndimage.binary_closing(lung, np.ones((25, 25, 7))) & ~bone[box]
    hull = ndimage.binary_erosion(hull, np.ones((5, 5, 1)))
    core = ndimage.binary_opening((hu[box] > -400) & hull, np.ones((7, 7, 3)))
    parts, _ = ndimage.label(core)
    large = np.flatnonzero(np.bincount(parts.ravel())[1:] > 300) + 1
    core = ndimage.binary_dilation(np.isin(parts, large), np.ones((11, 11, 3)), iterations=2)
    weight = ndimage.gaussian_filter(core.astype(np.float32), (2, 2, 0.7))
    donor = np.where(np.isin(labels[donor_box], left), hu[donor_box], -850)
    inside = hull | lung
    hu[box] = np.where(inside, hu[box] * (1 - weight) + donor * weight, hu[box])
    patch = labels[box]
    patch[inside & (weight > 0.3) & (patch == 0)] = left[0]
    labels[box] = patch


def _close_lung(lung: np.ndarray, largest_hole_px: int = 250) -> np.ndarray:
    """Fill vessels (small holes in a slice) but never the dome of the diaphragm (a large one)."""
    closed = lung.copy()
    for k in np.flatnonzero(lung.any((0, 1))):
        piece = ndimage.binary_closing(lung[:, :, k], np.ones((7, 7)))
        parts, _ = ndimage.label(ndimage.binary_fill_holes(piece) & ~piece)
        sizes = np.bincount(parts.ravel())
        sizes[0] = largest_hole_px
        closed[:, :, k] = piece | (sizes < largest_hole_px)[parts]
    return closed
