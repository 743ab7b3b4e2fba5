r"""DDIM inversion (Song et al. 2021; Mokady et al. 2023), and what RadEdit calls LANCE (Prabhu et al. 2023).

====================  ============================================================================
here                  paper
====================  ============================================================================
``path[k]``           x^_t: the source's own way to noise, run backwards from x_0; no noise is drawn
``alpha_bar[k]``      abar_t at that step; the last is 1
====================  ============================================================================

The reversed step needs eps at its noisy end and has it at its clean end only: eps(x_t, t) is taken to be
eps(x_{t-1}, t). What this misses is what makes DDIM inversion drift. Here the walk back adds it again at each step
(as Ju et al. 2024, 'direct inversion', do), in the same words as edit-friendly inversion: the walk is one of the change
x_t - x^_t with the step of DDIM (``solver``, eta = 0). So the source comes back at any number of steps.

``lance`` is this with the source's own caption in the inversion and the edited caption in the edit, and no masks. The
original optimises the null text so that the source comes back; that is not needed here.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synthorax.editing.batches import evaluate
from synthorax.editing.inversion import posterior_mean, used_steps
from synthorax.editing.streaming import Way

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


@torch.no_grad()
def ddim_path(
    model: "DiffusionModel",
    x0: Tensor,
    embeddings: Tensor,
    *,
    way: Way,
    rows_per_call: int | None = None,
    pad: bool = False,
) -> list[Tensor]:
    """x^_t at each used step, from the noisiest to ``x0``: ``K + 1`` tensors ``(S, C, h, w)``.

    ``K`` evaluations a source, each waiting for the last. The path is kept, so memory grows with ``K`` (by latents,
    not by films).

    Args:
        model: the diffusion model.
        x0: source latents ``(S, C, h, w)`` float32.
        embeddings: inversion prompts ``(S, T, D)``.
        way: steps and skip count.
        rows_per_call, pad: as in :func:`synthorax.editing.stream`.
    """
    used, alpha_bar = used_steps(model, way.num_inference_steps, way.skip)
    path = [x0]
    for k in reversed(range(len(used))):
        epsilon = evaluate(model, path[-1], used[k], embeddings, rows_per_call or len(x0), pad)
        path.append(posterior_mean(path[-1], epsilon, alpha_bar[k + 1], alpha_bar[k], eta=0.0))
    return path[::-1]
