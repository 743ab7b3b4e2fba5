"""A table as it is printed: HTML by the page's template, CSV and LaTeX (booktabs) here."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthorax.files import atomic

MISSING = "–"
UP, DOWN, MINUS = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Table:
    """Rows of text in the form of print.

    ``**bold**`` marks a cell; ``\N{UPWARDS ARROW} 0.087`` is a change upwards, as CARS prints it.

    Attributes:
        name: of its files.
        title: what it shows.
        columns: heads.
        rows: cells, one for each head.
        note: what a reader of the table must know.
        n_heads: so many first columns are heads of the row.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    n_heads: int = 1

    def write(self, folder: Path) -> None:
        """``NAME.csv``, changes as signed numbers, and ``NAME.tex``."""
        with atomic(folder / f"{self.name}.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([self.columns, *([_plain(cell) for cell in row] for row in self.rows)])
        with atomic(folder / f"{self.name}.tex") as temporary:
            temporary.write_text(self.latex(), encoding="utf-8")

    def latex(self) -> str:
        """A ``tabular`` in a ``table``; needs the package booktabs."""
        align = "l" * self.n_heads + "r" * (len(self.columns) - self.n_heads)
        lines = [" & ".join(map(_latex, row)) + r" \\" for row in [self.columns, *self.rows]]
        return "\n".join(
            [
                r"\begin{table}", r"\centering", rf"\caption{{{_latex(f'{self.title}. {self.note}'.strip())}}}",
                rf"\label{{tab:{self.name}}}", rf"\begin{{tabular}}{{{align}}}", r"\toprule", lines[0], r"\midrule",
                *lines[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
            ]
        )  # fmt: skip


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash."""
    return MISSING if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign."""
    return MISSING if value is None else f"{value:+.{digits}f}".replace("-", MINUS)


def arrow(value: float | None, is_bold: bool = False) -> str:
    """A change as CARS prints it."""
    if value is None:
        return MISSING
    value = round(value, 3)
    sign = UP if value > 0 else DOWN if value < 0 else ""
    text = f"{sign} {abs(value):.3f}".strip()
    return f"**{text}**" if is_bold else text


def spread(mean: float | None, sd: float | None) -> str:
    """Mean and deviation."""
    return number(mean) if mean is None or sd is None else f"{mean:.3f} ± {sd:.3f}"


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean, None where any value is missing or there is none."""
    found: Sequence[float | None] = list(values)
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def _plain(cell: str) -> str:
    return cell.strip("*").replace(MINUS, "-").replace(f"{UP} ", "+").replace(f"{DOWN} ", "-")


def _latex(cell: str) -> str:
    cell = re.sub(r"([&%$#_{}])", r"\\\1", cell)
    for sign, command in (
        (UP, r"$\uparrow$"), (DOWN, r"$\downarrow$"), ("±", r"$\pm$"), (MINUS, "$-$"), (MISSING, "--"), ("\N{GREEK CAPITAL LETTER DELTA}", r"$\Delta$"),
    ):  # fmt: skip
        cell = cell.replace(sign, command)
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", cell)
