"""One film, one prompt: what the quickstart calls ``synthorax.edit``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthorax.dataset import read_png
from synthorax.editing.engine import edit
from synthorax.errors import InputError
from synthorax.studies.films import read_film

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


def edit_film(
    image: np.ndarray | Path | str,
    prompt: str,
    edit_mask: np.ndarray | Path | str | None = None,
    keep_mask: np.ndarray | Path | str | None = None,
    *,
    model: "DiffusionModel | Path | str | None" = None,
    seed: int = 0,
    inversion_prompt: str = "",
    is_simulated: bool = False,
    **settings: Any,
) -> np.ndarray:
    """The patient's film as it would look with the findings that the prompt names.

    Args:
        image: a path (PNG, JPEG, DICOM), or float32 ``(H, W)`` in [0, 1], bright = dense.
        prompt: findings that should exist, e.g. ``"Left effusion."``
        edit_mask: where the prompt acts: a PNG (above 0 = inside) or bool ``(H, W)``; None = the whole film.
        keep_mask: what stays, bit for bit; wins over the edit mask; None = nothing.
        model: a loaded model, a pipeline folder or a repo id; None = the embedded default.
        seed: another seed gives another version of the finding.
        inversion_prompt: what the source shows; the empty prompt is RadEdit's.
        is_simulated: the film is a virtual patient's; the embedded model has a word for that (its domain).
        settings: further ones of :func:`synthorax.editing.edit`; ``guidance_scale``, ``num_inference_steps`` and
            ``skip`` are the model's own unless given.

    Returns:
        Edited film ``(H, W)`` float32 in [0, 1].

    Raises:
        InputError: a file, an array or a setting that cannot be used.
        ModelError: no model there.
    """
    film = read_film(image).pixels if isinstance(image, str | Path) else np.asarray(image)
    masks = [(_read_mask(m) if isinstance(m, str | Path) else m) for m in (edit_mask, keep_mask)]
    if model is None or isinstance(model, str | Path):
        from synthorax.diffusion import load_model

        loaded = load_model(model)
    else:
        loaded = model
    domain = loaded.domain(is_simulated)
    return edit(
        film[None], [f"{domain} {prompt}".strip()], model=loaded, seeds=[seed],
        inversion_prompts=[f"{domain} {inversion_prompt}".strip()],
        negative_prompts=[domain],
        edit_masks=[masks[0]], keep_masks=[masks[1]], **loaded.edit_settings | settings,
    )[0]  # fmt: skip


def _read_mask(path: Path | str) -> np.ndarray:
    """A PNG as bool, or the sentence that it is not there."""
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; expected a mask as PNG.")
    return read_png(path) > 0
