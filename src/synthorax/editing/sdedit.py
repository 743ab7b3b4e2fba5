"""SDEdit (Meng et al. 2021): noise the source up to a timestep, then sample from there with the new prompt.

The simplest editor: no inversion, no mask. The steps back draw new noise, so nothing but what survives at the
starting noise level ties the result to the source.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synthorax.editing.inversion import posterior_mean, sigma, step_noise, used_steps
from synthorax.editing.radedit import guided

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


@torch.no_grad()
def sdedit(
    model: "DiffusionModel",
    x0: Tensor,
    embeddings: Tensor,
    null_embeddings: Tensor,
    seeds: Sequence[int],
    *,
    guidance_scale: float,
    num_inference_steps: int,
    skip: float,
) -> Tensor:
    """Edited latents ``(N, C, h, w)``; ``2 K`` evaluations a film for ``K`` used steps.

    Args:
        model: the diffusion model.
        x0: source latents ``(N, C, h, w)`` float32.
        embeddings, null_embeddings: editing prompts, and the empty or a negative prompt ``(N, T, D)``.
        seeds: one a film.
        guidance_scale: raising it follows the prompt more.
        num_inference_steps: steps of the whole way.
        skip: fraction of it that is not walked; raising it keeps more of the source (0 keeps nothing).
    """
    used, alpha_bar = used_steps(model, num_inference_steps, skip)
    level = alpha_bar[0].to(x0)
    x = level.sqrt() * x0 + (1 - level).sqrt() * step_noise(seeds, int(used[0]), x0)
    # The noise of the step that ends at timestep t' is drawn for t'; the last step adds none (sigma = 0).
    for k, (t, end) in enumerate(zip(used, [*used[1:].tolist(), None], strict=True)):
        epsilon, _ = guided(model, x, t, embeddings, null_embeddings, guidance_scale)
        x = posterior_mean(x, epsilon, alpha_bar[k], alpha_bar[k + 1])
        if end is not None:
            x = x + sigma(alpha_bar[k], alpha_bar[k + 1]).to(x) * step_noise(seeds, end, x)
    return x
