"""Train the autoencoder: films to latents of unit variance and back.

| variable | meaning |
| --- | --- |
| x | films, [-1, 1] |
| z | latents before scaling |
| scaling_factor | 1 / standard deviation of z over training films |
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather as rows_of_all
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from synthorax.diffusion.captions import captions, without_withheld
from synthorax.diffusion.checkpoints import Trainer
from synthorax.diffusion.films import Films, FilmsConfig, gather
from synthorax.diffusion.model import compute_dtype
from synthorax.diffusion.networks import AutoencoderShape, autoencoder
from synthorax.diffusion.processes import join, own_rows
from synthorax.seeds import derive_seed, generator


class AutoencoderConfig(BaseModel):
    """Settings of one training; ``recipes/embedded-autoencoder.yaml`` holds the shipped model's.

    Attributes:
        crop: side of the square that is cut from each film, pixels; the network is convolutional throughout.
        gradient_weight: weight of the L1 distance of the images' gradients, at full, half and quarter size.
        latent_noise: noise added to the latents in training, as a fraction of their deviation.
        latent_weight: weight of the latents' mean square, which keeps their mean near zero.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    films: FilmsConfig = FilmsConfig()
    shape: AutoencoderShape = AutoencoderShape()
    steps: int = 2500
    batch_size: int = 32
    crop: int = 128
    lr: float = 1.5e-3
    warmup: int = 100
    ema: float = 0.998
    gradient_weight: float = 1.0
    latent_noise: float = 0.05
    latent_weight: float = 1e-3
    checkpoint_every: int = 250
    seed: int = 0


def reconstruction_loss(x: Tensor, y: Tensor, gradient_weight: float) -> Tensor:
    """L1 of the pixels plus L1 of the gradients at three scales."""
    loss = (y - x).abs().mean()
    d = y - x
    for _ in range(3):
        loss = loss + gradient_weight / 3 * (d.diff(dim=2).abs().mean() + d.diff(dim=3).abs().mean())
        d = torch.nn.functional.avg_pool2d(d, 2)
    return loss


def trial_step(config: AutoencoderConfig, device: str = "auto") -> tuple[Callable[[], object], int]:
    """One forward and backward pass of a batch of noise, to be timed, and how many weights a checkpoint holds.

    Raises:
        InputError: as :func:`train_autoencoder`.
    """
    place = join(device, config.batch_size)
    net = autoencoder(config.shape).to(place, memory_format=torch.channels_last)
    dtype = compute_dtype(place.type)
    x = torch.rand(config.batch_size, 1, config.crop, config.crop)[own_rows(config.batch_size)]
    x = x.to(place, memory_format=torch.channels_last)

    def step() -> float:
        with torch.autocast(place.type, dtype, enabled=dtype != torch.float32):
            y = net.decode(net.encode(x).latent).sample
        loss = reconstruction_loss(x, y.float(), config.gradient_weight)
        loss.backward()
        return loss.item()  # waits for a GPU

    return step, sum(p.numel() for p in net.parameters())


def train_autoencoder(
    config: AutoencoderConfig, manifests: Sequence[Path], out: Path, device: str = "auto"
) -> Path:
    """Train, or go on training, and write ``out/vae`` (diffusers, safetensors).

    Args:
        config: settings.
        manifests: ``studies.parquet`` files.
        out: the run folder: checkpoint, log, films' cache, result.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``; a process's own where several were launched.

    Returns:
        the folder ``out/vae``.

    Raises:
        InputError: no such device, or a ``batch_size`` that the processes cannot share equally.
        RunError: ``out`` holds a checkpoint of another config.
    """
    place, own = join(device, config.batch_size), own_rows(config.batch_size)
    with PartialState().main_process_first():
        films = gather(manifests, config.films, out / "films")
    films = without_withheld(films, captions(manifests))
    torch.manual_seed(derive_seed("autoencoder", config.seed))
    dtype = compute_dtype(place.type)
    net = autoencoder(config.shape).to(place, memory_format=torch.channels_last)
    trainer = Trainer(
        net,
        out,
        config_json=config.model_dump_json(),
        steps=config.steps,
        lr=config.lr,
        warmup=config.warmup,
        ema=config.ema,
    )
    net.train()
    for step in trainer.remaining("Training the autoencoder"):
        rng = generator("autoencoder", config.seed, step)
        x = _batch(films, rng, config)[own].to(place)
        jitter = torch.Generator().manual_seed(int(rng.integers(2**62)))
        with torch.autocast(place.type, dtype, enabled=dtype != torch.float32):
            z = net.encode(x).latent
            whole = rows_of_all(z.detach())
            noise = torch.randn(whole.shape, generator=jitter)[own].to(z)
            z_noisy = z + config.latent_noise * whole.std() * noise
            y = net.decode(z_noisy).sample
        loss = reconstruction_loss(x, y.float(), config.gradient_weight)
        _, norm = trainer.update([loss + config.latent_weight * z.float().square().mean()])
        trainer.log(loss=loss.item(), gradient_norm=norm, latent_deviation=whole.float().std().item())
        if trainer.step % config.checkpoint_every == 0:
            trainer.save()
    trainer.save()
    if trainer.is_main:
        net = trainer.averaged()
        with torch.no_grad():
            rng = generator("autoencoder", config.seed, "scale")
            z = torch.cat([net.encode(_batch(films, rng, config).to(place)).latent for _ in range(8)])
        net.register_to_config(scaling_factor=float(1 / z.std()))
        net.save_pretrained(out / "vae")
    trainer.processes.wait_for_everyone()
    return out / "vae"


def _batch(films: Films, rng: np.random.Generator, config: AutoencoderConfig) -> Tensor:
    """Squares of films in [-1, 1], ``(B, 1, crop, crop)``, half of them mirrored: sides are not learned here."""
    index = films.draw(rng, config.batch_size, config.films)
    corners = rng.integers(0, config.films.size - config.crop + 1, (len(index), 2))
    squares = [
        films.pixels[i, r : r + config.crop, c : c + config.crop]
        for i, (r, c) in zip(index, corners, strict=True)
    ]
    x = torch.from_numpy(np.stack(squares).astype(np.float32) / 127.5 - 1)[:, None]
    mirror = torch.from_numpy(rng.random(len(index)) < 0.5)
    return torch.where(mirror[:, None, None, None], x.flip(3), x).contiguous(
        memory_format=torch.channels_last
    )
