"""Another person's CT becomes another atlas, kept beside the built-in one under a name of its own."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from synthorax.errors import InputError
from synthorax.phantom.atlas import ATLAS_NAME, BUILT_IN, HILA_MM, atlas_path, write_atlas
from synthorax.phantom.ct import read_volume
from synthorax.phantom.registration import register


def build_atlas(
    ct: Path | str, labels: Path | str, name: str, licence: str, cache_dir: Path | str | None = None
) -> Path:
    """Build an atlas from a chest CT and its TotalSegmentator labels; about a minute.

    Table and iodine are removed, the rest is kept: choose a CT whose lungs are healthy, or its disease shows in every
    patient of the atlas, in those called normal too. The licence must allow images derived from the CT.

    Args:
        ct: NIfTI in Hounsfield units, any orientation and spacing, or the folder of one DICOM series.
        labels: NIfTI on the CT's grid with the numbers of the task ``total``, or a folder of one mask per structure.
        name: small letters, digits and hyphens, 2 to 31; it becomes part of each patient's id.
        licence: of the CT, with whom to name; repeated in each cohort.
        cache_dir: see :meth:`Atlas.load`.

    Returns:
        The atlas's file.

    Raises:
        InputError: a name that is taken or not allowed, an empty licence, or what :func:`~.ct.read_volume` and
            :func:`~.registration.register` refuse.
    """
    if name == BUILT_IN or not re.fullmatch(ATLAS_NAME, name):
        raise InputError(
            f"The atlas's name is {name!r}; expected 2 to 31 small letters, digits and single hyphens, a letter first, "
            f"and not {BUILT_IN!r}."
        )
    if not licence.strip():
        raise InputError("The licence is empty; name it and whom to attribute, e.g. 'CC BY 4.0, A. Author'.")
    path = atlas_path(cache_dir, name)
    if path.exists():
        raise InputError(f"{path} exists: the name {name!r} is taken. Choose another, or delete that file.")
    from synthorax.phantom.build import build

    registered = register(read_volume(ct, labels))
    arrays = build(registered.scan)
    arrays["hila_mm"] = np.array([registered.hila_mm[side] for side in HILA_MM])
    record = {
        "name": name,
        "licence": licence.strip(),
        "ct_sha256": _sha256(ct),
        "labels_sha256": _sha256(labels),
    }
    arrays["record"] = np.array(json.dumps(record))
    write_atlas(path, arrays)
    return path


def _sha256(path: Path | str) -> str:
    """Of a file, or of a folder's NIfTI files (a DICOM series: all files) in order of their names."""
    path = Path(path)
    digest = hashlib.sha256()
    for file in (
        (sorted(path.glob("*.nii*")) or sorted(p for p in path.rglob("*") if p.is_file()))
        if path.is_dir()
        else [path]
    ):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
