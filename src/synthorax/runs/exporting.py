"""A synthetic dataset in the forms that others read: ImageFolder, WebDataset, DICOM, Hugging Face ``datasets``."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from synthorax import __version__
from synthorax.dataset import read_png, write_metadata
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.progress import track

#: Samples of a WebDataset shard.
SHARD = 1000
_FILE_COLUMNS = (
    "file_name",
    "source_file_name",
    "counterfactual_file_name",
    "edit_mask_file_name",
    "keep_mask_file_name",
)


def export(frame: pl.DataFrame, dataset: Path, out: Path, form: str, uid_root: str | None = None) -> None:
    """Write a dataset's rows and their images.

    Args:
        frame: rows of the metadata.
        dataset: the folder that their ``file_name`` is relative to.
        out: an empty or new folder.
        form: one of :data:`FORMS`.
        uid_root: of DICOM's UIDs, ending in a dot; None is pydicom's.

    Raises:
        InputError: the folder is in use, a row's path leaves the dataset, or a file is missing.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; give a new folder, so that no older file is mixed in.")
    if frame.is_empty():
        raise InputError("no row is left to export; loosen --where.")
    for name in (name for column in _FILE_COLUMNS for name in frame[column].drop_nulls()):
        inside(dataset, name)
    if form == "dicom":
        _dicom(frame, dataset, out, uid_root)
    else:
        FORMS[form](frame, dataset, out)


def inside(folder: Path, name: str) -> Path:
    """A file of a folder by its relative name.

    Raises:
        InputError: the name leads out of the folder, or nothing is there.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{name!r} in the metadata of {folder} leads out of the folder; it is not read.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; 'synthorax runs verify' lists what a run lacks.")
    return path


def _imagefolder(frame: pl.DataFrame, dataset: Path, out: Path) -> None:
    """The images with their masks and sources, and ``metadata.parquet``."""
    names = sorted({name for column in _FILE_COLUMNS for name in frame[column].drop_nulls()})
    for name in track(names, "Exporting", unit="files"):
        with atomic(out / name) as temporary:
            shutil.copyfile(dataset / name, temporary)
    write_metadata(frame, out)


def _webdataset(frame: pl.DataFrame, dataset: Path, out: Path) -> None:
    """Tar files of ``<key>.png`` and ``<key>.json``, the same bytes each time."""
    out.mkdir(parents=True, exist_ok=True)
    rows = track(frame.iter_rows(named=True), "Exporting", total=frame.height)
    for number in range(-(-frame.height // SHARD)):
        with (
            atomic(out / f"shard-{number:06d}.tar") as temporary,
            tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for _ in range(min(SHARD, frame.height - number * SHARD)):
                row = next(rows)
                key = str(row["image_id"])
                image = (dataset / row["file_name"]).read_bytes()
                for suffix, data in (("png", image), ("json", json.dumps(row, ensure_ascii=False).encode())):
                    entry = tarfile.TarInfo(f"{key}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    for _ in rows:  # ends the bar
        pass


def _huggingface(frame: pl.DataFrame, dataset: Path, out: Path) -> None:
    """A folder for ``datasets.load_from_disk``, images inside."""
    try:
        import datasets
    except ImportError as error:
        raise InputError("this form needs the package datasets; pip install 'synthorax[hf]'.") from error
    paths = [str((dataset / name).resolve()) for name in frame["file_name"]]
    table = datasets.Dataset.from_polars(frame.with_columns(pl.Series("image", paths)))
    table.cast_column("image", datasets.Image()).save_to_disk(out)


def _dicom(frame: pl.DataFrame, dataset: Path, out: Path, uid_root: str | None) -> None:
    """Secondary Capture images (PS3.3 A.8.1), marked synthetic, under new UIDs, patients numbered, no identity."""
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import (
        PYDICOM_ROOT_UID,
        ExplicitVRLittleEndian,
        SecondaryCaptureImageStorage,
        generate_uid,
    )

    root = uid_root or PYDICOM_ROOT_UID
    patients: dict[object, int] = {}
    for number, row in enumerate(
        track(frame.iter_rows(named=True), "Exporting", total=frame.height), start=1
    ):
        person = row["patient_id"] if row["patient_id"] is not None else row["image_id"]
        patient = patients.setdefault(person, len(patients) + 1)
        pixels = np.rint(read_png(dataset / row["file_name"]) * 255).astype(np.uint8)
        try:
            uids = [generate_uid(root, [kind, row["model_sha256"] or "", row["image_id"], str(row["seed"])]) for kind in ("study", "series", "image")]  # fmt: skip
        except ValueError as error:
            raise InputError(
                f"--uid-root is {root!r} ({error}); expected digits and dots, ending in a dot."
            ) from error
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = uids[2]
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, uids[2]
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uids[0], uids[1]
        ds.SyntheticData = "YES"
        ds.ImageType = ["DERIVED", "SECONDARY"]
        ds.ConversionType = "SYN"
        ds.Modality = "DX"
        ds.BodyPartExamined = "CHEST"
        ds.PatientName, ds.PatientID = f"Synthetic^{patient:06d}", f"SYN{patient:06d}"
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "synthetic image, patients numbered"
        ds.PatientBirthDate = ds.PatientSex = ds.StudyDate = ds.StudyTime = ""
        ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
        ds.SeriesNumber, ds.InstanceNumber = 1, 1
        ds.Manufacturer, ds.SoftwareVersions = "synthorax", __version__
        ds.DerivationDescription = f"synthetic, {row['method']}, model {str(row['model_sha256'])[:16]}"
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        data = pixels.tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OB"
        with atomic(out / f"SYN{patient:06d}" / f"{number:08d}.dcm") as temporary:
            ds.save_as(temporary, enforce_file_format=True)


FORMS: dict[str, Callable[..., None]] = {
    "imagefolder": _imagefolder,
    "webdataset": _webdataset,
    "dicom": _dicom,
    "hf": _huggingface,
}
