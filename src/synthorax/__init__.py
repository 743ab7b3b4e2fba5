"""synthorax: find what a chest X-ray dataset does not cover, and make exactly those radiographs.

Research only, not for diagnosis.

``synthorax.edit(image, prompt, edit_mask, keep_mask)`` edits one film; see :mod:`synthorax.editing`.
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["__version__", "edit"]


def __getattr__(name: str) -> object:
    # torch is imported when a film is edited, not with the package.
    if name == "edit":
        return import_module("synthorax.editing").edit_film
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
