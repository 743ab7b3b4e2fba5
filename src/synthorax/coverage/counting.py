"""How often combinations occur, counted on the distinct vectors instead of on every film.

A million films have a few thousand distinct vectors. Those are found by packing each row's present and
known bits into one integer; singles, pairs and triples are then weighted matrix products:

    count({a, b, c})   = sum over distinct vectors v of  n_v P_va P_vb P_vc     (P: known to be present)
    n_known({a, b, c}) = the same with K                                        (K: known at all)
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synthorax.concepts import Vocabulary, label_column
from synthorax.concepts.table import states_of
from synthorax.errors import InputError

MAX_BITS = 31


@dataclass(frozen=True)
class DistinctVectors:
    """The distinct rows of a table of 0/1/NULL columns.

    Attributes:
        names: what each column stands for.
        present, known: float64 ``(V, names)`` of 0 and 1.
        count: float64 ``(V,)``, how many rows each stands for.
    """

    names: tuple[str, ...]
    present: np.ndarray
    known: np.ndarray
    count: np.ndarray


def distinct_vectors(
    table: pl.DataFrame, columns: Sequence[str], names: Sequence[str] | None = None
) -> DistinctVectors:
    """The distinct rows over some 0/1/NULL columns, with how often each occurs."""
    if len(columns) > MAX_BITS:
        packed = table.group_by(pl.col(columns)).agg(pl.len().alias("_count"))
        states = states_of(packed, columns)
        count = packed["_count"].to_numpy().astype(float)
    else:
        code = pl.sum_horizontal(
            pl.col(name).cast(pl.Int64).fill_null(2) * (1 << (2 * bit)) for bit, name in enumerate(columns)
        )
        codes = table.lazy().select(code.alias("code")).group_by("code").len().sort("code").collect()
        digits = (codes["code"].to_numpy()[:, None] >> (2 * np.arange(len(columns)))) & 3
        states = np.where(digits == 2, 0.5, digits)
        count = codes["len"].to_numpy().astype(float)
    known = (states != 0.5).astype(float)
    return DistinctVectors(tuple(names or columns), (states == 1.0).astype(float), known, count)


def combination_counts(vectors: DistinctVectors, order: int) -> pl.DataFrame:
    """Every combination of up to ``order`` names: ``combination, order, count, n_known, expected``.

    ``expected`` is ``n_known`` times the product of the single rates, as if findings were independent.

    Raises:
        InputError: an order other than 1, 2 or 3.
    """
    if order not in (1, 2, 3):
        raise InputError(f"order is {order}; expected 1 (singles), 2 (and pairs) or 3 (and triples).")
    names, size = vectors.names, len(vectors.names)
    single = _singles(vectors.present, vectors.count), _singles(vectors.known, vectors.count)
    rate = np.divide(single[0], single[1], out=np.zeros(size), where=single[1] > 0)
    frames = []
    for k in range(1, order + 1):
        index = np.array(list(itertools.combinations(range(size), k)), dtype=int).reshape(-1, k)
        count = _counts(vectors.present, vectors.count, index)
        n_known = _counts(vectors.known, vectors.count, index)
        frames.append(
            pl.DataFrame(
                {
                    "combination": [[names[i] for i in row] for row in index],
                    "order": np.full(len(index), k, dtype=np.int32),
                    "count": np.rint(count).astype(np.int64),
                    "n_known": np.rint(n_known).astype(np.int64),
                    "expected": n_known * rate[index].prod(axis=1),
                },
                schema_overrides={"combination": pl.List(pl.String)},
            )
        )
    return pl.concat(frames)


def _singles(flags: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weight @ flags


def _counts(flags: np.ndarray, weight: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Weighted co-occurrence of the columns in each row of ``index`` (one, two or three columns)."""
    if index.shape[1] == 1:
        return _singles(flags, weight)[index[:, 0]]
    if index.shape[1] == 2:
        pairs = (flags * weight[:, None]).T @ flags
        return pairs[index[:, 0], index[:, 1]]
    triples = np.empty((flags.shape[1],) * 3)
    for first in range(flags.shape[1]):
        rows = flags[:, first] > 0
        triples[first] = (flags[rows] * weight[rows, None]).T @ flags[rows]
    return triples[index[:, 0], index[:, 1], index[:, 2]]


def label_columns_of(table: pl.DataFrame, vocabulary: Vocabulary) -> list[str]:
    """The label columns, each of which must be there.

    Raises:
        InputError: a label's column is missing.
    """
    columns = [label_column(label) for label in vocabulary.labels]
    for name in columns:
        if name not in table.columns:
            raise InputError(
                f"the concept table has no column {name!r}. Make it with 'synthorax concepts annotate'."
            )
    return columns
