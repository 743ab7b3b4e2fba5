"""Marks from a table's cells of run lengths."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from synthorax.errors import InputError
from synthorax.studies.marks import Mark
from synthorax.studies.run_lengths import decode


def drawn(image: str, label: str, text: str | None, form: str, size: tuple[int, int], place: str) -> Mark:
    """One cell: a mask, or ``none`` where it is blank or -1; a cell that can't be decoded is a problem.

    ``place`` opens the problem's sentence: table and row.
    """
    if text is None or text.strip() in ("", "-1"):
        return Mark(image, label, "none", size=size)
    return Mark(image, label, "mask", mask=partial(_decode, text, size, form, place), size=size)


def encoded(
    rows: Iterable[tuple[str | None, str | None]], label: str, form: str, size: tuple[int, int], table: Path
) -> Iterator[Mark]:
    """A mark a row of (image id, run lengths)."""
    for number, (image, text) in enumerate(rows, 1):
        yield drawn(image or "", label, text, form, size, f"{table.name} row {number}: ")


def _decode(text: str, size: tuple[int, int], form: str, place: str):
    try:
        return decode(text, *size, form)
    except InputError as error:
        raise InputError(f"{place}{error}") from error
