"""Does a synthetic cohort show whom a model serves worse? Its F1 by group on held-out films and on their synthetic twins."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.classifiers.group_f1 import LEAST_PATIENTS, GroupF1, agreement, crossed, group_f1
from synthorax.classifiers.groups import groups_of
from synthorax.classifiers.held_out import held_out
from synthorax.classifiers.statistics import N_RESAMPLES
from synthorax.dataset import read_metadata
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.studies import read_manifest

#: Seed of the bootstrap.
SEED = 0


def bias_on_studies(
    where: Path | str,
    studies: Path | str,
    concepts: Path | str,
    twins: Path | str,
    out: Path | str,
    *,
    by: Sequence[str] = ("sex", "age_group"),
    least_patients: int = LEAST_PATIENTS,
    n_resamples: int = N_RESAMPLES,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure a model by group on films that it has not seen, and on the twins made of these films' descriptions.

    Writes ``groups.csv`` (``axis, group, n_patients``, F1 and interval on ``films`` and ``twins``) and ``bias.json``, which
    is returned: for each axis and all of them crossed the worst group's F1 and the gap on both, and their agreement.

    Args:
        where: a model, as in :func:`~.models.load_tested`.
        studies, concepts: the films, as in :func:`~.held_out.held_out`.
        twins: the run of ``synthorax generate`` of the table that ``synthorax bias match`` wrote; films with
            ``is_valid`` false are left out, and with them their cases.
        out: folder of the results.
        by: axes, of ``sex, age_group, race, view_position, site``.
        least_patients, n_resamples: see :func:`~.group_f1.group_f1`.
        device: torch device.

    Raises:
        InputError: no twin of any film that the model has not seen, or fewer than two groups.
    """
    found, out = held_out([where], studies, concepts, device=device), Path(out)
    data = Path(twins) / "synthetic" if (Path(twins) / "synthetic").is_dir() else Path(twins)
    made = read_metadata(data).filter(pl.col("is_valid").fill_null(True), pl.col("source_image_id").is_not_null())  # fmt: skip
    films = dict(made.select("source_image_id", "file_name").iter_rows())
    rows = [i for i, name in enumerate(found.examples.image_ids) if name in films]
    if not rows:
        raise InputError(f"{twins} has no twin of a film of {studies} that the model has not seen; make them with 'synthorax bias match' and 'generate'.")  # fmt: skip
    kept = np.isin(np.arange(len(found.examples)), rows)
    examples, reading = found.examples.where(kept.tolist()), found.readings[0]
    names = [name for name in reading.model.labels or () if name not in found.outputs_left_out]
    p = {
        "films": reading.probabilities[kept],
        "twins": reading.model.table(
            [str(data / films[name]) for name in examples.image_ids], names or [None]
        ),
    }
    columns = pl.DataFrame({"image_id": examples.image_ids}).join(
        groups_of(read_manifest(studies)), on="image_id", how="left", maintain_order="left"
    )
    axes = [some for n in range(1, len(by) + 1) for some in combinations(by, n)]
    table, told = [], []
    for some in axes:
        groups = crossed(columns.select(some).to_dict(as_series=False), some)
        measured = {
            kind: group_f1(
                examples.targets, values, reading.thresholds, examples.patient_ids, groups,
                least_patients=least_patients, n_resamples=n_resamples, seed=SEED,
            )
            for kind, values in p.items()
        }  # fmt: skip
        axis = " x ".join(some)
        told.append(axis_of(axis, measured))
        for name in measured["films"].names:
            row: dict[str, Any] = {"axis": axis, "group": name, "n_films": groups.count(name)}
            for kind, figures in measured.items():
                interval = figures.of(name)
                row |= {kind: interval.estimate, f"{kind}_ci_low": interval.ci_low, f"{kind}_ci_high": interval.ci_high}  # fmt: skip
            table.append(row)
    result = {"model": str(where), "n_cases": len(examples), "n_without_twin": len(found.examples) - len(examples), "axes": told}  # fmt: skip
    with atomic(out / "groups.csv") as temporary:
        pl.DataFrame(table).write_csv(temporary)
    with atomic(out / "bias.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def axis_of(axis: str, measured: dict[str, GroupF1]) -> dict[str, Any]:
    """Worst group, gap, and how far films and twins agree."""
    row: dict[str, Any] = {"axis": axis}
    for kind, figures in measured.items():
        worst = figures.names[int(np.nanargmin(figures.figures.estimate))]
        row[kind] = {"worst_group": worst, "worst": asdict(figures.worst), "gap": asdict(figures.gap)}
    alike = agreement(measured["films"], measured["twins"])
    return row | {"agreement": None if alike is None else asdict(alike)}
