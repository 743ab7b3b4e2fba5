"""Stress tests: how far a model falls on films that an edit has shifted, and whether the fall can be believed.

``films``        the table of labelled films with their masks
``shifts``       which edit makes which shift, RadEdit's two as data
``stressed``     the edited films beside their controls, sham and blur, on disk
``measuring``    accuracy on real and stressed films by patient, the controls, the verdict
``corruptions``  noise, blur, JPEG, exposure, rotation, resolution at five strengths
``population``   lung segmenters: Dice and distances under oedema, pacemaker, consolidation
``segmenters``   a segmenter of any make (``downstream`` trains one); ``mask_overlap`` compares masks
``concept_attack`` CoRPA's: the fall of each label on films whose concepts were changed
``scan``         which of all findings and devices hurts most
``page``         verdict or figures on one page

A verdict is given only where the controls pass. Research only, not for diagnosis.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "CORRUPTIONS": "corruptions",
    "EMBEDDED_PROMPTS": "shifts",
    "POPULATION": "shifts",
    "PopulationTest": "population",
    "SHIFTS": "shifts",
    "Shift": "shifts",
    "StressTest": "measuring",
    "TestedSegmenter": "segmenters",
    "attack": "concept_attack",
    "corrupt": "corruptions",
    "load_segmenter": "segmenters",
    "make_lungs_stressed": "population",
    "make_stressed": "stressed",
    "measure": "measuring",
    "measure_corruptions": "corruptions",
    "measure_population": "population",
    "measure_scan": "scan",
    "overlap": "mask_overlap",
    "read_films": "films",
    "read_lungs": "films",
    "scan_shifts": "scan",
    "write_attack_page": "page",
    "write_corruptions_page": "page",
    "write_page": "page",
    "write_population_page": "page",
    "write_scan_page": "page",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
