"""The findings a virtual patient can have: one recipe a concept, and some that no concept names.

A recipe draws its parameters (plain numbers, stored and replayable) apart from applying them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synthorax.phantom import devices
from synthorax.phantom.chest import Chest
from synthorax.phantom.findings import airspace, gas, heart, interstitial, masses, pleural
from synthorax.phantom.findings.shape import SIDE_WORDS, Shape


@dataclass(frozen=True)
class Recipe:
    """How a finding is drawn and made.

    Attributes:
        draw: ``(rng, chest, side) -> parameters``.
        make: ``(chest, side, **parameters) -> Shape``.
        sides: which sides it may take: each ``"R"``, ``"L"`` or ``"RL"``; drawn evenly.
        rate: how often a patient has it by chance (findings without a concept only).
        is_disease: False for devices, which leave a film unremarkable.
    """

    draw: Callable[[np.random.Generator, Chest, str], dict[str, object]]
    make: Callable[..., Shape]
    sides: tuple[str, ...] = ("R", "L")
    rate: float = 0.0
    is_disease: bool = True


_BOTH = ("RL",)

#: One recipe for each pathology concept of the vocabulary ``corpa``.
CONCEPTS: dict[str, Recipe] = {
    "mass": Recipe(masses.draw_mass, masses.make_mass),
    "nodule": Recipe(masses.draw_nodule, masses.make_nodule),
    "irregular_hilum": Recipe(masses.draw_hilum, masses.make_hilum),
    "adenopathy": Recipe(masses.draw_adenopathy, masses.make_adenopathy, _BOTH),
    "irregular_parenchyma": Recipe(masses.draw_metastases, masses.make_metastases, _BOTH),
    "pneumonitis": Recipe(airspace.draw_patches, airspace.make_patches),
    "consolidation": Recipe(airspace.draw_consolidation, airspace.make_consolidation),
    "infection": Recipe(airspace.draw_infection, airspace.make_infection),
    "opacities": Recipe(airspace.draw_ground_glass, airspace.make_ground_glass, ("R", "L", "RL", "RL")),
    "effusion": Recipe(pleural.draw_effusion, pleural.make_free_fluid),
    "fluid": Recipe(pleural.draw_pocket, pleural.make_pocket),
    "meniscus_sign": Recipe(pleural.draw_meniscus, pleural.make_free_fluid),
    "costophrenic_angle": Recipe(pleural.draw_blunted_angle, pleural.make_blunted_angle),
    "enlarged_heart": Recipe(heart.draw_enlarged_heart, heart.make_enlarged_heart, _BOTH),
    "absent_lung_markings": Recipe(gas.draw_pneumothorax, gas.make_pneumothorax),
    "irregular_diaphragm": Recipe(gas.draw_depressed_diaphragm, gas.make_depressed_diaphragm),
}

#: Findings and devices that no concept names; a patient keeps them in every counterfactual.
INCIDENTAL: dict[str, Recipe] = {
    "oedema": Recipe(airspace.draw_oedema, airspace.make_oedema, _BOTH, rate=0.03),
    "atelectasis": Recipe(airspace.draw_atelectasis, airspace.make_atelectasis, rate=0.05),
    "lobar_collapse": Recipe(interstitial.draw_lobar_collapse, interstitial.make_lobar_collapse, rate=0.02),
    "reticulonodular": Recipe(
        interstitial.draw_reticulonodular, interstitial.make_reticulonodular, _BOTH, rate=0.02
    ),
    "chest_drain": Recipe(devices.draw_jitter, devices.make_chest_drain, rate=0.02, is_disease=False),
    "pacemaker": Recipe(devices.draw_jitter, devices.make_pacemaker, ("L",), rate=0.04, is_disease=False),
    "ecg": Recipe(devices.draw_jitter, devices.make_ecg, _BOTH, rate=0.07, is_disease=False),
    "tubes": Recipe(devices.draw_tubes, devices.make_tubes, _BOTH, rate=0.03, is_disease=False),
}

__all__ = ["CONCEPTS", "INCIDENTAL", "SIDE_WORDS", "Recipe", "Shape"]
