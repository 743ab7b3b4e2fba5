"""Another person's CT and its segmentation, read from NIfTI (the CT from a DICOM series too): any orientation, spacing
and angle.

The labels are those of TotalSegmentator's task ``total`` (version 2): one volume of its numbers, or a folder of one
mask per structure (``heart.nii.gz``).
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.errors import InputError
from synthorax.phantom.ct_series import series_image

_SPINE = ("S1", *(f"L{n}" for n in range(5, 0, -1)), *(f"T{n}" for n in range(12, 0, -1)))
_CARDIAC = (
    *("heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk", "subclavian_artery_right"),
    *("subclavian_artery_left", "common_carotid_artery_right", "common_carotid_artery_left"),
    *("brachiocephalic_vein_left", "brachiocephalic_vein_right", "atrial_appendage_left"),
    *("superior_vena_cava", "inferior_vena_cava"),
)
_LUNGS = ("upper_lobe_left", "lower_lobe_left", "upper_lobe_right", "middle_lobe_right", "lower_lobe_right")
_SKELETON = tuple(
    f"{bone}_{side}" for bone in ("humerus", "scapula", "clavicula") for side in ("left", "right")
)
_RIBS = tuple(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13))

#: Group to its structures' numbers in the task ``total``; what lies outside the chest is left out.
GROUPS: dict[str, dict[str, int]] = {
    "lungs": {f"lung_{name}": n for n, name in enumerate(_LUNGS, 10)} | {"trachea": 16},
    "vertebrae": {
        f"vertebrae_{name}": n for n, name in enumerate((*_SPINE, *(f"C{n}" for n in range(7, 0, -1))), 26)
    },
    "cardiac": {name: n for n, name in enumerate(_CARDIAC, 51)},
    "skeleton": {name: n for n, name in enumerate(_SKELETON, 69)},
    "ribs": {name: n for n, name in enumerate((*_RIBS, "sternum", "costal_cartilages"), 92)},
}
NUMBERS = {name: n for group in GROUPS.values() for name, n in group.items()}
LUNGS = tuple(f"lung_{name}" for name in _LUNGS)
#: Without these there is no chest film; the others (veins, cartilage, lower ribs ...) may be absent.
REQUIRED = (
    *LUNGS,
    *("heart", "aorta", "pulmonary_vein", "trachea", "sternum"),
    *(f"{bone}_{side}" for bone in ("clavicula", "scapula") for side in ("left", "right")),
    *(f"vertebrae_T{n}" for n in range(2, 11)),
    *(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 9)),
)
LUNG_HU = (-980.0, -500.0)  # median of aerated lung, generously


@dataclass(frozen=True)
class Volume:
    """A CT and its labels on the CT's own grid.

    Attributes:
        hounsfield: ``(I, J, K)`` float32; the axes run as far as possible to the patient's left, front and head.
        labels: ``(I, J, K)`` uint8, numbers of :data:`NUMBERS`.
        affine: ``(4, 4)`` voxel index to mm, axes to the patient's left, front and head.
    """

    hounsfield: np.ndarray
    labels: np.ndarray
    affine: np.ndarray

    def mask(self, *structures: str) -> np.ndarray:
        """``(I, J, K)`` bool: voxels of any of the named structures."""
        table = np.zeros(256, dtype=bool)
        table[[NUMBERS[name] for name in structures]] = True
        return table[self.labels]

    def middle_mm(self, *structures: str) -> np.ndarray:
        """Centroid of the named structures, to the left, front and head."""
        return self.affine[:3, :3] @ np.argwhere(self.mask(*structures)).mean(0) + self.affine[:3, 3]


def read_volume(ct: Path | str, labels: Path | str) -> Volume:
    """Read and check a chest CT with its labels.

    Args:
        ct: ``.nii`` or ``.nii.gz`` in Hounsfield units, or the folder of one DICOM series.
        labels: a NIfTI of the task's numbers, or a folder of masks named after the structures.

    Raises:
        InputError: a file that is no 3-D NIfTI, labels on another grid, missing structures, no lungs, values or
            an orientation that no chest CT has. ``nibabel`` is not installed.
    """
    ct, labels = Path(ct), Path(labels)
    image = _open(ct)
    numbers = _masks(labels, image) if labels.is_dir() else _numbers(labels, image)
    hounsfield = image.voxels(np.float32)
    if not np.isfinite(hounsfield).all():
        raise InputError(f"{ct} holds voxels that are not finite; expected Hounsfield units, -1000 for air.")
    affine = np.diag([-1.0, 1, 1, 1]) @ image.affine  # NIfTI's first axis runs to the right
    volume = Volume(hounsfield, numbers, affine)
    _check_structures(volume, labels)
    _check_chest(volume, ct, labels)
    return volume


@dataclass(frozen=True)
class _Turned:
    """A NIfTI whose axes are turned to left, front and head; its voxels are read when asked for."""

    image: Any
    turn: np.ndarray
    shape: tuple[int, ...]
    affine: np.ndarray

    def voxels(self, dtype: type | None = None) -> np.ndarray:
        from nibabel.orientations import apply_orientation

        return apply_orientation(np.asarray(self.image.dataobj, dtype=dtype), self.turn)

    def __str__(self) -> str:
        steps = np.linalg.norm(self.affine[:3, :3], axis=0)
        size, step = (" x ".join(f"{n:.3g}" for n in values) for values in (self.shape, steps))
        return f"{size} voxels of {step} mm from ({', '.join(f'{mm:.1f}' for mm in self.affine[:3, 3])})"


def _open(path: Path) -> _Turned:
    try:
        import nibabel
        from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
    except ImportError as error:
        raise InputError(
            "nibabel is not installed; NIfTI is read with it: pip install 'synthorax[ct]'."
        ) from error
    try:
        image: Any = series_image(path) if path.is_dir() else nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise InputError(f"{path} is no NIfTI; expected .nii or .nii.gz.")
    except (OSError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path} cannot be read as NIfTI ({error}); expected .nii or .nii.gz.") from error
    if len(image.shape) != 3 or min(image.shape) < 16:
        raise InputError(f"{path} has shape {image.shape}; expected one volume of at least 16 voxels a side.")
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(("L", "A", "S")))
    shape = tuple(image.shape[int(axis)] for axis in turn[:, 0].argsort())
    return _Turned(image, turn, shape, image.affine @ inv_ornt_aff(turn, image.shape))


def _same_grid(image: _Turned, ct: _Turned, path: Path) -> None:
    if image.shape != ct.shape or not np.allclose(image.affine, ct.affine, atol=0.05):
        raise InputError(
            f"{path} has {image}, the CT {ct} (axes to left, front, head); expected the CT's own grid. "
            "Segment that CT, or resample the labels to it (nearest neighbour)."
        )


def _numbers(path: Path, ct: _Turned) -> np.ndarray:
    image = _open(path)
    _same_grid(image, ct, path)
    numbers = image.voxels()
    if numbers.min() < 0 or numbers.max() > 255 or (numbers != np.rint(numbers)).any():
        raise InputError(
            f"{path} holds values from {numbers.min():g} to {numbers.max():g}; expected the whole numbers of "
            "TotalSegmentator's task 'total' (0 to 117), or a folder of one mask per structure."
        )
    return numbers.astype(np.uint8)


def _masks(folder: Path, ct: _Turned) -> np.ndarray:
    files = _mask_files(folder)
    _refuse_missing([name for name in REQUIRED if name not in files], folder, files)
    numbers = np.zeros(ct.shape, np.uint8)
    for name, number in NUMBERS.items():
        if name in files:
            image = _open(files[name])
            _same_grid(image, ct, files[name])
            numbers[image.voxels() > 0.5] = number
    return numbers


def _mask_files(folder: Path) -> dict[str, Path]:
    paths = sorted((*folder.glob("*.nii.gz"), *folder.glob("*.nii")))
    return {path.name.removesuffix(".gz").removesuffix(".nii"): path for path in paths}


def _check_structures(volume: Volume, labels: Path) -> None:
    count = np.bincount(volume.labels.ravel(), minlength=256)
    there = {name for name, number in NUMBERS.items() if count[number]}
    if not there.intersection(LUNGS):
        raise InputError(
            f"{labels} holds no lung (the lobes are numbers {NUMBERS[LUNGS[0]]} to {NUMBERS[LUNGS[-1]]} of "
            "TotalSegmentator's task 'total'); expected the labels of a chest CT."
        )
    _refuse_missing([name for name in REQUIRED if name not in there], labels, there)


def _refuse_missing(missing: list[str], where: Path, there: Iterable[str]) -> None:
    if not missing:
        return
    unknown = sorted(set(there).difference(NUMBERS))

    def described(name: str) -> str:
        close = difflib.get_close_matches(name, unknown, n=1, cutoff=0.4)
        return f"{name} ({NUMBERS[name]}{f'; nearest: {close[0]}' if close else ''})"

    rest = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    raise InputError(
        f"{where} lacks {', '.join(map(described, missing[:4]))}{rest}; expected TotalSegmentator's task 'total', "
        "version 2, of a whole chest."
    )


def _check_chest(volume: Volume, ct: Path, labels: Path) -> None:
    lung = volume.mask(*LUNGS)
    median = float(np.median(volume.hounsfield[lung]))
    if not LUNG_HU[0] <= median <= LUNG_HU[1]:
        raise InputError(
            f"{ct} has a median of {median:.0f} within the lobes of {labels}; expected {LUNG_HU[0]:.0f} to "
            f"{LUNG_HU[1]:.0f} HU. Store Hounsfield units, and number the labels as version 2 of the task 'total'."
        )
    left, right = (volume.middle_mm(*(n for n in LUNGS if n.endswith(side))) for side in ("left", "right"))
    front = volume.middle_mm("heart") - volume.middle_mm("vertebrae_T8")
    up = volume.middle_mm("vertebrae_T2") - volume.middle_mm("vertebrae_T10")
    if left[0] < right[0] or front[1] < 0 or up[2] < 0:
        raise InputError(
            f"{ct}: by its header the left lung lies {left[0] - right[0]:.0f} mm to the left of the right one, the "
            f"heart {front[1]:.0f} mm before the spine and T2 {up[2]:.0f} mm above T10; all must be positive. "
            "The header's orientation (sform, qform) is wrong: convert the DICOM files anew."
        )
    for end, name, remedy in ((0, "lowest", "bases"), (-1, "highest", "apices")):
        if lung[:, :, end].any():
            raise InputError(
                f"{ct}: the lungs reach the {name} slice; expected a CT that holds their {remedy} whole."
            )
