"""The map of what is missing: every combination with its count, its expectation and its surprise."""

import numpy as np
import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.concepts.table import check_concept_table
from synthorax.coverage.counting import combination_counts, distinct_vectors, label_columns_of

#: Fewer films than this is rare.
RARE_BELOW = 10
STATUS = ("never", "rare", "covered")


def coverage(
    table: pl.DataFrame, vocabulary: Vocabulary, order: int = 3, rare_below: int = RARE_BELOW
) -> pl.DataFrame:
    """Singles, pairs and triples of concepts and of labels, the most surprising gap first.

    Args:
        table: a concept table, one row a film.
        vocabulary: gives the concepts, the labels and what cannot occur together.
        order: 1, 2 or 3: the size of the largest combinations.
        rare_below: fewer films than this is ``rare``; raising it finds more gaps.

    Returns:
        ``combination`` (List[String]), ``order``, ``level`` (concept or label), ``count``, ``n_known`` (rows
        where all of them are known), ``fraction`` (count / n_known, NULL where nothing is known),
        ``expected`` (under independence), ``lift`` (count / expected, NULL where nothing is expected),
        ``surprise`` (how far the count lies below the expectation: the Poisson log-likelihood ratio
        e - c + c ln(c / e), 0 where it does not), ``status`` (never, rare, covered), ``is_valid`` (the
        vocabulary's rules allow it). Invalid combinations come last, whatever their count.

    Raises:
        InputError: a column is missing, or an order that does not exist.
    """
    check_concept_table(table, vocabulary)
    concepts = combination_counts(distinct_vectors(table, vocabulary.concepts), order)
    columns = label_columns_of(table, vocabulary)
    labels = combination_counts(distinct_vectors(table, columns, vocabulary.labels), order)
    valid = [vocabulary.is_valid(combination) for combination in concepts["combination"].to_list()]
    diseases = set(vocabulary.disease_labels)
    label_valid = [
        vocabulary.no_finding_label not in combination or not diseases.intersection(combination)
        for combination in labels["combination"].to_list()
    ]
    both = pl.concat(
        [
            concepts.with_columns(level=pl.lit("concept"), is_valid=pl.Series(valid, dtype=pl.Boolean)),
            labels.with_columns(level=pl.lit("label"), is_valid=pl.Series(label_valid, dtype=pl.Boolean)),
        ]
    )
    count, expected = both["count"].to_numpy(), both["expected"].to_numpy()
    log_ratio = np.log(np.where(count > 0, count, 1) / np.where(expected > 0, expected, 1))
    surprise = np.where(count < expected, expected - count + count * log_ratio, 0.0)
    status = pl.when(pl.col("count") == 0).then(0).when(pl.col("count") < rare_below).then(1).otherwise(2)
    known = pl.when(pl.col("n_known") > 0).then(pl.col("n_known"))
    wanted = pl.when(pl.col("expected") > 0).then(pl.col("expected"))
    return (
        both.with_columns(
            (pl.col("count") / known).alias("fraction"),
            (pl.col("count") / wanted).alias("lift"),
            pl.Series("surprise", np.maximum(surprise, 0.0)),
            status.alias("_rank"),
        )
        .with_columns(status=pl.col("_rank").replace_strict(dict(enumerate(STATUS)), return_dtype=pl.String))
        .sort(
            [~pl.col("is_valid"), "_rank", "surprise", "expected", "level", "order", "combination"],
            descending=[False, False, True, True, False, False, False],
        )
        .select(
            "combination", "order", "level", "count", "n_known", "fraction", "expected", "lift", "surprise",
            "status", "is_valid",
        )
    )  # fmt: skip


def gaps(covered: pl.DataFrame, level: str | None = None, order: int | None = None) -> pl.DataFrame:
    """The rows of a :func:`coverage` table that are never or rarely seen and clinically valid, ranked.

    Combinations about which nothing is known at all (``n_known`` 0) are no gaps: nobody looked.
    """
    found = covered.filter("is_valid", pl.col("status") != "covered", pl.col("n_known") > 0)
    if level is not None:
        found = found.filter(pl.col("level") == level)
    return found if order is None else found.filter(pl.col("order") == order)
