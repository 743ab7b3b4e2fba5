"""Models that others trained, opened as they lie on disk: timm's folders, TorchXRayVision's weights, ONNX files."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers.classifier import RECORD, Classifier, ClassifierRecord
from synthorax.classifiers.loading import load_films
from synthorax.errors import ModelError, unknown_choice

#: What TorchXRayVision expects: [-1024, 1024].
_XRV_REACH = 1024


def open_classifier(where: Path | str, device: str = "cpu") -> Classifier:
    """A folder of this project's, or one that ``timm.models.save_for_hf(..., safe_serialization=True)`` wrote.

    A network of timm's gets films as a classifier of this project does, in its own size, mean and deviation, and a
    sigmoid on each output.

    Raises:
        ModelError: neither is there, or it cannot be loaded.
    """
    path = Path(where)
    if not (path / "config.json").is_file() or (path / RECORD).is_file():
        return Classifier.load(path, device)
    if not (path / "model.safetensors").is_file():
        raise ModelError(
            f"{path} has a config.json and no model.safetensors; pickled weights are not opened. Write timm's with "
            "timm.models.save_for_hf(model, folder, safe_serialization=True)."
        )
    import timm

    try:
        network = timm.create_model(f"local-dir:{path}", pretrained=True)
    except Exception as error:  # timm raises whatever the folder leads it to
        raise ModelError(
            f"{path} cannot be loaded by timm ({type(error).__name__}: {str(error).splitlines()[0]}); expected the "
            "config.json and model.safetensors of one model."
        ) from error
    data = timm.data.resolve_model_data_config(network)
    channels, size = data["input_size"][0], data["input_size"][-1]
    record = ClassifierRecord(
        backbone=network.default_cfg.get("architecture", "timm"),
        image_size_px=size,
        mean=tuple(data["mean"])[:channels],
        std=tuple(data["std"])[:channels],
        labels=tuple(network.pretrained_cfg.get("label_names") or map(str, range(network.num_classes))),
        seed=0,
    )
    return Classifier(network, record, device)


def torchxrayvision(name: str, device: str = "cpu") -> tuple[Callable[[np.ndarray], Any], tuple[str, ...]]:
    """TorchXRayVision's weights by their name, and the names of their outputs; a film's central square is read.

    The package's own weights are pickles, which run code when opened: only a name asks for that, and only a file that
    is already in the package's cache is opened.

    Raises:
        InputError: no such name.
        ModelError: the package or the file is not here, or does not fit.
    """
    try:
        import torchxrayvision as xrv
    except ImportError as error:
        raise ModelError(
            f"xrv:{name} needs torchxrayvision, which is not installed: pip install 'synthorax[xrv]'."
        ) from error
    import torch

    known = [key for key, entry in xrv.models.model_urls.items() if key.startswith(("densenet", "resnet"))]
    if name not in known:
        raise unknown_choice("TorchXRayVision's model", name, known)
    entry = xrv.models.model_urls[name]
    file = Path(xrv.utils.get_cache_dir()) / Path(entry["weights_url"]).name
    if not file.is_file():
        raise ModelError(
            f"{file} does not exist; TorchXRayVision's weights are not fetched here. Download {entry['weights_url']} there."
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            network = xrv.models.get_model(name, apply_sigmoid=True).eval().to(device)
    except Exception as error:  # a pickle raises whatever is in it
        raise ModelError(f"{file} is not what TorchXRayVision calls {name} ({type(error).__name__}: {error}).") from error  # fmt: skip
    size = entry.get("input_resolution", 224)

    def predict(films: np.ndarray) -> Any:
        side = min(films.shape[1:])
        top, left = ((extent - side) // 2 for extent in films.shape[1:])
        pixels = load_films(films[:, top : top + side, left : left + side], size)[:, None]
        x = torch.from_numpy(pixels).to(device).float() * (2 * _XRV_REACH / 255) - _XRV_REACH
        with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):
            return network(x).cpu().numpy()

    return predict, tuple(network.pathologies)


def onnx(path: Path) -> Callable[[np.ndarray], Any]:
    """An ONNX file with one image input, on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"{path} needs onnxruntime, which is not installed: pip install 'synthorax[onnx]'."
        ) from error
    if not path.is_file():
        raise ModelError(f"{path} does not exist; expected an ONNX file.")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ModelError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
    given = session.get_inputs()
    shape = given[0].shape
    if len(given) != 1 or len(shape) != 4 or not all(isinstance(side, int) for side in shape[1:]):
        raise ModelError(
            f"{path} takes {[(i.name, i.shape) for i in given]}; expected one input (N, C, H, W) with fixed C, H and W."
        )
    channels, height, width = shape[1:]
    if height != width:
        raise ModelError(f"{path} takes films of {height} x {width}; expected squares. Wrap it in a callable.")  # fmt: skip

    def predict(films: np.ndarray) -> np.ndarray:
        pixels = load_films(films, height)[:, None].astype(np.float32) / 255
        return session.run(None, {given[0].name: np.repeat(pixels, channels, 1)})[0]

    return predict
