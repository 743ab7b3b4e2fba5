"""The border of this room: films that can be compared."""

import numpy as np

from synthorax.errors import InputError

#: SSIM's constants, and the size of a change, need the range: films are float in [0, 1].
DATA_RANGE = 1.0
#: 8-bit grey levels, the unit in which readers of films think.
GREY_LEVELS = 255.0


def checked_films(mask: np.ndarray | None = None, **films: np.ndarray) -> list[np.ndarray]:
    """The films as float64, all of one shape.

    Raises:
        InputError: shapes differ, a film is not 2-d, its values leave [0, 1], or the mask is not bool.
    """
    shape = np.shape(next(iter(films.values())))
    checked = []
    for name, film in films.items():
        array = np.asarray(film, dtype=np.float64)
        if array.ndim != 2 or array.shape != shape:
            raise InputError(
                f"{name} has shape {array.shape} beside {shape}; expected films (H, W) of one size. "
                "Resize them together."
            )
        if not (array.min() >= 0 and array.max() <= 1):
            raise InputError(
                f"{name} has values from {array.min():g} to {array.max():g}; expected 0 to 1. "
                "Divide an 8-bit film by 255."
            )
        checked.append(array)
    if mask is not None and (np.asarray(mask).dtype != bool or np.shape(mask) != shape):
        raise InputError(
            f"the mask is {np.asarray(mask).dtype} of shape {np.shape(mask)}; expected bool of shape {shape}."
        )
    return checked
