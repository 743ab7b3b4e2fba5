"""What models say of films whose patients they have not seen: what evaluation and fairness start from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.examples import OUTPUTS, Examples, read_examples
from synthorax.classifiers.metrics import threshold_at_specificity, thresholds_of
from synthorax.classifiers.models import TestedModel, load_tested
from synthorax.errors import InputError
from synthorax.studies import read_manifest

#: Beside a classifier: which films it has seen, so that no evaluation uses one of their patients.
EXAMPLES = "examples.parquet"
TUNED = ("validation", "validate")
SEEN = ("train", *TUNED)


@dataclass(frozen=True)
class Reading:
    """One model on the films.

    Attributes:
        model: what reads.
        probabilities: ``(N, L)`` float64.
        thresholds: ``(L,)`` from which a label counts as present.
        thresholds_from: where they come from, in words.
        tuned: targets and probabilities of its validation films, None where there are none.
    """

    model: TestedModel
    probabilities: np.ndarray
    thresholds: tuple[float, ...]
    thresholds_from: str
    tuned: tuple[np.ndarray, np.ndarray] | None

    @property
    def at_specificity(self) -> list[float] | None:
        """``(L,)`` thresholds of the fixed specificity on validation films."""
        if self.tuned is None:
            return None
        return thresholds_of(*self.tuned, rule=threshold_at_specificity).tolist()


@dataclass(frozen=True)
class HeldOut:
    """Films that no model has seen, and what each says of them.

    ``examples.labels`` are those that all models give; ``n_left_out`` films are of patients that one has seen;
    ``outputs_left_out`` are outputs of the first model that the concept table does not know.
    """

    examples: Examples
    readings: tuple[Reading, ...]
    n_left_out: int
    outputs_left_out: tuple[str, ...]


def held_out(
    models: Sequence[Path | str],
    studies: Path | str,
    concepts: Path | str | None,
    *,
    names: Sequence[str] | None = None,
    tune: bool = False,
    device: str = "cpu",
) -> HeldOut:
    """Read the films of patients that no model was trained on or tuned with.

    A classifier of this project's says itself who they are. Of any other model the manifest's ``split`` is believed:
    patients in train or validation are left out. Where the manifest has no splits, a tenth of the patients is set apart
    for validation, but only if thresholds are missing or ``tune`` asks for it.

    Args:
        models: what :func:`~.models.load_tested` takes; all must give the first one's outputs.
        studies, concepts: as in :func:`~.examples.read_examples`. Outputs and labels are matched by name, without
            regard to case, ``_`` and ``-``.
        names: of the first model's outputs, in order, and of those of others that have no names.
        tune: validation films are needed.
        device: torch device.

    Raises:
        InputError: no film is left, or no output is a label or concept of the table.
        ModelError: a model cannot be loaded, or its answers cannot be used.
    """
    named = None if names is None else tuple(names)
    first, *others = (load_tested(where, device=device) for where in models)
    tested = [replace(first, labels=named or first.labels)]
    tested += [replace(other, labels=other.labels or named) for other in others]
    everything, outputs = _read_for(tested[0], studies, concepts)
    columns = [outputs, *(_outputs_of(other, everything.labels, tested[0]) for other in tested[1:])]
    has_splits = not read_manifest(studies)["split"].null_count()
    seen: set[str] = set()
    tuned: list[Examples] = []
    for model, where in zip(tested, models, strict=True):
        patients, films = _seen(where, everything, has_splits, tune or model.thresholds is None)
        seen |= patients
        tuned.append(films)
    examples = everything.where([patient not in seen for patient in everything.patient_ids])
    if not len(examples):
        raise InputError(
            f"all {len(everything)} films of {studies} are of patients that the classifier was trained on or "
            "tuned with; give it other patients."
        )
    readings = tuple(_read(model, names_, examples, films) for model, names_, films in zip(tested, columns, tuned, strict=True))  # fmt: skip
    left_out = tuple(name for name in tested[0].labels or () if name not in outputs)
    return HeldOut(examples, readings, len(everything) - len(examples), left_out)


def _read(model: TestedModel, outputs: Sequence[str], examples: Examples, films: Examples) -> Reading:
    tuned = (films.targets, model.table(films.paths, outputs)) if len(films) else None
    if model.thresholds is not None and model.labels is not None:
        thresholds, said = [model.thresholds[model.labels.index(name)] for name in outputs], "the model's own"
    elif tuned is not None:
        thresholds, said = thresholds_of(*tuned).tolist(), f"largest F1 on {len(films)} validation films"
    else:
        thresholds, said = [0.5] * len(outputs), "0.5, as there are no validation films"
    return Reading(model, model.table(examples.paths, outputs), tuple(thresholds), said, tuned)


def _seen(where: Path | str, films: Examples, has_splits: bool, tune: bool) -> tuple[set[str], Examples]:
    """The patients that a model knows, and its validation films among these."""
    record = Path(where) / EXAMPLES
    if record.is_file():
        table = pl.read_parquet(record)
        known = set(table.filter(pl.col("split").is_in(SEEN))["patient_id"])
        ids = set(table.filter(pl.col("split").is_in(TUNED))["image_id"])
        return known, films.where([image_id in ids for image_id in films.image_ids])
    validation = films.where([split in TUNED for split in films.splits])
    if has_splits:
        pairs = zip(films.patient_ids, films.splits, strict=True)
        return {patient for patient, split in pairs if split in SEEN}, validation
    if tune:
        return set(validation.patient_ids), validation
    return set(), films.where([False] * len(films))


def _read_for(
    model: TestedModel, studies: Path | str, concepts: Path | str | None
) -> tuple[Examples, tuple[str, ...]]:
    """The films with the model's outputs as targets, in its order, and those outputs' names in the model."""
    if model.labels is None:
        raise InputError(f"{model.name} does not name its outputs; name them in order, e.g. --names Pneumonia,Cardiomegaly.")  # fmt: skip
    kinds = ("groups",) if any(":" in name for name in model.labels) else OUTPUTS[:2]
    found = [_matched(read_examples(studies, concepts, kind), model.labels) for kind in kinds]
    examples, outputs = max(found, key=lambda pair: len(pair[1]))
    if not outputs:
        raise InputError(
            f"{model.name} gives {', '.join(model.labels)}; {concepts or studies} has none of them. Annotate with the vocabulary "
            "that it was trained with, or name its outputs by --names."
        )
    return examples, outputs


def _matched(examples: Examples, names: Sequence[str]) -> tuple[Examples, tuple[str, ...]]:
    places = {plain(label): index for index, label in enumerate(examples.labels)}
    outputs = tuple(name for name in names if plain(name) in places)
    order = [places[plain(name)] for name in outputs]
    targets = np.ascontiguousarray(examples.targets[:, order])
    return replace(
        examples, labels=tuple(examples.labels[i] for i in order), targets=targets
    ), outputs  # fmt: skip


def _outputs_of(model: TestedModel, labels: Sequence[str], first: TestedModel) -> tuple[str, ...]:
    own = {plain(name): name for name in model.labels or ()}
    if any(plain(label) not in own for label in labels):
        raise InputError(
            f"{first.name} gives {', '.join(labels)} and {model.name} {', '.join(own.values())}; "
            "compare models that give the same labels."
        )
    return tuple(own[plain(label)] for label in labels)


def plain(name: str) -> str:
    """A name without regard to case, ``_`` and ``-``."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
