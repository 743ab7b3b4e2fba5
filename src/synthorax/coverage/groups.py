"""Rates of every concept and label by source, view, sex and age."""

import polars as pl

from synthorax.concepts import Vocabulary, label_column

#: Age groups in years; a film of unknown age is in none.
AGE_BREAKS = (18, 40, 60, 80)
AGE_GROUPS = ("under 18", "18-39", "40-59", "60-79", "80 and over")


def coverage_by_group(table: pl.DataFrame, studies: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """How often each concept and label occurs in each group.

    Args:
        table: a concept table.
        studies: the manifest with ``source, view_position, sex, age``; joined by ``image_id`` (or ``study_id``).
        vocabulary: gives the concepts and labels.

    Returns:
        ``group`` (source, view_position, sex, age_group), ``value`` ('unknown' where the set does not say),
        ``name``, ``level``, ``count``, ``n_known``, ``fraction``.
    """
    key = "image_id" if "image_id" in table.columns and "image_id" in studies.columns else "study_id"
    passed = pl.sum_horizontal(pl.col("age") >= years for years in AGE_BREAKS)
    age = pl.when(pl.col("age").is_not_null()).then(
        passed.replace_strict(dict(enumerate(AGE_GROUPS)), return_dtype=pl.String)
    )
    groups = ("source", "view_position", "sex", "age_group")
    described = studies.unique(key, keep="first", maintain_order=True).with_columns(age_group=age)
    joined = table.join(described.select(key, *groups), on=key, how="left", maintain_order="left")
    levels = {name: "concept" for name in vocabulary.concepts} | {
        label_column(x): "label" for x in vocabulary.labels
    }
    named = {label_column(label): label for label in vocabulary.labels}
    frames = []
    for group in groups:
        by = joined.group_by(pl.col(group).fill_null("unknown").alias("value"))
        count = by.agg(pl.col(list(levels)).cast(pl.Int64).sum()).unpivot(index="value", value_name="count")
        known = by.agg(pl.col(list(levels)).count().cast(pl.Int64)).unpivot(
            index="value", value_name="n_known"
        )
        frames.append(
            count.join(known, on=["value", "variable"]).select(
                pl.lit(group).alias("group"),
                "value",
                pl.col("variable").replace(named).alias("name"),
                pl.col("variable").replace_strict(levels, return_dtype=pl.String).alias("level"),
                "count",
                "n_known",
                (pl.col("count") / pl.when(pl.col("n_known") > 0).then(pl.col("n_known"))).alias("fraction"),
            )
        )
    return pl.concat(frames).sort("group", "value", "level", "name")
