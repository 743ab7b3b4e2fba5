"""What an adapter hands over: a set's rows in the manifest's columns, still in its own spelling."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from synthorax.errors import InputError
from synthorax.studies.films import FILM_SUFFIXES
from synthorax.studies.manifest import MANIFEST

#: The manifest's columns with age still text, and what the import needs besides: the table that a row comes
#: from and its number there, the file with the report's text, what is already known to be wrong, and whether
#: the film's header has been looked at.
RAW = pl.Schema(
    {
        **MANIFEST,
        "age": pl.String(),
        "place": pl.String(),
        "row": pl.Int64(),
        "report_file": pl.String(),
        "problem": pl.String(),
        "is_checked": pl.Boolean(),
    }
)


@dataclass(frozen=True, eq=False)
class Source:
    """A set before any film was looked at.

    Attributes:
        frame: columns as :data:`RAW`, and severity scores where the set has them (``score_*``, the mean of the raters).
        notes: what the reader of the manifest must know.
        needs_text: True where a film without label lists is of no use unless its report has text.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()
    needs_text: bool = False


def raw_frame(columns: pl.DataFrame, source: str, place: str) -> pl.DataFrame:
    """The given columns in :data:`RAW`'s order and types; what is not given is NULL, rows count from 1, scores follow."""
    given = columns.with_columns(pl.lit(source).alias("source"), pl.lit(place).alias("place"))
    if "row" not in given.columns:
        given = given.with_row_index("row", offset=1)
    return given.select(
        (pl.col(name) if name in given.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in RAW.items()
    ).with_columns(given.select(pl.col("^score_.*$").cast(pl.Float64)).get_columns())


def raw_rows(rows: Sequence[Mapping[str, object]], source: str, place: str) -> pl.DataFrame:
    """As :func:`raw_frame`, from one mapping a film."""
    names = [name for name in RAW if any(name in row for row in rows)]
    columns = {name: pl.Series(name, [row.get(name) for row in rows], dtype=RAW[name]) for name in names}
    return raw_frame(pl.DataFrame(columns), source, place)


def label_lists(frame: pl.DataFrame, labels: Mapping[str, str]) -> dict[str, pl.Expr]:
    """``labels_present/absent/uncertain`` and ``problem`` from columns of 1, 0, -1 and blank.

    Args:
        frame: has the columns.
        labels: column -> label name. A blank cell is 'not mentioned' and goes in none of the three lists.
    """
    value = {column: pl.col(column).cast(pl.Float64, strict=False) for column in labels}

    def having(number: int) -> pl.Expr:
        chosen = [pl.when(value[c] == number).then(pl.lit(label)) for c, label in labels.items()]
        return pl.concat_list(chosen).list.drop_nulls()

    wrong = [
        pl.when(pl.col(column).is_not_null() & ~value[column].is_in([-1.0, 0.0, 1.0]).fill_null(False)).then(
            pl.format(
                "{} is '{}'; expected 1, 0, -1 or blank. Correct the cell.",
                pl.lit(column),
                pl.col(column).cast(pl.String),
            )
        )
        for column in labels
    ]
    return {
        "labels_present": having(1),
        "labels_absent": having(0),
        "labels_uncertain": having(-1),
        "problem": pl.coalesce(wrong),
    }


def listed_items(column: str) -> pl.Expr:
    """The items of a cell that holds a list as Python prints it (``['a', 'b']``); NULL where it holds none."""
    items = pl.col(column).str.extract_all(r"'[^']*'|\"[^\"]*\"")
    words = items.list.eval(pl.element().str.strip_chars("'\"").str.strip_chars())
    words = words.list.eval(pl.element().filter(pl.element() != "")).list.unique(maintain_order=True)
    return pl.when(pl.col(column).str.starts_with("[")).then(words)


def present_absent(present: Sequence[Sequence[str] | None], labels: Sequence[str]) -> dict[str, pl.Series]:
    """``labels_*`` of a set that was asked for each of ``labels`` on each film: what isn't listed is absent."""
    absent = [None if found is None else [name for name in labels if name not in found] for found in present]
    lists = {
        "labels_present": [None if found is None else list(dict.fromkeys(found)) for found in present],
        "labels_absent": absent,
        "labels_uncertain": [None if found is None else [] for found in present],
    }
    return {name: pl.Series(name, cells, dtype=pl.List(pl.String)) for name, cells in lists.items()}


def placing(root: Path) -> Callable[[Sequence[str], str], str]:
    """A function from folders of a set and a film's name to its path.

    It is below the first of the folders that has the film, by this name or as another kind of file, else below the first.
    Folders are listed once.
    """
    listed: dict[str, dict[str, str]] = {}

    def place(folders: Sequence[str], name: str) -> str:
        for folder in folders:
            if folder not in listed:
                inside = root / folder
                names = sorted(os.listdir(inside), reverse=True) if inside.is_dir() else []
                kinds = [other for other in names if other.lower().endswith((*FILM_SUFFIXES, ".dicom"))]
                listed[folder] = {Path(other).stem: other for other in kinds} | {
                    other: other for other in kinds
                }
            found = listed[folder].get(name) or listed[folder].get(Path(name).stem)
            if found:
                return str(root / folder / found)
        return str(root / folders[0] / name)

    return place


def require_folder(path: Path, what: str) -> Path:
    """The absolute folder.

    Raises:
        InputError: missing, or a file.
    """
    if not path.is_dir():
        found = "is a file" if path.is_file() else "does not exist"
        raise InputError(f"{path} {found}; expected the folder of {what}. Correct the path.")
    return path.absolute()
