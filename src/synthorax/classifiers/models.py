"""A model of any make, one's own or another's: whatever turns films into probabilities.

What is measured here (a classifier, fairness, stress) takes any of these. ``model_files`` opens what lies on disk.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers.loading import batches
from synthorax.errors import ModelError

#: Films ``(N, H, W)`` float32 in [0, 1] -> ``(N,)`` or ``(N, L)``.
Predict = Callable[[Any], Any]

FILMS_AT_ONCE = 32


@dataclass(frozen=True)
class TestedModel:
    """A model, and which of its outputs is tested.

    Attributes:
        name: where it came from.
        predict: films ``(N, H, W)`` float32 in [0, 1], bright = dense, to ``(N,)`` or ``(N, L)`` probabilities.
        output: name or number of the output; None where there is one.
        labels: names of the outputs, where it has names.
        threshold: probability from which the finding counts as seen.
        thresholds: those of all outputs, where it brings them.
        takes_paths: ``predict`` reads the films itself, by path.
    """

    __test__ = False

    name: str
    predict: Predict
    output: str | None = None
    labels: tuple[str, ...] | None = None
    threshold: float = 0.5
    thresholds: tuple[float, ...] | None = None
    takes_paths: bool = False

    def probabilities(self, paths: Sequence[str]) -> np.ndarray:
        """``(N,)`` float64 of films by path, of the tested output; raises as :meth:`table`."""
        return self.table(paths, (self.output,))[:, 0]

    def says(self, paths: Sequence[str]) -> np.ndarray:
        """``(N,)`` bool: the finding is seen."""
        return self.probabilities(paths) >= self.threshold

    def table(self, paths: Sequence[str], outputs: Sequence[str | None]) -> np.ndarray:
        """``(N, outputs)`` float64 of films by path.

        Raises:
            ModelError: it fails on films, has not these outputs, or returns anything but one probability a film for
                each of them.
        """
        found = np.empty((len(paths), len(outputs)))
        for rows, films in self._batches(paths):
            try:
                returned = np.asarray(self.predict(films), dtype=float)
            except Exception as error:
                shape = f" of shape {films.shape[1:]}" if isinstance(films, np.ndarray) else ""
                raise ModelError(
                    f"{self.name} fails on {len(films)} films{shape} from {paths[rows[0]]}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            found[rows] = self._columns(returned, len(films), outputs)
            odd = np.argwhere(~((found[rows] >= 0) & (found[rows] <= 1)))
            if len(odd):
                row, column = rows[odd[0][0]], odd[0][1]
                value = found[row, column]
                remedy = "" if np.isnan(value) else " Apply a sigmoid or softmax in the callable."
                raise ModelError(
                    f"{self.name} returns {value:g} for {paths[row]}; expected a probability from 0 to 1.{remedy}"
                )
        return found

    def _batches(self, paths: Sequence[str]) -> Iterator[tuple[list[int], Any]]:
        if not self.takes_paths:
            yield from batches(list(paths), FILMS_AT_ONCE)
            return
        for start in range(0, len(paths), FILMS_AT_ONCE):
            some = list(paths[start : start + FILMS_AT_ONCE])
            yield list(range(start, start + len(some))), some

    def _columns(self, returned: np.ndarray, n: int, outputs: Sequence[str | None]) -> np.ndarray:
        """The outputs asked for, of what a call returned."""
        if returned.ndim not in (1, 2) or len(returned) != n:
            raise ModelError(
                f"{self.name} returns shape {returned.shape} for {n} films; expected ({n},) or ({n}, outputs)."
            )
        table = returned.reshape(n, -1)
        width = table.shape[1]
        if self.labels is not None and len(self.labels) != width:
            raise ModelError(f"{self.name} returns {width} outputs but names {len(self.labels)} labels.")
        names = self.labels or tuple(map(str, range(width)))
        if list(outputs) == [None] and width == 1:
            return table
        for asked in outputs:
            if asked not in names:
                said = "no output was named" if asked is None else f"output {asked!r} is none of them"
                raise ModelError(
                    f"{self.name} returns {width} outputs ({', '.join(names)}) and {said}. Name one by --output."
                )
        return table[:, [names.index(asked) for asked in outputs if asked is not None]]


def load_tested(
    where: Path | str,
    output: str | None = None,
    *,
    threshold: float | None = None,
    names: Sequence[str] | None = None,
    device: str = "cpu",
) -> TestedModel:
    """A model by where it is.

    Args:
        where: a folder written by :meth:`synthorax.classifiers.Classifier.save`; a folder that timm's ``save_for_hf``
            wrote (``config.json``, ``model.safetensors``; its ``label_names`` name the outputs, which get a sigmoid);
            ``xrv:NAME``, TorchXRayVision's weights of that name, where its cache holds them; a ``.onnx`` file, whose
            input ``(N, C, H, W)`` gets films padded to squares, resized, in [0, 1] and repeated over C channels; or
            ``module:name``, a callable on films ``(N, H, W)`` float32 in [0, 1] (its ``labels`` or ``pathologies`` name
            the outputs). The last runs code of yours, found from the working folder too; ``xrv:`` opens a pickle.
        output: label or number of the tested output.
        threshold: default the classifier's own, else 0.5.
        names: of all outputs, in order, in place of the model's own.
        device: a torch device, for all but ONNX and callables.

    Raises:
        ModelError: nothing there, or it cannot be loaded.
    """
    from synthorax.classifiers import model_files

    text, path = str(where), Path(where)
    labels: tuple[str, ...] | None = None
    if path.suffix == ".onnx":
        predict: Predict = model_files.onnx(path)
    elif text.startswith("xrv:"):
        predict, labels = model_files.torchxrayvision(text.removeprefix("xrv:"), device)
    elif ":" in text and not path.exists():
        predict = by_import_path(text)
        own = getattr(predict, "labels", getattr(predict, "pathologies", None))
        labels = tuple(map(str, own)) if own is not None else None
    else:
        return _classifier(text, output, threshold, names, device)
    labels = tuple(names) if names is not None else labels
    return TestedModel(text, predict, output, labels, 0.5 if threshold is None else threshold)


def _classifier(
    where: str, output: str | None, threshold: float | None, names: Sequence[str] | None, device: str
) -> TestedModel:
    """A folder with a classifier of this project's, or of timm's."""
    from synthorax.classifiers import model_files

    classifier = model_files.open_classifier(where, device)
    labels = tuple(names) if names is not None else classifier.labels or None
    own = classifier.record.thresholds
    if threshold is None:
        chosen = output or (labels[0] if labels and len(labels) == 1 else None)
        threshold = own[labels.index(chosen)] if own and labels and chosen in labels else 0.5
    return TestedModel(where, classifier.predict, output, labels, threshold, own, takes_paths=True)


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
