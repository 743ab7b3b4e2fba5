"""The analyst's pages of a study: links and figures, and the coding of free text."""

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from synthorax.readers import Study, analyse
from synthorax.workbench.templates_of import page

router = APIRouter(prefix="/studies")
Name = Annotated[str, PathParameter(max_length=80)]


def _study(request: Request, name: str) -> Study:
    found = request.app.state.run.studies().get(name)
    if found is None:
        raise HTTPException(404, "This run has no such study.")
    return found


@router.get("/{name}", response_class=HTMLResponse)
def figures(request: Request, name: Name) -> Response:
    """How far the readers are, and every figure over the answers that there are."""
    study = _study(request, name)
    found = analyse(study)
    table: dict[str, dict[tuple, dict]] = {}
    for row in found["distribution"]:
        table.setdefault(row["question"], {}).setdefault((row["answer"], row["wording"]), {})[row["method"], row["reader"]] = row  # fmt: skip
    columns = sorted({(row["method"], row["reader"]) for row in found["distribution"]})
    return page(
        request, "study.html", name=name, study=study, links=study.links(), found=found, table=table,
        columns=columns, n_uncoded=len(study.uncoded()),
    )  # fmt: skip


@router.get("/{name}/coding", response_class=HTMLResponse)
def coding(request: Request, name: Name) -> Response:
    """The next comment that nobody coded, without its reader and its method."""
    study = _study(request, name)
    waiting = study.uncoded()
    return page(request, "coding.html", name=name, study=study, waiting=waiting, modes=study.failure_modes())


@router.post("/{name}/coding", response_class=HTMLResponse)
def code(
    request: Request, name: Name,
    reader: Annotated[int, Form(ge=1, le=10**6)], position: Annotated[int, Form(ge=1, le=10**6)],
    mode: Annotated[list[str] | None, Form(max_length=50)] = None,
) -> Response:  # fmt: skip
    """Save the failure modes of one comment."""
    _study(request, name).set_codes(reader, position, mode or [])
    return RedirectResponse(f"/studies/{name}/coding", 303)


@router.post("/{name}/modes", response_class=HTMLResponse)
def add_mode(
    request: Request, name: Name, mode: Annotated[str, Form(min_length=1, max_length=60)]
) -> Response:
    """Add a failure mode to the study's list."""
    _study(request, name).add_failure_mode(mode)
    return RedirectResponse(f"/studies/{name}/coding", 303)
