r"""RadEdit: Algorithm 3 of Perez-Garcia et al. 2023, in the latents of any epsilon model.

====================  ============================================================================
here                  paper
====================  ============================================================================
``change``            x_t - x^_t, how far the edit has left the inverted source
``edit_cells``        m_edit ('exclusion mask'): classifier-free guidance acts here
``keep_cells``        m_keep ('inclusion mask'): the source returns here
``guidance_scale``    w
``inversion.path``    x^_t;  ``inversion.epsilon``: eps~_t = f_theta(x^_t, t, c_inv)
====================  ============================================================================

The step is x_{t-1} = mu_t(x_t, eps_t) + sigma_t z_t with sigma_t z_t = x^_{t-1} - mu_t(x^_t, eps~_t). mu_t is
linear, hence

    x_{t-1} - x^_{t-1} = mu_t(x_t - x^_t, eps_t - eps~_t).

So the walk is one of the *change*, which begins at 0. It needs no division by sigma_t and no special last
step. Where the model predicts the same as in the inversion it stays 0 to the last bit; rounding of x itself
would grow by sqrt(1 / abar_T), a factor of 157 from pure noise. The keep mask sets it to 0.

The text of the paper pastes x^_t after the step, its Algorithm 3 x^_{t-1}; the algorithm is right (x^_t
would be one step too noisy), and is what stands here. The masks may overlap: the paste comes last, so
**keep wins**. They may leave a free band, which follows the unconditional model and can change. With the
inversion's prompt and no masks the source comes back at guidance 1 only: elsewhere eps_cond - eps_uncond is
not 0.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synthorax.editing.inversion import Inversion, posterior_mean

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


def guided(
    model: "DiffusionModel", x: Tensor, t: Tensor, text: Tensor, null: Tensor, w: float
) -> tuple[Tensor, Tensor]:
    """eps_uncond + w (eps_cond - eps_uncond), and eps_uncond itself, by one call of 2 N rows."""
    both = model.predict_noise(torch.cat([x, x]), t.to(x.device).expand(2 * len(x)), torch.cat([text, null]))
    epsilon_cond, epsilon_uncond = both.float().chunk(2)
    return torch.lerp(epsilon_uncond, epsilon_cond, w), epsilon_uncond  # lerp is exact at w = 0 and w = 1


@torch.no_grad()
def radedit(
    model: "DiffusionModel",
    inversion: Inversion,
    embeddings: Tensor,
    null_embeddings: Tensor,
    *,
    guidance_scale: float,
    edit_cells: Tensor | None = None,
    keep_cells: Tensor | None = None,
) -> Tensor:
    """Walk the inverted source back to an image that shows what the prompt says (Algorithm 3).

    ``2 K`` evaluations a film for ``K`` used steps, in ``K`` calls. Inside ``keep_cells`` every x_{t-1}
    equals the inversion's bit for bit, and so the last equals the source's latents.

    Args:
        model: the diffusion model.
        inversion: of the ``N`` sources, by :func:`synthorax.editing.inversion.invert`.
        embeddings: editing prompts ``(N, T, D)``.
        null_embeddings: the empty or a negative prompt ``(N, T, D)``.
        guidance_scale: w; 15 in the paper, 7.5 on the model card. Raising it makes the finding stronger, and
            tears the film where it is too high.
        edit_cells: bool ``(N, 1, h, w)``, where guidance acts; None = everywhere.
        keep_cells: bool ``(N, 1, h, w)``, where the source stays; None = nowhere.

    Returns:
        Edited latents ``(N, C, h, w)`` float32.
    """
    path, alpha_bar = inversion.path, inversion.alpha_bar
    change = torch.zeros_like(path[0])
    for k, t in enumerate(inversion.timesteps):
        x = path[k] + change
        epsilon, epsilon_uncond = guided(model, x, t, embeddings, null_embeddings, guidance_scale)
        if edit_cells is not None:
            epsilon = torch.where(edit_cells, epsilon, epsilon_uncond)
        change = posterior_mean(change, epsilon - inversion.epsilon[k], alpha_bar[k], alpha_bar[k + 1])
        if keep_cells is not None:
            change = change.masked_fill(keep_cells, 0)
    return path[-1] + change
