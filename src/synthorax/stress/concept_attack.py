"""CoRPA's attack: a classifier reads films whose clinical concepts were changed, and falls, label by label.

The films come from ``synthorax perturb --types intra_class,outer_class`` (or any types) and ``synthorax edit``:

    intra-class   other concepts of the same label: the label stays, and should still be seen
    outer-class   another label takes its place: the old one should go, the new one be seen

Each film stands beside its source's sham (``synthorax edit --sham``: the same walk, nothing asked for), or beside the source
where no shams are given; each is read against its own labels at the label's threshold; resamples draw patients. A label falls
where its p-value, adjusted for all labels and types (Holm), is at most 0.05. A sham takes out what any walk through the editor
does; whether an edit shows what was asked, nothing here sees, so these are figures and never a verdict.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.models import TestedModel
from synthorax.classifiers.statistics import Difference, Interval, bootstrap, holm
from synthorax.concepts import ConceptVector, Vocabulary
from synthorax.dataset import read_metadata
from synthorax.errors import InputError
from synthorax.files import atomic

LEVEL = 0.05


@dataclass(frozen=True)
class AttackRow:
    """One label under one type of perturbation: accuracy before (shams, or sources) and on films, and the paired change."""

    perturbation_type: str
    label: str
    before: Interval
    attacked: Interval
    change: Difference
    p_adjusted: float
    falls: bool


@dataclass(frozen=True)
class Attack:
    """All labels and types; ``n_unknown`` film-label pairs were left out because a label is not known."""

    model: str
    rows: tuple[AttackRow, ...]
    n_films: int
    n_unknown: int
    has_shams: bool
    is_simulated: bool

    def save(self, folder: Path | str) -> Path:
        """Write ``attack.json``."""
        path = Path(folder) / "attack.json"
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def attack(
    tested: TestedModel,
    metadata: pl.DataFrame,
    folder: Path | str,
    vocabulary: Vocabulary,
    *,
    shams: Path | str | None = None,
    seed: int = 0,
) -> Attack:
    """Measure a classifier on a dataset of edits.

    Args:
        tested: the model; those of its ``labels`` that the vocabulary has are measured, or its one ``output``.
        metadata: by :func:`~synthorax.dataset.read_metadata`; its valid edits with a source are used.
        folder: of the dataset.
        vocabulary: derives labels from concepts.
        shams: a dataset of the same edits' shams; edits without one are left out.
        seed: of the bootstrap.

    Raises:
        InputError: no label of the model's in the vocabulary, no edit with a source, or none with a sham.
        ModelError: the model's answers cannot be used.
    """
    names = (tested.output,) if tested.output else tested.labels or ()
    labels = [name for name in names if name in vocabulary.pathology_labels]
    if not labels:
        raise InputError(
            f"{tested.name} has outputs {', '.join(map(str, names)) or 'without names'}; expected some of the vocabulary's labels: "
            f"{', '.join(vocabulary.pathology_labels)}. Name them by --names."
        )
    edits = metadata.filter(
        pl.col("source_file_name").is_not_null(), pl.col("concepts_before").is_not_null(),
        pl.col("concepts_after").is_not_null(), pl.col("is_valid").fill_null(True),
    )  # fmt: skip
    if not edits.height:
        raise InputError(f"{folder}/metadata.parquet has no valid edit with a source; expected films of 'synthorax edit'.")  # fmt: skip
    before = pl.concat_str(pl.lit(f"{folder}/"), "source_file_name")
    if shams is not None:
        of = read_metadata(shams).select("image_id", sham=pl.concat_str(pl.lit(f"{shams}/"), "file_name"))
        edits, before = edits.join(of, on="image_id"), pl.col("sham")
        if not edits.height:
            raise InputError(f"{shams} has no sham of {folder}'s edits; expected films of 'synthorax edit --sham' from the same plan.")  # fmt: skip
    edits = edits.with_columns(before=before, after=pl.concat_str(pl.lit(f"{folder}/"), "file_name"))
    right, known = [], []
    thresholds = [tested.threshold] * len(labels)
    if tested.thresholds is not None and tested.labels is not None:
        thresholds = [tested.thresholds[tested.labels.index(label)] for label in labels]
    for column, concepts in (("before", "concepts_before"), ("after", "concepts_after")):
        files = edits[column].to_list()
        unique = list(dict.fromkeys(files))
        answers = dict(zip(unique, tested.table(unique, labels) >= thresholds, strict=True))
        truth = np.array([_labels(row, concepts, labels, vocabulary) for row in edits.iter_rows(named=True)])
        known.append(~np.isnan(truth))
        right.append(np.stack([answers[file] for file in files]) == (truth == 1))
    both = known[0] & known[1]
    rows: list[tuple[str, str, Interval, Interval, Difference]] = []
    for (kind,), part in edits.with_row_index("place").group_by("perturbation_type", maintain_order=True):
        for number, label in enumerate(labels):
            places = [place for place in part["place"] if both[place, number]]
            if not places:
                continue
            values = np.stack([correct[places, number] for correct in right], axis=1).astype(float)
            patients = edits["patient_id"].gather(places).to_list()
            found = bootstrap(lambda w, v=values: w @ v / w.sum(1, keepdims=True), patients, seed=seed)  # type: ignore[misc]
            rows.append((str(kind), label, found[0].interval(), found[1].interval(), found[1].minus(found[0]).difference()))  # fmt: skip
    adjusted = holm([row[4].p_value for row in rows])
    done = tuple(
        AttackRow(*row, float(p), bool(p <= LEVEL and row[4].estimate < 0)) for row, p in zip(rows, adjusted, strict=True)
    )  # fmt: skip
    return Attack(
        tested.name,
        done,
        edits.height,
        int((~both).sum()),
        shams is not None,
        bool(edits["is_simulated"].any()),
    )


def _labels(row: dict, concepts: str, labels: list[str], vocabulary: Vocabulary) -> list[float]:
    """1, 0 or NaN (unknown)."""
    present = frozenset(row[concepts])
    known = vocabulary.labels_of(ConceptVector(present, frozenset(row["concepts_unknown"] or ()) - present))
    values = [known[label] for label in labels]
    return [np.nan if value is None else float(value) for value in values]
