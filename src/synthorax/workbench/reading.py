"""The reader's pages: welcome, case, film, answer. They work without JavaScript and know nothing of the truth.

A film's address holds the position alone: a repeat has another address than the first reading, the same film another
address for every reader, and its bytes say nothing (:meth:`synthorax.readers.Study.film`).
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from synthorax.errors import InputError
from synthorax.readers import Study
from synthorax.readers.study import Item
from synthorax.workbench.templates_of import page

router = APIRouter(prefix="/read")
Link = Annotated[str, PathParameter(max_length=64)]
Position = Annotated[int, PathParameter(ge=1, le=10**6)]


class Answer(BaseModel):
    """A form: one field for each question of the study's protocol, and the free text."""

    model_config = ConfigDict(extra="allow")
    comment: Annotated[str, Field(max_length=4000)] = ""


def _reader(request: Request, link: str) -> tuple[Study, int]:
    found = request.app.state.run.reader(link)
    if found is None:
        raise HTTPException(404, "This reading link is not known; ask for a new one.")
    return found


def _item(study: Study, reader: int, position: int) -> Item:
    item = study.item(reader, position)
    if item is None:
        raise HTTPException(404, "There is no case with this number.")
    return item


@router.get("/{link}", response_class=HTMLResponse)
def welcome(request: Request, link: Link) -> Response:
    """What is asked, how far the reader is, and the way on."""
    study, reader = _reader(request, link)
    n_answered, n_items, following = study.progress(reader)
    return page(request, "welcome.html", study=study, link=link, n_answered=n_answered, n_items=n_items, following=following)  # fmt: skip


@router.get("/{link}/{position}", response_class=HTMLResponse)
def case(request: Request, link: Link, position: Position) -> Response:
    """One case. Those ahead of the first without an answer cannot be opened."""
    study, reader = _reader(request, link)
    item = _item(study, reader, position)
    n_answered, _, following = study.progress(reader)
    if following is not None and position > following:
        return RedirectResponse(f"/read/{link}/{following}", 303)
    if item.answer is None:
        study.opened(reader, position)
    return page(request, "case.html", study=study, link=link, item=item, n_answered=n_answered, sides="ab"[: len(item.films)])  # fmt: skip


@router.get("/{link}/{position}/{side}.png", response_class=Response)
def case_film(request: Request, link: Link, position: Position, side: Literal["a", "b"]) -> Response:
    """A film of the case."""
    study, reader = _reader(request, link)
    films = _item(study, reader, position).films
    following = study.progress(reader)[2]
    if "ab".index(side) >= len(films) or (following is not None and position > following):
        raise HTTPException(404, "This case has no such film, or it is not its turn yet.")
    return Response(study.film(films["ab".index(side)]), media_type="image/png")


@router.post("/{link}/{position}", response_class=HTMLResponse)
def answer(request: Request, link: Link, position: Position, given: Annotated[Answer, Form()]) -> Response:
    """Save the answer, then on to the next case without one."""
    study, reader = _reader(request, link)
    item = _item(study, reader, position)
    following = study.progress(reader)[2]
    if following is not None and position > following:
        return RedirectResponse(f"/read/{link}/{following}", 303)
    try:
        study.save(reader, position, {k: str(v) for k, v in (given.model_extra or {}).items()}, given.comment)
    except InputError as error:
        return page(
            request, "case.html", study=study, link=link, item=item, n_answered=study.progress(reader)[0],
            sides="ab"[: len(item.films)], problem=str(error), status_code=400,
        )  # fmt: skip
    following = study.progress(reader)[2]
    return RedirectResponse(f"/read/{link}/{following}" if following else f"/read/{link}", 303)
