"""The loss of a latent diffusion model, which every training of one shares.

| variable | symbol | meaning |
| --- | --- | --- |
| x0 | x_0 | latents of a film, unit variance |
| abar | abar_t | product of 1 - beta up to t |
| eps | eps | the noise; what the network predicts, or |
| v | v | sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans & Ho 2022) |
| snr | SNR(t) | abar / (1 - abar); the error of x0, times min(SNR, gamma), is the loss (Hang et al. 2023): weight min(SNR, gamma) / SNR for eps, / (SNR + 1) for v |
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from synthorax.diffusion import transformer
from synthorax.diffusion.captions import Caption, choose
from synthorax.diffusion.films import Films
from synthorax.diffusion.model import DiffusionModel
from synthorax.diffusion.processes import own_rows

#: (x_t, t, embeddings) -> what the network predicts of this process's rows, with gradients.
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]


#: Prompts -> their embeddings ``(N, tokens, width)``.
Embed = Callable[[Sequence[str]], Tensor]


def prediction_of(net: nn.Module, is_transformer: bool = False) -> Predict:
    """What a U-Net, or a transformer, alone predicts; a transformer's variance has no part in the loss."""
    if is_transformer:
        return partial(transformer.predict, net)

    def predict(x_t: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        return net(x_t, t, encoder_hidden_states=embeddings, return_dict=False)[0]

    return predict


def denoising_loss(
    model: DiffusionModel,
    predict: Predict,
    embedded: Embed,
    latents: np.ndarray,
    texts: list[str],
    rng: np.random.Generator,
    gamma: float | None,
) -> Tensor:
    """The loss of this process's rows of a batch, whose chances are drawn for all rows."""
    x0 = torch.from_numpy(latents.astype(np.float32))
    chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
    t = torch.randint(len(model.alphas_cumprod), (len(x0),), generator=chance)
    eps = torch.randn(x0.shape, generator=chance)
    own = own_rows(len(x0))
    return errors(model, predict, embedded(texts[own]), x0[own], t[own], eps[own], gamma).mean()


def embed(model: DiffusionModel, text: nn.Module, texts: Sequence[str]) -> Tensor:
    """Embeddings ``(N, tokens, width)`` of prompts, with gradients where the encoder has some."""
    words = model.pipeline.tokenizer
    tokens = words(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=words.model_max_length,
        return_tensors="pt",
    )
    with torch.autocast(model.device.type, model.dtype, enabled=model.dtype != torch.float32):
        return text(tokens.input_ids.to(model.device))[0]


def errors(
    model: DiffusionModel,
    predict: Predict,
    embeddings: Tensor,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    gamma: float | None,
) -> Tensor:
    """Each film's weighted squared error ``(N,)``, mean over its latents, of one noise at one timestep.

    Args:
        model: its schedule and kind of prediction.
        predict: what is judged.
        embeddings: from :func:`embed`.
        x0, eps: ``(N, C, h, w)`` latents and noise; t: ``(N,)``.
        gamma: see ``snr_gamma`` of the training's config.
    """
    abar = model.alphas_cumprod[t].float()[:, None, None, None]
    x_t = (abar.sqrt() * x0 + (1 - abar).sqrt() * eps).contiguous(memory_format=torch.channels_last)
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x0
    snr = abar / (1 - abar)
    target, per_x0 = (eps, snr) if model.prediction_type == "epsilon" else (v, snr + 1)
    weight = torch.ones_like(snr) if gamma is None else snr.clamp(max=gamma) / per_x0
    device = model.device
    with torch.autocast(device.type, model.dtype, enabled=model.dtype != torch.float32):
        predicted = predict(x_t.to(device), t.to(device), embeddings).float()
    return (weight.to(device) * (predicted - target.to(device)).square()).mean(dim=(1, 2, 3))


def texts_of(
    films: Films,
    index: Iterable[int],
    said: Mapping[str, Sequence[Caption]],
    model: DiffusionModel,
    rng: np.random.Generator,
    dropout: float,
) -> list[str]:
    """A caption a film; dropped at times, half of these times down to its domain's words, the other half to nothing."""
    return [_text(said[films.image_ids[i]], model.domain(not films.is_real(i)), rng, dropout) for i in index]


def _text(choices: Sequence[Caption], of_kind: str, rng: np.random.Generator, dropout: float) -> str:
    chance = rng.random()
    if chance < dropout / 2:
        return ""
    return of_kind if chance < dropout else choose(choices, of_kind, rng)[0]
