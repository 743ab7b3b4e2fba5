"""``report.html``: one file that shows a run, made from ``results.json`` and the images it names.

Everything is inside the page (style, drawings, JPEG images), so it can be mailed, printed and kept.
"""

from pathlib import Path

import jinja2
import numpy as np

from synthorax import __version__
from synthorax.dataset import read_metadata, read_png
from synthorax.errors import RunError
from synthorax.files import atomic
from synthorax.quality.pictures import DIFFERENCE_REACH, data_uri, difference_map, outlined
from synthorax.runs import charts
from synthorax.runs.headline import LOWER_IS_BETTER, METRIC_NAMES, headlines, label_pairs, spoken
from synthorax.runs.results import (
    Classifier,
    Combination,
    Coverage,
    Difference,
    Example,
    Results,
    read_results,
)

N_COMBINATIONS = 24
N_REJECTED_SHOWN = 50


def write_report(run_folder: Path | str) -> Path:
    """Write ``report.html`` into a run folder, whole or not at all, and return its path.

    Raises:
        RunError: ``results.json`` is missing or breaks its contract, or an image that it names is missing.
    """
    folder = Path(run_folder)
    results = read_results(folder)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            r=results,
            headlines=headlines(results),
            examples=[_figures(example, folder) for example in results.examples],
            heatmaps=_heatmaps(results),
            combinations=_combinations(results.coverage) if results.coverage else [],
            metrics=_metrics(results.classifier) if results.classifier else [],
            dataset=_dataset(folder),
            difference_percent=round(100 * DIFFERENCE_REACH),
            n_rejected_shown=N_REJECTED_SHOWN,
            version=__version__,
        )
    )
    path = folder / "report.html"
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synthorax.runs"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "signed": _signed,
        "spoken": spoken,
        "words": _words,
    }
    return environment


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figures(example: Example, folder: Path) -> dict[str, object]:
    """An example with its pictures as data URIs, in reading order."""
    source, edit = _film(folder, example.source), _film(folder, example.edit)
    first = outlined(source, _film(folder, example.mask)) if example.mask else source
    pictures = [
        ("Source" + (" with edit mask" if example.mask else ""), first),
        ("Edit (synthetic)", edit),
        ("Edit minus source", difference_map(edit, source)),
    ]
    if example.counterfactual:
        truth = _film(folder, example.counterfactual)
        pictures += [("True counterfactual", truth), ("Truth minus source", difference_map(truth, source))]
    return {"example": example, "pictures": [(caption, data_uri(picture)) for caption, picture in pictures]}


def _film(folder: Path, name: str) -> np.ndarray:
    path = folder / name
    if not path.is_file():
        raise RunError(
            f"{path} does not exist, but {folder / 'results.json'} shows it. Give the run's command again."
        )
    return read_png(path)


def _heatmaps(results: Results) -> list[tuple[str, object]]:
    """Label pairs before and after, in one colour scale."""
    coverage = results.coverage
    if not coverage:
        return []
    maps = [("The cohort alone", label_pairs(coverage.before))]
    if coverage.after:
        maps.append(("With the synthetic films", label_pairs(coverage.after)))
    asked = set().union(*(pair for _, counts in maps for pair in counts))
    labels = [label for label in results.cohort.labels if label in asked]
    labels += sorted(asked - set(labels))
    if len(labels) < 2:
        return []
    withheld = {frozenset(pair) for pair in coverage.withheld_pairs}
    top = max(count for _, counts in maps for count in counts.values())
    return [(title, charts.pair_heatmap(labels, counts, withheld, top)) for title, counts in maps]


def _combinations(coverage: Coverage) -> list[tuple[Combination, int | None]]:
    """The first combinations of the results, each with its count after."""
    after = {(c.level, frozenset(c.combination)): c.count for c in coverage.after}
    return [(c, after.get((c.level, frozenset(c.combination)))) for c in coverage.before[:N_COMBINATIONS]]


def _metrics(classifier: Classifier) -> list[dict[str, object]]:
    """A block a metric: its name and, for each arm, the figures and the drawing of the difference."""
    blocks: list[dict[str, object]] = []
    for metric in dict.fromkeys(name for arm in classifier.rows for name in arm.metrics):
        differences = [(arm.difference or {}).get(metric) for arm in classifier.rows]
        ends = [abs(end) for d in differences if d for end in (d.ci_low, d.ci_high) if end is not None]
        arms = [
            {
                "arm": arm.arm,
                "figure": arm.metrics.get(metric),
                "difference": difference,
                "tone": _tone(difference),
                "drawing": _drawing(difference, max(ends, default=0)),
            }
            for arm, difference in zip(classifier.rows, differences, strict=True)
        ]
        name = METRIC_NAMES.get(metric, metric)
        better = "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
        blocks.append({"name": f"{name[:1].upper()}{name[1:]}", "better": better, "arms": arms})
    return blocks


def _tone(difference: Difference | None) -> str:
    """CSS class of a verdict: better, worse or no."""
    return difference.verdict.split()[0] if difference else ""


def _drawing(difference: Difference | None, reach: float) -> str:
    if (
        difference is None
        or difference.value is None
        or difference.ci_low is None
        or difference.ci_high is None
    ):
        return ""
    return charts.interval(
        difference.value,
        difference.ci_low,
        difference.ci_high,
        max(reach, abs(difference.value)),
        _tone(difference),
    )


def _dataset(folder: Path) -> dict[str, object] | None:
    """What the synthetic dataset's manifest says, where the run has one."""
    if not (folder / "synthetic" / "metadata.parquet").is_file():
        return None
    frame = read_metadata(folder / "synthetic")
    reasons = frame["reject_reason"].drop_nulls().value_counts(sort=True)
    return {
        "n_rows": frame.height,
        "n_valid": int(frame["is_valid"].sum()) if frame["is_valid"].is_not_null().any() else None,
        "n_patients": frame["patient_id"].n_unique(),
        "reasons": reasons.rows(),
    }
