"""The model that is tested: whatever turns films into a probability."""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.errors import ModelError
from synthorax.stress.films import batches

#: Films ``(N, H, W)`` float32 in [0, 1] -> ``(N,)`` or ``(N, L)``.
Predict = Callable[[np.ndarray], Any]

FILMS_AT_ONCE = 32


@dataclass(frozen=True)
class TestedModel:
    """A model and which of its outputs is tested.

    Attributes:
        name: where it came from.
        predict: films ``(N, H, W)`` float32 in [0, 1], bright = dense, to ``(N,)`` or ``(N, L)`` probabilities.
        output: name or number of the output; None where there is one.
        labels: names of the outputs, where it has names.
        threshold: probability from which the finding counts as seen.
    """

    __test__ = False

    name: str
    predict: Predict
    output: str | None = None
    labels: tuple[str, ...] | None = None
    threshold: float = 0.5

    def probabilities(self, paths: list[str]) -> np.ndarray:
        """``(N,)`` float64 of films by path.

        Raises:
            ModelError: it fails on films, or returns anything but one probability a film for the output.
        """
        found = np.empty(len(paths))
        for rows, films in batches(paths, FILMS_AT_ONCE):
            try:
                returned = np.asarray(self.predict(films), dtype=float)
            except Exception as error:
                raise ModelError(
                    f"{self.name} fails on {len(films)} films of shape {films.shape[1:]} from {paths[rows[0]]}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            found[rows] = self._column(returned, len(films))
            odd = [row for row in rows if not 0 <= found[row] <= 1]
            if odd:
                value = found[odd[0]]
                remedy = "" if np.isnan(value) else " Apply a sigmoid or softmax in the callable."
                raise ModelError(
                    f"{self.name} returns {value:g} for {paths[odd[0]]}; expected a probability from 0 to 1.{remedy}"
                )
        return found

    def says(self, paths: list[str]) -> np.ndarray:
        """``(N,)`` bool: the finding is seen."""
        return self.probabilities(paths) >= self.threshold

    def _column(self, returned: np.ndarray, n: int) -> np.ndarray:
        """The tested output of what a call returned."""
        if returned.ndim not in (1, 2) or len(returned) != n:
            raise ModelError(
                f"{self.name} returns shape {returned.shape} for {n} films; expected ({n},) or ({n}, outputs)."
            )
        table = returned.reshape(n, -1)
        width = table.shape[1]
        if self.labels is not None and len(self.labels) != width:
            raise ModelError(f"{self.name} returns {width} outputs but names {len(self.labels)} labels.")
        names = self.labels or tuple(map(str, range(width)))
        if self.output is None and width == 1:
            return table[:, 0]
        if self.output not in names:
            asked = (
                "no output was named" if self.output is None else f"output {self.output!r} is none of them"
            )
            raise ModelError(
                f"{self.name} returns {width} outputs ({', '.join(names)}) and {asked}. Name one by --output."
            )
        return table[:, names.index(self.output)]


def load_tested(
    where: Path | str, output: str | None = None, *, threshold: float | None = None, device: str = "cpu"
) -> TestedModel:
    """A model by where it is.

    Args:
        where: a folder written by :meth:`synthorax.classifiers.Classifier.save`; a ``.onnx`` file, whose input
            ``(N, C, H, W)`` gets films padded to squares, resized, in [0, 1] and repeated over C channels; or
            ``module:name``, a callable on films ``(N, H, W)`` float32 in [0, 1] (a timm or TorchXRayVision model goes
            into one with its own preprocessing; its ``labels`` or ``pathologies`` name the outputs). The last runs
            code of yours, found from the working folder too.
        output: label or number of the tested output.
        threshold: default the classifier's own, else 0.5.
        device: a torch device, for classifiers.

    Raises:
        ModelError: nothing there, or it cannot be loaded.
    """
    text, path = str(where), Path(where)
    if path.suffix == ".onnx":
        return TestedModel(text, _onnx(path), output, threshold=0.5 if threshold is None else threshold)
    if ":" in text and not path.exists():
        called = by_import_path(text)
        names = getattr(called, "labels", getattr(called, "pathologies", None))
        labels = tuple(map(str, names)) if names is not None else None
        return TestedModel(text, called, output, labels, 0.5 if threshold is None else threshold)
    from synthorax.classifiers import Classifier

    classifier = Classifier.load(path, device)
    own = classifier.record.thresholds
    if threshold is None:
        chosen = output or (classifier.labels[0] if len(classifier.labels) == 1 else None)
        threshold = own[classifier.labels.index(chosen)] if own and chosen in classifier.labels else 0.5
    return TestedModel(text, classifier.predict, output, classifier.labels, threshold)


def by_import_path(where: str) -> Callable[..., Any]:
    """The callable that ``module:name`` names; the working folder is looked in first.

    Raises:
        ModelError: no such module or name, or not a callable.
    """
    module, _, name = where.partition(":")
    try:
        with _working_folder():
            found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the user's module may raise anything
        raise ModelError(
            f"{where} cannot be imported ({type(error).__name__}: {error}); expected module:name."
        ) from error
    if not callable(found):
        raise ModelError(f"{where} is {type(found).__name__}; expected a callable from films to probabilities.")  # fmt: skip
    return found


@contextmanager
def _working_folder():
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def _onnx(path: Path) -> Predict:
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
        from synthorax.classifiers.loading import load_films

        pixels = load_films(films, height)[:, None].astype(np.float32) / 255
        return session.run(None, {given[0].name: np.repeat(pixels, channels, 1)})[0]

    return predict
