"""From films and labels to a classifier, after CARS section 2.

Binary cross-entropy with a weight per class for its positives, AdamW, warm-up and cosine, bfloat16 where the
arithmetic is heavy. A film's place in an epoch and its augmentation come from the seed, the epoch and its row
alone, so a training that was stopped goes on from its checkpoint to the same weights (bit for bit on one
machine and thread count). The last weights are kept: the best epoch on validation would flatter validation.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthorax import bfloat16
from synthorax.classifiers.augmentation import N_DRAWS, Augmentation, augment
from synthorax.classifiers.backbones import backbone_named, build_network, normalisation
from synthorax.classifiers.checkpoints import CHECKPOINT, restore_checkpoint, save_checkpoint
from synthorax.classifiers.classifier import RECORD, Classifier, ClassifierRecord, normalise, read_record
from synthorax.classifiers.latents import Autoencoder, latents_of
from synthorax.classifiers.loading import Films, load_films
from synthorax.classifiers.loss import masked_bce, positive_weights_of, rows_by_class
from synthorax.classifiers.metrics import auroc, macro, per_label, thresholds_of
from synthorax.classifiers.places import CELL_PX, logits_and_cells, moved, place_head, place_loss
from synthorax.errors import InputError, RunError, unknown_choice
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator

PRECISIONS = ("auto", "bf16", "fp32")
SAMPLINGS = ("films", "classes")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are for ``small`` on two CPU cores.

    CARS: batch 32, learning rate 3e-4, 30 epochs, ImageNet weights; it leaves open the warm-up's length, the
    weight decay, the augmentation and the input's size.

    ``image_size_px`` None takes the backbone's. ``maximum_positive_weight`` bounds the weight of rare
    labels, whose few positives would otherwise outweigh all else. ``sampling``: ``films``, each once an epoch, or ``classes``, each
    label's films and those without any equally often (ChexGen) and positives not weighted. ``precision``: ``bf16``, ``fp32``, or ``auto``: bf16
    where the device multiplies it in hardware.
    """

    backbone: str = "small"
    image_size_px: int | None = None
    pretrained: bool = False
    weights: str | None = None
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.1
    maximum_positive_weight: float = 20.0
    sampling: str = "films"
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "auto"
    checkpoint_every_s: float = 30.0
    seed: int = 0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """The defaults with some values changed, e.g. read from YAML.

        Raises:
            InputError: an unknown key; the message gives the closest.
        """
        values = dict(values)
        for key, known in ((cls, values), (Augmentation, values.get("augmentation", {}))):
            for name in known:
                if name not in key.__dataclass_fields__:
                    raise unknown_choice(f"a key of {key.__name__}", name, key.__dataclass_fields__)
        if "augmentation" in values:
            values["augmentation"] = Augmentation(**values["augmentation"])
        return cls(**values)


def train(
    config: TrainingConfig,
    films: Films,
    targets: np.ndarray,
    labels: Sequence[str],
    *,
    start: Classifier | None = None,
    places: np.ndarray | None = None,
    validation: tuple[Films, np.ndarray] | None = None,
    out: Path | str | None = None,
    note: str = "",
    device: str = "cpu",
    autoencoder: Autoencoder | None = None,
    store: Path | str | None = None,
) -> Classifier:
    """Train a classifier; with ``out``, the same call goes on with a stopped one or loads a finished one.

    Args:
        config: how.
        films: ``(N, H, W)``, float in [0, 1] or uint8, or paths. Kept as N x S x S bytes.
        targets: ``(N, L)`` 0, 1 or NaN (unknown: no loss, no gradient).
        labels: ``(L,)`` names of the outputs.
        start: a classifier whose weights, all of them, go on training; it stays as it is.
        places: bool ``(N, L, S/16, S/16)``, where on its film each finding is (:func:`~.places.cells_of`); a second head
            learns them, for this training alone (:mod:`~.places`).
        validation: films and targets of other patients, for the thresholds.
        out: folder for the checkpoint and the finished classifier.
        note: what the films are, kept in the record, e.g. ``simulated, one anatomy, 1600 virtual patients``.
        device: torch device.
        autoencoder: read its latents of the films instead of pixels; there is no augmentation then, which acts on
            pixels.
        store: where the latents are kept, see :func:`~.latents.latents_of`.

    Raises:
        InputError: films, targets, places and labels do not fit together, or not to ``start``.
        RunError: ``out`` holds a training with other settings or films.
    """
    import torch

    targets = checked_targets(films, targets, labels)
    if config.precision not in PRECISIONS:
        raise unknown_choice("precision", config.precision, PRECISIONS)
    if config.sampling not in SAMPLINGS:
        raise unknown_choice("sampling", config.sampling, SAMPLINGS)
    size = config.image_size_px or backbone_named(config.backbone).image_size_px
    if start is not None:
        _check_start(start, config.backbone, size, labels, autoencoder)
    if autoencoder is None:
        pixels = load_films(films, size)
    else:
        config = replace(config, augmentation=Augmentation(*[0.0] * (N_DRAWS - 1)))
        pixels = latents_of(films, autoencoder, size, store)
    cells = (len(films), len(labels), size // CELL_PX, size // CELL_PX)
    if places is not None and (places.shape != cells or autoencoder is not None):
        raise InputError(f"places of shape {places.shape}; expected {cells}, and pixels as input.")
    weights = [] if start is None else [x.cpu().numpy() for x in start.network.state_dict().values()]
    taught = [] if places is None else [places]
    identity = fingerprint(asdict(config), labels, pixels, targets, *taught, *weights)
    if out is not None and (finished := load_finished(out, identity, device)):
        return finished

    if start is None:
        mean, std = (autoencoder is None and normalisation(config.backbone)) or _statistics(pixels)
        network = build_network(
            config.backbone,
            len(labels),
            seed=derive_seed("classifier", config.seed),
            pretrained=config.pretrained,
            weights=config.weights,
            n_channels=None if autoencoder is None else pixels.shape[1],
        )
    else:
        mean, std, network = start.record.mean, start.record.std, copy.deepcopy(start.network)
    network = network.to(device, memory_format=torch.channels_last)
    losses = _fit(network, config, pixels, targets, places, (mean, std), device, out, identity)
    record = ClassifierRecord(
        backbone=config.backbone,
        image_size_px=size,
        mean=mean,
        std=std,
        labels=tuple(labels),
        seed=config.seed,
        training={
            "note": note,
            "config": asdict(config),
            "n_films": len(pixels),
            "n_positive": (targets == 1).sum(0).tolist(),
            "n_unknown": np.isnan(targets).sum(0).tolist(),
            "has_places": places is not None,
            "loss_per_epoch": losses,
            "before": None if start is None else dict(start.record.training),
            "fingerprint": identity,
        },
        autoencoder=None
        if autoencoder is None
        else {
            "name": autoencoder.name,
            "sha256": autoencoder.sha256,
            "store": None if store is None else str(store),
        },
    )
    return finish(Classifier(network, record, device), validation, out)


def finish(
    classifier: Classifier, validation: tuple[Films, np.ndarray] | None, out: Path | str | None
) -> Classifier:
    """Fit thresholds on the validation films, save where asked to, and remove the checkpoint."""
    if validation is not None:
        films, targets = validation
        targets = checked_targets(films, targets, classifier.labels)
        p = classifier.predict(films)
        found = per_label(auroc, targets, p)
        training = {
            **classifier.record.training,
            "n_validation": len(targets),
            "validation_auroc": _nulls(found),
        }
        training["validation_macro_auroc"] = _nulls(macro(found)[None])[0]
        classifier.record = replace(
            classifier.record, thresholds=tuple(thresholds_of(targets, p).tolist()), training=training
        )
    if out is not None:
        classifier.save(out)
        (Path(out) / CHECKPOINT).unlink(missing_ok=True)
    return classifier


def load_finished(out: Path | str, identity: str, device: str) -> Classifier | None:
    """The finished classifier of a folder, None where there is none.

    Raises:
        RunError: the folder's classifier came from other settings, labels or films.
    """
    if not (Path(out) / RECORD).is_file():
        return None
    record, _ = read_record(out)
    if record.training.get("fingerprint") != identity:
        raise RunError(
            f"{out} holds a classifier trained with other settings, labels or films. Choose another folder, "
            "or remove this one."
        )
    return Classifier.load(out, device)


def fingerprint(config: Mapping[str, Any], labels: Sequence[str], *arrays: np.ndarray) -> str:
    """sha256 over everything that decides the weights."""
    decisive = {key: value for key, value in config.items() if key != "checkpoint_every_s"}
    digest = hashlib.sha256(json.dumps([decisive, list(labels)], sort_keys=True).encode())
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def learning_rate_at(step: int, n_steps: int, peak: float, warmup_fraction: float) -> float:
    """Linear to the peak over the warm-up, then half a cosine towards 0."""
    warmup = max(1, round(n_steps * warmup_fraction))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, n_steps - warmup)))


def batches_of_epoch(n_films: int, batch_size: int, *seed: object) -> list[np.ndarray]:
    """Rows of each batch: a permutation from the seed, cut into batches of nearly one size."""
    order = generator(*seed).permutation(n_films)
    return np.array_split(order, math.ceil(n_films / batch_size))


def checked_targets(films: Films, targets: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The targets as float32 ``(N, L)``.

    Raises:
        InputError: they do not fit the films or the labels, or hold something else than 0, 1, NaN.
    """
    targets = np.asarray(targets, dtype=np.float32)
    if targets.shape != (len(films), len(labels)) or not len(films):
        raise InputError(
            f"{len(films)} films, {len(labels)} labels and targets of shape {targets.shape}; expected "
            "(films, labels), at least one of each."
        )
    odd = ~(np.isnan(targets) | (targets == 0) | (targets == 1))
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise InputError(
            f"film {row}: {labels[column]} is {targets[row, column]:g}; expected 0, 1 or NaN (unknown)."
        )
    return targets


def _statistics(inputs: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of films ``(N, S, S)`` uint8 in [0, 1], or of each channel of latents ``(N, C, h, w)``."""
    if inputs.dtype == np.uint8:
        return (float(inputs.mean() / 255),), (float(inputs.std() / 255),)
    z = inputs.astype(np.float32)
    return tuple(z.mean((0, 2, 3)).tolist()), tuple(z.std((0, 2, 3)).tolist())


def _check_start(
    start: Classifier, backbone: str, size: int, labels: Sequence[str], autoencoder: Autoencoder | None
) -> None:
    if (start.record.autoencoder or {}).get("sha256") != (autoencoder.sha256 if autoencoder else None):
        raise InputError(
            "the classifier to start from reads other inputs (pixels, or another autoencoder's latents). Give both the "
            "same --input and --autoencoder."
        )
    there = (start.record.backbone, start.record.image_size_px, start.labels)
    if there != (backbone, size, tuple(labels)):
        raise InputError(
            f"the classifier to start from is a {there[0]} of {there[1]} px for {', '.join(there[2])}; asked for is "
            f"a {backbone} of {size} px for {', '.join(labels)}. Give both the same backbone, size and labels."
        )


def _fit(network, config: TrainingConfig, pixels, targets, places, statistics, device, out, identity) -> list[float]:  # fmt: skip
    """Train in place; returns the mean loss of each epoch."""
    import torch

    n = len(pixels)
    n_batches = math.ceil(n / config.batch_size)
    n_steps = config.epochs * n_batches
    films, y = torch.from_numpy(pixels), torch.from_numpy(targets)
    by_class = config.sampling == "classes"
    weights = positive_weights_of(targets, config.maximum_positive_weight)
    v = torch.from_numpy(np.ones_like(weights) if by_class else weights).float().to(device)
    fitted, head = network, None
    if places is not None:
        head = place_head(network, targets.shape[1], derive_seed("places", config.seed)).to(device)
        fitted = torch.nn.ModuleDict({"network": network, "places": head})
    decayed = [x for x in fitted.parameters() if x.ndim > 1]
    plain = [x for x in fitted.parameters() if x.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    checkpoint = None if out is None else Path(out) / CHECKPOINT
    start, losses = restore_checkpoint(checkpoint, fitted, optimizer, identity)
    saved = time.monotonic()
    network.train()
    for step in track(range(start, n_steps), f"Training {config.backbone}", unit="steps"):
        epoch, batch = divmod(step, n_batches)
        if batch == 0 or step == start:
            batches = batches_of_epoch(n, config.batch_size, "order", config.seed, epoch)
            draws = generator("augmentation", config.seed, epoch).uniform(-1, 1, (n, N_DRAWS))
            drawn = rows_by_class(targets, "classes", config.seed, epoch) if by_class else np.arange(n)
        rows = drawn[batches[batch]]
        if films.dtype == torch.uint8:
            x = augment(
                films[rows, None].to(device).float() / 255, draws[batches[batch]], config.augmentation
            )
        else:
            x = films[rows].to(device)
        with torch.autocast(
            torch.device(device).type, torch.bfloat16, enabled=is_bf16(config.precision, device)
        ):
            x = normalise(x, *statistics)
            logits, cells = (network(x), None) if head is None else logits_and_cells(network, head, x)
        loss = masked_bce(logits.float(), y[rows].to(device), v)
        if cells is not None:
            masks = torch.from_numpy(places[rows]).to(device).float()
            masks = moved(masks, draws[batches[batch]], config.augmentation)
            loss = loss + place_loss(cells.float(), masks, y[rows].to(device))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, n_steps, config.learning_rate, config.warmup_fraction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if checkpoint is not None and time.monotonic() - saved >= config.checkpoint_every_s:
            save_checkpoint(checkpoint, fitted, optimizer, step + 1, losses, identity)
            saved = time.monotonic()
    network.eval()
    return [float(np.mean(losses[i : i + n_batches])) for i in range(0, len(losses), n_batches)]


def is_bf16(precision: str, device: str) -> bool:
    """Whether a training of that precision computes in bfloat16 on the device."""
    return bfloat16.is_fast(device) if precision == "auto" else precision == "bf16"


def _nulls(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
