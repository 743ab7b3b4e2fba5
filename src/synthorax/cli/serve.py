"""``synthorax serve``: the workbench in a browser."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    run: Annotated[Path, typer.Argument(help="A run folder, e.g. runs/demo.", metavar="RUN")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    token: Annotated[str | None, typer.Option(help="The token; default beyond loopback: a new one.")] = None,
    only_readers: Annotated[
        bool, typer.Option("--only-readers", help="Serve the reading pages alone, nothing with the truth.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Model of the Edit page: folder or repo id; default: embedded.")
    ] = None,
) -> None:
    """Look at a run, review and edit films, and let radiologists read: a local web page."""
    from importlib.util import find_spec

    from synthorax.errors import InputError

    if missing := [name for name in ("fastapi", "uvicorn", "statsmodels") if find_spec(name) is None]:
        raise InputError(f"{missing[0]} is not installed; the workbench needs it: pip install 'synthorax[workbench]'.")  # fmt: skip
    from synthorax.workbench import serve as serve_pages

    serve_pages(
        run, host=host, port=port, token=token, only_readers=only_readers, model=model, say=typer.echo
    )
