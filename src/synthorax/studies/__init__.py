"""Studies: reading films and reports, and one manifest for every set of them.

``read_film`` gives one radiograph in the one grey convention, ``import_studies`` a set's manifest,
``split_by_patient`` its splits.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from synthorax.studies.formats import FORMATS

if TYPE_CHECKING:
    from synthorax.studies.films import Film, prepare, read_film
    from synthorax.studies.importing import FRONTAL, import_studies
    from synthorax.studies.manifest import MANIFEST, REJECTED, Studies, read_manifest, write_manifest
    from synthorax.studies.splits import split_by_patient

#: Public name -> its module, imported when asked for: the command line's help needs the formats alone.
_WHERE = {
    **dict.fromkeys(("Film", "prepare", "read_film"), "films"),
    **dict.fromkeys(("FRONTAL", "import_studies"), "importing"),
    **dict.fromkeys(("MANIFEST", "REJECTED", "Studies", "read_manifest", "write_manifest"), "manifest"),
    "split_by_patient": "splits",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


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
