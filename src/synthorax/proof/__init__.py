"""Proof: the papers' training protocols as recipes, run as one resumable grid, and their tables.

``recipe``     a protocol's values, each with its source
``cohort``     real films by split, synthetic films by arm, and what may not be trained on
``trainings``  which classifiers a protocol trains, on what, from where
``grid``       all of them, a folder each, resumable
``figures``    metrics, paired differences by patient, seeds, multiplicity, power
``cars``       tables 1 to 4 of CARS beside the paper's
``tables``     a table as HTML, CSV and LaTeX; ``page``: all on one page
``running``    the whole of it
"""

from importlib import import_module

_HOME = {
    "Recipe": "recipe",
    "read_recipe": "recipe",
    "recipe_names": "recipe",
    "run_recipe": "running",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
