"""Reports that stand for a gap: those that show it, or, where none does, those that show most of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup, escape

from synthorax.concepts import label_column

PER_GAP = 3


@dataclass(frozen=True)
class Example:
    """One report: ``study_id``, what of the gap it shows, and its text as HTML with the findings marked."""

    study_id: str
    shows: tuple[str, ...]
    html: Markup


def examples(
    combination: Sequence[str], level: str, table: pl.DataFrame, reports: Mapping[str, str]
) -> list[Example]:
    """Up to three reports for a combination.

    Args:
        combination: concepts or labels.
        level: ``concept`` or ``label``.
        table: the concept table with ``evidence``.
        reports: study_id -> report text; studies without text are passed over.
    """
    columns = {name: name if level == "concept" else label_column(name) for name in combination}
    shown = pl.sum_horizontal((pl.col(column) == 1).fill_null(False) for column in columns.values())
    rows = (
        table.lazy()
        .filter(pl.col("study_id").is_in(list(reports)))
        .with_columns(_shown=shown)
        .filter(pl.col("_shown") > 0)
        .unique("study_id", keep="first", maintain_order=True)
        .top_k(PER_GAP, by=["_shown", "study_id"], reverse=[False, True])
        .sort("_shown", "study_id", descending=[True, False])
        .select("study_id", "evidence", *columns.values())
        .collect()
    )
    return [
        Example(
            row["study_id"],
            tuple(name for name, column in columns.items() if row[column] == 1),
            marked(reports[row["study_id"]], row["evidence"]),
        )
        for row in rows.iter_rows(named=True)
    ]


def marked(report: str, evidence: Sequence[Mapping[str, Any]]) -> Markup:
    """The report's text, escaped, with a ``<mark class=STATE>`` around each mention."""
    pieces, position = [], 0
    for mention in sorted(evidence, key=lambda m: (m["start"], -m["end"])):
        start, end = max(mention["start"], position), mention["end"]
        if start < end:
            pieces += [escape(report[position:start])]
            pieces += [Markup('<mark class="{}" title="{}">{}</mark>').format(mention["state"], mention["concept"], report[start:end])]  # fmt: skip
            position = end
    return Markup("").join([*pieces, escape(report[position:])])
