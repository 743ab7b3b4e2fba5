"""Edit films: encode, invert, edit in the latents, decode, put the change back on the film."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from synthorax.editing import composition, masks
from synthorax.editing.batches import EDITS_PER_ROW, chunks, in_calls
from synthorax.editing.ddim import ddim_path
from synthorax.editing.diffedit import predicted_mask
from synthorax.editing.methods import method_named, preset_named
from synthorax.editing.sdedit import sdedit
from synthorax.editing.streaming import stream
from synthorax.errors import InputError, unknown_choice

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

#: What may change outside both masks.
OUTSIDE = ("free", "exact")


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
    fresh_noise: float = 0.0,
    method: str = "radedit",
    preset: str = "exact",
    paste: bool = True,
    outside: str = "free",
    white: int | None = None,
    dilation_px: float = 0,
    feather_px: float = 8,
    batch_size: int = 8,
    pad_batches: bool = False,
    report: Callable[[int, str], object] | None = None,
) -> np.ndarray:
    """The same patients' films as they would look with the findings that the prompts name.

    RadEdit (Perez-Garcia et al. 2023, Algorithms 1 and 3), or another of :data:`METHODS`. With ``K`` = steps -
    skipped steps, a source costs ``K`` evaluations to invert and each edit of it ``2 K`` (:func:`evaluations`). Rows
    with the same film, inversion prompt and seed share one inversion, wherever they stand.

    A film's result depends on its own row and seed: noise is drawn per seed and timestep, on the CPU. Kernels
    round differently for calls of another size, and only so can the rest of the batch reach a film: by less
    than 1e-4 of the grey range in float32 (an untrained U-Net). With ``pad_batches`` all calls have
    ``batch_size`` rows, and a film comes out the same to the last bit in any company and order (tested on a CPU).

    With ``paste``, pixels inside the keep mask equal the source bit for bit, at the film's own size and depth.
    Outside both masks (the free band) the film may change, and does, unless ``outside`` is ``exact``. Without
    ``paste`` the whole film is the autoencoder's, hence blurred, keep mask or not.

    Args:
        images: films ``(N, H, W)``, bright = dense: float32 in [0, 1], or uint8 or uint16 from 0 to ``white``. Any
            size: the model sees them padded to a square and resized to its own ``image_size``.
        prompts: what each film should show, e.g. ``"Left effusion. Enlarged heart."``
        model: by ``synthorax.diffusion.load_model``.
        seeds: one integer a film; edits of one source take the same one to share their inversion.
        inversion_prompts: what each source shows; None = the empty prompt, as in RadEdit.
        negative_prompts: what guidance pushes away from; None = the empty prompt, as in RadEdit. What stands in both
            a prompt and its negative (the embedded model's ``"Chest film."``) is not made stronger by guidance.
        edit_masks: bool ``(H, W)`` or None a film: where the prompt acts. None = the whole film; for ``diffedit``, a
            mask that the network predicts.
        keep_masks: bool ``(H, W)`` or None a film: what must stay; wins where it overlaps the edit mask.
            None = nothing; ``diffedit`` keeps all outside the edit mask.
        guidance_scale: 15 in the paper, 7.5 on RadEdit's model card; raising it makes the finding stronger.
        num_inference_steps: steps of the whole way from noise to film, 1 or more; exact at any number.
        skip: fraction in [0, 1) of the steps left out at the noisy end; raising it keeps more of the source.
        fresh_noise: share in [0, 1] of the source's own noise that new noise replaces inside the edit mask: 0 as in
            the papers, 1 is SDEdit inside the mask. Raising it removes findings more surely, anatomy under them too.
        method: one of :data:`METHODS`.
        preset: one of :data:`PRESETS`: ``exact`` walks as the settings say, the others with fewer evaluations.
        paste: add the decoded change to the original film instead of returning the decoded edit.
        outside: ``free``, or ``exact``: outside the edit mask and its seam the film is the source's, bit for bit.
        white: grey level of an integer film that is full density, e.g. 4095; None = the type's largest.
        dilation_px: both masks are widened by a disk of this radius, in the film's pixels; the paper uses 5
            where contours are tight.
        feather_px: width of the seam outside the keep mask (or the edit mask), within the free band.
        batch_size: rows of a network call, films of an autoencoder's; raising it costs memory, more steps do not.
        pad_batches: fill the last call up to ``batch_size`` with copies of its last row, which are thrown
            away. Costs their evaluations.
        report: called with a film's index and a sentence if its masks cannot be used quite as drawn (thinner
            than a latent cell, or nothing left to edit); None gives one ``MaskWarning`` of the first such film.

    Returns:
        Edited films ``(N, H, W)`` of the type of ``images``; what the change drives beyond their range is cut to it.

    Raises:
        InputError: films, masks, texts or settings that cannot be used; the sentence says which.
    """
    told: dict[int, str] = {}
    kind = method_named(method)
    way = preset_named(preset).way(guidance_scale, num_inference_steps, skip, fresh_noise)
    if fresh_noise and kind.path != "ddpm":
        raise InputError(f"method {method!r} adds no noise of the source's back; leave fresh_noise at 0, or take 'radedit'.")  # fmt: skip
    films, white = composition.checked_films(images, white)
    n_films, height, width = films.shape
    edits = masks.checked(edit_masks, "edit_masks", (n_films, height, width))
    keeps = masks.checked(keep_masks, "keep_masks", (n_films, height, width))
    if not kind.takes_masks and any(mask is not None for mask in edits + keeps):
        raise InputError(
            f"method {method!r} knows no masks, but masks were given. "
            "Take method 'radedit', or leave the masks out."
        )
    texts = _checked_texts(n_films, prompts, inversion_prompts, negative_prompts, seeds)
    if kind.wants_caption and not all(texts["inversion_prompts"]):
        raise InputError(
            f"inversion_prompts[{texts['inversion_prompts'].index('')}] is empty; method {method!r} inverts with what "
            "the source shows. Give each film's own findings."
        )
    if outside not in OUTSIDE:
        raise unknown_choice("outside", outside, OUTSIDE)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected 1 or more rows.")
    edits, keeps = (
        [None if m is None else masks.dilate(m, dilation_px) for m in some] for some in (edits, keeps)
    )
    # Every text is encoded once and by itself, so that its neighbours cannot reach it.
    embedding = {
        text: model.encode_text([text])[0] for text in sorted({t for some in texts.values() for t in some})
    }

    def encoded(name: str, rows: Sequence[int]) -> Tensor:
        return torch.stack([embedding[texts[name][i]] for i in rows])

    result = np.empty_like(films)
    calls: dict[str, Any] = {"rows_per_call": batch_size, "pad": pad_batches}
    for chunk in chunks(films, texts["inversion_prompts"], seeds, EDITS_PER_ROW * batch_size):
        rows, sources = chunk.edits, chunk.sources
        squares = composition.to_model(composition.grey(films[chunk.first], white), model.image_size)
        x0 = in_calls(model.encode, batch_size, pad_batches, squares)
        text, null = encoded("prompts", rows), encoded("negative_prompts", rows)
        if method == "diffedit":
            unmasked = [n for n, i in enumerate(rows) if edits[i] is None]
            if unmasked:
                some = [rows[n] for n in unmasked]
                cells = predicted_mask(
                    model, x0[[sources[n] for n in unmasked]], encoded("inversion_prompts", some), text[unmasked],
                    [seeds[i] for i in some], **calls,
                )  # fmt: skip
                for i, square in zip(some, cells[:, 0].cpu().numpy(), strict=True):
                    edits[i] = composition.mask_from_model(square, model.image_size, height, width)
            for i in rows:
                outside_edit = ~edits[i]  # type: ignore[operator]  # every row has a mask by now
                keeps[i] = outside_edit if keeps[i] is None else keeps[i] | outside_edit
        drawn = [int(seeds[i]) for i in chunk.first]
        if kind.path is None:
            x = sdedit(model, x0[sources], text, null, [drawn[n] for n in sources], way=way, **calls)
        else:
            both = [
                _cells(i, edits[i], keeps[i], model.latent_shape[1:], report or told.setdefault) for i in rows
            ]
            edit_cells, keep_cells = (torch.from_numpy(np.stack(some))[:, None].to(x0.device) for some in zip(*both, strict=True))  # fmt: skip
            inversion = encoded("inversion_prompts", chunk.first)
            path = ddim_path(model, x0, inversion, way=way, **calls) if kind.path == "ddim" else None
            x = stream(
                model, x0, inversion, drawn, sources, text, null,
                way=way, edit_cells=edit_cells, keep_cells=keep_cells, path=path, **calls,
            )  # fmt: skip
        decoded = in_calls(model.decode, batch_size, pad_batches, x).cpu()
        source = in_calls(model.decode, batch_size, pad_batches, x0).cpu()
        for n, i in enumerate(rows):
            if paste:
                change = composition.from_model((decoded[n] - source[sources[n]])[None], height, width)
                weight = composition.change_weight(edits[i], keeps[i], (height, width), feather_px, outside)
                result[i] = composition.paste(films[i], change[0].numpy(), weight, white)
            else:
                plain = composition.from_model(decoded[n : n + 1], height, width)[0].numpy()
                result[i] = composition.paste(np.zeros_like(films[i]), plain, np.ones_like(plain), white)
    if told:
        first = next(iter(told.values()))
        others = f" So it is with {len(told)} of {n_films} films." if len(told) > 1 else ""
        warnings.warn(f"{first}{others}", masks.MaskWarning, stacklevel=2)
    return result


def _checked_texts(
    n_films: int,
    prompts: Sequence[str],
    inversion_prompts: Sequence[str] | None,
    negative_prompts: Sequence[str] | None,
    seeds: Sequence[int],
) -> dict[str, Sequence[str]]:
    """One text a film of each kind, empty ones where none are given."""
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
    return texts


def _cells(
    index: int,
    edit_mask: np.ndarray | None,
    keep_mask: np.ndarray | None,
    size: tuple[int, int],
    report: Callable[[int, str], object],
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
