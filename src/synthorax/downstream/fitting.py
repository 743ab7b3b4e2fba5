"""The loop that the downstream trainings share: AdamW, warm-up and cosine, batches from a seed, a checkpoint now and then."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers.checkpoints import CHECKPOINT, restore_checkpoint, save_checkpoint
from synthorax.classifiers.training import PRECISIONS, batches_of_epoch, is_bf16, learning_rate_at
from synthorax.errors import RunError, unknown_choice
from synthorax.progress import track
from synthorax.seeds import derive_seed


@dataclass(frozen=True)
class FittingConfig:
    """What every training says.

    ``warmup_fraction``: share of the steps in which the rate rises; ``precision``: as for classifiers.
    """

    epochs: int = 10
    batch_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_fraction: float = 0.06
    precision: str = "fp32"
    checkpoint_every_s: float = 60.0
    seed: int = 0


def fit(
    network: Any,
    config: FittingConfig,
    n_films: int,
    loss_of: Callable[[np.ndarray, int], Any],
    title: str,
    *,
    out: Path | str | None,
    identity: str,
    device: str,
) -> list[float]:
    """Train in place; goes on from ``out``'s checkpoint where there is one.

    Args:
        network: a torch module, on the device.
        config: how.
        n_films: how many; batches are rows of these.
        loss_of: rows ``(B,)`` and epoch to a loss, under autocast where the precision says so.
        title: of the progress.
        out: folder of the checkpoint; None keeps none.
        identity: of settings and films; a checkpoint of another is refused.
        device: torch device.

    Returns:
        The mean loss of each epoch.

    Raises:
        InputError: no such precision.
        RunError: the checkpoint belongs to another training.
    """
    import torch

    if config.precision not in PRECISIONS:
        raise unknown_choice("precision", config.precision, PRECISIONS)
    optimizer = torch.optim.AdamW(
        [x for x in network.parameters() if x.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    checkpoint = None if out is None else Path(out) / CHECKPOINT
    start, losses = restore_checkpoint(checkpoint, network, optimizer, identity)
    n_batches = len(batches_of_epoch(n_films, config.batch_size, 0))
    n_steps, saved = config.epochs * n_batches, time.monotonic()
    network.train()
    for step in track(range(start, n_steps), f"Training a {title}", unit="steps"):
        epoch, batch = divmod(step, n_batches)
        if batch == 0 or step == start:
            batches = batches_of_epoch(n_films, config.batch_size, f"{title} order", config.seed, epoch)
        # What a network draws itself (Faster R-CNN's samples) depends on seed and step alone, as the order does.
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(title, config.seed, step))
            with torch.autocast(
                torch.device(device).type, torch.bfloat16, enabled=is_bf16(config.precision, device)
            ):
                loss = loss_of(batches[batch], epoch)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, n_steps, config.learning_rate, config.warmup_fraction)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise RunError(f"the {title}'s loss is {losses[-1]} at step {step + 1}; lower the learning rate ({config.learning_rate:g}).")  # fmt: skip
        if checkpoint is not None and time.monotonic() - saved >= config.checkpoint_every_s:
            save_checkpoint(checkpoint, network, optimizer, step + 1, losses, identity)
            saved = time.monotonic()
    network.eval()
    return [float(np.mean(losses[i : i + n_batches])) for i in range(0, len(losses), n_batches)]


def statistics_of(pixels: np.ndarray) -> dict[str, float]:
    """Mean and deviation of films ``(N, S, S)`` uint8, in [0, 1]."""
    return {"mean": float(pixels.mean() / 255), "std": float(pixels.std() / 255)}
