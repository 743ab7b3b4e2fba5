"""The gallery and the review of one film: filters, thumbnails made when seen, keep and reject."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

import polars as pl
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from PIL import Image

from synthorax.errors import InputError
from synthorax.workbench.opened_run import FILMS, OpenedRun
from synthorax.workbench.templates_of import page

router = APIRouter()
PER_PAGE, THUMBNAIL_PX = 48, 192
REASONS = ("finding missing", "wrong side", "wrong finding", "anatomy changed", "artefact", "too clean")
Which = Literal["edit", "source", "truth", "edit_mask", "keep_mask"]


@dataclass(frozen=True)
class Filters:
    """What the gallery shows; carried in the address, so that a view can be kept and sent."""

    type: str
    method: str
    finding: list[str]
    when: Literal["after", "before"]
    verdict: Literal["", "open", "kept", "rejected"]
    score_from: float | None

    def rows(self, frame: pl.DataFrame) -> list[int]:
        """The rows that pass, in the dataset's order."""
        keep = pl.lit(True)
        if self.type:
            keep &= pl.col("perturbation_type") == self.type
        if self.method:
            keep &= pl.col("method") == self.method
        for finding in filter(None, self.finding):
            keep &= pl.col(f"found_{self.when}").list.contains(finding)
        if self.verdict:
            keep &= {"open": pl.col("is_valid").is_null(), "kept": pl.col("is_valid"), "rejected": ~pl.col("is_valid")}[self.verdict]  # fmt: skip
        if self.score_from is not None:
            keep &= pl.col("score_edit") >= self.score_from
        return frame.filter(keep)["row"].to_list()

    @property
    def query(self) -> str:
        """As the end of an address, what is not set left out."""
        given = {
            k: v for k, v in asdict(self).items() if v not in ("", [], None) and (k, v) != ("when", "after")
        }
        return urlencode(given, doseq=True)


def filters(
    type: Annotated[str, Query(max_length=60)] = "",
    method: Annotated[str, Query(max_length=60)] = "",
    finding: Annotated[list[str] | None, Query(max_length=8)] = None,
    when: Literal["after", "before"] = "after",
    verdict: Literal["", "open", "kept", "rejected"] = "",
    score_from: Annotated[str, Query(max_length=20, pattern=r"^(-?\d+(\.\d*)?)?$")] = "",
) -> Filters:
    """The filters of an address; an empty field of the form filters nothing."""
    wanted = [name for name in finding or [] if name]
    return Filters(type, method, wanted, when, verdict, float(score_from) if score_from else None)


Filtered = Annotated[Filters, Depends(filters)]


@router.get("/gallery", response_class=HTMLResponse)
def gallery(request: Request, shown: Filtered, page_number: Annotated[int, Query(alias="page", ge=1, le=10**6)] = 1) -> Response:  # fmt: skip
    """A page of the films that pass the filters."""
    run: OpenedRun = request.app.state.run
    frame = run.frame
    rows = shown.rows(frame)
    n_pages = max(1, -(-len(rows) // PER_PAGE))
    number = min(page_number, n_pages)
    here = rows[(number - 1) * PER_PAGE : number * PER_PAGE]
    films = frame[here].to_dicts() if here else []
    return page(
        request, "gallery.html", films=films, filters=shown, n=len(rows), n_all=frame.height, number=number,
        n_pages=n_pages, types=_values(frame, "perturbation_type"), methods=_values(frame, "method"),
        findings=[*run.vocabulary.labels, *run.vocabulary.concepts], has_scores=frame["score_edit"].count() > 0,
    )  # fmt: skip


def _values(frame: pl.DataFrame, column: str) -> list[str]:
    return frame[column].drop_nulls().unique().sort().to_list()


@router.get("/review/{row}", response_class=HTMLResponse)
def review(request: Request, row: int, shown: Filtered) -> Response:
    """Source and edit of one row, with what was asked for, and the verdict."""
    run: OpenedRun = request.app.state.run
    film = run.row(row)
    rows = shown.rows(run.frame)
    before, after = _neighbours(rows, row)
    has = {which: film[column] is not None for which, column in FILMS.items()}
    provenance = {
        k: v for k, v in film.items() if v is not None and k not in ("row", "found_before", "found_after")
    }
    return page(
        request, "review.html", film=film, has=has, filters=shown, before=before, after=after, reasons=REASONS,
        place=rows.index(row) + 1 if row in rows else None, n=len(rows), provenance=provenance,
    )  # fmt: skip


def _neighbours(rows: Sequence[int], row: int) -> tuple[int | None, int | None]:
    earlier, later = [r for r in rows if r < row], [r for r in rows if r > row]
    return (earlier[-1] if earlier else None), (later[0] if later else None)


@router.post("/review/{row}", response_class=HTMLResponse)
def judge(
    request: Request, row: int, shown: Filtered,
    verdict: Annotated[Literal["keep", "reject"], Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:  # fmt: skip
    """Write the verdict into the dataset's metadata and go to the next film."""
    run: OpenedRun = request.app.state.run
    if verdict == "reject" and not reason.strip():
        raise InputError(
            f"row {row} was to be rejected without a reason; say why, so that others can learn from it."
        )
    following = _neighbours(shown.rows(run.frame), row)[1]
    run.review(row, verdict == "keep", reason.strip() or None if verdict == "reject" else None)
    target = f"/review/{row if following is None else following}"
    return RedirectResponse(f"{target}?{shown.query}" if shown.query else target, 303)


@router.get("/film/{row}/{which}.png", response_class=FileResponse)
def film(request: Request, row: int, which: Which) -> Response:
    """A film or mask of one row, as it is on disk."""
    return FileResponse(request.app.state.run.film(row, which), media_type="image/png", headers={"cache-control": "no-cache"})  # fmt: skip


@router.get("/thumbnail/{row}/{which}.jpg", response_class=Response)
def thumbnail(request: Request, row: int, which: Which) -> Response:
    """A small film, made anew each time: only what is on the screen is ever asked for, and nothing is kept."""
    with Image.open(request.app.state.run.film(row, which)) as image:
        small = image.convert("L")
        small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    written = io.BytesIO()
    small.save(written, format="JPEG", quality=80)
    return Response(
        written.getvalue(), media_type="image/jpeg", headers={"cache-control": "private, max-age=300"}
    )
