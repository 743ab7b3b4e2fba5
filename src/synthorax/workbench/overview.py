"""The first page: counts, figures, rejected rows; and the report as it is."""

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from synthorax.errors import InputError
from synthorax.runs.headline import headlines
from synthorax.workbench.opened_run import OpenedRun
from synthorax.workbench.templates_of import page

router = APIRouter()


@router.get("/", response_class=HTMLResponse)
def overview(request: Request) -> Response:
    """Counts, metrics, figures and rejected rows of the run."""
    run: OpenedRun = request.app.state.run
    frame = run.frame
    by_type = frame.group_by("perturbation_type", "method").len().sort("len", descending=True).to_dicts()
    verdicts = {
        "kept": frame.filter("is_valid").height,
        "rejected": frame.filter(~frame["is_valid"]).height,
        "not reviewed": frame["is_valid"].null_count(),
    }
    return page(
        request, "overview.html", results=run.results, n_films=frame.height, by_type=by_type, verdicts=verdicts,
        headlines=headlines(run.results) if run.results else [], studies=run.studies(),
        has_report=(run.path / "report.html").is_file(),
    )  # fmt: skip


@router.get("/report.html", response_class=HTMLResponse)
def report(request: Request) -> Response:
    """The run's report, a page of its own: its styles and images are inside it."""
    file = request.app.state.run.path / "report.html"
    if not file.is_file():
        raise InputError(f"{file.name} does not exist; 'synthorax report RUN' writes it.")
    return FileResponse(
        file, media_type="text/html", content_disposition_type="attachment", filename="report.html"
    )
