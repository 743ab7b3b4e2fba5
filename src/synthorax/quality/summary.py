"""Mean and standard deviation per group, in the form of CARS's tables 3 and 4."""

from collections.abc import Sequence

import polars as pl

from synthorax.errors import InputError

OVERALL = "overall"


def summarise(frame: pl.DataFrame, columns: Sequence[str], by: str = "perturbation_type") -> pl.DataFrame:
    """Mean, sd and count of each column in each group and overall; nulls are left out and counted.

    Args:
        frame: a row an edit.
        columns: numeric columns to summarise.
        by: the group's column, e.g. ``perturbation_type``, or ``arm`` for edits beside ceiling and floor.

    Returns:
        Long form, groups in order of appearance and ``overall`` last: ``<by>, metric, mean, sd`` (sample
        deviation, null for one edit), ``n, n_left_out``.
    """
    missing = [name for name in (by, *columns) if name not in frame.columns]
    if missing:
        raise InputError(f"the table has no column {missing[0]!r}; it has {', '.join(frame.columns)}.")
    groups = [
        (name, frame.filter(pl.col(by).eq_missing(name))) for name in frame[by].unique(maintain_order=True)
    ]
    rows = []
    for group, rows_of_group in [*groups, (OVERALL, frame)]:
        for column in columns:
            values = rows_of_group[column].cast(pl.Float64).fill_nan(None)
            rows.append(
                {
                    by: group,
                    "metric": column,
                    "mean": values.mean(),
                    "sd": values.std(),
                    "n": values.len() - values.null_count(),
                    "n_left_out": values.null_count(),
                }
            )
    schema = {by: pl.String, "metric": pl.String, "mean": pl.Float64, "sd": pl.Float64}
    return pl.DataFrame(rows, schema=schema | {"n": pl.Int64, "n_left_out": pl.Int64})
