"""From a plan to images: edits (CARS), whole films (CoRPA), and sham edits, chunk by chunk, resumable.

Chunks are cut from the plan's order, never from what is left to do, and are always full: so an image's
bytes do not depend on where a run was stopped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synthorax import __version__
from synthorax.dataset import read_png, write_png
from synthorax.diffusion.model import DiffusionModel
from synthorax.errors import InputError
from synthorax.progress import track
from synthorax.runs.folder import RunFolder

CHUNK = 8
METHOD = "radedit"


@dataclass(frozen=True)
class Settings:
    """How images are made."""

    guidance_scale: float
    num_inference_steps: int
    skip: float


@dataclass(frozen=True)
class Job:
    """One image to make. Paths are relative to the run's ``synthetic`` folder.

    ``domain`` stands before both prompts as sent to the model, and alone it is what guidance pushes away from: so
    the findings become stronger, and the kind of film does not.
    """

    edit_id: str
    prompt: str
    inversion_prompt: str
    seed: int
    row: dict[str, object]
    edit_mask: str | None = None
    keep_mask: str | None = None
    domain: str = ""

    def sent(self, text: str) -> str:
        return f"{self.domain} {text}".strip()


#: A job's source film, float32 ``(H, W)`` in [0, 1].
Source = Callable[[Job], np.ndarray]


def make_edits(
    run: RunFolder,
    stage: str,
    jobs: Sequence[Job],
    source: Source,
    model: DiffusionModel,
    settings: Settings,
    dataset: str = "synthetic",
) -> list[dict]:
    """Edit the jobs' sources; films that cannot be read are refused and the rest goes on.

    Returns:
        Metadata rows of the finished jobs, in the plan's order; images are in the run's ``<dataset>/<stage>/``.
    """
    from synthorax.editing import edit

    def make(chunk: Sequence[Job], sources: list[np.ndarray]) -> np.ndarray:
        masks = [[_mask(run, getattr(job, which)) for job in chunk] for which in ("edit_mask", "keep_mask")]
        return edit(
            np.stack(sources),
            [job.sent(job.prompt) for job in chunk],
            model=model,
            seeds=[job.seed for job in chunk],
            inversion_prompts=[job.sent(job.inversion_prompt) for job in chunk],
            negative_prompts=[job.domain for job in chunk],
            edit_masks=masks[0],
            keep_masks=masks[1],
            guidance_scale=settings.guidance_scale,
            num_inference_steps=settings.num_inference_steps,
            skip=settings.skip,
            method=METHOD,
            batch_size=CHUNK,
            pad_batches=True,
            report=lambda index, sentence: run.ledger.enter(
                f"{stage}-mask", {chunk[index].edit_id: {"note": sentence}}
            ),
        )

    readable = []
    for job in jobs:
        try:
            source(job)
            readable.append(job)
        except InputError as error:
            run.ledger.refuse(stage, job.edit_id, str(error))
    return _make(
        run,
        stage,
        readable,
        lambda chunk: make(chunk, [source(job) for job in chunk]),
        model,
        settings,
        METHOD,
        dataset,
    )


def make_films(
    run: RunFolder, stage: str, jobs: Sequence[Job], model: DiffusionModel, settings: Settings
) -> list[dict]:
    """Whole films from the jobs' prompts and seeds (CoRPA); rows as from :func:`make_edits`."""
    from synthorax.diffusion.sampling import sample

    def make(chunk: Sequence[Job]) -> np.ndarray:
        full = [*chunk, *[chunk[-1]] * (CHUNK - len(chunk))]
        films = sample(
            model,
            [job.sent(job.prompt) for job in full],
            [job.seed for job in full],
            negative_prompts=[job.domain for job in full],
            guidance_scale=settings.guidance_scale,
            num_inference_steps=settings.num_inference_steps,
        )
        return films[: len(chunk)].cpu().numpy()

    return _make(run, stage, jobs, make, model, settings, "text-to-image")


def _make(run: RunFolder, stage: str, jobs: Sequence[Job], make: Callable[[Sequence[Job]], np.ndarray], model: DiffusionModel, settings: Settings, method: str, dataset: str = "synthetic") -> list[dict]:  # fmt: skip
    done = run.ledger.done(stage)
    chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    todo = [chunk for chunk in chunks if any(job.edit_id not in done for job in chunk)]
    for chunk in track(todo, f"Making {stage}", unit=f"x {CHUNK} films"):
        rows = {}
        for job, image in zip(chunk, make(chunk), strict=True):
            file_name = f"{stage}/{job.edit_id}.png"
            write_png(image, run.path / dataset / file_name, Synthetic="YES", Prompt=job.sent(job.prompt))
            rows[job.edit_id] = {
                **job.row,
                "file_name": file_name,
                "image_id": f"{stage}-{job.edit_id}",
                "edit_mask_file_name": job.edit_mask,
                "keep_mask_file_name": job.keep_mask,
                "prompt": job.sent(job.prompt),
                "inversion_prompt": job.sent(job.inversion_prompt) if method == METHOD else None,
                "negative_prompt": job.domain,
                "seed": job.seed,
                "method": method,
                "guidance_scale": settings.guidance_scale,
                "num_inference_steps": settings.num_inference_steps,
                "skip": settings.skip if method == METHOD else None,
                "model_id": model.model_id,
                "model_revision": model.model_revision,
                "model_sha256": model.model_sha256,
                "n_tries": 1,
                "is_synthetic": True,
                "software_version": __version__,
            }
        run.ledger.enter(stage, rows)
    done = run.ledger.done(stage)
    return [done[job.edit_id] for job in jobs]


def _mask(run: RunFolder, file_name: str | None) -> np.ndarray | None:
    return None if file_name is None else read_png(run.synthetic / file_name) > 0.5


def plan_rows(plan: pl.DataFrame) -> Iterator[tuple[dict, dict]]:
    """Each plan row with the metadata columns that it settles."""
    for row in plan.iter_rows(named=True):
        yield (
            row,
            {
                "study_id": row["study_id"],
                "patient_id": row["patient_id"],
                "source_image_id": row["image_id"],
                "concepts_before": row["concepts_before"],
                "concepts_after": row["concepts_after"],
                "concepts_unknown": row["concepts_unknown"],
                "labels_after": row["labels_after"],
                "perturbation_type": row["perturbation_type"],
            },
        )


def plan_jobs(plan: pl.DataFrame, domain_of: Callable[[str], str]) -> list[Job]:
    """A job for each row of a plan, without masks; ``domain_of`` gives the kind of film of an ``image_id``."""
    return [
        Job(
            row["edit_id"],
            row["prompt"],
            row["inversion_prompt"],
            row["seed"],
            meta,
            domain=domain_of(row["image_id"]),
        )
        for row, meta in plan_rows(plan)
    ]
