"""perturbations: target vectors after CARS and CoRPA, and the prompts that ask for them.

Public names: :func:`intra_class`, :func:`insertion`, :func:`deletion`, :func:`outer_class` (one vector in,
one vector or None out), :func:`candidates` (all of them), :func:`prompt`, :func:`plan` (a table of edits),
:func:`make_plan` (with the tally), :func:`spoken_sides`.
"""

from synthorax.perturbations.kinds import TYPES, candidates, deletion, insertion, intra_class, outer_class
from synthorax.perturbations.planning import PLAN, Plan, make_plan, plan, spoken_sides
from synthorax.perturbations.prompts import prompt

__all__ = [
    "PLAN",
    "TYPES",
    "Plan",
    "candidates",
    "deletion",
    "insertion",
    "intra_class",
    "make_plan",
    "outer_class",
    "plan",
    "prompt",
    "spoken_sides",
]
