"""How well the read labels agree with a gold: F1 for each label, with intervals over groups of equal texts."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from synthorax.concepts.vocabulary import Vocabulary, label_column
from synthorax.errors import InputError
from synthorax.seeds import generator

MACRO = "macro"


def f1(gold: np.ndarray, found: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of each column.

    Args:
        gold, found: bool ``(N, L)``.
        weight: how often each row counts, ``(N,)``; once by default.

    Returns:
        Float64 ``(L,)``; 0 where neither gold nor found has a positive.
    """
    weight = np.ones(len(gold)) if weight is None else weight
    hits, total = weight @ (gold & found), weight @ gold + weight @ found
    return np.divide(2 * hits, total, out=np.zeros(gold.shape[1]), where=total > 0)


def label_scores(
    table: pl.DataFrame,
    gold: pl.DataFrame,
    vocabulary: Vocabulary,
    *,
    group: str | None = "text_group",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """Agreement of a concept table's labels with a gold table.

    Args:
        table: has ``study_id`` and the label columns; an unknown label counts as not found.
        gold: has ``report_id`` and one 0/1 column a label, under the label's name. Rows with ``exclude`` 1 or
            ``has_text`` 0 are left out, where the gold has those columns.
        vocabulary: gives the labels.
        group: column of the gold whose rows are drawn together (equal texts); None draws row by row.
        n_bootstrap: how many draws; more makes the interval steadier.
        seed: seed of the draws.

    Returns:
        ``label`` (the labels and 'macro'), ``f1``, ``ci_low``, ``ci_high`` (95 % bootstrap), ``precision``,
        ``recall``, ``false_positives``, ``false_negatives``, ``n_positive``, ``n_reports``.

    Raises:
        InputError: the gold lacks a label, or no report is in both tables.
    """
    names = list(vocabulary.labels)
    for name in ("report_id", *names):
        if name not in gold.columns:
            raise InputError(
                f"the gold has no column {name!r}; expected report_id and one 0/1 column a label."
            )
    for flag, kept in (("exclude", 0), ("has_text", 1)):
        gold = gold.filter(pl.col(flag) == kept) if flag in gold.columns else gold
    distinct = table.unique("study_id", keep="first", maintain_order=True)
    both = gold.join(distinct, left_on="report_id", right_on="study_id", maintain_order="left")
    if both.is_empty():
        raise InputError(
            "no report_id of the gold is a study_id of the table; expected ids such as CXR1 in both."
        )
    truth = _flags(both, names)
    found = _flags(both, [label_column(name) for name in names])
    groups = both[group] if group in both.columns else pl.Series(range(both.height))
    low, high = _intervals(truth, found, groups, n_bootstrap, seed)
    scores = f1(truth, found)
    hits, said, there = (truth & found).sum(0), found.sum(0), truth.sum(0)
    return pl.DataFrame(
        {
            "label": [*names, MACRO],
            "f1": [*scores, scores.mean()],
            "ci_low": low,
            "ci_high": high,
            "precision": [*(hits / np.maximum(said, 1)), None],
            "recall": [*(hits / np.maximum(there, 1)), None],
            "false_positives": [*(said - hits), None],
            "false_negatives": [*(there - hits), None],
            "n_positive": [*there, None],
            "n_reports": [both.height] * (len(names) + 1),
        },
        strict=False,
    )


def _flags(table: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    return table.select(pl.col(columns).cast(pl.Int8).fill_null(0) == 1).to_numpy()


def _intervals(
    truth: np.ndarray, found: np.ndarray, groups: pl.Series, n_bootstrap: int, seed: int
) -> tuple[list[float], list[float]]:
    """2.5 % and 97.5 % of each label's F1, the macro last, over draws of whole groups."""
    code = groups.cast(pl.String).cast(pl.Categorical).to_physical().to_numpy()
    code = np.unique(code, return_inverse=True)[1]
    n_groups = code.max() + 1
    rng = generator(seed, "label_scores")
    draws = np.empty((n_bootstrap, truth.shape[1] + 1))
    for draw in draws:
        times = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        draw[:-1] = f1(truth, found, times[code].astype(float))
        draw[-1] = draw[:-1].mean()
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    return low.tolist(), high.tolist()


def hierarchical_scores(
    table: pl.DataFrame, gold: pl.DataFrame, vocabulary: Vocabulary, *, group: str | None = "text_group", n_bootstrap: int = 1000, seed: int = 0
) -> pl.DataFrame:  # fmt: skip
    """Hierarchical F1 over a vocabulary's tree: concepts, the labels they stand for, and the labels' parents.

    Each report's true and found concepts are joined by all that they are a kind of; then (Kiritchenko et al. 2005)

        hP = sum |found and true| / sum |found|,   hR = sum |found and true| / sum |true|,   hF = 2 hP hR / (hP + hR)

    so that a near miss costs less than a far one. F1-SRR-BERT (SRRG, arXiv 2505.24223) scores the same levels one by one.

    Args:
        table, gold, group, n_bootstrap, seed: as in :func:`label_scores`; concepts that the gold has no column for are
            left out, and so is ``unremarkable``, which is the absence of the others.
        vocabulary: gives the tree.

    Returns:
        ``level`` (``concepts``, ``labels`` and ``tree``), ``f1`` (micro), ``ci_low``, ``ci_high``, ``precision``,
        ``recall``, ``n_nodes``, ``n_reports``.

    Raises:
        InputError: the gold has none of the concepts, or no report is in both tables.
    """
    concepts = [name for name in vocabulary.findings if name in gold.columns]
    if not concepts or "report_id" not in gold.columns:
        raise InputError(f"the gold has none of the concepts of vocabulary {vocabulary.name!r}; expected report_id and columns such as {vocabulary.findings[0]!r}.")  # fmt: skip
    for flag, kept in (("exclude", 0), ("has_text", 1)):
        gold = gold.filter(pl.col(flag) == kept) if flag in gold.columns else gold
    truth_table = gold.select("report_id", *(pl.col(name).alias(f"true {name}") for name in concepts), *([group] if group in gold.columns else []))  # fmt: skip
    distinct = table.unique("study_id", keep="first", maintain_order=True)
    both = truth_table.join(distinct, left_on="report_id", right_on="study_id", maintain_order="left")
    if both.is_empty():
        raise InputError(
            "no report_id of the gold is a study_id of the table; expected ids such as CXR1 in both."
        )
    truth, found = _flags(both, [f"true {name}" for name in concepts]), _flags(both, concepts)
    labels = list(dict.fromkeys(label for name in concepts for label in vocabulary.lineage(vocabulary.label_of(name))))  # fmt: skip
    up = np.array([[label in {*vocabulary.lineage(vocabulary.label_of(name))} for label in labels] for name in concepts])  # fmt: skip
    levels = {"concepts": (truth, found), "labels": (truth @ up, found @ up)}
    levels["tree"] = tuple(np.hstack([levels["concepts"][i], levels["labels"][i]]) for i in (0, 1))  # type: ignore[assignment]
    groups = both[group] if group in both.columns else pl.Series(range(both.height))
    code = np.unique(groups.cast(pl.String).to_numpy(), return_inverse=True)[1]
    rng, rows = generator(seed, "hierarchical_scores"), []
    draws = [np.bincount(rng.integers(code.max() + 1, size=code.max() + 1), minlength=code.max() + 1)[code] for _ in range(n_bootstrap)]  # fmt: skip
    for name, (true, told) in levels.items():
        hits, said, there = (true & told).sum(1), told.sum(1), true.sum(1)
        resampled = [2 * (d @ hits) / max(d @ said + d @ there, 1) for d in draws]
        low, high = np.quantile(resampled, (0.025, 0.975))
        rows.append((name, 2 * hits.sum() / max(said.sum() + there.sum(), 1), low, high, hits.sum() / max(said.sum(), 1), hits.sum() / max(there.sum(), 1), true.shape[1], both.height))  # fmt: skip
    return pl.DataFrame(rows, schema=["level", "f1", "ci_low", "ci_high", "precision", "recall", "n_nodes", "n_reports"], orient="row")  # fmt: skip
