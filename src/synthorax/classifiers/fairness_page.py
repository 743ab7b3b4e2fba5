"""Fairness on a manifest: tables, JSON and one page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from synthorax import __version__
from synthorax.classifiers.evaluation import N_RESAMPLES
from synthorax.classifiers.fairness import LEAST_PATIENTS, N_PERMUTATIONS, Fairness, fairness
from synthorax.classifiers.groups import groups_of
from synthorax.classifiers.held_out import held_out
from synthorax.files import atomic
from synthorax.studies import read_manifest

SAID = {
    "underdiagnosis": "films with a finding that are called normal",
    "overdiagnosis": "films without a finding that are called abnormal",
    "auroc": "AUROC",
    "sensitivity": "sensitivity at the model's threshold",
    "specificity": "specificity at the model's threshold",
    "ece": "expected calibration error",
}


def fairness_on_studies(
    where: Path | str,
    studies: Path | str,
    concepts: Path | str,
    out: Path | str,
    *,
    names: Sequence[str] | None = None,
    least_patients: int = LEAST_PATIENTS,
    n_resamples: int = N_RESAMPLES,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
    device: str = "cpu",
) -> Fairness:
    """Measure a model in each group of the films that it has not seen; see :func:`~.fairness.fairness`.

    Writes ``groups.csv``, ``gaps.csv``, ``fairness.json`` and ``fairness.html``. Arguments as in
    :func:`~.on_studies.evaluate_on_studies` and :func:`~.fairness.fairness`, which say what is raised too.
    """
    found = held_out([where], studies, concepts, names=names, device=device)
    examples, reading, out = found.examples, found.readings[0], Path(out)
    of_films = pl.DataFrame({"image_id": examples.image_ids}).join(
        groups_of(read_manifest(studies)), on="image_id", how="left", maintain_order="left"
    )
    columns = {axis: of_films[axis].to_list() for axis in of_films.columns[1:]}
    settings = {
        "least_patients": least_patients, "n_resamples": n_resamples, "n_permutations": n_permutations, "seed": seed,
    }  # fmt: skip
    measured = fairness(
        examples.targets, reading.probabilities, examples.labels, examples.patient_ids, reading.thresholds, columns,
        **settings,
    )  # fmt: skip
    summary: dict[str, Any] = {
        "model": str(where),
        "studies": str(studies),
        "n_films": len(examples),
        "n_patients": len(set(examples.patient_ids)),
        "n_films_of_seen_patients_left_out": found.n_left_out,
        "labels": examples.labels,
        "thresholds_from": reading.thresholds_from,
        "simulated": set(read_manifest(studies)["source"]) == {"phantom"},
        **settings,
    }
    tables = {"groups": measured.groups, "gaps": measured.gaps}
    for name, table in tables.items():
        with atomic(out / f"{name}.csv") as temporary:
            table.write_csv(temporary)
    with atomic(out / "fairness.json") as temporary:
        temporary.write_text(
            json.dumps(summary | {name: table.to_dicts() for name, table in tables.items()}, indent=1) + "\n"
        )
    with atomic(out / "fairness.html") as temporary:
        temporary.write_text(page(measured, summary), encoding="utf-8")
    return measured


def page(measured: Fairness, summary: dict[str, Any]) -> str:
    """The page: gaps of the macro means and of whole films, then each group's figures; all labels are in the tables."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("synthorax.classifiers"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    overall = pl.col("label").is_in(["macro", "film"])
    return environment.get_template("fairness.html").render(
        said=SAID,
        gaps=measured.gaps.filter(overall).to_dicts() if measured.gaps.height else [],
        axes={
            axis: list(part.group_by("metric", maintain_order=True))
            for (axis,), part in measured.groups.filter(overall).group_by("axis", maintain_order=True)
        },
        summary=summary,
        version=__version__,
    )
