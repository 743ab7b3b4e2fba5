"""The co-occurrence map before and after, and the ranked gaps; every cell leads to its films."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from synthorax.runs.results import Combination
from synthorax.workbench.opened_run import OpenedRun
from synthorax.workbench.templates_of import page

router = APIRouter()
N_SHADES, N_GAPS = 9, 40


@router.get("/coverage", response_class=HTMLResponse)
def coverage_map(
    request: Request, level: Annotated[Literal["label", "concept"], Query()] = "label"
) -> Response:
    """How often two labels or concepts occur together in the cohort, and with the made films added."""
    run: OpenedRun = request.app.state.run
    coverage = run.results.coverage if run.results else None
    if coverage is None:
        return page(request, "coverage.html", level=level, names=[], rows=[], gaps=[])
    before, after = (
        {frozenset(c.combination): c for c in some if c.level == level}
        for some in (coverage.before, coverage.after)
    )
    order = run.vocabulary.labels if level == "label" else run.vocabulary.concepts
    names = [name for name in order if any(name in key for key in before)]
    top = max((c.count for key, c in after.items() if len(key) == 2), default=0) or 1

    def cell(one: str, other: str) -> dict | None:
        key = frozenset((one, other))
        if key not in before or key not in after:
            return None
        counts = before[key].count, after[key].count
        shade = max(int(counts[1] > 0), round(N_SHADES * min(1, counts[1] / top) ** 0.5))
        return {"before": counts[0], "after": counts[1], "shade": shade, "status": before[key].status,
                "names": sorted(key, key=names.index)}  # fmt: skip

    gaps = sorted(
        (c for c in before.values() if c.status != "covered" and len(c.combination) > 1),
        key=lambda c: (c.count, -(c.expected or 0.0)),
    )[:N_GAPS]
    return page(
        request, "coverage.html", level=level, names=names, rows=[[cell(a, b) for b in names] for a in names],
        gaps=[(gap, _count(after, gap)) for gap in gaps],
    )  # fmt: skip


def _count(after: dict[frozenset[str], Combination], gap: Combination) -> int:
    found = after.get(frozenset(gap.combination))
    return found.count if found else 0
