"""The coverage as one self-contained page: the co-occurrence map and the ranked gaps."""

from pathlib import Path

import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.coverage.ranking import gaps
from synthorax.files import atomic


def write_page(
    covered: pl.DataFrame,
    vocabulary: Vocabulary,
    path: Path | str,
    n_films: int,
    *,
    groups: pl.DataFrame | None = None,
    rows: int = 60,
    note: str = "",
) -> None:
    """Write ``coverage.html`` from a table of :func:`~synthorax.coverage.coverage`.

    Args:
        covered: the coverage, pairs at least.
        vocabulary: gives order and wording.
        path: where to.
        n_films: films in the cohort.
        groups: rates by group, from ``coverage_by_group``.
        rows: how many gaps each list shows.
        note: a sentence for the head of the page, e.g. that the films are simulated.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("synthorax.coverage"), autoescape=select_autoescape(), trim_blocks=True
    )
    maps = [
        ("Labels", _square(covered, "label", vocabulary.labels)),
        ("Concepts", _square(covered, "concept", vocabulary.concepts)),
    ]
    lists = [
        (f"{level.capitalize()}s, {word}", found.head(rows).to_dicts(), found.height)
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
        n_films=n_films,
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


def _group_rows(groups: pl.DataFrame | None) -> list[dict[str, object]]:
    """One row a group's value, with the rate of each label."""
    if groups is None:
        return []
    labels = groups.filter(pl.col("level") == "label")
    return [
        {"group": group, "value": value, "rates": dict(part.select("name", "fraction").iter_rows())}
        for (group, value), part in labels.group_by("group", "value", maintain_order=True)
    ]
