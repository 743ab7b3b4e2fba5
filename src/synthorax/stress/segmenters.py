"""A lung segmenter of any make: whatever turns films into masks."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers import model_files
from synthorax.classifiers.loading import batches, load_films
from synthorax.classifiers.models import FILMS_AT_ONCE, Predict, by_import_path
from synthorax.downstream.segmenter import Segmenter, onto_films
from synthorax.errors import ModelError

PSPNET_LUNGS = ("Left Lung", "Right Lung")


@dataclass(frozen=True)
class TestedSegmenter:
    """A segmenter, and which of its outputs are lungs.

    Attributes:
        name: where it came from.
        predict: films ``(N, H, W)`` float32 in [0, 1], bright = dense, to ``(N, H, W)`` or ``(N, K, H, W)``: masks, or
            probabilities of which .5 and more is inside.
        outputs: names or numbers of those among K whose union are the lungs; None where there is one.
        labels: names of the outputs, where it has names.
    """

    __test__ = False

    name: str
    predict: Predict
    outputs: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None

    def masks(self, paths: Sequence[str]) -> list[np.ndarray]:
        """Of each film by path its lungs, bool ``(H, W)``.

        Raises:
            ModelError: it fails on films, or returns anything but masks or probabilities on the films' grid.
        """
        found: list[np.ndarray] = []
        for rows, films in batches(list(paths), FILMS_AT_ONCE):
            try:
                returned = np.asarray(self.predict(films), dtype=np.float32)
            except Exception as error:
                raise ModelError(
                    f"{self.name} fails on {len(films)} films of shape {films.shape[1:]} from {paths[rows[0]]}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            lungs = self._lungs(returned, films.shape)
            odd = ~((lungs >= 0) & (lungs <= 1)).all((1, 2))
            if odd.any():
                one = lungs[odd.argmax()]
                value = np.nan if np.isnan(one).any() else one.flat[np.abs(one - 0.5).argmax()]
                remedy = "" if np.isnan(value) else " Apply a sigmoid or softmax in the callable."
                raise ModelError(
                    f"{self.name} returns {value:g} for {paths[rows[odd.argmax()]]}; expected a mask or probabilities "
                    f"from 0 to 1.{remedy}"
                )
            found += list(lungs >= 0.5)
        return found

    def _lungs(self, returned: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        n, height, width = shape
        if returned.ndim == 4 and returned.shape[1] == 1:
            returned = returned[:, 0]
        if returned.shape == shape and self.outputs is None:
            return returned
        if returned.ndim != 4 or returned.shape != (n, returned.shape[1], height, width):
            raise ModelError(
                f"{self.name} returns shape {returned.shape} for {n} films of {height} x {width}; expected {shape} or "
                f"({n}, outputs, {height}, {width})."
            )
        names = self.labels or tuple(map(str, range(returned.shape[1])))
        chosen = self.outputs or ()
        unknown = [name for name in chosen if name not in names]
        if unknown or not chosen:
            said = f"output {unknown[0]!r} is none of them" if unknown else "no output was named"
            raise ModelError(f"{self.name} returns {len(names)} outputs ({', '.join(names)}) and {said}. Name the lungs by --output.")  # fmt: skip
        return returned[:, [names.index(name) for name in chosen]].max(1)


def load_segmenter(where: Path | str, output: str | None = None, *, device: str = "cpu") -> TestedSegmenter:
    """A segmenter by where it is.

    Args:
        where: a folder of :func:`~synthorax.downstream.segmenter.train_segmenter`; ``xrv:pspnet``, TorchXRayVision's, where its
            cache holds the weights (opens a pickle); a ``.onnx`` file, whose input ``(N, C, H, W)`` gets films padded to
            squares, resized, in [0, 1]; or ``module:name``, a callable from films ``(N, H, W)`` to masks (its ``labels`` name
            its outputs; runs code of yours).
        output: names or numbers of the outputs that are lungs, by commas.
        device: a torch device, for folders and ``xrv:``.

    Raises:
        ModelError: nothing there, or it cannot be loaded.
    """
    text, path = str(where), Path(where)
    outputs = tuple(name.strip() for name in output.split(",")) if output else None
    labels: tuple[str, ...] | None = None
    if path.suffix == ".onnx":
        predict: Predict = _on_films(model_files.onnx(path))
    elif text.startswith("xrv:"):
        predict, labels = _pspnet(text.removeprefix("xrv:"), device)
        outputs = outputs or PSPNET_LUNGS
    elif ":" in text and not path.exists():
        predict = by_import_path(text)
        own = getattr(predict, "labels", None)
        labels = tuple(map(str, own)) if own is not None else None
    else:
        predict = Segmenter.load(path, device)
    return TestedSegmenter(text, predict, outputs, labels)


def _on_films(on_squares: Predict) -> Predict:
    """What a network says of square, smaller films, on the films' own grid."""

    def predict(films: np.ndarray) -> np.ndarray:
        squares = np.asarray(on_squares(films), dtype=np.float32)
        if squares.ndim not in (3, 4):
            raise ValueError(f"it returns shape {squares.shape}, which is no mask")
        flat = onto_films(squares.reshape(-1, *squares.shape[-2:]), films.shape[1:])
        return flat.reshape(*squares.shape[:-2], *films.shape[1:])

    return predict


def _pspnet(name: str, device: str) -> tuple[Predict, tuple[str, ...]]:
    if name != "pspnet":
        raise ModelError(f"xrv:{name} is no segmenter; TorchXRayVision has xrv:pspnet.")
    try:
        import torchxrayvision as xrv
    except ImportError as error:
        raise ModelError(f"xrv:{name} needs torchxrayvision, which is not installed: pip install 'synthorax[xrv]'.") from error  # fmt: skip
    import torch

    file = Path(xrv.utils.get_cache_dir()) / "pspnet_chestxray_best_model_4.pth"
    if not file.is_file():
        raise ModelError(f"{file} does not exist; TorchXRayVision's weights are not fetched here. Download them there.")  # fmt: skip
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            network: Any = xrv.baseline_models.chestx_det.PSPNet().eval().to(device)
    except Exception as error:  # a pickle raises whatever is in it
        raise ModelError(f"{file} is not what TorchXRayVision calls pspnet ({type(error).__name__}: {error}).") from error  # fmt: skip

    def on_squares(films: np.ndarray) -> np.ndarray:
        pixels = load_films(films, 512)[:, None]
        x = torch.from_numpy(pixels).to(device).float() * (2048 / 255) - 1024
        with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):
            return network(x).sigmoid().cpu().numpy()

    return _on_films(on_squares), tuple(network.targets)
