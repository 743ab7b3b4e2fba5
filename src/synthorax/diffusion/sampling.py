"""Samplers: one plain loop each, independent of the network.

| variable | symbol | meaning |
| --- | --- | --- |
| x_t | x_t | noisy latents |
| abar_t, abar_s | abar_t, abar_s | products of 1 - beta at the current and the next (less noisy) step; abar_s = 1 at the end |
| eps | eps_theta | predicted noise |
| sigma | sigma_t(eta) | noise added back: 0 for DDIM, the posterior's for eta = 1 |
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from synthorax.diffusion.model import DiffusionModel
from synthorax.errors import InputError

#: Called after every network evaluation with the number of films it advanced.
Progress = Callable[[int], None]


def timesteps(model: DiffusionModel, num_inference_steps: int) -> Tensor:
    """Descending timesteps with trailing spacing: T-1 first, ``num_inference_steps`` of them, int64."""
    T = len(model.alphas_cumprod)
    if not 1 <= num_inference_steps <= T:
        raise InputError(
            f"num_inference_steps is {num_inference_steps}; expected 1 to {T}, the model's own steps."
        )
    i = np.arange(num_inference_steps)
    return torch.from_numpy(np.round(T - i * (T / num_inference_steps)).astype(np.int64) - 1)


def noise(model: DiffusionModel, seed: int, count: int = 1) -> Tensor:
    """``count`` standard normal latents of one item, ``(count, C, h, w)``, from its own seed on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, *model.latent_shape), generator=generator)


def guided_noise(
    model: DiffusionModel, x_t: Tensor, t: Tensor, conditional: Tensor, unconditional: Tensor, w: float
) -> Tensor:
    """Classifier-free guidance: eps_uncond + w (eps_cond - eps_uncond), both in one evaluation."""
    if w == 1:
        return model.predict_noise(x_t, t, conditional)
    both = model.predict_noise(x_t.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([conditional, unconditional]))
    eps_cond, eps_uncond = both.chunk(2)
    return eps_uncond + w * (eps_cond - eps_uncond)


def ddim_step(
    x_t: Tensor, eps: Tensor, abar_t: float, abar_s: float, eta: float = 0.0, z: Tensor | None = None
) -> Tensor:
    """One step t -> s: equation 12 of Song et al. 2021 (DDIM); eta = 1 is the ancestral sampler."""
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps) / abar_t**0.5
    sigma = eta * ((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)) ** 0.5
    x_s = abar_s**0.5 * x0 + max(1 - abar_s - sigma**2, 0.0) ** 0.5 * eps
    return x_s if z is None else x_s + sigma * z


def sample(
    model: DiffusionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative_prompts: Sequence[str] | None = None,
    guidance_scale: float = 3.0,
    num_inference_steps: int = 30,
    progress: Progress | None = None,
) -> Tensor:
    """Whole films from prompts by DDIM.

    Args:
        model: from :func:`synthorax.diffusion.load_model`.
        prompts: one a film.
        seeds: one a film; a film depends on its own prompt and seed, not on its neighbours.
        negative_prompts: what guidance pushes away from, one a film; None = the empty prompt.
        guidance_scale: 1 is none; more obeys the prompt more, and loses variety.
        num_inference_steps: network evaluations; twice as many films a step with guidance.
        progress: called after each step.

    Returns:
        float32 ``(N, H, W)`` in [0, 1].
    """
    x = torch.cat([noise(model, seed) for seed in seeds]).to(model.device)
    conditional = model.encode_text(prompts)
    unconditional = model.encode_text(negative_prompts or [""] * len(prompts))
    steps = timesteps(model, num_inference_steps)
    abar = [float(model.alphas_cumprod[t]) for t in steps] + [1.0]
    for i, t in enumerate(steps):
        eps = guided_noise(
            model, x, t.repeat(len(x)).to(x.device), conditional, unconditional, guidance_scale
        )
        x = ddim_step(x, eps, abar[i], abar[i + 1])
        if progress:
            progress(len(x))
    return model.decode(x)
