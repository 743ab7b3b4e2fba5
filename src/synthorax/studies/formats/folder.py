"""A folder of films, with a table where there is one: ``--table``, or the only ``.csv`` in the folder.

The table's columns are found by their common names (:data:`COLUMNS`, whatever their case and punctuation).
Labels: a column ``labels`` or ``finding_labels`` that lists what is present, separated by ``|``; or a column
a label, named ``label_*`` or as in CheXpert or ChestX-ray14, with 1, 0, -1 (uncertain) or blank (not
mentioned). Columns that aren't used are named in the notes.
"""

import re
from pathlib import Path

import polars as pl

from synthorax.errors import InputError
from synthorax.studies.films import FILM_SUFFIXES
from synthorax.studies.formats import chexpert, nih
from synthorax.studies.source import Source, label_lists, raw_frame, raw_rows, require_folder
from synthorax.studies.tables import closest, read_table

COLUMNS = {
    "file_name": (
        "filename",
        "file",
        "filepath",
        "path",
        "image",
        "imagepath",
        "imagefile",
        "imagename",
        "imageindex",
    ),
    "image_id": ("imageid", "dicomid", "sopinstanceuid"),
    "study_id": ("studyid", "studyinstanceuid", "study", "accessionnumber"),
    "patient_id": ("patientid", "patient", "subjectid", "subject"),
    "report": ("report", "reporttext", "text"),
    "findings": ("findings",),
    "impression": ("impression",),
    "view_position": ("viewposition", "view", "projection"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "ageyears", "patientage"),
    "race": ("race", "ethnicity"),
    "split": ("split",),
    "labels": ("labels", "labelspresent", "findinglabels"),
}
_KNOWN_LABELS = {*chexpert.LABELS, *nih.FINDINGS, nih.NO_FINDING}


def read_source(path: Path, table: Path | str | None = None, reports: Path | str | None = None) -> Source:
    """Rows of the table, or of the films below the folder in the order of their paths."""
    root = require_folder(path, "films")
    texts = require_folder(Path(reports), "reports") if reports is not None else None
    found = Path(table) if table is not None else _only_table(root)
    films = [file for file in sorted(root.rglob("*")) if file.suffix.lower() in FILM_SUFFIXES]
    if found is None:
        return _without_table(root, films, texts)
    frame = read_table(found)
    columns, labels, notes = match_columns(frame, found)
    given = frame.select(pl.col(column).cast(pl.String).alias(name) for name, column in columns.items())
    lists = _labels(frame, labels) if labels else {}
    if "labels" in given.columns and not lists:
        parts = pl.col("labels").str.split("|").list.eval(pl.element().str.strip_chars()).list.drop_nulls()
        lists = {
            "labels_present": given.select(parts.alias("labels_present")).to_series(),
            **{name: _empty_where(given["labels"], name) for name in ("labels_absent", "labels_uncertain")},
        }
    places = [_place(name, found.absolute().parent, root) for name in given.get_column(_film_column(columns))]
    given = given.with_columns(pl.Series("file_name", places, dtype=pl.String), *lists.values())
    given = _with_ids(given, notes)
    given = _with_text(given, texts)
    unnamed = len({str(film) for film in films} - {place for place in places if place})
    if unnamed:
        notes.append(f"films in {root} that {found.name} does not name, and that were not taken: {unnamed}.")
    has_text = "report" in given.columns or texts is not None
    return Source(raw_frame(given, "folder", found.name), tuple(notes), needs_text=has_text)


def _only_table(root: Path) -> Path | None:
    tables = sorted([*root.glob("*.csv"), *root.glob("*.csv.gz")])
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise InputError(f"{root} has several tables ({names}); expected one. Name it with --table.")
    return tables[0] if tables else None


def _without_table(root: Path, films: list[Path], texts: Path | None) -> Source:
    if not films:
        raise InputError(f"{root} has no films ({', '.join(FILM_SUFFIXES)}) and no table; correct the path.")
    rows = []
    for film in films:
        name = "_".join(film.relative_to(root).with_suffix("").parts)
        rows.append({"image_id": name, "study_id": name, "patient_id": name, "file_name": str(film)})
    given = _with_text(raw_rows(rows, "folder", root.name), texts)
    notes = ("no table: each film counts as a study and a patient of its own.",)
    return Source(given, notes, needs_text=texts is not None)


def match_columns(frame: pl.DataFrame, table: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """Manifest name -> the table's column, the columns that are labels, and notes on columns not used.

    Raises:
        InputError: no column names the film.
    """
    spelled = {spelling: name for name, spellings in COLUMNS.items() for spelling in spellings}
    columns: dict[str, str] = {}
    labels, unused = [], []
    for column in frame.columns:
        name = spelled.get(re.sub(r"[^a-z0-9]", "", column.lower()))
        if column.startswith("label_") or column in _KNOWN_LABELS:
            labels.append(column)
        elif name is not None and name not in columns:
            columns[name] = column
        else:
            unused.append(column)
    hints = {column: closest(column, [name for name in COLUMNS if name not in columns]) for column in unused}
    if "file_name" not in columns and "image_id" not in columns:
        close = next((column for column, hint in hints.items() if hint in ("file_name", "image_id")), None)
        hint = f" Did {close!r} mean file_name?" if close else ""
        raise InputError(
            f"{table} has no column that names the film; found {', '.join(frame.columns)}; "
            f"expected file_name (or image, path, image_id).{hint} Rename the column."
        )
    shown = [column + (f" (did you mean {hints[column]}?)" if hints[column] else "") for column in unused]
    return columns, labels, [f"{table.name}: columns not used: {', '.join(shown)}."] if shown else []


def _labels(frame: pl.DataFrame, labels: list[str]) -> dict[str, pl.Series]:
    expressions = label_lists(frame, {column: column.removeprefix("label_") for column in labels})
    return {
        name: frame.select(expression.alias(name)).to_series() for name, expression in expressions.items()
    }


def _empty_where(stated: pl.Series, name: str) -> pl.Series:
    return pl.Series(name, [None if cell is None else [] for cell in stated], dtype=pl.List(pl.String))


def _film_column(columns: dict[str, str]) -> str:
    return "file_name" if "file_name" in columns else "image_id"


def _place(name: str | None, *folders: Path) -> str | None:
    """A film's path: absolute, or below the table's folder, the set's folder or its ``images``."""
    if name is None:
        return None
    for folder in (*folders, folders[-1] / "images"):
        for suffix in ("", *FILM_SUFFIXES):
            if (folder / (name + suffix)).is_file():
                return str(folder / (name + suffix))
    return str(folders[-1] / name)


def _with_ids(given: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Ids that the table lacks: the film's name, the study's film, the patient's study."""
    stem = pl.col("file_name").str.split("/").list.last().str.replace(r"\.[A-Za-z]{3,4}$", "").fill_null("")
    if "image_id" not in given.columns:
        given = given.with_columns(stem.alias("image_id"))
    if "study_id" not in given.columns:
        notes.append("no column names the study: each film counts as a study of its own.")
        given = given.with_columns(pl.col("image_id").alias("study_id"))
    if "patient_id" not in given.columns:
        notes.append("no column names the patient: each study counts as a patient of its own.")
        given = given.with_columns(pl.col("study_id").alias("patient_id"))
    return given.with_columns(
        pl.col("image_id", "study_id", "patient_id").fill_null(""),
        pl.when(pl.col("file_name").is_null())
        .then(pl.lit("no film is named; expected a file name. Fill the cell or leave the row out."))
        .otherwise(pl.col("problem") if "problem" in given.columns else None)
        .alias("problem"),
    )


def _with_text(given: pl.DataFrame, texts: Path | None) -> pl.DataFrame:
    """The report: a column, findings and impression under headings, or ``<study_id>.txt`` in a folder."""
    if texts is not None:
        return given.with_columns(
            pl.format("{}/{}.txt", pl.lit(str(texts)), pl.col("study_id")).alias("report_file")
        )
    sections = [name for name in ("findings", "impression") if name in given.columns]
    if ("report" not in given.columns or given["report"].null_count() == given.height) and sections:
        parts = [pl.format(f"{name.upper()}: {{}}", pl.col(name)) for name in sections]
        joined = pl.concat_str(parts, separator="\n", ignore_nulls=True)
        return given.with_columns(pl.when(joined != "").then(joined).alias("report"))
    return given
