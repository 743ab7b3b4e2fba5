"""The application: rooms of pages behind one guard.

Pages are rendered here and work without JavaScript, but for the Edit page, whose masks are painted. Nothing is
fetched from elsewhere.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from synthorax import __version__
from synthorax.errors import SynthoraxError
from synthorax.workbench import coverage_map, edit_page, gallery, overview, reader_figures, reading
from synthorax.workbench.guard import LOOPBACK, Guard
from synthorax.workbench.opened_run import OpenedRun
from synthorax.workbench.templates_of import page


def create_app(
    run: Path | str, *, token: str | None = None, only_readers: bool = False, model: str | None = None
) -> FastAPI:
    """The workbench of one run.

    Args:
        run: run folder. Nothing outside it is ever read for a page, and nothing outside it is written.
        token: asked for on every page but the reading pages, whose links are secrets themselves; None = not asked
            for, and only requests to a loopback name are answered.
        only_readers: the reading pages alone, so that a reader's machine has no page with the truth.
        model: of the Edit page: folder or repo id; None = the embedded one.

    Raises:
        InputError, RunError: no run folder there.
    """
    app = FastAPI(
        title="synthorax workbench", version=__version__, docs_url=None, redoc_url=None,
        openapi_url=None if only_readers else "/openapi.json",
    )  # fmt: skip
    app.state.run = OpenedRun.open(run)
    app.state.edits = edit_page.Edits(app.state.run, model)
    app.state.only_readers = only_readers
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.include_router(reading.router)
    if not only_readers:
        for room in (overview, coverage_map, gallery, edit_page, reader_figures):
            app.include_router(room.router)
    app.add_exception_handler(SynthoraxError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Guard, token=token)
    return app


def _refused(request: Request, error: Exception) -> Response:
    if request.headers.get("accept", "").startswith("application/json"):
        return Response(str(error), status_code=400, media_type="text/plain; charset=utf-8")
    refused: HTMLResponse = page(request, "refused.html", sentence=str(error), status_code=400)
    return refused


def _invalid(request: Request, error: Exception) -> Response:
    """What is wrong where, without repeating the input, which may hold what no answer can (half a character)."""
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return Response(said.encode("ascii", "backslashreplace"), 422, media_type="text/plain; charset=utf-8")


def serve(
    run: Path | str, *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None,
    only_readers: bool = False, model: str | None = None, say: Callable[[str], object] = print,
) -> None:  # fmt: skip
    """Serve the workbench until it is stopped; arguments as in :func:`create_app`.

    Args:
        host: address; beyond loopback a token is made where none is given.
        port: port.
        say: told the addresses to open.
    """
    import uvicorn

    if host not in LOOPBACK and token is None:
        token = secrets.token_urlsafe(16)
    app = create_app(run, token=token, only_readers=only_readers, model=model)
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if not only_readers:
        say(f"workbench: {base}/{f'?token={token}' if token else ''}")
    for name, study in app.state.run.studies().items():
        for reader, link in study.links().items():
            say(f"{name}, reader {reader}: {base}/read/{link}")
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)
