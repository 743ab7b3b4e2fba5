"""How much of a finding there is: a network with one output, taught by numbers (ChexGen's severity regression).

A classifier's backbone, squared error of the standardised number. Where several raters scored a film, their mean is the number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers.augmentation import N_DRAWS, Augmentation, augment
from synthorax.classifiers.backbones import build_network, normalisation
from synthorax.classifiers.classifier import normalise
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.training import fingerprint
from synthorax.downstream.fitting import FittingConfig, fit, statistics_of
from synthorax.downstream.trained import FILMS_AT_ONCE, Trained
from synthorax.errors import InputError
from synthorax.seeds import derive_seed, generator


@dataclass(frozen=True)
class SeverityConfig(FittingConfig):
    """How to train.

    Attributes:
        backbone: of :data:`~synthorax.classifiers.backbones.BACKBONES`.
        image_size_px: side of the input.
        pretrained: start from ImageNet weights in the local cache.
        augmentation: as for classifiers.
    """

    batch_size: int = 32
    learning_rate: float = 2e-3
    backbone: str = "small"
    image_size_px: int = 128
    pretrained: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)


class SeverityModel(Trained):
    """Films to numbers."""

    kind = "severity"

    @staticmethod
    def network_of(record: Mapping[str, Any]) -> Any:
        return build_network(record["config"]["backbone"], 1, seed=0)

    def __call__(self, films: np.ndarray | Sequence[Path | str]) -> np.ndarray:
        """``(N,)`` float32 of films ``(N, H, W)`` in [0, 1], or paths; in the unit of the training's numbers."""
        import torch

        pixels = load_films(films, self.size)
        found = [np.zeros(0, np.float32)]
        for start in range(0, len(pixels), FILMS_AT_ONCE):
            x = torch.from_numpy(pixels[start : start + FILMS_AT_ONCE]).to(self.device)
            with torch.inference_mode():
                y = self.network(normalise(x, self.record["mean"], self.record["std"]))
            found.append(y.float().cpu().numpy()[:, 0])
        return np.concatenate(found) * self.record["target_std"] + self.record["target_mean"]


def train_severity(
    config: SeverityConfig,
    films: np.ndarray | Sequence[Path | str],
    numbers: np.ndarray,
    *,
    out: Path | str | None = None,
    note: str = "",
    device: str = "cpu",
) -> SeverityModel:
    """Train on films and numbers; with ``out`` a finished training is loaded, one that was stopped goes on.

    Args:
        config: how.
        films: ``(N, H, W)`` in [0, 1], or paths.
        numbers: ``(N,)``, in any unit, not all alike.
        out: folder of checkpoint and result.
        note: what the films and numbers are, kept in the record.
        device: torch device.

    Raises:
        InputError: not one finite number a film, or all alike.
        RunError: ``out`` holds another training, or the loss is not finite.
    """
    import torch

    numbers = np.asarray(numbers, np.float32)
    if numbers.shape != (len(films),) or not np.isfinite(numbers).all() or not numbers.std() > 0:
        raise InputError(f"{len(films)} films and numbers of shape {numbers.shape}; expected a finite one a film, not all alike.")  # fmt: skip
    size = config.image_size_px
    pixels = load_films(films, size)
    identity = fingerprint(asdict(config), ["severity"], pixels, numbers)
    if found := SeverityModel.finished(out, identity, device):
        return found
    mean, std = normalisation(config.backbone) or tuple((value,) for value in statistics_of(pixels).values())
    record: dict[str, Any] = {
        "config": asdict(config), "mean": mean, "std": std, "target_mean": float(numbers.mean()), "target_std": float(numbers.std()),
        "n_films": len(pixels), "note": note, "fingerprint": identity,
    }  # fmt: skip
    network = build_network(config.backbone, 1, seed=derive_seed("severity", config.seed), pretrained=config.pretrained).to(device)  # fmt: skip
    y = torch.from_numpy((numbers - record["target_mean"]) / record["target_std"])

    def loss_of(rows: np.ndarray, epoch: int) -> torch.Tensor:
        draws = generator("augmentation", config.seed, epoch).uniform(-1, 1, (len(pixels), N_DRAWS))[rows]
        x = torch.from_numpy(pixels[rows, None]).to(device).float() / 255
        inputs = normalise(augment(x, draws, config.augmentation), mean, std)
        return (network(inputs).float()[:, 0] - y[rows].to(device)).square().mean()

    record["loss_per_epoch"] = fit(network, config, len(pixels), loss_of, "severity model", out=out, identity=identity, device=device)  # fmt: skip
    trained = SeverityModel(network, record, device)
    if out is not None:
        trained.save(out)
    return trained
