"""From a set as published to the manifest: every film looked at is in it, or rejected with a reason."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.errors import InputError, unknown_choice
from synthorax.progress import track
from synthorax.seeds import derive_seed
from synthorax.studies.films import FILM_SUFFIXES, check_film
from synthorax.studies.formats import FORMATS
from synthorax.studies.manifest import MANIFEST, REJECTED, Studies, repeated
from synthorax.studies.source import Source
from synthorax.studies.values import VIEWS, age_years, defect, sex, view_position

FRONTAL = ("PA", "AP", "unknown")
_AT_ONCE = 256


def import_studies(
    path: Path | str,
    format: str,
    *,
    limit: int | None = None,
    views: Sequence[str] = FRONTAL,
    **options: Path | str | bool | None,
) -> Studies:
    """Read a set of films as published into one manifest.

    Each film's file must exist (under its name or with another of a film's suffixes) and its header must
    open; pixels are read when they are used. Rows are ordered by patient, study and image id.

    Args:
        path: the set's folder (for ``manifest`` a table; for ``openi`` also the reports' archive, for ``dicom`` also
            a DICOMDIR).
        format: one of :data:`synthorax.studies.formats.FORMATS`.
        limit: take this many films at most. Films are looked at in the order of ``derive_seed(image_id)``:
            a fixed shuffle, so that the sample doesn't follow the set's own order (often by patient or by
            year), a larger limit keeps the smaller one's films, and adding films to the set disturbs the
            sample little. Films after the last one taken are neither taken nor listed as rejected.
        views: views to take: PA, AP, LATERAL, and ``unknown`` where the set doesn't say.
        options: the format's own: ``reports`` (folder, ``openi`` also an archive), ``table`` (a CSV; ``medfmc`` one of its lists),
            ``mimic_iv`` (folder with patients and admissions), ``labeler`` (``chexpert`` or ``negbio``), ``take_burned_in``.

    Raises:
        InputError: no such format or option, or the set's folder or table is missing or has other columns.
            What is wrong with a single row never raises; it is in ``rejected``.
    """
    for view in views:
        if view not in (*VIEWS, "unknown"):
            raise unknown_choice("views", view, (*VIEWS, "unknown"))
    if limit is not None and limit < 1:
        raise InputError(
            f"limit is {limit}; expected a whole number from 1. Leave it out to take every film."
        )
    source = open_source(Path(path), format, **options)
    images = source.frame["image_id"].to_list()
    order = list(range(len(images)))
    if limit is not None:
        order.sort(key=lambda index: (derive_seed(images[index]), index))
    taken: list[dict[str, Any]] = []
    rejected: dict[int, tuple[int, str | None, str]] = {}
    seen: dict[str, int] = {}
    inspected = _inspected(source, order, set(views))
    for index, row, fault in track(
        inspected, f"Looking at films ({format})", total=min(limit or len(images), len(images))
    ):
        fault = fault or repeated(row["image_id"], row["row"], seen)
        if fault:
            rejected[index] = (row["row"], row["file_name"], f"{row['place']} row {row['row']}: {fault}")
        else:
            taken.append(row)
        if len(taken) == limit:
            break
    scores = {name: pl.Float64() for name in source.frame.columns if name.startswith("score_")}
    schema = pl.Schema({**MANIFEST, **scores})
    frame = pl.DataFrame([{name: row[name] for name in schema} for row in taken], schema=schema)
    return Studies(
        frame.sort("patient_id", "study_id", "image_id"),
        pl.DataFrame([rejected[index] for index in sorted(rejected)], schema=REJECTED, orient="row"),
        source.notes,
    )


def open_source(path: Path, format: str, **options: Path | str | bool | None) -> Source:
    """Read a set's tables with the adapter of its format; no film is looked at yet."""
    if format not in FORMATS:
        raise unknown_choice("format", format, FORMATS)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in FORMATS[format].options:
            takers = [other for other, entry in FORMATS.items() if name in entry.options]
            allowed = f"only {', '.join(takers)} take it" if takers else "no format takes it"
            raise InputError(f"format {format} takes no option {name!r}; {allowed}. Leave it out.")
    adapter = import_module(f"synthorax.studies.formats.{FORMATS[format].module}")
    return adapter.read_source(path, **given)


def _inspected(
    source: Source, order: Sequence[int], views: set[str]
) -> Iterator[tuple[int, dict[str, Any], str | None]]:
    """Each index, its row in manifest spelling and its fault; threads open the files, the order stays."""

    def settle(row: dict[str, Any]) -> str | None:
        return _settle(row, views, source.needs_text)

    with ThreadPoolExecutor(max_workers=8) as pool:
        for start in range(0, len(order), _AT_ONCE):
            chosen = order[start : start + _AT_ONCE]
            rows = list(source.frame[chosen].iter_rows(named=True))
            yield from zip(chosen, rows, pool.map(settle, rows), strict=True)


def _settle(row: dict[str, Any], views: set[str], needs_text: bool) -> str | None:
    """Bring a row to the manifest's spelling, look at its film, fetch its report; returns what is wrong."""
    row["view_position"] = view_position(row["view_position"])
    row["sex"] = sex(row["sex"])
    row["age"] = age_years(row["age"])
    fault = row["problem"] or defect(row)
    if fault:
        return fault
    view = row["view_position"] or "unknown"
    if view not in views:
        taken = ", ".join(sorted(views))
        return f"view is {view}; this import takes {taken}. Add {view} to the views to take it."
    try:
        if row["file_name"] is not None:
            row["file_name"] = str(_existing(Path(row["file_name"])))
            if not row["is_checked"]:
                check_film(row["file_name"])
        if row["report_file"] is not None:
            row["report"] = _text_of(Path(row["report_file"]))
    except InputError as error:
        return str(error)
    if needs_text and row["labels_present"] is None and not (row["report"] or "").strip():
        where = row["report_file"] or "the row's report"
        return (
            f"{where} is missing or has no text, and the film has no labels. Add the text, or leave it out."
        )
    return None


def _existing(path: Path) -> Path:
    """The film, or its sibling whose name has another (or first gets a) suffix of films."""
    if not path.is_file():
        for suffix in FILM_SUFFIXES:
            for sibling in (path.with_suffix(suffix), path.with_name(path.name + suffix)):
                if sibling.is_file():
                    return sibling
    return path


def _text_of(path: Path) -> str | None:
    """A report's text; None where the file is missing or blank."""
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except UnicodeDecodeError:
        return path.read_text(encoding="latin-1").strip() or None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check the file's permissions."
        ) from error
