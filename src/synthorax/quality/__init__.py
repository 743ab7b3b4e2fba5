"""Quality of edits: did the anatomy stay, did the finding come, is it the right one. And of films: do they look real.

``structure``   SSIM and grey-level change, whole, inside and outside the mask
``agreement``   concepts that a judge reads back, against those that were asked for
``editing_score``  did the film change as its text did (RadEdit); encoders are arguments
``effect``      the change in the mask against the true counterfactual's
``summary``     mean and deviation per perturbation type
``pictures``    films, outlines and differences for pages
``realism``     statistics of simulated and real films, and critics that are told to tell them apart

A judge is an argument, a callable from films to concept probabilities: this room knows no model.
"""

from importlib import import_module

_HOME = {
    "agreement": "agreement",
    "agreement_of_films": "agreement",
    "editing_scores": "editing_score",
    "effect": "effect",
    "effect_of_edits": "effect",
    "pairwise_ssim": "structure",
    "ssim_map": "structure",
    "structure": "structure",
    "structure_of_edits": "structure",
    "summarise": "summary",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
