"""SDEdit (Meng et al. 2021): noise the source up to a timestep, then sample from there with the new prompt.

The simplest editor: no inversion, no mask. The steps back draw new noise, so nothing but what survives at the
starting noise level ties the result to the source.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synthorax.editing.batches import evaluate
from synthorax.editing.inversion import posterior_mean, sigma, step_noise, used_steps
from synthorax.editing.streaming import Way, noised

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
    way: Way,
    rows_per_call: int | None = None,
    pad: bool = False,
) -> Tensor:
    """Edited latents ``(N, C, h, w)``; ``2 K`` evaluations a film for ``K`` used steps.

    Args:
        model: the diffusion model.
        x0: source latents ``(N, C, h, w)`` float32.
        embeddings, null_embeddings: editing prompts, and the empty or a negative prompt ``(N, T, D)``.
        seeds: one a film.
        way: guidance, steps, and skip (0 keeps nothing of the source); the sampler is DDPM's, with both branches.
        rows_per_call, pad: as in :func:`synthorax.editing.stream`.
    """
    used, alpha_bar = used_steps(model, way.num_inference_steps, way.skip)
    texts, size = torch.cat([embeddings, null_embeddings]), rows_per_call or 2 * len(x0)
    x = noised(x0, alpha_bar[0], seeds, int(used[0]))
    # The noise of the step that ends at timestep t' is drawn for t'; the last step adds none (sigma = 0).
    for k, (t, end) in enumerate(zip(used, [*used[1:].tolist(), None], strict=True)):
        cond, uncond = evaluate(model, torch.cat([x, x]), t, texts, size, pad).chunk(2)
        x = posterior_mean(x, torch.lerp(uncond, cond, way.guidance_scale), alpha_bar[k], alpha_bar[k + 1])
        if end is not None:
            x = x + sigma(alpha_bar[k], alpha_bar[k + 1]).to(x) * step_noise(seeds, end, x)
    return x
