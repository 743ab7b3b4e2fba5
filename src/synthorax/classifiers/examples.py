"""Films with their labels: the studies' manifest and the concept table, joined; or whom and how the manifest says they show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.groups import group_columns
from synthorax.concepts import label_column, read_concepts
from synthorax.errors import InputError, unknown_choice
from synthorax.studies import read_manifest, split_by_patient

OUTPUTS = ("labels", "concepts", "groups")


@dataclass(frozen=True)
class Examples:
    """Films in the manifest's order.

    ``targets`` is ``(N, L)`` float32 with 1 present, 0 absent, NaN unknown; a patient is in one split.
    """

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    targets: np.ndarray
    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    splits: tuple[str, ...]

    def where(self, keep: Sequence[bool]) -> "Examples":
        """Those for which ``keep`` is true."""
        rows = np.flatnonzero(np.asarray(keep, dtype=bool))
        columns = (self.paths, self.image_ids, self.patient_ids, self.splits)
        paths, image_ids, patient_ids, splits = (tuple(column[row] for row in rows) for column in columns)
        return Examples(self.labels, paths, self.targets[rows], image_ids, patient_ids, splits)

    def split(self, name: str) -> "Examples":
        """Those of one split."""
        return self.where([split == name for split in self.splits])

    def __add__(self, other: "Examples") -> "Examples":
        """These, then those; of the same labels."""
        if self.labels != other.labels:
            raise ValueError(f"labels {self.labels} and {other.labels} differ")
        return Examples(
            self.labels,
            self.paths + other.paths,
            np.concatenate([self.targets, other.targets]),
            self.image_ids + other.image_ids,
            self.patient_ids + other.patient_ids,
            self.splits + other.splits,
        )

    def __len__(self) -> int:
        return len(self.paths)


def read_examples(studies: Path | str, concepts: Path | str | None, outputs: str = "labels") -> Examples:
    """Join a manifest with its concept table; films without a row there are refused.

    Args:
        studies: studies.parquet. Its ``split`` is kept where every film has one; otherwise patients are split
            80/10/10 into train, validation and test, stratified by the outputs; the split does not depend on
            any training's seed, so that seeds and backbones are compared on the same patients.
        concepts: concepts.parquet of the same studies; not read for ``groups``.
        outputs: ``labels`` (without No Relevant Finding, which is the absence of the others), ``concepts``
            (without unremarkable), or ``groups``: sex, age group and view, see
            :func:`~.groups.group_columns`.

    Raises:
        InputError: a table is missing or wrong, they do not belong together, or ``outputs`` is none of these.
    """
    if outputs not in OUTPUTS:
        raise unknown_choice("outputs", outputs, OUTPUTS)
    films = read_manifest(studies)
    if outputs == "groups":
        found = group_columns(films)
        if not found.width:
            raise InputError(f"{studies} tells no two groups apart by sex, age or view_position; nothing can be learned of them.")  # fmt: skip
        names, columns, joined = found.columns, found.columns, films.hstack(found)
    else:
        names, columns, joined = _with_concepts(films, studies, concepts, outputs)
    if joined["split"].null_count():
        joined = split_by_patient(joined, columns)
    return Examples(
        labels=tuple(names),
        paths=tuple(joined["file_name"]),
        targets=joined.select(pl.col(columns).cast(pl.Float32)).to_numpy(),
        image_ids=tuple(joined["image_id"]),
        patient_ids=tuple(joined["patient_id"]),
        splits=tuple(joined["split"]),
    )


def _with_concepts(
    films: pl.DataFrame, studies: Path | str, concepts: Path | str | None, outputs: str
) -> tuple[Sequence[str], list[str], pl.DataFrame]:
    """Names of the outputs, their columns, and the films with these."""
    if concepts is None:
        raise InputError(f"{outputs} stand in a concept table; give --concepts with the concepts.parquet of {studies}.")  # fmt: skip
    table, vocabulary = read_concepts(concepts)
    names = vocabulary.pathology_labels if outputs == "labels" else vocabulary.pathologies
    columns = [label_column(name) for name in names] if outputs == "labels" else list(names)
    key = "image_id" if "image_id" in table.columns else "study_id"
    joined = films.join(
        table.select(key, *columns), on=key, how="left", validate="m:1", maintain_order="left"
    )
    absent = films.join(table, on=key, how="anti")
    if absent.height:
        raise InputError(
            f"{absent.height} of {films.height} films of {studies} have no row in {concepts}, e.g. {key} "
            f"{absent[key][0]!r}. Annotate these studies again."
        )
    return names, columns, joined
