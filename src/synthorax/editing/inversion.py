r"""DDPM inversion: Algorithm 1 of RadEdit (Perez-Garcia et al. 2023), after Huberman-Spiegelglas et al. 2023.

====================  ============================================================================
here                  paper
====================  ============================================================================
``x0``                x_0, the source's latents
``path[k]``           x^_t, the source with noise of its own at the k-th used timestep; the last is x_0
``alpha_bar[k]``      abar_t at that timestep; the last is 1 (no noise left)
``noise``             eps~_t ~ N(0, I), statistically independent over t
``epsilon[k]``        eps_t = f_theta(x^_t, t, c_inv)
``posterior_mean``    mu_t(x_t, eps_t), equation 4 with the sigma_t of a DDPM (eta = 1 in DDIM's words)
====================  ============================================================================

The paper keeps z_t = (x^_{t-1} - mu_t(x^_t, eps_t)) / sigma_t and multiplies by sigma_t again when it edits.
At the last step sigma_t = 0, and the division gives NaN. Only the product is ever used, and x^ and eps
determine it: they are kept instead, every step is alike, and nothing is divided by (see ``radedit``).
Respaced timesteps (every 20th, say) only change which abar stands for 't - 1': the next one used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor

from synthorax.errors import InputError, ModelError
from synthorax.seeds import derive_seed

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Inversion:
    """What Algorithm 1 returns, for ``K`` used steps of ``N`` films.

    Attributes:
        timesteps: ``(K,)`` long, descending.
        alpha_bar: ``(K + 1,)`` float64 on the CPU, ascending, ending in 1.
        path: ``(K + 1, N, C, h, w)`` float32, from the noisiest to ``x0``.
        epsilon: ``(K, N, C, h, w)`` float32, predicted at ``path[:-1]`` with the inversion prompt.
    """

    timesteps: Tensor
    alpha_bar: Tensor
    path: Tensor
    epsilon: Tensor


def n_used(num_inference_steps: int, skip: float) -> int:
    """How many steps are left after skipping the noisiest ``skip`` of them; at least one.

    Raises:
        InputError: fewer than one step, or ``skip`` outside [0, 1).
    """
    if num_inference_steps < 1:
        raise InputError(f"num_inference_steps is {num_inference_steps}; expected 1 or more.")
    if not 0 <= skip < 1:
        raise InputError(
            f"skip is {skip}; expected a fraction from 0 (start at pure noise) to below 1 (change little)."
        )
    return num_inference_steps - min(int(skip * num_inference_steps + 1e-9), num_inference_steps - 1)


def used_steps(model: "DiffusionModel", num_inference_steps: int, skip: float) -> tuple[Tensor, Tensor]:
    """The used timesteps ``(K,)``, descending, and abar at them and at the clean image, ``(K + 1,)`` float64.

    Args:
        model: gives ``alphas_cumprod``.
        num_inference_steps: steps of the whole way from noise to image.
        skip: fraction of them, from the noisy end, that is not walked. Raising it keeps more of the source.

    Raises:
        InputError: settings out of range.
        ModelError: the schedule has no signal at all at a used timestep, where epsilon says nothing about x0.
    """
    from synthorax.diffusion.sampling import timesteps

    used = timesteps(model, num_inference_steps)[-n_used(num_inference_steps, skip) :].cpu()
    alpha_bar = model.alphas_cumprod.double().cpu()[used]
    if not bool((alpha_bar > 0).all()):
        raise ModelError(
            f"alphas_cumprod[{int(used[0])}] is 0 (zero terminal signal); expected more than 0 at every used "
            f"timestep. Raise skip above {1 / num_inference_steps:.3g}, so that editing starts later."
        )
    return used, torch.cat([alpha_bar, alpha_bar.new_ones(1)])


def sigma(alpha_bar: Tensor, alpha_bar_prev: Tensor) -> Tensor:
    """sigma_t of a DDPM (below equation 4): the posterior's standard deviation; 0 at the last step."""
    return ((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)).sqrt()


def posterior_mean(
    x_t: Tensor, epsilon: Tensor, alpha_bar: Tensor, alpha_bar_prev: Tensor, eta: float = 1.0
) -> Tensor:
    """mu_t(x_t, eps_t), equation 4: predicted x0 brought to the next noise level.

    sqrt(abar') (x_t - sqrt(1 - abar) eps) / sqrt(abar) + sqrt(1 - abar' - sigma^2) eps, linear in (x_t, eps).

    Args:
        x_t, epsilon: float32 of one shape.
        alpha_bar, alpha_bar_prev: float64, of a shape that broadcasts to ``x_t``'s; ``alpha_bar_prev``
            belongs to the next, cleaner timestep. The coefficients are computed in float64 and rounded
            once.
        eta: share of the DDPM's sigma: 1, or 0 for DDIM.
    """
    of_x = (alpha_bar_prev / alpha_bar).sqrt()
    variance = (eta * sigma(alpha_bar, alpha_bar_prev)) ** 2 if eta else 0  # sigma is undefined at abar = 1
    direction = (1 - alpha_bar_prev - variance).clamp(min=0).sqrt()
    of_epsilon = direction - of_x * (1 - alpha_bar).sqrt()
    return of_x.to(x_t) * x_t + of_epsilon.to(x_t) * epsilon


def step_noise(seeds: Sequence[int], timestep: int, like: Tensor) -> Tensor:
    """Standard normal ``(N, C, h, w)``; each film's depends on its own seed and the timestep alone.

    A counter-based generator (Philox 4x64, Salmon et al. 2011) has the film in its key and the timestep in its
    counter, so the noise of any step is at hand without that of the steps before.
    """
    draws = [
        Generator(Philox(key=derive_seed("step noise", seed), counter=[0, 0, 0, timestep])).standard_normal(
            like.shape[1:], dtype=np.float32
        )
        for seed in seeds
    ]
    return torch.from_numpy(np.stack(draws)).to(like)


@torch.no_grad()
def invert(
    model: "DiffusionModel",
    x0: Tensor,
    embeddings: Tensor,
    seeds: Sequence[int],
    *,
    num_inference_steps: int,
    skip: float = 0.0,
) -> Inversion:
    """Walk the source to noise so that the way back is exact (Algorithm 1), ``K`` evaluations a film.

    Each x^_t has noise of its own, so no evaluation waits for another: all pairs of film and timestep are
    rows of one long batch. Skipped timesteps are not evaluated. A call has ``2 N`` rows, as the edit's have:
    kernels round differently for other batch sizes, and that alone moved the source by 6e-4 on the way back
    through an untrained U-Net in fp32 (50 steps from pure noise), against 3e-6 at most with equal calls.

    Args:
        model: the diffusion model.
        x0: source latents ``(N, C, h, w)`` float32.
        embeddings: inversion prompts ``(N, T, D)``; RadEdit inverts with the empty prompt.
        seeds: one a film; the noise depends on it and on the timestep alone.
        num_inference_steps: 1 or more.
        skip: fraction in [0, 1) of the steps that is left out at the noisy end.
    """
    used, alpha_bar = used_steps(model, num_inference_steps, skip)
    level = alpha_bar[:-1, None, None, None, None].to(x0)
    noise = torch.stack([step_noise(seeds, int(t), x0) for t in used])
    path = torch.cat([level.sqrt() * x0 + (1 - level).sqrt() * noise, x0[None]])

    step, film = torch.cartesian_prod(torch.arange(len(used)), torch.arange(len(x0))).unbind(1)
    epsilon = torch.cat(
        [
            model.predict_noise(path[k, i], used[k].to(x0.device), embeddings[i]).float()
            for k, i in zip(step.split(2 * len(x0)), film.split(2 * len(x0)), strict=True)
        ]
    )
    return Inversion(used, alpha_bar, path, epsilon.view_as(path[:-1]))
