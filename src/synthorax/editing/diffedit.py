r"""DiffEdit (Couairon et al. 2023), with DDPM inversion: Algorithm 2 of RadEdit (Perez-Garcia et al. 2023).

Algorithm 2 has guidance everywhere and pastes x^_{t-1} outside ``m_edit`` after each step. What guidance did there is
pasted over before the network sees it, so it is Algorithm 3 with ``keep_cells = ~edit_cells``: no free band.

Where no mask is given, DiffEdit predicts one: noise the source, ask the network for the noise under either caption, and
see where the answers differ.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synthorax.editing.batches import evaluate
from synthorax.editing.streaming import noised

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

#: Of the paper: maps that are averaged, noise level as a fraction of the timesteps, and the threshold; differences
#: are cut at three times their mean before they are scaled to [0, 1] (the authors' code).
N_MAPS, STRENGTH, THRESHOLD, CUT = 10, 0.5, 0.5, 3.0


@torch.no_grad()
def predicted_mask(
    model: "DiffusionModel",
    x0: Tensor,
    source_embeddings: Tensor,
    embeddings: Tensor,
    seeds: Sequence[int],
    *,
    rows_per_call: int | None = None,
    pad: bool = False,
) -> Tensor:
    """Cells where the network's answers under the two captions differ: bool ``(N, 1, h, w)``.

    ``2 N_MAPS`` evaluations an edit. At least the cell that differs most is in the mask.

    Args:
        model: the diffusion model.
        x0: source latents ``(N, C, h, w)`` float32.
        source_embeddings, embeddings: the source's captions and the editing prompts ``(N, T, D)``.
        seeds: one an edit.
        rows_per_call, pad: as in :func:`synthorax.editing.stream`.
    """
    t = torch.tensor(int(STRENGTH * len(model.alphas_cumprod)))
    level = model.alphas_cumprod.double().cpu()[t]
    texts, size = torch.cat([source_embeddings, embeddings]), rows_per_call or 2 * len(x0)
    total = torch.zeros_like(x0[:, :1])
    for number in range(N_MAPS):
        # timesteps count from 0: the maps' noise is drawn for numbers that no timestep has
        x_t = noised(x0, level, seeds, len(model.alphas_cumprod) + number)
        before, after = evaluate(model, torch.cat([x_t, x_t]), t, texts, size, pad).chunk(2)
        total += (after - before).abs().mean(1, keepdim=True)
    cut = CUT * total.mean((1, 2, 3), keepdim=True)
    differs = total.minimum(cut) / cut.clamp(min=1e-12)
    return (differs >= THRESHOLD) | (total >= total.amax((1, 2, 3), keepdim=True))
