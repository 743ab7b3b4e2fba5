"""The coverage as one self-contained page: the co-occurrence map, an UpSet plot of whole films, the ranked gaps."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.coverage.examples import Example, examples
from synthorax.coverage.ranking import gaps
from synthorax.coverage.vectors import conflicts, whole_vectors
from synthorax.files import atomic


def write_page(
    covered: pl.DataFrame,
    vocabulary: Vocabulary,
    path: Path | str,
    table: pl.DataFrame,
    *,
    groups: pl.DataFrame | None = None,
    reports: Mapping[str, str] | None = None,
    rows: int = 60,
    note: str = "",
) -> None:
    """Write ``coverage.html`` from a table of :func:`~synthorax.coverage.coverage`.

    Args:
        covered: the coverage, pairs at least.
        vocabulary: gives order and wording.
        path: where to.
        table: the cohort's concept table.
        groups: rates by group, from ``coverage_by_group``.
        reports: study_id -> text; with them each gap is linked to reports that show it, or most of it. **The page then
            holds report text.**
        rows: how many gaps each list shows.
        note: a sentence for the head of the page, e.g. that the films are simulated.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("synthorax.coverage"), autoescape=select_autoescape(), trim_blocks=True
    )
    cited: dict[str, Example] = {}

    def shown(row: dict) -> list[Example]:
        found = examples(row["combination"], row["level"], table, reports) if reports else []
        cited.update({example.study_id: example for example in found})
        return found

    maps = [
        ("Labels", _square(covered, "label", vocabulary.labels)),
        ("Concepts", _square(covered, "concept", vocabulary.concepts)),
    ]
    lists = [
        (
            f"{level.capitalize()}s, {word}",
            [row | {"examples": shown(row)} for row in found.head(rows).to_dicts()],
            found.height,
        )
        for level in ("label", "concept")
        for order, word in ((1, "singles"), (2, "pairs"), (3, "triples"))
        if (found := gaps(covered, level, order)).height
    ]
    totals = (
        covered.filter("is_valid")
        .group_by("level", "order")
        .agg(
            pl.len().alias("n"),
            *((pl.col("status") == s).sum().alias(s) for s in ("never", "rare", "covered")),
        )
        .sort("level", "order")
        .to_dicts()
    )
    page = environment.get_template("coverage.html").render(
        maps=maps,
        lists=lists,
        totals=totals,
        groups=_group_rows(groups),
        upset=_upset(table, vocabulary),
        conflicts=conflicts(table, vocabulary).to_dicts(),
        cited=cited,
        n_films=table.height,
        note=note,
        vocabulary=vocabulary,
    )
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _square(covered: pl.DataFrame, level: str, names: tuple[str, ...]) -> dict[str, object]:
    """Cells of the co-occurrence map; the diagonal holds the singles."""
    rows = covered.filter(pl.col("level") == level, pl.col("order") <= 2).to_dicts()
    by_names = {frozenset(row["combination"]): row for row in rows}
    top = max((row["fraction"] or 0.0 for row in rows if row["order"] == 2), default=0.0) or 1.0
    cells = [[by_names[frozenset((first, second))] for second in names] for first in names]
    shades = [[min(1.0, ((cell["fraction"] or 0.0) / top) ** 0.5) for cell in row] for row in cells]
    return {
        "names": names,
        "rows": [list(zip(*pair, strict=True)) for pair in zip(cells, shades, strict=True)],
    }


def _upset(table: pl.DataFrame, vocabulary: Vocabulary, rows: int = 25) -> dict[str, object]:
    """The most frequent whole films with findings: a row each, a dot for every concept, a bar for the count."""
    normal = pl.col("concepts") == [vocabulary.unremarkable]
    found = (
        whole_vectors(table, vocabulary)
        .filter(pl.col("concepts").list.len() > 0, ~normal)
        .head(rows)
        .to_dicts()
    )
    names = vocabulary.ordered({name for row in found for name in row["concepts"]})
    return {"names": names, "rows": found, "top": max((row["count"] for row in found), default=1)}


def _group_rows(groups: pl.DataFrame | None) -> list[dict[str, object]]:
    """One row a group's value, with the rate of each label."""
    if groups is None:
        return []
    labels = groups.filter(level="label", order=1).with_columns(name=pl.col("combination").list.first())
    return [
        {"group": group, "value": value, "rates": dict(part.select("name", "fraction").iter_rows())}
        for (group, value), part in labels.group_by("group", "value", maintain_order=True)
    ]
