"""Rows of a dataset by a condition, and a sample of them that another machine draws alike."""

import polars as pl

from synthorax.errors import InputError
from synthorax.seeds import derive_seed


def select(
    frame: pl.DataFrame,
    where: str | None = None,
    n: int | None = None,
    seed: int = 0,
    stratify: str | None = None,
) -> pl.DataFrame:
    """The rows that fulfil a condition, or ``n`` of them, in the dataset's order.

    Args:
        frame: a dataset's metadata.
        where: an SQL expression over its columns, e.g. ``score_edit > .2 and is_valid``; NULL counts as no.
        n: how many of them; None is all.
        seed: of the draw. A row's rank depends on its ``file_name`` and the seed alone.
        stratify: a column whose values keep their shares (largest remainders).

    Raises:
        InputError: a condition or column that the table does not know, or fewer rows than ``n``.
    """
    if where:
        try:
            frame = frame.filter(pl.sql_expr(where))
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"--where {where!r} cannot be used ({str(error).splitlines()[0]}); expected an SQL condition over "
                f"{', '.join(frame.columns)}."
            ) from error
    if stratify is not None and stratify not in frame.columns:
        raise InputError(f"--stratify is {stratify!r}; expected one of {', '.join(frame.columns)}.")
    if n is None:
        return frame
    if n > frame.height:
        raise InputError(f"--n is {n}, but {frame.height} rows fulfil the condition; ask for fewer.")
    value = pl.lit(0) if stratify is None else pl.col(stratify)
    if stratify is not None and isinstance(frame.schema[stratify], pl.List):
        value = value.list.sort().list.join("|")
    ranked = frame.with_row_index("_place").with_columns(
        value.alias("_stratum"),
        pl.Series(
            "_draw", [derive_seed("export", seed, name) for name in frame["file_name"]], dtype=pl.Int64
        ),
    )
    quotas = _quotas(ranked["_stratum"].value_counts().sort("_stratum", nulls_last=True), n)
    return (
        ranked.with_columns(pl.col("_draw").rank("ordinal").over("_stratum").alias("_rank"))
        .join(quotas, on="_stratum", nulls_equal=True)
        .filter(pl.col("_rank") <= pl.col("_quota"))
        .sort("_place")
        .select(frame.columns)
    )


def _quotas(counts: pl.DataFrame, n: int) -> pl.DataFrame:
    """Whole shares of ``n``: the integer parts, and one more for the largest remainders."""
    exact = [n * count / counts["count"].sum() for count in counts["count"]]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: n - sum(whole)]:
        whole[i] += 1
    return counts.select("_stratum", pl.Series("_quota", whole, dtype=pl.Int64))
