r"""Inversion and edit in one walk: RadEdit's Algorithms 1 and 3 without a stored trajectory.

The forward samples x^_t of Algorithm 1 have noise of their own, independent over t, drawn from a generator keyed
by (film, timestep). So x^_t can be drawn when the edit reaches t, and forgotten after. Memory does not grow with
the number of steps. Edits of one source share its row of the inversion: a step costs ``S + 2 N`` evaluations for
``N`` edits of ``S`` sources, in one call. Notation as in ``inversion`` and ``radedit``, whose stored form this
equals up to the rounding of calls of another size.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synthorax.editing.inversion import posterior_mean, step_noise, used_steps

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


@torch.no_grad()
def stream(
    model: "DiffusionModel",
    x0: Tensor,
    inversion_embeddings: Tensor,
    seeds: Sequence[int],
    sources: Sequence[int],
    embeddings: Tensor,
    null_embeddings: Tensor,
    *,
    guidance_scale: float,
    num_inference_steps: int,
    skip: float = 0.0,
    edit_cells: Tensor | None = None,
    keep_cells: Tensor | None = None,
) -> Tensor:
    """Invert ``S`` sources and walk ``N`` edits of them back, in ``K`` calls of ``S + 2 N`` rows.

    Args:
        model: the diffusion model.
        x0: source latents ``(S, C, h, w)`` float32.
        inversion_embeddings: inversion prompts ``(S, T, D)``.
        seeds: one a source; the noise depends on it and on the timestep alone.
        sources: which row of ``x0`` each edit changes, ``N`` numbers from 0 to ``S - 1``.
        embeddings: editing prompts ``(N, T, D)``.
        null_embeddings: the empty or a negative prompt ``(N, T, D)``.
        guidance_scale: w, as in :func:`synthorax.editing.radedit`.
        num_inference_steps: 1 or more.
        skip: fraction in [0, 1) of the steps that is left out at the noisy end.
        edit_cells: bool ``(N, 1, h, w)``, where guidance acts; None = everywhere.
        keep_cells: bool ``(N, 1, h, w)``, where the source stays bit for bit; None = nowhere.

    Returns:
        Edited latents ``(N, C, h, w)`` float32.
    """
    used, alpha_bar = used_steps(model, num_inference_steps, skip)
    rows = torch.as_tensor(sources, device=x0.device)
    n_sources, n_edits = len(x0), len(rows)
    texts = torch.cat([inversion_embeddings, embeddings, null_embeddings])
    change = torch.zeros_like(x0[rows])
    for k, t in enumerate(used):
        level = alpha_bar[k].to(x0)
        path = level.sqrt() * x0 + (1 - level).sqrt() * step_noise(seeds, int(t), x0)
        x = path[rows] + change
        epsilons = model.predict_noise(torch.cat([path, x, x]), t.to(x0.device).expand(len(texts)), texts)
        source, cond, uncond = epsilons.float().split([n_sources, n_edits, n_edits])
        epsilon = torch.lerp(uncond, cond, guidance_scale)
        if edit_cells is not None:
            epsilon = torch.where(edit_cells, epsilon, uncond)
        change = posterior_mean(change, epsilon - source[rows], alpha_bar[k], alpha_bar[k + 1])
        if keep_cells is not None:
            change = change.masked_fill(keep_cells, 0)
    return x0[rows] + change
