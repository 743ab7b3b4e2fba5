"""Whole vectors, and reports that contradict themselves."""

from typing import Any

import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.coverage.counting import distinct_vectors


def whole_vectors(table: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """How often each set of concepts occurs as the whole of what a film shows.

    Films with an unknown concept are counted under what they are known to show, with ``n_unknown`` above 0.

    Returns:
        ``concepts`` (List[String], present ones in the vocabulary's order), ``n_unknown``, ``count``, ``fraction``
        (of all films), ``is_seldom`` (a combination at which a radiologist would hesitate); most frequent first.
    """
    found = distinct_vectors(table, vocabulary.concepts)
    rows: list[dict[str, Any]] = [
        {
            "concepts": [name for name, there in zip(found.names, present, strict=True) if there],
            "n_unknown": int((known == 0).sum()),
            "count": int(count),
        }
        for present, known, count in zip(found.present, found.known, found.count, strict=True)
    ]
    schema = {"concepts": pl.List(pl.String), "n_unknown": pl.Int64, "count": pl.Int64}
    return (
        pl.DataFrame(rows, schema=schema)
        .with_columns(
            (pl.col("count") / table.height).alias("fraction"),
            pl.Series("is_seldom", [vocabulary.is_seldom(row["concepts"]) for row in rows], dtype=pl.Boolean),
        )
        .sort(pl.col("count"), pl.col("concepts").list.join(" "), descending=[True, False])
    )


def conflicts(table: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """Reports that assert one finding and deny another that belongs to it, on the same side.

    'Left pleural effusion. The left costophrenic angle is sharp.' is possible (little fluid hides behind the dome)
    and rare: such films are listed, not dropped. The pairs are the vocabulary's ``denied_with``; sides come from the
    evidence, and a finding said without a side (or bilateral) goes with either.

    Args:
        table: a concept table with ``evidence``.
        vocabulary: gives the pairs.

    Returns:
        ``study_id``, ``asserted``, ``denied``, ``side``, one row a report and pair.
    """
    schema = {"study_id": pl.String, "asserted": pl.String, "denied": pl.String, "side": pl.String}
    if "evidence" not in table.columns or not vocabulary.denied_with:
        return pl.DataFrame(schema=schema)
    said = (
        table.select("study_id", "evidence")
        .unique("study_id", keep="first", maintain_order=True)
        .explode("evidence")
        .drop_nulls("evidence")
        .unnest("evidence")
        .select("study_id", "concept", "state", side=pl.col("laterality").fill_null("either"))
    )
    pairs = pl.DataFrame(vocabulary.denied_with, schema=["asserted", "denied"], orient="row")
    firm = said.filter(state="asserted").join(pairs, left_on="concept", right_on="asserted")
    no = said.filter(state="negated").select("study_id", denied="concept", denied_side="side")
    both = ["either", "bilateral"]
    same = (
        (pl.col("side") == pl.col("denied_side"))
        | pl.col("side").is_in(both)
        | pl.col("denied_side").is_in(both)
    )
    side = pl.when(pl.col("side").is_in(both)).then(pl.col("denied_side")).otherwise(pl.col("side"))
    return (
        firm.join(no, on=["study_id", "denied"])
        .filter(same)
        .select("study_id", pl.col("concept").alias("asserted"), "denied", side.alias("side"))
        .unique(maintain_order=True)
    )
