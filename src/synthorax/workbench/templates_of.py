"""Pages from templates: everything that a run or a reader wrote is escaped."""

from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from synthorax import __version__

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_ENVIRONMENT.filters["words"] = lambda text: str(text).replace("_", " ")
_ENVIRONMENT.filters["number"] = lambda value, digits=2: "–" if value is None else f"{value:.{digits}f}"
_ENVIRONMENT.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.0f}\u00a0%"


def page(request: Request, template: str, *, status_code: int = 200, **values: Any) -> HTMLResponse:
    """One page; ``run`` and ``path`` are known to every template."""
    run = request.app.state.run
    body = _ENVIRONMENT.get_template(template).render(
        run=run,
        path=request.url.path,
        version=__version__,
        only_readers=request.app.state.only_readers,
        **values,
    )
    return HTMLResponse(body, status_code=status_code)
