"""A U-Net that finds one thing on films: lungs, a pneumothorax, ribs.

Ronneberger et al. 2015, small as diffusers builds it (no attention, no time) for two CPU cores, or with an encoder of
segmentation-models-pytorch (ChexGen: ResNet-34 at 512 px). Binary cross-entropy plus 1 - soft Dice. Films are neither turned
nor flipped. The last weights are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers.loading import load_films
from synthorax.classifiers.training import fingerprint
from synthorax.downstream.fitting import FittingConfig, fit, statistics_of
from synthorax.downstream.trained import FILMS_AT_ONCE, Trained
from synthorax.errors import InputError, ModelError
from synthorax.seeds import derive_seed


@dataclass(frozen=True)
class SegmenterConfig(FittingConfig):
    """How to train; the defaults take about a minute for 200 films on one core.

    Attributes:
        image_size_px: side of the input.
        encoder: of segmentation-models-pytorch, e.g. ``resnet34``, without its ImageNet weights; None is the small U-Net.
        widths: the small U-Net's channels from full resolution down, each half of the one before in size, multiples of 8.
    """

    image_size_px: int = 96
    encoder: str | None = None
    widths: tuple[int, ...] = (8, 16, 32, 64)


class Segmenter(Trained):
    """Films to probabilities."""

    kind = "segmenter"

    @staticmethod
    def network_of(record: Mapping[str, Any]) -> Any:
        return _network(SegmenterConfig(**record["config"]))

    def __call__(self, films: np.ndarray) -> np.ndarray:
        """Probability ``(N, H, W)`` float32 of films ``(N, H, W)`` float32 in [0, 1], on the films' own grid."""
        return onto_films(self.squares(load_films(films, self.size)), films.shape[1:])  # fmt: skip

    def squares(self, pixels: np.ndarray) -> np.ndarray:
        """Probability ``(N, S, S)`` of films as :func:`~synthorax.classifiers.loading.load_films` gives them."""
        import torch

        found = [np.zeros((0, *pixels.shape[1:]), np.float32)]
        for start in range(0, len(pixels), FILMS_AT_ONCE):
            x = _input(pixels[start : start + FILMS_AT_ONCE], self.record).to(self.device)
            with torch.inference_mode():
                found.append(_logits(self.network, x)[:, 0].sigmoid().float().cpu().numpy())
        return np.concatenate(found)


def train_segmenter(
    config: SegmenterConfig,
    films: np.ndarray | Sequence[Path | str],
    masks: np.ndarray | Sequence[np.ndarray],
    *,
    out: Path | str | None = None,
    note: str = "",
    device: str = "cpu",
) -> Segmenter:
    """Train on films and masks; with ``out`` a finished training is loaded, one that was stopped goes on.

    Args:
        config: how.
        films: ``(N, H, W)`` in [0, 1], or paths.
        masks: of each film bool ``(H, W)``; empty where the film does not show it.
        out: folder of checkpoint and result.
        note: what the films and masks are, kept in the record.
        device: torch device.

    Raises:
        InputError: not one mask a film, or widths that do not fit.
        RunError: ``out`` holds another training, or the loss is not finite.
    """
    import torch
    from torch.nn import functional

    if not len(films) or len(films) != len(masks):
        raise InputError(f"{len(films)} films and {len(masks)} masks; expected one mask a film.")
    deepest = 32 if config.encoder else 2 ** (len(config.widths) - 1)
    if config.image_size_px % deepest or any(width % 8 for width in config.widths):
        raise InputError(
            f"size {config.image_size_px} px, widths {config.widths}; expected a multiple of {deepest} and multiples of 8."
        )
    pixels = load_films(films, config.image_size_px)
    truth = np.concatenate([load_films(mask[None].astype(np.uint8) * 255, config.image_size_px) for mask in masks]) >= 128  # fmt: skip
    identity = fingerprint(asdict(config), ["masks"], pixels, truth)
    if found := Segmenter.finished(out, identity, device):
        return found
    network, statistics = _network(config).to(device), statistics_of(pixels)
    x, y = _input(pixels, statistics), torch.from_numpy(truth[:, None]).float()

    def loss_of(rows: np.ndarray, epoch: int) -> torch.Tensor:
        target = y[rows].to(device)
        logits = _logits(network, x[rows].to(device)).float()
        p = logits.sigmoid()
        soft_dice = (2 * (p * target).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)
        return functional.binary_cross_entropy_with_logits(logits, target) + (1 - soft_dice).mean()

    losses = fit(network, config, len(x), loss_of, "segmenter", out=out, identity=identity, device=device)
    record = {"config": asdict(config), **statistics, "n_films": len(x), "note": note, "loss_per_epoch": losses, "fingerprint": identity}  # fmt: skip
    trained = Segmenter(network, record, device)
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

    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("segmenter", config.seed))
        if config.encoder is not None:
            return _published(config.encoder)
        from diffusers import UNet2DModel

        depth = len(config.widths)
        return UNet2DModel(
            sample_size=config.image_size_px, in_channels=1, out_channels=1, block_out_channels=tuple(config.widths), layers_per_block=1,
            down_block_types=("DownBlock2D",) * depth, up_block_types=("UpBlock2D",) * depth, norm_num_groups=8, add_attention=False,
        )  # fmt: skip


def _published(encoder: str) -> Any:
    try:
        import segmentation_models_pytorch as published
    except ImportError as error:
        raise ModelError(f"encoder {encoder!r} needs segmentation-models-pytorch: pip install 'synthorax[segment]'.") from error  # fmt: skip
    try:
        return published.Unet(encoder, encoder_weights=None, in_channels=1, classes=1)
    except KeyError as error:
        raise InputError(f"segmentation-models-pytorch has no encoder {encoder!r}; ChexGen's is resnet34.") from error  # fmt: skip


def _logits(network: Any, x: Any) -> Any:
    """``(N, 1, S, S)``; diffusers' U-Net wants a time, which this one ignores."""
    return network(x, 0).sample if hasattr(network, "time_proj") else network(x)


def _input(pixels: np.ndarray, statistics: Mapping[str, Any]) -> Any:
    import torch

    from synthorax.classifiers.classifier import normalise

    return normalise(torch.from_numpy(pixels), (statistics["mean"],), (statistics["std"],))
