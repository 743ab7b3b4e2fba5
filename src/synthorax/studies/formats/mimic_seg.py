"""Lung masks of MIMIC-CXR films as pictures: CXLSeg (Indeewara et al. 2023), and MIMIC-Seg (Chen et al. 2022).

Layout: CXLSeg 1.0.0, ``files/p../p......../s......../<dicom_id>-mask.jpg``, 224 x 224 whatever the film's shape: masks are
brought to the film's. MIMIC-Seg (PhysioNet ``lung-segment-mimic-cxr``, RadEdit's) publishes pairs of segmented films
whose names could not be checked: rename its lung masks to ``<dicom_id>-mask.png``.
"""

import re
from functools import partial
from pathlib import Path

from synthorax.errors import InputError
from synthorax.studies.marks import Mark, MarkedSet, read_mask_file
from synthorax.studies.source import require_folder

LABEL = "Lungs"
_NAME = re.compile(r"^(.+)[-_]mask$", re.IGNORECASE)


def read_annotations(path: Path) -> MarkedSet:
    """One mask a film, both lungs together."""
    root = require_folder(path, "lung masks (<dicom_id>-mask.jpg)")
    pictures = sorted(file for file in root.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    named = [(match[1], file) for file in pictures if (match := _NAME.match(file.stem))]
    if not named:
        raise InputError(
            f"{root} has no <dicom_id>-mask.jpg or .png ({len(pictures)} pictures); rename the masks so."
        )
    return MarkedSet(
        (name, [Mark(name, LABEL, "mask", mask=partial(read_mask_file, file))]) for name, file in named
    )
