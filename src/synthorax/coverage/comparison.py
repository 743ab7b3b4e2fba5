"""Coverage before and after: which gaps a synthetic set closes."""

import polars as pl


def compare(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Two coverage tables side by side, one row a valid combination.

    Args:
        before: :func:`~synthorax.coverage.coverage` of the cohort.
        after: of the cohort and the synthetic films together.

    Returns:
        ``combination, level, order, count_before, count_after, added, expected, status_before,
        status_after, is_closed`` (never or rare before, covered after); most surprising gap first.
    """
    key = ["level", "combination"]
    new = after.select(*key, pl.col("count").alias("count_after"), pl.col("status").alias("status_after"))
    return (
        before.filter("is_valid")
        .rename({"count": "count_before", "status": "status_before"})
        .join(new, on=key, how="left", maintain_order="left")
        .with_columns(
            added=pl.col("count_after") - pl.col("count_before"),
            is_closed=(pl.col("status_before") != "covered") & (pl.col("status_after") == "covered"),
        )
        .select(
            "combination", "level", "order", "count_before", "count_after", "added", "expected",
            "status_before", "status_after", "is_closed",
        )
    )  # fmt: skip


def summary(compared: pl.DataFrame) -> pl.DataFrame:
    """Per level and order: how many valid combinations were never, rare and covered, before and after."""
    counts = [
        (pl.col(f"status_{when}") == status).sum().alias(f"{status}_{when}")
        for status in ("never", "rare", "covered")
        for when in ("before", "after")
    ]
    return compared.group_by("level", "order").agg(pl.len().alias("n"), *counts).sort("level", "order")
