"""Counts of combinations by source, view, sex and age."""

import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.coverage.counting import combination_counts, distinct_vectors, label_columns_of

#: Age groups in years; a film of unknown age is in none.
AGE_BREAKS = (18, 40, 60, 80)
AGE_GROUPS = ("under 18", "18-39", "40-59", "60-79", "80 and over")
GROUPS = ("source", "view_position", "sex", "age_group")


def coverage_by_group(
    table: pl.DataFrame, studies: pl.DataFrame, vocabulary: Vocabulary, order: int = 1
) -> pl.DataFrame:
    """How often each combination of concepts and of labels occurs in each group.

    Args:
        table: a concept table.
        studies: the manifest with ``source, view_position, sex, age``; joined by ``image_id`` (or ``study_id``).
        vocabulary: gives the concepts and labels.
        order: 1, 2 or 3: the size of the largest combinations.

    Returns:
        ``group`` (source, view_position, sex, age_group), ``value`` ('unknown' where the set does not say),
        ``combination`` (List[String]), ``order``, ``level``, ``count``, ``n_known``, ``fraction``.
    """
    joined = with_groups(table, studies)
    columns = label_columns_of(table, vocabulary)
    frames = []
    for group in GROUPS:
        for (value,), part in sorted(joined.group_by(group), key=lambda item: item[0][0]):
            for level, names in (("concept", vocabulary.concepts), ("label", columns)):
                vectors = distinct_vectors(part, names, vocabulary.labels if level == "label" else None)
                counts = combination_counts(vectors, order)
                known = pl.when(pl.col("n_known") > 0).then(pl.col("n_known"))
                frames.append(
                    counts.select(
                        pl.lit(group).alias("group"),
                        pl.lit(value).alias("value"),
                        "combination",
                        "order",
                        pl.lit(level).alias("level"),
                        "count",
                        "n_known",
                        (pl.col("count") / known).alias("fraction"),
                    )
                )
    return pl.concat(frames)


def with_groups(table: pl.DataFrame, studies: pl.DataFrame) -> pl.DataFrame:
    """The table with a column for each of :data:`GROUPS`, 'unknown' where the manifest does not say."""
    key = "image_id" if "image_id" in table.columns and "image_id" in studies.columns else "study_id"
    passed = pl.sum_horizontal(pl.col("age") >= years for years in AGE_BREAKS)
    age = pl.when(pl.col("age").is_not_null()).then(
        passed.replace_strict(dict(enumerate(AGE_GROUPS)), return_dtype=pl.String)
    )
    described = studies.unique(key, keep="first", maintain_order=True).with_columns(age_group=age)
    joined = table.join(described.select(key, *GROUPS), on=key, how="left", maintain_order="left")
    return joined.with_columns(pl.col(name).fill_null("unknown") for name in GROUPS)
