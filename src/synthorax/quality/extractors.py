"""What turns films into features and scores for figures over sets; each figure names the one that made it.

Ours is a classifier's last layer. CLIP and TorchXRayVision, which the papers use, are read from files at hand: no figure is
comparable with theirs unless they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.loading import load_films
from synthorax.errors import ModelError

FILMS_AT_ONCE = 32
#: Size of TorchXRayVision's networks (px) and their grey levels, -1024 to 1024.
XRV_SIZE_PX, XRV_RANGE = 224, 1024

Films = Sequence[Path | str]


@dataclass(frozen=True)
class Extractor:
    """A network behind the figures.

    Attributes:
        name: what stands beside a figure.
        features: films by path to ``(N, F)`` float32.
        scores: films to ``(N, L)`` probabilities of ``labels``; None for a network without outputs.
        labels: names of the outputs.
        thresholds: ``(L,)`` from which a label counts as seen, where they were fitted.
    """

    name: str
    features: Callable[[Films], np.ndarray]
    scores: Callable[[Films], np.ndarray] | None = None
    labels: tuple[str, ...] = ()
    thresholds: tuple[float, ...] | None = None


def load_extractor(where: str) -> Extractor:
    """An extractor by where it is.

    Args:
        where: folder of a classifier of ours; ``clip:FOLDER``, a CLIP of ``transformers`` (ViT-L/14 has 768 features);
            ``xrv:FILE``, the weights of ``densenet121-res224-all`` as safetensors (1,024 features, 18 scores).

    Raises:
        ModelError: nothing there, or it is something else.
    """
    kind, _, rest = where.partition(":")
    if kind in ("clip", "xrv") and rest:
        return (_clip if kind == "clip" else _xrv)(Path(rest))
    model = Classifier.load(where)
    return Extractor(
        f"ours ({Path(where).name})",
        model.features,
        model.predict,
        tuple(model.labels),
        model.record.thresholds,
    )


def _clip(folder: Path) -> Extractor:
    import torch
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    try:
        network = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True).eval()
        processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers' loaders raise many kinds
        raise ModelError(
            f"{folder} is no CLIP that transformers can read ({error}); give the folder of 'save_pretrained'."
        ) from error
    size = max(processor.crop_size["height"], processor.crop_size["width"])

    def features(films: Films) -> np.ndarray:
        pixels = load_films(films, size)
        batch = processor(list(np.repeat(pixels[..., None], 3, -1)), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            return network(pixel_values=batch).image_embeds.float().numpy()

    return Extractor(f"CLIP ({folder.name})", _in_batches(features))


def _xrv(file: Path) -> Extractor:
    try:
        import torchxrayvision as xrv
    except ImportError as error:
        raise ModelError(
            "xrv: needs TorchXRayVision, which is not installed: pip install 'synthorax[xrv]'."
        ) from error
    import torch
    from safetensors.torch import load_file

    network = xrv.models.DenseNet(num_classes=len(xrv.datasets.default_pathologies)).eval()
    try:
        network.load_state_dict(load_file(file))
    except Exception as error:
        raise ModelError(
            f"{file} is not the state of densenet121-res224-all as safetensors ({str(error).splitlines()[0]}); write it "
            "once with safetensors.torch.save_model(xrv.models.DenseNet(weights='densenet121-res224-all'), FILE)."
        ) from error

    def at(films: Films) -> "torch.Tensor":
        pixels = torch.from_numpy(load_films(films, XRV_SIZE_PX))[:, None].float()
        return (pixels / 255 * 2 - 1) * XRV_RANGE

    def features(films: Films) -> np.ndarray:
        with torch.inference_mode():
            return network.features2(at(films)).numpy()

    def scores(films: Films) -> np.ndarray:
        with torch.inference_mode():
            return network(at(films)).sigmoid().numpy()

    return Extractor("TorchXRayVision densenet121-res224-all", _in_batches(features), _in_batches(scores), tuple(xrv.datasets.default_pathologies))  # fmt: skip


def _in_batches(function: Callable[[Films], np.ndarray]) -> Callable[[Films], np.ndarray]:
    def whole(films: Films) -> np.ndarray:
        return np.concatenate([function(films[i : i + FILMS_AT_ONCE]) for i in range(0, len(films), FILMS_AT_ONCE)])  # fmt: skip

    return whole
