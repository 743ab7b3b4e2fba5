"""Every file that pydicom ships for tests: the expected film, or the expected sentence."""

import json
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.misc import is_dicom

from synthorax.errors import InputError
from synthorax.studies import read_film

HOME = Path(pydicom.data.__file__).parent
FILES = [file for file in sorted((HOME / "test_files").rglob("*")) if file.is_file() and is_dicom(file)]
ELSEWHERE = sorted(json.loads((HOME / "urls.json").read_text()))
#: Damaged or beyond every decoder here, whatever the modality: 12-bit lossy JPEG with a bad scan, JPEG 2000 that holds
#: a DICOM delimiter, too few pixels.
UNDECODED = ("JPEG-lossy", "JPEG2000-embedded-sequence-delimiter", "MR_truncated")
#: Files that pydicom reads and cannot write again, because a value representation is damaged.
NOT_COPIED = ("SC_rgb_jpeg", "badVR")
pytestmark = pytest.mark.filterwarnings("ignore")


def sentence(ds) -> str | None:
    """Why a header's file is refused, after the reader's own list; None where it is a film."""
    if ds.get("Modality") and ds.Modality not in ("CR", "DX", "DR", "RG", "RF", "OT"):
        return f"has modality {ds.Modality}; expected a radiograph"
    if not ds.get("Rows"):
        return "has no image"
    if int(ds.get("NumberOfFrames") or 1) > 1:
        return f"has {ds.NumberOfFrames} frames; expected one"
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        return "has photometric interpretation PALETTE COLOR"
    return "cannot be decoded" if Path(ds.filename).stem in UNDECODED else None


def expected(ds) -> np.ndarray:
    """The film in closed form: table or rescale, linear window, inversion, turn; luma of colour."""
    stored = ds.pixel_array.astype(np.float64)
    if ds.SamplesPerPixel == 3:
        return stored @ (0.299, 0.587, 0.114) / (2**ds.BitsStored - 1)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    x = stored * slope + intercept
    if "ModalityLUTSequence" in ds:
        table = ds.ModalityLUTSequence[0]
        _, first, bits = table.LUTDescriptor
        film = np.asarray(table.LUTData)[(stored - first).astype(int)] / (2**bits - 1)
    elif "WindowCenter" in ds:
        centre, width = (float(np.atleast_1d(ds[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        film = np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    else:
        low = -(2 ** (ds.BitsStored - 1)) if ds.PixelRepresentation else 0
        film = (x - (low * slope + intercept)) / ((2**ds.BitsStored - 1) * slope)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        film = 1 - film
    if "PixelPaddingValue" in ds:
        film = np.where(stored == ds.PixelPaddingValue, 0, film)
    # A row that runs to the patient's right is an image seen from behind.
    return film[:, ::-1] if list(ds.get("PatientOrientation") or []) == ["R", "F"] else film


def check(path: Path, ds, refusal: str | None) -> None:
    if refusal:
        with pytest.raises(InputError) as caught:
            read_film(path)
        assert str(caught.value).startswith(str(path)) and refusal in str(caught.value)
        return
    np.testing.assert_allclose(read_film(path).pixels, expected(ds), atol=1e-6)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME / "test_files")))
def test_as_shipped(path):
    ds = dcmread(path)
    check(path, ds, sentence(ds))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME / "test_files")))
def test_as_if_it_were_a_radiograph(path, tmp_path):
    """The same pixels and transforms under the modality CR: every transfer syntax is decoded."""
    if path.stem in NOT_COPIED:
        pytest.skip("pydicom cannot write it")
    ds = dcmread(path)
    ds.Modality = "CR"
    copy = tmp_path / path.name
    ds.save_as(copy)
    check(copy, ds, sentence(ds))


def test_files_that_pydicom_keeps_elsewhere():
    """The package pydicom-data has 68 of the 79; the others are downloaded one by one."""
    at_hand = [path for name in ELSEWHERE if (path := get_testdata_file(name, download=False))]
    assert len(at_hand) >= 68
    for path in map(Path, at_hand):
        if is_dicom(path):
            ds = dcmread(path)
            check(path, ds, sentence(ds))
