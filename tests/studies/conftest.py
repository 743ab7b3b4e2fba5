"""Small trees of films, tables and DICOM files, as fixtures that are functions."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian


def _film(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)


def _table(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _rows(frame: pl.DataFrame, *columns: str) -> list[tuple]:
    return frame.select(columns).rows()


def _dicom(path: Path, **tags) -> None:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = tags.pop("SOPInstanceUID", "1.2.3")
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for name, value in {
        "Modality": "CR",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": 8,
        "Columns": 8,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        **tags,
    }.items():
        setattr(ds, name, value)
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture
def film():
    """Write an 8x8 film to a path."""
    return _film


@pytest.fixture
def table():
    """Write lines as a table, gzipped where the name says so."""
    return _table


@pytest.fixture
def rows():
    """Chosen columns of a frame as tuples."""
    return _rows


@pytest.fixture
def dicom():
    """Write a DICOM radiograph with the given tags."""
    return _dicom
