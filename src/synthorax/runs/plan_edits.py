"""A plan's edits, and whole films from prompts: the two steps of the main job that make images, on their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.dataset import metadata_frame, read_png, write_metadata
from synthorax.diffusion import load_model
from synthorax.errors import InputError
from synthorax.perturbations import PLAN
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import Job, Settings, make_edits, make_films, plan_jobs
from synthorax.runs.own_films import source_films
from synthorax.seeds import derive_seed
from synthorax.studies import read_manifest


def edit_plan(
    plan: Path,
    studies: Path,
    out: Path,
    given: Mapping[str, Any] | None = None,
    model_folder: str | None = None,
) -> Path:
    """Make the edits of ``plan.parquet`` from the films of ``studies.parquet``; resumable.

    ``given`` holds what differs from the model's own :class:`~synthorax.runs.making.Settings`.

    Raises:
        InputError: the plan has not its columns, or names films that the manifest has not.
    """
    edits = _read(plan)
    missing = [name for name in PLAN if name not in edits.columns]
    if missing:
        raise InputError(f"{plan} has no column {missing[0]!r}; make it with 'synthorax perturb'.")
    frame = read_manifest(studies)
    absent = set(edits["image_id"]) - set(frame["image_id"])
    if absent:
        raise InputError(
            f"{plan} names image {min(absent)!r}, which {studies} has not; give the manifest that the plan was made from."
        )
    model = load_model(model_folder)
    settings = Settings(**{**model.edit_settings, **(given or {})})
    run = RunFolder.open(out, {"kind": "edit", "plan": str(plan.resolve()), "studies": str(studies.resolve()),
                               "settings": vars(settings), "model_sha256": model.model_sha256})  # fmt: skip
    sources, rejected = source_films(run, frame.filter(pl.col("image_id").is_in(edits["image_id"].to_list())))
    edits = edits.filter(pl.col("image_id").is_in(list(sources)))
    is_simulated = dict(zip(frame["image_id"], frame["source"] == "phantom", strict=True))
    jobs = plan_jobs(edits, lambda image_id: model.domain(is_simulated[image_id]))

    def source(job: Job) -> np.ndarray:
        return read_png(sources[str(job.row["source_image_id"])])

    rows = make_edits(run, "edits", jobs, source, model, settings)
    for row in rows:
        row.update(
            source_file_name=f"sources/{row['source_image_id']}.png",
            is_simulated=is_simulated[str(row["source_image_id"])],
        )
    pl.DataFrame(rejected, schema={"row": pl.Int64, "file_name": pl.String, "reason": pl.String}).write_csv(
        run.path / "rejected.csv"
    )
    return write_metadata(metadata_frame(rows), run.synthetic)


def generate_films(
    prompts: Path, out: Path, settings: Settings, seed: int = 0, model_folder: str | None = None
) -> Path:
    """Make a whole film of each line of a text file, or of each row's ``prompt`` of a CSV or Parquet file; resumable.

    Raises:
        InputError: no prompts there.
    """
    if prompts.suffix == ".txt":
        texts = [line.strip() for line in prompts.read_text().splitlines() if line.strip()]
    else:
        table = _read(prompts)
        if "prompt" not in table.columns:
            raise InputError(f"{prompts} has no column 'prompt'; it has {', '.join(table.columns)}.")
        texts = table["prompt"].drop_nulls().to_list()
    if not texts:
        raise InputError(f"{prompts} has no prompt; write one a line.")
    model = load_model(model_folder)
    run = RunFolder.open(out, {"kind": "generate", "prompts": texts, "seed": seed, "settings": vars(settings), "model_sha256": model.model_sha256})  # fmt: skip
    jobs = [Job(f"film-{i:06d}", text, "", derive_seed(seed, "film", i), {}) for i, text in enumerate(texts)]
    return write_metadata(metadata_frame(make_films(run, "films", jobs, model, settings)), run.synthetic)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    return pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
