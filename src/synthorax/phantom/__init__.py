"""phantom: virtual patients with exact masks and exact counterfactual pairs, from one CT or more.

Public names: :class:`Atlas`, :class:`VirtualPatient`, :class:`Finding`, :class:`Film`, :func:`sample_cohort`,
:func:`counterfactual`, :func:`withheld_pairs`, :func:`build_atlas`. All patients of an atlas share one anatomy: what
is measured on them is simulated and supports no claim about clinical accuracy.
"""

import importlib
from typing import Any

_HOMES = {
    "Atlas": "atlas",
    "build_atlas": "own_atlas",
    "VirtualPatient": "patient",
    "Finding": "patient",
    "Film": "patient",
    "patient_id_of": "patient",
    "film_source": "patient",
    "sample_cohort": "cohort",
    "cohort_masks": "cohort",
    "concept_table": "cohort_tables",
    "counterfactual": "counterfactuals",
    "counterfactual_pairs": "counterfactuals",
    "withheld_pairs": "combinations",
    "draw_concepts": "combinations",
    "write_report": "reports",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
