"""The concept table: one row a film, one 0/1/NULL column a concept and a label, and the evidence."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.concepts.vector import ConceptVector
from synthorax.concepts.vocabulary import ABSENT, PRESENT, UNKNOWN, Vocabulary, label_column
from synthorax.errors import InputError
from synthorax.files import atomic

EVIDENCE = pl.List(
    pl.Struct(
        {
            "concept": pl.String,
            "state": pl.String,
            "start": pl.Int32,
            "end": pl.Int32,
            "text": pl.String,
            "laterality": pl.String,
            "severity": pl.String,
            "location": pl.String,
            "section": pl.String,
        }
    )
)
KEYS = ("study_id", "patient_id", "image_id")


def vector_of(row: Mapping[str, Any], vocabulary: Vocabulary) -> ConceptVector:
    """One row of a concept table as a vector; NULL is unknown."""
    present = frozenset(name for name in vocabulary.concepts if row[name] == 1)
    return ConceptVector(present, frozenset(name for name in vocabulary.concepts if row[name] is None))


def concept_columns(vectors: Iterable[ConceptVector], vocabulary: Vocabulary) -> pl.DataFrame:
    """Vectors as concept and label columns (Int8 0/1/NULL), labels derived under the policy in force."""
    rows = [
        [{None: UNKNOWN, False: ABSENT, True: PRESENT}[v.state(c)] for c in vocabulary.concepts]
        for v in vectors
    ]
    states = np.array(rows, dtype=np.float32).reshape(-1, len(vocabulary.concepts))
    return columns_of_states(states, vocabulary)


def columns_of_states(states: np.ndarray, vocabulary: Vocabulary) -> pl.DataFrame:
    """Concept and label columns of a float array ``(N, concepts)`` of 0 absent, 1/2 unknown, 1 present."""
    by_name = {name: states[:, position] for position, name in enumerate(vocabulary.concepts)}
    found = np.maximum.reduce([by_name[name] for name in vocabulary.findings]) == PRESENT
    by_name[vocabulary.unremarkable] = np.where(found, ABSENT, by_name[vocabulary.unremarkable])
    labels = vocabulary.derive_labels(by_name, np.maximum, np.minimum)
    columns = by_name | {label_column(label): values for label, values in labels.items()}
    return pl.DataFrame([_nullable(name, values) for name, values in columns.items()])


def columns_with_labels(table: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """A table of concept columns with the label columns that follow from them, other columns kept."""
    derived = columns_of_states(states_of(table, vocabulary.concepts), vocabulary)
    keys = [name for name in KEYS if name in table.columns]
    rest = [name for name in table.columns if name not in (*keys, *derived.columns)]
    return pl.concat([table.select(keys), derived, table.select(rest)], how="horizontal")


def states_of(table: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """0/1/NULL columns as a float32 array ``(N, names)`` of 0 absent, 1/2 unknown, 1 present."""
    return (
        table.select(pl.col(name).cast(pl.Float32).fill_null(UNKNOWN) for name in names)
        .to_numpy()
        .reshape(-1, len(names))
    )


def _nullable(name: str, values: np.ndarray) -> pl.Series:
    whole = pl.Series(name, (values == PRESENT).astype(np.int8))
    return pl.select(pl.when(pl.Series(values != UNKNOWN)).then(whole).alias(name)).to_series()


def check_concept_table(
    table: pl.DataFrame, vocabulary: Vocabulary, source: str = "the concept table"
) -> None:
    """Refuse a table that lacks ``study_id`` or a concept, or holds something other than 0, 1 and NULL.

    Raises:
        InputError: with the column, and the first row where a value is wrong.
    """
    for name in ("study_id", *vocabulary.concepts):
        if name not in table.columns:
            raise InputError(
                f"{source} has no column {name!r}; expected study_id and one column a concept of vocabulary "
                f"{vocabulary.name!r}. Make it with 'synthorax concepts annotate'."
            )
    for name in vocabulary.concepts:
        wrong = ~table[name].cast(pl.Float64, strict=False).is_in([0.0, 1.0]) & table[name].is_not_null()
        wrong = wrong.fill_null(True) & table[name].is_not_null()
        if wrong.any():
            row = int(wrong.arg_true()[0])
            raise InputError(
                f"{source} row {row + 1}: {name} is {table[name][row]!r}; expected 0 (absent), "
                "1 (present) or empty (unknown). Correct the row."
            )


def write_concepts(
    table: pl.DataFrame, path: Path | str, vocabulary: Vocabulary, vocabulary_source: str | None = None
) -> None:
    """Write concepts.parquet; the vocabulary's name (or file) and policy go into the Parquet metadata."""
    with atomic(path) as temporary:
        table.write_parquet(temporary, metadata=metadata_of(vocabulary, vocabulary_source))


def metadata_of(vocabulary: Vocabulary, source: str | None = None) -> dict[str, str]:
    """What a concept table's Parquet metadata says of the vocabulary: its name (or file) and policy."""
    return {"synthorax_vocabulary": source or vocabulary.name, "synthorax_policy": vocabulary.policy}


def read_concepts(path: Path | str, vocabulary: str | None = None) -> tuple[pl.DataFrame, Vocabulary]:
    """A concept table and the vocabulary it was made with (or the one named), checked against each other.

    Raises:
        InputError: no such file, not Parquet, or columns that do not fit the vocabulary.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; expected a table made by 'synthorax concepts annotate'.")
    try:
        table, metadata = pl.read_parquet(path), pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(
            f"{path} is not a Parquet file; expected a table made by 'synthorax concepts annotate'."
        ) from error
    source = vocabulary or metadata.get("synthorax_vocabulary", "corpa")
    loaded = Vocabulary.load(source)
    loaded = loaded.under(metadata.get("synthorax_policy", loaded.policy))
    check_concept_table(table, loaded, str(path))
    return table, loaded
