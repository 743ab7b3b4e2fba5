"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 (and MIMIC-CXR's DICOM tree) as PhysioNet publishes them.

Films: ``files/p10/p10000032/s50414267/<dicom_id>.jpg`` from the metadata table; with ``cxr-record-list``
alone from its paths. Reports: ``files/p10/p10000032/s50414267.txt`` under the same folder, under
``mimic-cxr-reports/`` or under ``--reports``. Labels: the chexpert or negbio table, a study at a time
(blank, -1, 0 and 1 kept apart). Age at study is anchor_age + (study year - anchor_year) from MIMIC-IV's
``patients``; race is that of the admission nearest in time to the study, from ``admissions``. The split
``validate`` is called ``validation``.
"""

from pathlib import Path

import polars as pl

from synthorax.errors import InputError, unknown_choice
from synthorax.studies.source import Source, label_lists, raw_frame, require_folder
from synthorax.studies.tables import find_table, published_table, read_table, require_columns

RACE_NOT_STATED = ("UNKNOWN", "UNABLE TO OBTAIN", "PATIENT DECLINED TO ANSWER")
LABELERS = ("chexpert", "negbio")
SPLITS = {"train": "train", "validate": "validation", "test": "test"}


def read_source(
    path: Path,
    reports: Path | str | None = None,
    mimic_iv: Path | str | None = None,
    labeler: str = "chexpert",
) -> Source:
    """One row a film, several films a study."""
    if labeler not in LABELERS:
        raise unknown_choice("labeler", labeler, LABELERS)
    root = require_folder(path, "MIMIC-CXR-JPG")
    films, place = _films(root)
    notes = []
    if "ViewPosition" not in films.columns:
        notes.append(f"{place} has no views: lateral films are among those of unknown view.")
        unknown = pl.lit(None, dtype=pl.String)
        films = films.with_columns(unknown.alias("ViewPosition"), unknown.alias("StudyDate"))
    splits = find_table(root, ("mimic-cxr-*-split.csv.gz", "mimic-cxr-*-split.csv"))
    films = _joined(films, splits, ("dicom_id",), ("split",))
    films = _labelled(films, root, labeler)
    films = _demographics(films, _mimic_iv_folders(root, mimic_iv))
    texts, is_asked = _reports_folder(root, reports)
    films = _report_files(films, root, texts)
    if texts is None and films["labels_present"].null_count() == films.height:
        notes.append("neither reports nor a label table found: the films come without findings.")
    return Source(raw_frame(films, "mimic-cxr", place), tuple(notes), needs_text=is_asked)


def _films(root: Path) -> tuple[pl.DataFrame, str]:
    """Ids and file_name of each film, with the metadata's view and date where published."""
    table = find_table(root, ("mimic-cxr-*-metadata.csv.gz", "mimic-cxr-*-metadata.csv"))
    columns: tuple[str, ...] = ("ViewPosition", "StudyDate")
    if table is None:
        names = ("mimic-cxr-*-metadata.csv.gz", "cxr-record-list.csv.gz", "cxr-record-list.csv")
        table = published_table(root, names, "MIMIC-CXR-JPG")
        frame = read_table(table)
        require_columns(frame, ("subject_id", "study_id", "dicom_id", "path"), table)
        where, columns = pl.col("path"), ()
    else:
        frame = read_table(table)
        require_columns(frame, ("subject_id", "study_id", "dicom_id", *columns), table)
        where = _tree("/{}.jpg", pl.col("dicom_id"))
    films = frame.select(
        "dicom_id",
        "study_id",
        "subject_id",
        pl.concat_str(pl.lit(f"{root}/"), where).alias("file_name"),
        *columns,
    )
    ids = (pl.col("dicom_id").alias("image_id"), pl.col("subject_id").alias("patient_id"))
    return films.with_row_index("row", offset=1).with_columns(*ids), table.name


def _tree(ending: str, *last: pl.Expr) -> pl.Expr:
    """``files/p10/p10000032/s50414267`` and what follows."""
    subject = pl.col("subject_id")
    return pl.format(
        f"files/p{{}}/p{{}}/s{{}}{ending}", subject.str.slice(0, 2), subject, pl.col("study_id"), *last
    )


def _joined(
    films: pl.DataFrame, table: Path | None, on: tuple[str, ...], columns: tuple[str, ...]
) -> pl.DataFrame:
    """The films with a table's columns, NULL where the table or its row is missing."""
    if table is None:
        return films.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in columns)
    frame = read_table(table)
    require_columns(frame, (*on, *columns), table)
    return films.join(frame.select(*on, *columns).unique(on, keep="first", maintain_order=True), on, "left")


def _labelled(films: pl.DataFrame, root: Path, labeler: str) -> pl.DataFrame:
    """The study's label lists; NULL where the label table has no such study."""
    split = pl.col("split").replace(SPLITS)
    table = find_table(root, (f"mimic-cxr-*-{labeler}.csv.gz", f"mimic-cxr-*-{labeler}.csv"))
    if table is None:
        return films.with_columns(split, pl.lit(None, dtype=pl.List(pl.String)).alias("labels_present"))
    frame = read_table(table)
    require_columns(frame, ("subject_id", "study_id", "No Finding", "Pleural Effusion"), table)
    labels = {name: name for name in frame.columns if name not in ("subject_id", "study_id")}
    lists = label_lists(frame, labels)
    studies = frame.select("study_id", *(expression.alias(name) for name, expression in lists.items()))
    return films.with_columns(split).join(
        studies.unique("study_id", keep="first", maintain_order=True),
        "study_id",
        "left",
        maintain_order="left",
    )


def _mimic_iv_folders(root: Path, mimic_iv: Path | str | None) -> list[Path]:
    base = root if mimic_iv is None else require_folder(Path(mimic_iv), "MIMIC-IV")
    return [base, base / "hosp", base / "core"]


def _demographics(films: pl.DataFrame, folders: list[Path]) -> pl.DataFrame:
    """view_position, sex, age and race; NULL where MIMIC-IV's tables are not at hand."""
    patients = _first_table(folders, "patients")
    films = _joined(films, patients, ("subject_id",), ("gender", "anchor_age", "anchor_year"))
    films = films.with_columns(pl.col("StudyDate").str.to_date("%Y%m%d", strict=False).alias("date"))
    since_anchor = pl.col("date").dt.year() - pl.col("anchor_year").cast(pl.Int64, strict=False)
    age = pl.col("anchor_age").cast(pl.Int64, strict=False) + since_anchor
    films = films.with_columns(
        age.cast(pl.String).alias("age"),
        pl.col("gender").alias("sex"),
        pl.col("ViewPosition").alias("view_position"),
    )
    admissions = _first_table(folders, "admissions")
    if admissions is None:
        return films.with_columns(pl.lit(None, dtype=pl.String).alias("race"))
    return films.join(_race_at_study(films, admissions), "study_id", "left", maintain_order="left")


def _race_at_study(films: pl.DataFrame, table: Path) -> pl.DataFrame:
    """study_id and the race that the admission nearest in time states; of two, the earlier one."""
    frame = read_table(table)
    name = "race" if "race" in frame.columns else "ethnicity"
    require_columns(frame, ("subject_id", "admittime", "dischtime", name), table)
    stays = frame.select(
        "subject_id",
        pl.col("admittime").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).alias("from"),
        pl.col("dischtime").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).alias("to"),
        pl.when(~pl.col(name).is_in(RACE_NOT_STATED)).then(pl.col(name)).alias("race"),
    ).drop_nulls("race")
    gap_days = pl.max_horizontal(
        (pl.col("from") - pl.col("date")).dt.total_days(), (pl.col("date") - pl.col("to")).dt.total_days(), 0
    )
    studies = films.select("study_id", "subject_id", "date").unique("study_id", keep="first")
    pairs = studies.join(stays, "subject_id").with_columns(gap_days.alias("gap_days"))
    return (
        pairs.sort("study_id", "gap_days", "from", "race")
        .unique("study_id", keep="first")
        .select("study_id", "race")
    )


def _first_table(folders: list[Path], name: str) -> Path | None:
    found = (find_table(folder, (f"{name}.csv.gz", f"{name}.csv")) for folder in folders)
    return next((table for table in found if table), None)


def _reports_folder(root: Path, reports: Path | str | None) -> tuple[Path | None, bool]:
    """The folder that holds the reports' ``files``, and whether every film needs its report."""
    if reports is not None:
        folder = require_folder(Path(reports), "MIMIC-CXR's reports")
        inner = next((place for place in (folder, folder.parent) if (place / "files").is_dir()), None)
        if inner is None or (inner == folder.parent and folder.name != "files"):
            raise InputError(
                f"{folder} has no folder 'files'; expected files/p10/p10000032/s50414267.txt below it."
            )
        return inner, True
    for folder in (root / "mimic-cxr-reports", root):
        if next((folder / "files").glob("p*/p*/s*.txt"), None) is not None:
            return folder, True
    return None, False


def _report_files(films: pl.DataFrame, root: Path, texts: Path | None) -> pl.DataFrame:
    """``report_file`` of each film's study, by cxr-study-list where published."""
    if texts is None:
        return films
    studies = find_table(root, ("cxr-study-list.csv.gz", "cxr-study-list.csv"))
    films = _joined(films, studies, ("study_id",), ("path",))
    where = pl.coalesce("path", _tree(".txt"))
    return films.with_columns(pl.concat_str(pl.lit(f"{texts}/"), where).alias("report_file"))
