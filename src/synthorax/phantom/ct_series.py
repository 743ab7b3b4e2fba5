"""One DICOM series of CT slices as a NIfTI volume in memory (PS3.3 C.7.6.2 for places, C.11.1 for Hounsfield units)."""

from pathlib import Path
from typing import Any

import numpy as np

from synthorax.errors import InputError

#: Largest difference between gaps of neighbouring slices, mm: more is a slice that is missing.
GAP_MM = 0.1


def series_image(folder: Path) -> Any:
    """Read a folder's CT slices.

    Raises:
        InputError: no CT slices, slices of several series, one that is missing, compressed in a way that cannot be read, or
            of another size or direction.
    """
    import nibabel

    slices = _slices(folder)
    first = slices[0]
    # i along a row's pixels, j along a column's, k from slice to slice; DICOM's axes run to left and back, NIfTI's to right and front
    along, down = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(along, down)
    slices.sort(key=lambda s: float(np.dot(normal, np.array(s.ImagePositionPatient, float))))
    places = np.array([s.ImagePositionPatient for s in slices], float)
    gaps = np.diff(places @ normal)
    if gaps.min() <= 0 or gaps.max() - gaps.min() > GAP_MM:
        raise InputError(
            f"{folder}: neighbouring slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart; expected one even gap. A slice "
            "is missing or there twice: export the series anew."
        )
    row_mm, column_mm = map(float, first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along * column_mm, down * row_mm
    affine[:3, 2] = (places[-1] - places[0]) / (len(slices) - 1)
    affine[:3, 3] = places[0]
    try:
        planes = [s.pixel_array.T.astype(np.float32) * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]  # fmt: skip
    except (AttributeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(f"{folder} holds slices whose pixels cannot be read ({error}); export the series uncompressed.") from error  # fmt: skip
    return nibabel.Nifti1Image(np.stack(planes, axis=-1), np.diag([-1.0, -1, 1, 1]) @ affine)


def _slices(folder: Path) -> list[Any]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            dataset = pydicom.dcmread(path)
        except (InvalidDicomError, OSError):
            continue
        if dataset.get("Modality") == "CT" and "ImagePositionPatient" in dataset:
            found.append(dataset)
    if len(found) < 2:
        raise InputError(f"{folder} holds {len(found)} CT slices in DICOM; expected the folder of one series, or a NIfTI.")  # fmt: skip
    series = sorted({str(s.SeriesInstanceUID) for s in found})
    if len(series) > 1:
        raise InputError(f"{folder} holds {len(series)} series ({series[0]}, {series[1]}, ...); give the folder of one.")  # fmt: skip
    shapes = {(s.Rows, s.Columns, *map(float, s.ImageOrientationPatient), *map(float, s.PixelSpacing)) for s in found}  # fmt: skip
    if len(shapes) > 1:
        raise InputError(
            f"{folder} holds slices of several sizes, spacings or directions (a localiser?); give those of one stack."
        )
    return found
