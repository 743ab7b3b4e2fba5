"""Studies: reading films and reports, and one manifest for every set of them.

``read_film`` gives one radiograph in the one grey convention, ``import_studies`` a set's manifest,
``split_by_patient`` its splits.
"""

from synthorax.studies.films import Film, prepare, read_film
from synthorax.studies.formats import FORMATS
from synthorax.studies.importing import FRONTAL, import_studies
from synthorax.studies.manifest import MANIFEST, REJECTED, Studies, read_manifest, write_manifest
from synthorax.studies.splits import split_by_patient

__all__ = [
    "FORMATS",
    "FRONTAL",
    "MANIFEST",
    "REJECTED",
    "Film",
    "Studies",
    "import_studies",
    "prepare",
    "read_film",
    "read_manifest",
    "split_by_patient",
    "write_manifest",
]
