"""VinDr-PCXR (Pham et al. 2022): films of children, fifteen labels and boxes of one rater a film.

Layout: PhysioNet 1.0.0, as VinDr-CXR's, the tables beside ``train/`` and ``test/``, the rater's column ``rad_ID``. Labels
keep the set's spelling (``Brocho-pneumonia``, ``Diagphramatic hernia``). Whether a film is PA or AP is not stated.
"""

from pathlib import Path

from synthorax.studies.formats.vindr_cxr import boxed, labelled
from synthorax.studies.marks import MarkedSet
from synthorax.studies.source import Source, require_folder


def read_source(path: Path) -> Source:
    """One row a film."""
    return labelled(require_folder(path, "VinDr-PCXR"), "vindr-pcxr", None)


def read_annotations(path: Path) -> MarkedSet:
    """Boxes with their raters."""
    return boxed(path, "VinDr-PCXR")
