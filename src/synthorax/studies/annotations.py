"""From masks and boxes as published to one table, masks on the films' own grids, and COCO JSON.

::

    annotations.parquet   a row a mark (:data:`ANNOTATIONS`)
    masks/                a mask or polygon as PNG, 1 bit, of its film's size
    edit/, keep/          of each film the pixels of the chosen labels together
    films.parquet         what ``synthorax stress`` takes: films with edit and keep mask and target
    plan.parquet          a plan with its edits' masks, for ``synthorax edit --masks file``
    coco.json             boxes and masks in COCO's form, with the rater beside
    rejected.csv          marks that were not taken, and why
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.dataset import write_png
from synthorax.errors import InputError, unknown_choice
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.studies.coco import CocoFile, coco_file
from synthorax.studies.films import film_size
from synthorax.studies.formats import ANNOTATED
from synthorax.studies.manifest import read_manifest
from synthorax.studies.marks import Mark, MarkedSet, agreed, box_of, on_grid, pixels_of, read_mask_file
from synthorax.studies.tables import read_table, require_columns

#: Column -> type. Pixels of the film where its size is known, else of the grid that the publisher drew on. ``x_max`` and
#: ``y_max`` are the first column and row outside. A mask's box is the one around it.
ANNOTATIONS = pl.Schema(
    {
        "image_id": pl.String(),
        "patient_id": pl.String(),
        "label": pl.String(),
        "kind": pl.String(),
        "rater": pl.String(),
        "x_min": pl.Float64(),
        "y_min": pl.Float64(),
        "x_max": pl.Float64(),
        "y_max": pl.Float64(),
        "height": pl.Int32(),
        "width": pl.Int32(),
        "mask_file_name": pl.String(),
    }
)
#: Height over width may differ by so much between a film and the grid of its annotations (rounding of a resize).
_SHAPE_TOLERANCE = 0.02


@dataclass
class Written:
    """What was written: rows of ``annotations.parquet`` and of ``rejected.csv``, of ``films.parquet``, and notes."""

    frame: pl.DataFrame
    rejected: pl.DataFrame
    films: pl.DataFrame | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Chosen:
    """Labels whose pixels make edit and keep masks, those that make a film positive, and how many raters must agree."""

    edit: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    least_raters: int = 1


def read_marks(path: Path | str, format: str) -> MarkedSet:
    """The marks of a set as published, film by film; nothing is drawn yet.

    Raises:
        InputError: no such format, or the set's files are missing or have other columns.
    """
    if format not in ANNOTATED:
        raise unknown_choice("format", format, ANNOTATED)
    return import_module(f"synthorax.studies.formats.{ANNOTATED[format].module}").read_annotations(Path(path))


def write_annotations(
    path: Path | str,
    format: str,
    out: Path | str,
    *,
    studies: Path | str | None = None,
    plan: Path | str | None = None,
    edit: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    target: Sequence[str] | None = None,
    least_raters: int = 1,
    limit: int | None = None,
) -> Written:
    """Read masks and boxes as published and write them in the forms that this page begins with.

    Args:
        path: the set's folder (or its table).
        format: one of :data:`synthorax.studies.formats.ANNOTATED`.
        out: a folder, new or from the same command.
        studies: the films' manifest: only its films are taken, found by image_id or by the file's name, and marks are
            brought to their grid. Without it a mark keeps the publisher's grid. Together with a target it gives ``films.parquet``.
        plan: a plan of edits whose films these are.
        edit: labels of the edit mask; default RadEdit's for the set, else none.
        keep: labels of the keep mask, likewise.
        target: labels that make a film positive; default those of the edit mask.
        least_raters: how many raters must have marked a pixel (for masks) or a label (for the target).
        limit: at most so many films.

    Raises:
        InputError: as :func:`read_marks`; a label that no film has; no film of the manifest is annotated.
    """
    if least_raters < 1:
        raise InputError(f"least_raters is {least_raters}; expected 1 or more.")
    marked, out, entry = read_marks(path, format), Path(out), ANNOTATED[format]
    chosen_edit = tuple(entry.edit if edit is None else edit)
    chosen = Chosen(
        chosen_edit,
        tuple(entry.keep if keep is None else keep),
        tuple((entry.target if edit is None else ()) or chosen_edit if target is None else target),
        least_raters,
    )
    films = None if studies is None else _films_of(read_manifest(studies))
    sheet = _Sheet(out, chosen)
    unknown = 0
    with coco_file(out / "coco.json") as coco:
        for image, marks in track(marked.by_film, f"Masks and boxes ({format})", unit="films"):
            film = None if films is None else films.get(image)
            if films is not None and film is None:
                unknown += 1
                continue
            place = film["file_name"] if film else marked.films.get(image)
            sheet.add(image, marks, film, place, coco)
            if limit is not None and len(sheet.seen) >= limit:
                break
    frame = pl.DataFrame(sheet.rows, schema=ANNOTATIONS, orient="row")
    if frame.is_empty():
        first = (
            sheet.rejected[0][2]
            if sheet.rejected
            else "no annotated film is in the manifest; compare its image_id and file names."
        )
        raise InputError(
            f"no mark of {path} could be taken ({len(sheet.rejected)} rejected); the first: {first}"
        )
    for label in {*chosen.edit, *chosen.keep, *chosen.target} - set(frame["label"]) - sheet.asked:
        raise unknown_choice("label", label, [name for name in frame["label"].unique() if name])
    rejected = pl.DataFrame(sheet.rejected, schema={"image_id": pl.String, "label": pl.String, "reason": pl.String}, orient="row")  # fmt: skip
    table = None if films is None or not chosen.target else sheet.films_table(films, entry.is_exhaustive)
    with atomic(out / "annotations.parquet") as temporary:
        frame.write_parquet(temporary)
    with atomic(out / "rejected.csv") as temporary:
        rejected.write_csv(temporary)
    if table is not None:
        with atomic(out / "films.parquet") as temporary:
            table.write_parquet(temporary)
    if plan is not None:
        sheet.write_plan(Path(plan))
    told = [*marked.notes, *sheet.notes()]
    if unknown:
        told.append(f"{unknown} annotated films are not in {studies}; left out.")
    return Written(frame, rejected, table, tuple(told))


def read_annotations(folder: Path | str) -> pl.DataFrame:
    """The rows of a folder that :func:`write_annotations` wrote, columns as :data:`ANNOTATIONS`; file names are absolute.

    Raises:
        InputError: no such table, or one with other columns.
    """
    path = Path(folder) / "annotations.parquet"
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a folder made by 'synthorax studies annotations'.")
    frame = read_table(path)
    require_columns(frame, ANNOTATIONS, path)
    return frame.select(pl.col(name).cast(kind) for name, kind in ANNOTATIONS.items()).with_columns(
        pl.concat_str(pl.lit(f"{Path(folder)}/"), "mask_file_name").alias("mask_file_name")
    )


def mark_of(row: Mapping[str, Any]) -> Mark:
    """A row of ``annotations.parquet`` as a mark on its film's grid."""
    box = tuple(row[name] for name in ("x_min", "y_min", "x_max", "y_max"))
    if row["mask_file_name"] is not None:
        path = Path(row["mask_file_name"])
        return Mark(row["image_id"], row["label"], "mask", row["rater"], mask=lambda: read_mask_file(path))
    return Mark(row["image_id"], row["label"], row["kind"], row["rater"], None if None in box else box)  # type: ignore[arg-type]


@dataclass
class _Sheet:
    """What the films give, one after another."""

    out: Path
    chosen: Chosen
    rows: list[tuple] = field(default_factory=list)
    rejected: list[tuple] = field(default_factory=list)
    seen: dict[str, list[Mark]] = field(default_factory=dict)
    masks: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    asked: set[str | None] = field(default_factory=set)
    counted: Counter = field(default_factory=Counter)

    def add(
        self, image: str, marks: list[Mark], film: Mapping[str, Any] | None, place: str | None, coco: CocoFile
    ) -> None:
        """One film's marks: rows, PNGs, its edit and keep mask, and its part of ``coco.json``."""
        if not image or "/" in image or "\\" in image or image.startswith("."):
            self.rejected.append(
                (image, None, f"image id {image!r} is no plain name; expected a film's. Correct the cell.")
            )
            return
        size, problem = _size(marks, place)
        if problem:
            self.rejected.append((image, None, problem))
            return
        taken = []
        for number, mark in enumerate(marks):
            self.asked.add(mark.label)
            if mark.problem:
                self.rejected.append((image, mark.label, mark.problem))
                continue
            try:
                taken.append(self._row(image, mark, number, film, size, coco))
            except InputError as error:
                self.rejected.append((image, mark.label, str(error)))
        if not taken:
            return
        self.seen[image] = [replace(mark, mask=None, points=None) for mark in taken]
        if size is None:
            self.counted["films whose size nobody states: their shapes have no mask, and coco.json lacks them. Name the manifest."] += 1  # fmt: skip
            return
        coco.film(image, place, size)
        self.masks[image] = (
            self._together("edit", image, taken, size),
            self._together("keep", image, taken, size),
        )

    def _row(
        self,
        image: str,
        mark: Mark,
        number: int,
        film: Mapping[str, Any] | None,
        size: tuple[int, int] | None,
        coco: CocoFile,
    ) -> Mark:
        name, box = None, mark.box
        if size is not None:
            mark = on_grid(mark, size)
            box = mark.box
            if mark.kind in ("mask", "polygon", "ellipse"):
                drawn = pixels_of(mark, size)
                box = box_of(drawn)
                if box is None:
                    raise InputError(
                        f"{mark.label} of {image} covers no pixel of {size[0]} x {size[1]}; expected some. Look at the row."
                    )
                name = f"masks/{image}/{number}.png"
                write_png(drawn, self.out / name)
                coco.mark(image, mark, box, drawn)
            elif box is not None:
                if box[0] >= size[1] or box[1] >= size[0] or box[2] <= 0 or box[3] <= 0:
                    raise InputError(f"{mark.label} of {image}: the box {box} lies outside its film of {size[0]} x {size[1]}. Look at the row.")  # fmt: skip
                if box[0] < 0 or box[1] < 0 or box[2] > size[1] or box[3] > size[0]:
                    self.counted["boxes reach over their film's edge and are kept as published"] += 1
                coco.mark(image, mark, box, None)
        elif mark.points is not None:
            low, high = mark.points.min(axis=0), mark.points.max(axis=0)
            box = (*low.tolist(), *high.tolist())
        patient = film["patient_id"] if film else None
        self.rows.append(
            (
                image,
                patient,
                mark.label,
                mark.kind,
                mark.rater,
                *(box or (None,) * 4),
                *(size or (None,) * 2),
                name,
            )
        )
        return mark

    def _together(self, which: str, image: str, marks: list[Mark], size: tuple[int, int]) -> str | None:
        wanted = getattr(self.chosen, which)
        chosen = [mark for mark in marks if mark.label in wanted and mark.kind not in ("none", "label")]
        if not chosen:
            return None
        mask = agreed(chosen, size, self.chosen.least_raters)
        if not mask.any():
            self.counted[f"{which} masks are empty because too few raters agree on any pixel"] += 1
            return None
        name = f"{which}/{image}.png"
        write_png(mask, self.out / name)
        return name

    def target(self, image: str, is_exhaustive: bool) -> int | None:
        """1 where enough raters marked a target label, 0 where the film was looked at and none did, else NULL."""
        marks = self.seen[image]
        raters = {mark.rater for mark in marks if mark.label in self.chosen.target and mark.kind != "none"}
        if raters:
            return 1 if len(raters) >= self.chosen.least_raters else None
        denied = any(mark.kind == "none" and mark.label in (*self.chosen.target, None) for mark in marks)
        return 0 if denied or is_exhaustive else None

    def films_table(self, films: Mapping[str, Mapping[str, Any]], is_exhaustive: bool) -> pl.DataFrame:
        """``synthorax.stress.films``' table of the films that have a target."""
        rows = []
        for image in self.seen:
            value = self.target(image, is_exhaustive)
            if value is None:
                self.counted["films have no target: not looked at for it, or too few raters agree; films.parquet lacks them"] += 1  # fmt: skip
                continue
            film, (edit, keep) = films[image], self.masks.get(image, (None, None))
            rows.append((film["file_name"], film["patient_id"], value, image, edit, keep))
        names = (
            "file_name",
            "patient_id",
            "target",
            "image_id",
            "edit_mask_file_name",
            "keep_mask_file_name",
        )
        kinds = {name: pl.Int8 if name == "target" else pl.String for name in names}
        return pl.DataFrame(rows, schema=kinds, orient="row")

    def write_plan(self, plan: Path) -> None:
        """The plan with ``edit_mask_file_name`` and ``keep_mask_file_name``, NULL where a film is not annotated."""
        try:
            edits = pl.read_parquet(plan)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{plan} cannot be read as a plan ({str(error).splitlines()[0]}).") from error
        if "image_id" not in edits.columns:
            raise InputError(f"{plan} has no column 'image_id'; expected a plan made by 'synthorax perturb'.")
        for index, which in enumerate(("edit", "keep")):
            names = [self.masks.get(image, (None, None))[index] for image in edits["image_id"]]
            edits = edits.with_columns(pl.Series(f"{which}_mask_file_name", names, dtype=pl.String))
        with atomic(self.out / "plan.parquet") as temporary:
            edits.write_parquet(temporary)

    def notes(self) -> list[str]:
        """What was counted, as sentences."""
        return [f"{count} {what}" for what, count in self.counted.items()]


def _films_of(manifest: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """image_id and the file's name without suffix -> the film's row; an image_id wins over another film's name."""
    rows = list(
        manifest.select("image_id", "patient_id", "file_name").drop_nulls("file_name").iter_rows(named=True)
    )
    by_name = {Path(row["file_name"]).stem: row for row in rows}
    return {**by_name, **{row["image_id"]: row for row in rows}}


def _size(marks: list[Mark], place: str | None) -> tuple[tuple[int, int] | None, str | None]:
    """The film's size from its header, else the grid that the marks were drawn on; and what is wrong."""
    stated = next((mark.size for mark in marks if mark.size), None)
    if place is None or not Path(place).is_file():
        return stated, None
    try:
        size = film_size(place)
    except InputError as error:
        return None, str(error)
    if stated and abs(size[0] / size[1] / (stated[0] / stated[1]) - 1) > _SHAPE_TOLERANCE:
        return None, (
            f"{place} has {size[0]} x {size[1]} px, its annotations were drawn on {stated[0]} x {stated[1]}; expected the "
            "same shape. Name the films as published."
        )
    return size, None
