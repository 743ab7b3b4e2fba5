"""DICOM radiographs: stored values to a film.

DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (modality) and C.11.2 (VOI); PS3.4 N.2 (the order of the transforms).

The order is the standard's: modality transform (rescale or LUT), VOI transform (LUT before window, the first
one where there are several), then inversion for MONOCHROME1. Scaling to [0, 1] uses the transform's own
output range, never the film's minimum and maximum, so equal stored values give equal grey values in all
films.

Orientation (C.7.6.1.1.1): Patient Orientation names where a row's and a column's far end point to. A film is
turned so that columns run to the feet, and a frontal film's rows run to the patient's left (image left =
patient's right). Only the first letter of each value counts (an oblique ``LP`` is ``L``). A lateral film is
turned upright, its facing is left alone. Without Patient Orientation nothing is turned: View Position alone
(PA or AP) never flips a film, since both are displayed alike. Presentation LUT Shape is not consulted, as
the standard ties it to the photometric interpretation; unequal pixel spacing is reported, not resampled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing

from synthorax.errors import InputError
from synthorax.studies.films import LARGEST_PX, Film, too_large
from synthorax.studies.values import VIEWS, view_position

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
RADIOGRAPHY = ("CR", "DX", "DR", "RG", "RF", "OT")


def read_header(path: Path | str) -> Dataset:
    """A DICOM file's header without pixels, refused where it is no radiograph that can be shown.

    Raises:
        InputError: unreadable, multi-frame, another modality, without pixels, raw ('FOR PROCESSING'), or of a
            photometric interpretation other than grey, RGB and YBR.
    """
    return _checked(path, stop_before_pixels=True)


def _checked(path: Path | str, *, stop_before_pixels: bool) -> Dataset:
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
        refusal = _refusal(dataset)
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise InputError(f"{path} cannot be read as DICOM ({error}); copy or export it again.") from error
    if refusal:
        raise InputError(f"{path} {refusal}")
    return dataset


def _refusal(ds: Dataset) -> str | None:
    """Why this header can't become a film, as the rest of a sentence that starts with the path."""
    modality = ds.get("Modality") or None
    if modality and modality not in RADIOGRAPHY:
        return f"has modality {modality}; expected a radiograph ({', '.join(RADIOGRAPHY)}). Leave it out."
    if not ds.get("Rows") or not ds.get("Columns"):
        return "has no image (no Rows and Columns); expected a radiograph. Leave it out."
    if int(ds.Rows) * int(ds.Columns) > LARGEST_PX:
        return too_large(int(ds.Columns), int(ds.Rows))
    frames = int(ds.get("NumberOfFrames") or 1)
    if frames > 1:
        return f"has {frames} frames; expected one. Export the frame that matters as a file of its own."
    if ds.get("PresentationIntentType") == "FOR PROCESSING":
        return "is a raw image ('FOR PROCESSING'); expected 'FOR PRESENTATION'. Export the processed one."
    photometric = ds.get("PhotometricInterpretation")
    if photometric not in GREY + COLOUR:
        allowed = ", ".join(GREY + COLOUR)
        return f"has photometric interpretation {photometric}; expected one of {allowed}. Export it as grey."
    return None


def read_dicom(path: Path | str) -> Film:
    """One radiograph from a DICOM file, compressed ones through pydicom's decoders.

    Pixels equal to Pixel Padding Value (up to Pixel Padding Range Limit) lie outside the image and become 0.
    RLE, JPEG, JPEG-LS and JPEG 2000 are decoded. Colour becomes luma (ITU-R 601). See the module's text for
    intensity and orientation.

    Raises:
        InputError: as :func:`read_header`, or the pixels can't be decoded.
    """
    ds = _checked(path, stop_before_pixels=False)
    applied: list[str] = []
    try:
        stored = ds.pixel_array
        if ds.PhotometricInterpretation in COLOUR:
            luma = stored[..., :3].astype(np.float64) @ (0.299, 0.587, 0.114)
            pixels = luma / (2**ds.BitsStored - 1)
            applied.append(f"{ds.PhotometricInterpretation} to grey")
        else:
            pixels = _grey(stored, ds, applied)
        pixels, transposed = _upright(pixels, ds, applied)
        spacing = ds.get("PixelSpacing") or ds.get("ImagerPixelSpacing")
        spacing_mm = (float(spacing[0]), float(spacing[1])) if spacing and len(spacing) == 2 else None
        view = view_of(ds)
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except Exception as error:  # decoders raise many kinds
        syntax = getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", None)
        name = getattr(syntax, "name", "unknown transfer syntax")
        raise InputError(
            f"{path} ({name}) cannot be decoded ({' '.join(str(error).split())}); "
            "export it uncompressed (Explicit VR Little Endian)."
        ) from error
    return Film(
        pixels=np.ascontiguousarray(pixels, dtype=np.float32),
        photometric_interpretation=ds.PhotometricInterpretation,
        bits_stored=int(ds.BitsStored),
        pixel_spacing_mm=spacing_mm[::-1] if spacing_mm and transposed else spacing_mm,
        view_position=view,
        applied=tuple(applied),
    )


def _grey(stored: np.ndarray, ds: Dataset, applied: list[str]) -> np.ndarray:
    """Modality transform, VOI transform, scaling to [0, 1], inversion, padding."""
    values, (low, high) = _modality(stored, ds, applied)
    if ds.get("VOILUTSequence"):
        values, top = _look_up(values, ds.VOILUTSequence[0])
        low, high = 0, top
        applied.append("VOI LUT")
    elif ds.get("WindowCenter") is not None and ds.get("WindowWidth") is not None:
        # pydicom maps the window to the modality transform's range in its own direction, so (low, high)
        # stay unsorted here: with a negative slope both are swapped, and the division undoes it.
        try:
            values = apply_windowing(values, ds)
        except ValueError as error:
            raise InputError(f"has a window that cannot be applied ({error}); export it again.") from error
        function = str(ds.get("VOILUTFunction") or "LINEAR")
        applied.append(f"window {_first(ds.WindowCenter):g}/{_first(ds.WindowWidth):g} {function}")
    else:
        low, high = min(low, high), max(low, high)
    pixels = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        pixels = 1 - pixels
        applied.append("MONOCHROME1 inverted")
    padding = ds.get("PixelPaddingValue")
    if padding is not None:
        limit = ds.get("PixelPaddingRangeLimit")
        ends = sorted((padding, padding if limit is None else limit))
        outside = (stored >= ends[0]) & (stored <= ends[1])
        if outside.any():
            pixels[outside] = 0
            applied.append(f"padding {ends[0]} to {ends[1]} to 0")
    return pixels


def _modality(stored: np.ndarray, ds: Dataset, applied: list[str]) -> tuple[np.ndarray, tuple[float, float]]:
    """Values after the modality transform, and what the lowest and highest storable values become."""
    if ds.get("ModalityLUTSequence"):
        values, top = _look_up(stored, ds.ModalityLUTSequence[0])
        applied.append("modality LUT")
        return values, (0, top)
    bits = int(ds.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if ds.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = ds.get("RescaleSlope"), ds.get("RescaleIntercept")
    if slope is None or intercept is None:
        return stored, (low, high)
    slope, intercept = float(slope), float(intercept)
    if slope == 0:
        raise InputError("has rescale slope 0, which makes every pixel equal; export it again.")
    if (slope, intercept) != (1, 0):
        applied.append(f"rescale {slope:g} x + {intercept:g}")
    return apply_modality_lut(stored, ds), (low * slope + intercept, high * slope + intercept)


def _look_up(values: np.ndarray, item: Dataset) -> tuple[np.ndarray, int]:
    """A modality or VOI LUT (C.11.1.1, C.11.2.1.1) and its highest output.

    pydicom 3.0's own wraps around for 8-bit entries and refuses 12-bit modality LUTs, hence these lines.
    """
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    data = item.LUTData
    count = count or 2**16
    if isinstance(data, bytes):
        data = np.frombuffer(data, dtype=np.uint8 if len(data) < 2 * count else "<u2")
    table = np.asarray(data)[:count]
    index = np.rint(values).astype(np.int64) - first
    return table[np.clip(index, 0, len(table) - 1)], 2**bits - 1


def _upright(pixels: np.ndarray, ds: Dataset, applied: list[str]) -> tuple[np.ndarray, bool]:
    """The film turned after Patient Orientation, and whether rows and columns were swapped."""
    stated = ds.get("PatientOrientation") or []
    row, column = ([str(value)[:1] for value in stated] + ["", ""])[:2]
    transposed = row in ("H", "F") and column in ("L", "R", "A", "P")
    if transposed:
        pixels, row, column = pixels.T, column, row
        applied.append("rows and columns swapped")
    if column == "H":
        pixels = pixels[::-1]
        applied.append("flipped top to bottom")
    if row == "R":
        pixels = pixels[:, ::-1]
        applied.append("flipped left to right")
    return pixels, transposed


def turns(ds: Dataset) -> bool:
    """Whether :func:`read_dicom` turns the stored pixels upright."""
    applied: list[str] = []
    _upright(np.zeros((1, 1)), ds, applied)
    return bool(applied)


def view_of(ds: Dataset) -> str | None:
    """PA, AP or LATERAL from View Position, else View Code Sequence, else a sagittal Patient Orientation."""
    view = stated_view(ds)
    return view if view in VIEWS else None


def stated_view(ds: Dataset) -> str | None:
    """As :func:`view_of`, but another projection (``LLD``, ``AP AXIAL``) comes back as the file states it."""
    codes = ds.get("ViewCodeSequence") or []
    meaning = str(codes[0].get("CodeMeaning", "")) if codes else ""
    view = view_position(ds.get("ViewPosition")) or view_position(meaning)
    if view is None and any(str(value)[:1] in ("A", "P") for value in ds.get("PatientOrientation") or []):
        return "LATERAL"
    return view


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
