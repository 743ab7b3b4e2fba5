"""Counterfactual editing: the same patient's film with other findings.

``edit`` changes a batch of films, ``edit_film`` one film (the quickstart's ``synthorax.edit``); ``methods`` lists what
can be asked of them by name. Behind them, one algorithm a file: ``inversion`` (RadEdit's Algorithm 1), ``radedit``
(Algorithm 3), ``streaming`` (both in one walk, which the engine takes, a step of it in ``solver``), ``diffedit``
(Algorithm 2), ``ddim`` (DDIM inversion, LANCE), ``sdedit``; ``masks`` brings the masks to the size of the latents,
``batches`` makes the calls, and ``composition`` puts the change back on the original film. ``regions`` has masks from
finding and side, ``controls`` sham and blur, ``checks`` the automatic checks, ``retry`` the loop that tries again.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "METHODS": "methods",
    "PRESETS": "methods",
    "Way": "streaming",
    "blur": "controls",
    "check": "checks",
    "edit_until": "retry",
    "finding_masks": "regions",
    "region": "regions",
    "sham": "controls",
    "edit": "engine",
    "edit_film": "film",
    "evaluations": "methods",
    "MaskWarning": "masks",
    "dilate": "masks",
    "Inversion": "inversion",
    "invert": "inversion",
    "radedit": "radedit",
    "sdedit": "sdedit",
    "stream": "streaming",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    # A function may bear its module's name (``radedit``): once looked up, the function stays.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
