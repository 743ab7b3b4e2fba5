"""A small U-Net that finds lungs, and its training: the models that the population shift is proved on.

Ronneberger et al. 2015 as diffusers builds it (no attention, no time), binary cross-entropy plus 1 - soft Dice, AdamW with
warm-up and cosine. Films are neither turned nor flipped. The last weights are kept. RadEdit's segmenters are an EfficientNet
U-Net of 512 px (appendix C); this one is for two CPU cores.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers.loading import load_films
from synthorax.classifiers.training import batches_of_epoch, fingerprint, learning_rate_at
from synthorax.errors import InputError, ModelError, RunError
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.seeds import derive_seed

RECORD = "segmenter.json"
FILMS_AT_ONCE = 16


@dataclass(frozen=True)
class SegmenterConfig:
    """How to train; the defaults take about a minute for 200 films on one core.

    ``widths``: channels from full resolution down, each half of the one before in size, multiples of 8.
    """

    image_size_px: int = 96
    widths: tuple[int, ...] = (8, 16, 32, 64)
    epochs: int = 10
    batch_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_fraction: float = 0.06
    seed: int = 0


class LungUNet:
    """A trained network with what its films were like: films to lung probabilities."""

    def __init__(self, network: Any, record: Mapping[str, Any], device: str = "cpu") -> None:
        self.network, self.record, self.device = network.to(device).eval(), dict(record), device

    def __call__(self, films: np.ndarray) -> np.ndarray:
        """Lung probability ``(N, H, W)`` float32 of films ``(N, H, W)`` float32 in [0, 1]."""
        import torch

        size = self.record["config"]["image_size_px"]
        pixels = load_films(films, size)
        found = []
        for start in range(0, len(pixels), FILMS_AT_ONCE):
            x = _normalised(pixels[start : start + FILMS_AT_ONCE], self.record).to(self.device)
            with torch.inference_mode():
                found.append(self.network(x, 0).sample[:, 0].sigmoid().float().cpu().numpy())
        return onto_films(np.concatenate(found), films.shape[1:])

    def save(self, folder: Path | str) -> None:
        """Write network and record; the record last, so that a folder with one is whole."""
        self.network.save_pretrained(folder)
        with atomic(Path(folder) / RECORD) as temporary:
            temporary.write_text(json.dumps(self.record, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> "LungUNet":
        """Raises ModelError where the folder holds none."""
        from diffusers import UNet2DModel

        path = Path(folder)
        if not (path / RECORD).is_file():
            raise ModelError(f"{path} holds no segmenter: {RECORD} is missing. Train one by 'synthorax train segmenter'.")  # fmt: skip
        try:
            network = UNet2DModel.from_pretrained(path, local_files_only=True)
        except Exception as error:  # diffusers raises whatever the folder leads it to
            raise ModelError(f"{path} cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0]}).") from error  # fmt: skip
        return cls(network, json.loads((path / RECORD).read_text()), device)


def train_segmenter(
    config: SegmenterConfig,
    films: np.ndarray | Sequence[Path | str],
    masks: Sequence[np.ndarray],
    *,
    out: Path | str | None = None,
    note: str = "",
    device: str = "cpu",
) -> LungUNet:
    """Train on films and their lungs; with ``out`` a finished training is loaded instead.

    Args:
        config: how.
        films: ``(N, H, W)`` in [0, 1], or paths.
        masks: of each film bool ``(H, W)``, both lungs.
        out: folder of the result.
        note: what the films are, kept in the record.
        device: torch device.

    Raises:
        InputError: not one mask a film, or widths that do not fit.
        RunError: ``out`` holds another training.
    """
    import torch
    from torch.nn import functional

    if not len(films) or len(films) != len(masks):
        raise InputError(f"{len(films)} films and {len(masks)} lung masks; expected one mask a film.")
    deepest = 2 ** (len(config.widths) - 1)
    if config.image_size_px % deepest or any(width % 8 for width in config.widths):
        raise InputError(
            f"size {config.image_size_px} px, widths {config.widths}; expected a multiple of {deepest} and multiples of 8."
        )
    pixels = load_films(films, config.image_size_px)
    lungs = np.concatenate([load_films(mask[None].astype(np.uint8) * 255, config.image_size_px) for mask in masks]) >= 128  # fmt: skip
    identity = fingerprint(asdict(config), ["lungs"], pixels, lungs)
    if out is not None and (Path(out) / RECORD).is_file():
        found = LungUNet.load(out, device)
        if found.record["fingerprint"] != identity:
            raise RunError(f"{out} holds a segmenter trained with other settings or films. Choose another folder, or remove it.")  # fmt: skip
        return found
    network = _network(config).to(device)
    statistics = {"mean": float(pixels.mean() / 255), "std": float(pixels.std() / 255)}
    x = _normalised(pixels, statistics)
    y = torch.from_numpy(lungs[:, None]).float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)  # fmt: skip
    n_batches = len(batches_of_epoch(len(x), config.batch_size, 0))
    losses = []
    for step in track(range(config.epochs * n_batches), "Training a segmenter", unit="steps"):
        epoch, batch = divmod(step, n_batches)
        if batch == 0:
            batches = batches_of_epoch(len(x), config.batch_size, "segmenter order", config.seed, epoch)
        truth = y[batches[batch]].to(device)
        logits = network(x[batches[batch]].to(device), 0).sample
        p = logits.sigmoid()
        soft_dice = (2 * (p * truth).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
        loss = functional.binary_cross_entropy_with_logits(logits, truth) + (1 - soft_dice).mean()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config.epochs * n_batches, config.learning_rate, config.warmup_fraction)  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    per_epoch = [float(np.mean(losses[i : i + n_batches])) for i in range(0, len(losses), n_batches)]
    record = {"config": asdict(config), **statistics, "n_films": len(x), "note": note, "loss_per_epoch": per_epoch, "fingerprint": identity}  # fmt: skip
    trained = LungUNet(network, record, device)
    if out is not None:
        trained.save(out)
    return trained


def onto_films(squares: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maps ``(N, S, S)`` of films that were padded to squares, on the films' own grid ``(N, H, W)``."""
    from skimage.transform import resize

    height, width = shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    whole = [resize(square, (side, side), order=1, mode="edge") for square in squares.astype(np.float32)]
    return np.stack(whole)[:, top : top + height, left : left + width]


def _network(config: SegmenterConfig) -> Any:
    import torch
    from diffusers import UNet2DModel

    depth = len(config.widths)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("segmenter", config.seed))
        return UNet2DModel(
            sample_size=config.image_size_px, in_channels=1, out_channels=1, block_out_channels=config.widths, layers_per_block=1,
            down_block_types=("DownBlock2D",) * depth, up_block_types=("UpBlock2D",) * depth, norm_num_groups=8, add_attention=False,
        )  # fmt: skip


def _normalised(pixels: np.ndarray, statistics: Mapping[str, Any]) -> Any:
    import torch

    return (torch.from_numpy(pixels[:, None]).float() / 255 - statistics["mean"]) / statistics["std"]
