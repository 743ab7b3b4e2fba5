"""Edit films: encode, invert, edit in the latents, decode, put the change back on the film."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from synthorax.editing import composition, masks
from synthorax.editing.inversion import n_used
from synthorax.editing.sdedit import sdedit
from synthorax.editing.streaming import stream
from synthorax.errors import InputError, unknown_choice

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Method:
    """What a method needs: evaluations a film and used step, and whether it knows masks."""

    evaluations_per_step: int
    takes_masks: bool


#: DDPM inversion is RadEdit without masks; SDEdit inverts nothing.
METHODS = {"radedit": Method(3, True), "ddpm-inversion": Method(3, False), "sdedit": Method(2, False)}


def evaluations(method: str, num_inference_steps: int, skip: float) -> int:
    """Network evaluations a film: K + 2 K for methods that invert, 2 K for SDEdit; K = steps - skipped steps.

    Raises:
        InputError: an unknown method, or settings out of range.
    """
    if method not in METHODS:
        raise unknown_choice("method", method, METHODS)
    return METHODS[method].evaluations_per_step * n_used(num_inference_steps, skip)


def _warn(index: int, message: str) -> None:
    warnings.warn(message, masks.MaskWarning, stacklevel=3)


def edit(
    images: np.ndarray | Tensor,
    prompts: Sequence[str],
    *,
    model: "DiffusionModel",
    seeds: Sequence[int],
    inversion_prompts: Sequence[str] | None = None,
    negative_prompts: Sequence[str] | None = None,
    edit_masks: Sequence[np.ndarray | None] | np.ndarray | None = None,
    keep_masks: Sequence[np.ndarray | None] | np.ndarray | None = None,
    guidance_scale: float = 7.5,
    num_inference_steps: int = 50,
    skip: float = 0.3,
    method: str = "radedit",
    paste: bool = True,
    dilation_px: float = 0,
    feather_px: float = 8,
    batch_size: int = 8,
    pad_batches: bool = False,
    report: Callable[[int, str], None] = _warn,
) -> np.ndarray:
    """The same patients' films as they would look with the findings that the prompts name.

    RadEdit (Perez-Garcia et al. 2023, Algorithms 1 and 3). With ``K`` = steps - skipped steps, a film costs
    ``K`` evaluations to invert and ``2 K`` to edit (:func:`evaluations`).

    A film's result depends on its own row and seed: noise is drawn per film and timestep, on the CPU. Kernels
    round differently for calls of another size, and only so can the rest of the batch reach a film: by less
    than 1e-4 of the grey range in float32 (an untrained U-Net). With ``pad_batches`` all calls have one size,
    and a film comes out the same to the last bit in any company and order (tested on a CPU).

    With ``paste``, pixels inside the keep mask equal the source bit for bit. Outside both masks (the free
    band) the film may change, and does. Without ``paste`` the whole film is the autoencoder's, hence
    blurred, keep mask or not.

    Args:
        images: films ``(N, H, W)`` float32 in [0, 1], bright = dense. Any size: the model sees them padded to
            a square and resized to its own ``image_size``.
        prompts: what each film should show, e.g. ``"Left effusion. Enlarged heart."``
        model: by ``synthorax.diffusion.load_model``.
        seeds: one integer a film.
        inversion_prompts: what each source shows; None = the empty prompt, as in RadEdit.
        negative_prompts: what guidance pushes away from; None = the empty prompt, as in RadEdit. What stands in both
            a prompt and its negative (the embedded model's ``"Chest film."``) is not made stronger by guidance.
        edit_masks: bool ``(H, W)`` or None a film: where the prompt acts. None = the whole film.
        keep_masks: bool ``(H, W)`` or None a film: what must stay; wins where it overlaps the edit mask.
            None = nothing.
        guidance_scale: 15 in the paper, 7.5 on RadEdit's model card; raising it makes the finding stronger.
        num_inference_steps: steps of the whole way from noise to film, 1 or more; exact at any number.
        skip: fraction in [0, 1) of the steps left out at the noisy end; raising it keeps more of the source.
        method: ``radedit``, ``ddpm-inversion`` (no masks) or ``sdedit`` (no masks, no inversion).
        paste: add the decoded change to the original film instead of returning the decoded edit.
        dilation_px: both masks are widened by a disk of this radius, in the film's pixels; the paper uses 5
            where contours are tight.
        feather_px: width of the seam outside the keep mask, within the free band.
        batch_size: films at a time; a network call has three times as many rows (SDEdit's twice). Raising it
            costs memory; the number of steps does not.
        pad_batches: fill the last batch up to ``batch_size`` with copies of its last film, which are thrown
            away. Costs their evaluations.
        report: called with a film's index and a sentence if its masks cannot be used quite as drawn (thinner
            than a latent cell, or nothing left to edit); by default a ``MaskWarning``.

    Returns:
        Edited films ``(N, H, W)`` float32 in [0, 1]; what the change drives beyond that range is cut to it.

    Raises:
        InputError: films, masks, texts or settings that cannot be used; the sentence says which.
    """
    evaluations(method, num_inference_steps, skip)
    films = _checked_films(images)
    n_films, height, width = films.shape
    edits = masks.checked(edit_masks, "edit_masks", (n_films, height, width))
    keeps = masks.checked(keep_masks, "keep_masks", (n_films, height, width))
    if not METHODS[method].takes_masks and any(mask is not None for mask in edits + keeps):
        raise InputError(
            f"method {method!r} knows no masks, but masks were given. "
            "Take method 'radedit', or leave the masks out."
        )
    texts = {
        "prompts": prompts,
        "inversion_prompts": [""] * n_films if inversion_prompts is None else inversion_prompts,
        "negative_prompts": [""] * n_films if negative_prompts is None else negative_prompts,
    }
    for name, values in {**texts, "seeds": seeds}.items():
        if isinstance(values, str) or len(values) != n_films:
            found = "one text" if isinstance(values, str) else f"{len(values)} entries"
            raise InputError(
                f"{name} has {found} for {n_films} films; expected a list with one entry a film."
            )
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected 1 or more films.")
    edits, keeps = (
        [None if m is None else masks.dilate(m, dilation_px) for m in some] for some in (edits, keeps)
    )
    cells = [_cells(i, edits[i], keeps[i], model.latent_shape[1:], report) for i in range(n_films)]
    # Every text is encoded once and by itself, so that its neighbours cannot reach it.
    embedding = {
        text: model.encode_text([text])[0] for text in sorted({t for some in texts.values() for t in some})
    }

    result = np.empty((n_films, height, width), dtype=np.float32)
    for start in range(0, n_films, batch_size):
        rows = list(range(start, min(start + batch_size, n_films)))
        batch = rows + rows[-1:] * (batch_size - len(rows)) if pad_batches else rows
        x0 = model.encode(composition.to_model(films[batch], model.image_size)).float()
        text, source_text, null = (
            torch.stack([embedding[some[i]] for i in batch]) for some in texts.values()
        )
        drawn = [int(seeds[i]) for i in batch]
        if method == "sdedit":
            x = sdedit(
                model, x0, text, null, drawn,
                guidance_scale=guidance_scale, num_inference_steps=num_inference_steps, skip=skip,
            )  # fmt: skip
        else:
            edit_cells, keep_cells = (
                torch.from_numpy(np.stack([cells[i][which] for i in batch]))[:, None].to(x0.device)
                for which in (0, 1)
            )
            x = stream(
                model, x0, source_text, drawn, range(len(batch)), text, null,
                guidance_scale=guidance_scale, num_inference_steps=num_inference_steps, skip=skip,
                edit_cells=edit_cells, keep_cells=keep_cells,
            )  # fmt: skip
        decoded = model.decode(x)[: len(rows)].float().cpu()
        if paste:
            source = model.decode(x0)[: len(rows)].float().cpu()
            change = composition.from_model(decoded - source, height, width)
            weights = [
                composition.change_weight(edits[i], keeps[i], (height, width), feather_px) for i in rows
            ]
            edited = composition.paste(films[rows], change, torch.from_numpy(np.stack(weights)))
        else:
            edited = composition.from_model(decoded, height, width).clamp(0, 1)
        result[rows] = edited.numpy()
    return result


def _checked_films(images: np.ndarray | Tensor) -> Tensor:
    """Films as a float32 tensor on the CPU, or the sentence about what is wrong with them."""
    films = torch.as_tensor(images).detach().cpu()
    if films.ndim != 3:
        raise InputError(
            f"images has shape {tuple(films.shape)}; expected (films, height, width). "
            "For one film take images[None]."
        )
    if not films.is_floating_point():
        raise InputError(
            f"images has dtype {films.dtype}; expected float32 in [0, 1]. Divide by the largest grey value."
        )
    films = films.float()
    for index, film in enumerate(films):
        low, high = float(film.min()), float(film.max())
        if not 0 <= low <= high <= 1:  # NaN fails too
            raise InputError(
                f"images[{index}] goes from {low:g} to {high:g}; expected [0, 1]. Scale it by its window."
            )
    return films


def _cells(
    index: int,
    edit_mask: np.ndarray | None,
    keep_mask: np.ndarray | None,
    size: tuple[int, int],
    report: Callable[[int, str], None],
) -> tuple[np.ndarray, np.ndarray]:
    """One film's masks as latent cells; tells the caller what could not be used as drawn."""
    edit_cells, keep_cells, messages = np.ones(size, dtype=bool), np.zeros(size, dtype=bool), {}
    if edit_mask is not None:
        edit_cells, messages["edit_masks"] = masks.edit_cells(composition.mask_to_model(edit_mask), size)
    if keep_mask is not None:
        keep_cells, messages["keep_masks"] = masks.keep_cells(composition.mask_to_model(keep_mask), size)
    for name, message in messages.items():
        if message is not None:
            report(index, f"{name}[{index}] {message}")
    if not (edit_cells & ~keep_cells).any():
        report(
            index,
            f"keep_masks[{index}] covers every latent cell of the edit mask: keep wins, "
            "and the prompt acts nowhere.",
        )
    return edit_cells, keep_cells
