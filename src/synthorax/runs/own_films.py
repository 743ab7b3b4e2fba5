"""The main job on one's own films: import, concepts, coverage, plan, edits, dataset, report.

No film here has a true counterfactual, so what can be measured is structure and coverage; the report says what
cannot. Edits are made without masks: nobody has marked where a finding belongs.
"""

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from synthorax.concepts import Vocabulary, annotate_studies
from synthorax.dataset import metadata_frame, read_png, write_metadata, write_png
from synthorax.diffusion import load_model
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.perturbations import make_plan
from synthorax.progress import track
from synthorax.quality.structure import structure
from synthorax.runs import measuring, results
from synthorax.runs.demo import finish, model_section, provenance
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import EditSettings, make_edits, plan_jobs
from synthorax.studies import import_studies, prepare, read_film

SIZE = 512
CARS = ("intra_class", "insertion", "deletion")


def run_own_films(
    studies: Path | str,
    format: str,
    out: Path | str,
    *,
    limit: int | None = None,
    model_folder: Path | str | None = None,
    seed: int = 0,
    per_type: int = 1,
    reports: Path | None = None,
) -> tuple[Path, int]:
    """Edit a set's films towards what the set does not cover.

    Args:
        studies: the set's folder or manifest.
        format: one of ``synthorax.studies.FORMATS``.
        out: run folder.
        limit: at most so many films.
        model_folder: another pipeline than the embedded one.
        seed: of plan and images.
        per_type: edits of each perturbation type a film, 1 or 2.
        reports: the reports' folder, where it lies elsewhere.

    Returns:
        ``report.html`` and the number of rejected rows.

    Raises:
        InputError: no film of the set can be used.
    """
    began = time.time()
    model = load_model(model_folder)
    settings = EditSettings(**model.edit_settings)
    imported = import_studies(studies, format, limit=limit, reports=reports)
    run = RunFolder.open(
        out,
        {
            "kind": "run",
            "studies": str(Path(studies).resolve()),
            "format": format,
            "limit": limit,
            "seed": seed,
            "per_type": per_type,
            "model_sha256": model.model_sha256,
        },
    )
    vocabulary = Vocabulary.load()
    sources, rejected = source_films(run, imported.frame)
    rejected = [*imported.rejected.iter_rows(named=True), *rejected]
    frame = imported.frame.filter(pl.col("image_id").is_in(list(sources)))
    if frame.is_empty():
        raise InputError(
            f"no film in {studies} can be used; the first of {len(rejected)} reasons: {rejected[0]['reason']}"
        )
    table = annotate_studies(frame, vocabulary)
    with atomic(run.path / "concepts.parquet") as temporary:
        table.write_parquet(temporary)
    plan = make_plan(table, vocabulary, CARS, per_type=per_type, strategy="coverage", seed=seed)
    with atomic(run.path / "plan.parquet") as temporary:
        plan.edits.write_parquet(temporary)
    jobs = plan_jobs(plan.edits, lambda image_id: model.domain(is_simulated=False))
    edits = list(
        make_edits(
            run,
            "edits",
            jobs,
            lambda job: read_png(sources[str(job.row["source_image_id"])]),
            model,
            settings,
        )
    )
    for row in edits:
        row.update(is_simulated=False, source_file_name=f"sources/{row['source_image_id']}.png")
    write_metadata(metadata_frame(edits), run.synthetic)
    pl.DataFrame(rejected, schema=imported.rejected.schema).write_csv(run.path / "rejected.csv")
    command = f"synthorax run --studies {shlex.quote(str(studies))} --format {format} --seed {seed}"
    found = results.Results(
        title=f"synthorax run: {Path(studies).name}",
        kind="run",
        is_simulated=False,
        notes=_notes(model_folder is None),
        cohort=measuring.cohort_section(table, vocabulary, f"{format} films", len(rejected)),
        coverage=measuring.coverage_section(table, edits, vocabulary),
        plan=measuring.plan_section(plan, plan.edits["perturbation_type"].to_list(), edits, per_type, len(jobs) - len(edits)),
        examples=_examples(run, edits),
        structure=measuring.structure_section(run.synthetic, edits, lambda name: read_png(run.synthetic / name)) if edits else [],
        model=model_section(model, asdict(settings) | {"masks": "none"}),
        provenance=provenance(command + (f" --limit {limit}" if limit else ""), seed, time.time() - began),
        rejected=[results.RejectedRow(**row) for row in rejected],
    )  # fmt: skip
    return finish(run, found), len(rejected)


def source_films(run: RunFolder, frame: pl.DataFrame) -> tuple[dict[str, Path], list[dict]]:
    """Each film in the model's form (short side, centre crop, 8-bit) under ``synthetic/sources/``; and what cannot be read."""
    found, rejected = {}, []
    rows = list(frame.iter_rows(named=True))
    for number, row in enumerate(track(rows, "Reading films"), start=1):
        path = run.synthetic / "sources" / f"{row['image_id']}.png"
        try:
            if not path.is_file():
                if row["file_name"] is None:
                    raise InputError("the row has a report and no film; give the folder with its images.")
                write_png(prepare(read_film(row["file_name"]), SIZE), path)
            found[row["image_id"]] = path
        except InputError as error:
            rejected.append({"row": number, "file_name": row["file_name"], "reason": str(error)})
    return found, rejected


def _examples(run: RunFolder, edits: Sequence[dict], n: int = 9) -> list[results.Example]:
    """The first edits of each type in turn: not picked by look."""
    by_kind = [[row for row in edits if row["perturbation_type"] == kind] for kind in CARS]
    turns = [rows[i] for i in range(max(map(len, by_kind), default=0)) for rows in by_kind if i < len(rows)]
    return [
        results.Example(
            title=f"{row['perturbation_type'].replace('_', '-')}: {_said(row['concepts_before'])} to {_said(row['concepts_after'])}",
            prompt=row["prompt"],
            inversion_prompt=row["inversion_prompt"],
            perturbation_type=row["perturbation_type"],
            source=f"synthetic/sources/{row['source_image_id']}.png",
            edit=f"synthetic/{row['file_name']}",
            ssim=structure(*(read_png(run.path / p) for p in (f"synthetic/sources/{row['source_image_id']}.png", f"synthetic/{row['file_name']}"))).ssim,
        )
        for row in turns[:n]
    ]  # fmt: skip


def _said(concepts: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in concepts) or "nothing known"


def _notes(is_embedded: bool) -> list[str]:
    notes = [
        "These are real films, edited: no true counterfactual exists, so whether a finding is right is not measured here.",
        "Concepts come from reports where there are some, otherwise from the set's labels; what the labels cannot say is unknown and is neither inserted nor deleted.",
        "No classifier is trained here: that needs a test set of films that were never edited.",
    ]
    if is_embedded:
        notes.insert(
            0,
            "The embedded model is small and was trained mostly on virtual patients: on real films its findings are weak. Use a published model (--model) for work.",
        )
    return notes
