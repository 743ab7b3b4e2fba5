"""workbench: a run in the browser: overview, coverage map, gallery and review, edit, reader studies.

Public names: :func:`create_app` (the FastAPI application) and :func:`serve` (what ``synthorax serve`` does).
"""

from synthorax.workbench.app import create_app, serve

__all__ = ["create_app", "serve"]
