"""Faster R-CNN (Ren et al. 2015) with a feature pyramid, as torchvision builds it: boxes round findings and objects.

ChexGen's is a ResNet-50 at 1000 px; on CPUs a MobileNetV3 at 320 px or less serves. Weights are drawn, none are fetched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.classifiers.loading import load_films
from synthorax.classifiers.training import fingerprint
from synthorax.downstream.annotated import film_boxes, square_boxes
from synthorax.downstream.fitting import FittingConfig, fit, statistics_of
from synthorax.downstream.trained import FILMS_AT_ONCE, Trained
from synthorax.errors import InputError, unknown_choice
from synthorax.quality.detection import CORNERS, DETECTIONS
from synthorax.seeds import derive_seed, generator

#: Name -> torchvision's builder.
NETWORKS = {
    "mobilenet": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "resnet50": "fasterrcnn_resnet50_fpn",
}


@dataclass(frozen=True)
class DetectorConfig(FittingConfig):
    """How to train.

    Attributes:
        network: of :data:`NETWORKS`.
        image_size_px: side of the input.
        flip: half of the films are mirrored; leave it off where sides are told apart.
        regions_per_film: candidates that the box head learns from (torchvision has 512); most of the work on a CPU.
        steps: so many steps instead of epochs, as detection recipes say it; None leaves the epochs.
    """

    learning_rate: float = 1e-3
    network: str = "mobilenet"
    image_size_px: int = 320
    flip: bool = True
    regions_per_film: int = 128
    steps: int | None = None


class Detector(Trained):
    """Films to boxes with scores."""

    kind = "detector"

    @staticmethod
    def network_of(record: Mapping[str, Any]) -> Any:
        return _network(DetectorConfig(**record["config"]), len(record["classes"]), record)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.record["classes"])

    def __call__(self, films: Mapping[str, str]) -> pl.DataFrame:
        """Boxes of films, image_id to path, columns as :data:`~synthorax.quality.detection.DETECTIONS`, in films' pixels."""
        import torch

        size, names = self.size, [*films]
        rows = []
        for start in range(0, len(names), FILMS_AT_ONCE):
            some = names[start : start + FILMS_AT_ONCE]
            pixels = load_films([films[name] for name in some], size)
            with torch.inference_mode():
                found = self.network([x.to(self.device) for x in _inputs(pixels)])
            for name, one in zip(some, found, strict=True):
                cells = (one[key].float().cpu().tolist() for key in ("labels", "scores", "boxes"))
                rows += [(name, self.classes[int(label) - 1], score, *box) for label, score, box in zip(*cells, strict=True)]  # fmt: skip
        kinds = {name: pl.String if name in ("image_id", "label") else pl.Float64 for name in DETECTIONS}
        return film_boxes(pl.DataFrame(rows, schema=kinds, orient="row"), films, size)


def train_detector(
    config: DetectorConfig,
    films: Mapping[str, str],
    boxes: pl.DataFrame,
    classes: Sequence[str],
    *,
    out: Path | str | None = None,
    note: str = "",
    device: str = "cpu",
) -> Detector:
    """Train on films and boxes; with ``out`` a finished training is loaded, one that was stopped goes on.

    Args:
        config: how.
        films: image_id -> path.
        boxes: ``image_id, label`` (a class) and corners in the film's pixels; a film without any is a film without findings.
        classes: names, in the order of the outputs.
        out: folder of checkpoint and result.
        note: what the films and boxes are, kept in the record.
        device: torch device.

    Raises:
        InputError: no films or boxes, a box of no class or on no film, or no such network.
        RunError: ``out`` holds another training, or the loss is not finite.
    """
    import torch

    if config.network not in NETWORKS:
        raise unknown_choice("network", config.network, NETWORKS)
    if not films or boxes.is_empty():
        raise InputError(f"{len(films)} films and {boxes.height} boxes; expected some of both.")
    strange = sorted({*boxes["label"]} - {*classes}) + sorted({*boxes["image_id"]} - {*films})
    if strange:
        raise InputError(f"a box is of {strange[0]!r}, which is no class or film of this training.")
    size, names = config.image_size_px, [*films]
    pixels = load_films([*films.values()], size)
    on_squares = square_boxes(boxes, films, size)
    where = {name: row for row, name in enumerate(names)}
    film = np.array([where[name] for name in on_squares["image_id"]])
    corners = on_squares.select(CORNERS).to_numpy()
    label = np.array([classes.index(name) + 1 for name in on_squares["label"]])
    identity = fingerprint(asdict(config), classes, pixels, film, corners, label)
    if found := Detector.finished(out, identity, device):
        return found
    statistics = statistics_of(pixels)
    network = _network(config, len(classes), statistics).to(device)

    def loss_of(rows: np.ndarray, epoch: int) -> torch.Tensor:
        inputs, targets = _inputs(pixels[rows]), []
        for i, row in enumerate(rows):
            own = torch.from_numpy(corners[film == row]).float()
            if config.flip and generator("flip", config.seed, epoch, int(row)).random() < 0.5:
                inputs[i] = inputs[i].flip(-1)
                own = torch.stack([size - own[:, 2], own[:, 1], size - own[:, 0], own[:, 3]], 1)
            targets.append({"boxes": own.to(device), "labels": torch.from_numpy(label[film == row]).to(device)})  # fmt: skip
        parts = network([x.to(device) for x in inputs], targets)
        return torch.stack([*parts.values()]).sum()

    fitting = config
    if config.steps is not None:
        per_epoch = -(-len(names) // config.batch_size)
        fitting = replace(config, epochs=max(1, round(config.steps / per_epoch)))
    losses = fit(network, fitting, len(names), loss_of, "detector", out=out, identity=identity, device=device)
    record = {"config": asdict(config), "classes": [*classes], **statistics, "n_films": len(names), "n_boxes": len(film), "note": note, "loss_per_epoch": losses, "fingerprint": identity}  # fmt: skip
    trained = Detector(network, record, device)
    if out is not None:
        trained.save(out)
    return trained


def _inputs(pixels: np.ndarray) -> list[Any]:
    """Films ``(N, S, S)`` uint8 as torchvision takes them: each ``(3, S, S)`` in [0, 1]."""
    import torch

    return [torch.from_numpy(film).float().div(255).expand(3, -1, -1) for film in pixels]


def _network(config: DetectorConfig, n_classes: int, statistics: Mapping[str, Any]) -> Any:
    import torch
    from torchvision.models import detection

    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("detector", config.seed))
        return getattr(detection, NETWORKS[config.network])(
            weights=None, weights_backbone=None, num_classes=n_classes + 1, min_size=config.image_size_px,
            max_size=config.image_size_px, image_mean=[statistics["mean"]] * 3, image_std=[statistics["std"]] * 3,
            box_batch_size_per_image=config.regions_per_film,
        )  # fmt: skip
