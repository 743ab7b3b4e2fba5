"""A trained network together with everything that its use needs.

On disk a folder: ``classifier.safetensors`` (weights) and ``classifier.json`` (the record).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthorax import __version__
from synthorax.classifiers.backbones import BACKBONES, build_network
from synthorax.classifiers.latents import Autoencoder, are_latents, latents_of, open_autoencoder
from synthorax.classifiers.loading import Films, load_films
from synthorax.errors import ModelError
from synthorax.files import atomic

if TYPE_CHECKING:
    import torch

WEIGHTS, RECORD = "classifier.safetensors", "classifier.json"


@dataclass(frozen=True)
class ClassifierRecord:
    """What a classifier's weights need beside them.

    ``mean`` and ``std`` are per channel on films in [0, 1]; ``thresholds`` maximise F1 on validation films
    (None without any); ``training`` says on what and how it was trained. One that reads latents has an
    ``autoencoder``: its ``name``, its weights' ``sha256``, and the ``store`` of latents or None; ``image_size_px`` is
    then the films' side before they are encoded, ``mean`` and ``std`` are the latents'.
    """

    backbone: str
    image_size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    seed: int
    thresholds: tuple[float, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    autoencoder: Mapping[str, Any] | None = None
    software_version: str = __version__


class Classifier:
    """Reads findings, or concepts, from frontal films. Research only, not for diagnosis.

    The outputs are what ``labels`` says, one probability each, independent of each other; a film without any
    is CARS's No Relevant Finding.
    """

    def __init__(self, network: "torch.nn.Module", record: ClassifierRecord, device: str = "cpu"):
        import torch

        self.network = network.eval().to(device, memory_format=torch.channels_last)
        self.record = record
        self.device = device

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return self.record.labels

    @property
    def thresholds(self) -> tuple[float, ...]:
        """``(L,)`` probability from which a label counts as present.

        Raises:
            ModelError: it was trained without validation films.
        """
        if self.record.thresholds is None:
            raise ModelError(
                "this classifier has no thresholds: it was trained without validation films. Fit some "
                "with classifiers.thresholds_of on films that are neither trained on nor tested."
            )
        return self.record.thresholds

    def predict(self, films: Films, *, batch_size: int = 64) -> np.ndarray:
        """Probabilities ``(N, L)`` float32, in float32 arithmetic.

        They depend on the batch size by rounding alone (below 1e-5, tested).

        Args:
            films: ``(N, H, W)``, float in [0, 1] or uint8, or paths; read a batch at a time. One that reads latents
                takes these too, ``(N, C, h, w)``, and encodes films itself.
            batch_size: films in work at once; more is faster until memory ends.
        """
        return self._map(lambda x: self.network(x).sigmoid(), films, batch_size, len(self.labels))

    def features(self, films: Films, *, batch_size: int = 64) -> np.ndarray:
        """``(N, F)`` float32, what the last layer sees; arguments as in :meth:`predict`."""
        n_features = self.network.get_classifier().in_features
        return self._map(self._pooled, films, batch_size, n_features)

    def save(self, folder: Path | str) -> Path:
        """Write weights and record; the record last, so that a folder with one is complete."""
        from safetensors.torch import save_file

        folder = Path(folder)
        with atomic(folder / WEIGHTS) as temporary:
            tensors = {name: x.detach().cpu().contiguous() for name, x in self.network.state_dict().items()}
            save_file(tensors, temporary)
        digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        with atomic(folder / RECORD) as temporary:
            record = asdict(self.record) | {"weights_sha256": digest}
            temporary.write_text(json.dumps(record, indent=1) + "\n")
        return folder

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> "Classifier":
        """Read a folder that :meth:`save` wrote.

        Raises:
            ModelError: no such folder, a record that cannot be read, or weights that are not its own.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        record, digest = read_record(folder)
        if not (folder / WEIGHTS).is_file():
            raise ModelError(
                f"{folder / WEIGHTS} does not exist; the classifier is incomplete. Train it again."
            )
        if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != digest:
            raise ModelError(f"{folder / WEIGHTS} is not the file that {RECORD} describes. Train it again.")
        network = build_network(
            record.backbone,
            len(record.labels),
            seed=0,
            n_channels=len(record.mean) if record.autoencoder else None,
        )
        network.load_state_dict(load_file(folder / WEIGHTS))
        return cls(network, record, device)

    def _pooled(self, x: "torch.Tensor") -> "torch.Tensor":
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)

    def _map(self, function: Callable, films: Films, batch_size: int, width: int) -> np.ndarray:
        """A function of normalised inputs, over the films batch by batch, as ``(N, width)``."""
        import torch

        found = np.empty((len(films), width), np.float32)
        for start in range(0, len(films), batch_size):
            rows = slice(start, start + batch_size)
            x = torch.from_numpy(self._input(films[rows])).to(self.device)
            with torch.inference_mode():
                found[rows] = function(normalise(x, self.record.mean, self.record.std)).cpu().numpy()
        return found

    def _input(self, films: Films) -> np.ndarray:
        record = self.record
        if record.autoencoder is None:
            return load_films(films, record.image_size_px)
        if are_latents(films):
            return np.asarray(films)
        return latents_of(films, self._encoder, record.image_size_px, record.autoencoder["store"])

    @cached_property
    def _encoder(self) -> Autoencoder:
        wanted = self.record.autoencoder or {}
        found = open_autoencoder(wanted["name"], self.device)
        if found.sha256 != wanted["sha256"]:
            raise ModelError(f"the autoencoder at {wanted['name']} is not the one whose latents this classifier was trained on. Put that one back, or train again.")  # fmt: skip
        return found


def normalise(pixels: "torch.Tensor", mean: Sequence[float], std: Sequence[float]) -> "torch.Tensor":
    """``(B, S, S)`` uint8, ``(B, 1, S, S)`` float in [0, 1], or latents ``(B, C, h, w)``, to a network's input."""
    import torch

    x = pixels[:, None].float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    mean_, std_ = (
        torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None] for values in (mean, std)
    )
    return ((x - mean_) / std_).contiguous(memory_format=torch.channels_last)


def read_record(folder: Path | str) -> tuple[ClassifierRecord, str]:
    """The record of a classifier's folder and the sha256 of its weights.

    Raises:
        ModelError: no record there, or not one of this version's.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise ModelError(f"{path} does not exist; expected a folder written by Classifier.save.")
    try:
        values = json.loads(path.read_text())
        digest = values.pop("weights_sha256")
        for name in ("mean", "std", "labels", "thresholds"):
            values[name] = None if values[name] is None else tuple(values[name])
        record = ClassifierRecord(**values)
    except (ValueError, KeyError, TypeError) as error:
        known = ", ".join(entry.name for entry in fields(ClassifierRecord))
        raise ModelError(
            f"{path} is no classifier's record ({error}); expected JSON with {known}."
        ) from error
    if record.backbone not in BACKBONES:
        raise ModelError(f"{path}: backbone {record.backbone!r} is not one of {', '.join(BACKBONES)}.")
    return record, digest
