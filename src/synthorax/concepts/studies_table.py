"""A manifest of studies to the concept table: from the report where there is one, else from the set's labels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from synthorax.concepts.annotator import Annotation, annotate
from synthorax.concepts.label_columns import LISTS, from_label_columns
from synthorax.concepts.table import EVIDENCE, KEYS, columns_of_states
from synthorax.concepts.vocabulary import PRESENT, UNKNOWN, Vocabulary
from synthorax.errors import InputError

REPORT, LABELS, NOTHING = "report", "labels", "nothing"


def annotate_studies(
    studies: pl.DataFrame,
    vocabulary: Vocabulary,
    policy: str | None = None,
    annotator: Callable[[str | None], Annotation] | None = None,
) -> pl.DataFrame:
    """The concepts of every film.

    Args:
        studies: manifest rows; films of one study share its report.
        vocabulary: what to look for.
        policy: how mentions become 0 or 1; the vocabulary's own by default.
        annotator: who reads a report under the same vocabulary and policy; the rules by default.

    Returns:
        One row a film, in the manifest's order: ``study_id, patient_id, image_id`` (where given), a 0/1/NULL
        column a concept and a label, ``other_findings`` (only findings outside the vocabulary; NULL where a
        report was read, which is not searched for those), ``concepts_from`` (report, labels, nothing) and
        ``evidence``. A row with neither usable text nor labels has every concept NULL.

    Raises:
        InputError: the table has no ``study_id``, or neither reports nor label lists.
    """
    vocabulary = vocabulary if policy is None else vocabulary.under(policy)
    has_lists = set(LISTS[:2]) <= set(studies.columns)
    if "study_id" not in studies.columns or not ("report" in studies.columns or has_lists):
        raise InputError(
            f"the studies table has the columns {', '.join(studies.columns)}; expected study_id, and report or "
            "labels_present and labels_absent. Make it with 'synthorax studies import'."
        )
    texts: Iterable[str | None] = (
        studies["report"] if "report" in studies.columns else [None] * studies.height
    )
    states = np.full((studies.height, len(vocabulary.concepts)), UNKNOWN, dtype=np.float32)
    position = {name: column for column, name in enumerate(vocabulary.concepts)}
    spans: dict[str, list] = {name: [] for name in ("row", *EVIDENCE.inner.to_schema())}
    origin = []
    read = annotator or partial(annotate, vocabulary=vocabulary)
    last_text, last = None, read(None)
    for row, text in enumerate(texts):
        if text is None or text != last_text:
            last_text, last = text, read(text)
        origin.append(REPORT if last.has_text else NOTHING)
        if last.has_text:
            states[row] = 0
            states[row, [position[name] for name in last.vector.present]] = PRESENT
            _append(spans, row, last)
    from_text = pl.concat(
        [
            studies.select(name for name in KEYS if name in studies.columns),
            columns_of_states(states, vocabulary),
            pl.DataFrame({"other_findings": pl.Series([None] * studies.height, dtype=pl.Boolean)}),
        ],
        how="horizontal",
    )
    table = from_text.with_columns(pl.Series("concepts_from", origin, dtype=pl.String))
    if has_lists and vocabulary.label_columns is not None:
        given = studies[LISTS[0]].is_not_null() | studies[LISTS[1]].is_not_null()
        use = given & (table["concepts_from"] == NOTHING)
        if use.any():
            from_labels = from_label_columns(studies, vocabulary).with_columns(concepts_from=pl.lit(LABELS))
            chosen = pl.Series("_use", use)
            table = table.select(
                pl.select(
                    pl.when(chosen).then(from_labels[name]).otherwise(table[name]).alias(name)
                ).to_series()
                for name in table.columns
            )
    return table.with_columns(_evidence(spans, studies.height))


def _append(spans: dict[str, list], row: int, annotation: Annotation) -> None:
    for mention in annotation.mentions:
        spans["row"].append(row)
        for name in EVIDENCE.inner.to_schema():
            spans[name].append(getattr(mention, name))


def _evidence(spans: dict[str, list], height: int) -> pl.Series:
    """One list of mentions a row; empty where there are none."""
    fields = EVIDENCE.inner.to_schema()
    flat = pl.DataFrame(spans, schema={"row": pl.Int64, **fields})
    grouped = flat.group_by("row", maintain_order=True).agg(pl.struct(*fields).alias("evidence"))
    rows = pl.DataFrame({"row": pl.Series(range(height), dtype=pl.Int64)})
    found = rows.join(grouped, on="row", how="left", maintain_order="left")["evidence"].cast(EVIDENCE)
    empty = pl.Series([[]], dtype=EVIDENCE)
    return pl.select(pl.when(found.is_null()).then(empty).otherwise(found).alias("evidence")).to_series()


@dataclass(frozen=True)
class Outcome:
    """How many rows got their concepts from where."""

    report: int
    labels: int
    nothing: int

    @property
    def n_rows(self) -> int:
        return self.report + self.labels + self.nothing

    @classmethod
    def of(cls, table: pl.DataFrame) -> "Outcome":
        """Counted in a table of :func:`annotate_studies`."""
        counts = [int((table["concepts_from"] == origin).sum()) for origin in (REPORT, LABELS, NOTHING)]
        return cls(*counts)

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.report + other.report, self.labels + other.labels, self.nothing + other.nothing)

    def sentence(self) -> str:
        """In one sentence, with what to do about rows that gave nothing."""
        text = f"{self.report} rows from reports, {self.labels} from label columns"
        if not self.nothing:
            return text + "."
        return (
            f"{text}, {self.nothing} with neither usable report text nor labels: their concepts are unknown "
            "(NULL) and they are not perturbed."
        )
