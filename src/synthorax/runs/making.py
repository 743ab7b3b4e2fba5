"""From a plan to images: edits (CARS), whole films (CoRPA), and sham edits, resumable.

Batches are always full (padded), and a row of a full batch does not depend on its company: so an image's bytes do
not depend on where a run was stopped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synthorax import __version__
from synthorax.dataset import read_png
from synthorax.diffusion.model import DiffusionModel
from synthorax.editing.batches import EDITS_PER_ROW
from synthorax.errors import InputError
from synthorax.runs.folder import RunFolder
from synthorax.runs.items import BATCH, Item, make_items


@dataclass(frozen=True)
class Settings:
    """How images are made."""

    guidance_scale: float
    num_inference_steps: int
    skip: float


@dataclass(frozen=True)
class EditSettings(Settings):
    """How films are edited: names of :data:`synthorax.editing.METHODS`, ``PRESETS``, and what may change outside the masks."""

    method: str = "radedit"
    preset: str = "exact"
    outside: str = "free"


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
    settings: EditSettings,
    dataset: str = "synthetic",
    batch_size: int = BATCH,
) -> Iterator[dict]:
    """Edit the jobs' sources; films that cannot be read are refused and the rest goes on.

    Returns:
        Metadata rows of the finished jobs, in the plan's order; images are in the run's ``<dataset>/<stage>/``.
    """
    from synthorax.editing import edit

    by_id = {job.edit_id: job for job in jobs}

    def make(items: Sequence[Item], batch_size: int) -> list[np.ndarray | InputError]:
        found = [_read(source, by_id[item.item_id]) for item in items]
        some = [
            by_id[item.item_id]
            for item, film in zip(items, found, strict=True)
            if not isinstance(film, InputError)
        ]
        films = [film for film in found if not isinstance(film, InputError)]
        if not some:
            return found
        masks = [[_mask(run, getattr(job, which)) for job in some] for which in ("edit_mask", "keep_mask")]
        edited = iter(
            edit(
                np.stack(films),
                [job.sent(job.prompt) for job in some],
                model=model,
                seeds=[job.seed for job in some],
                inversion_prompts=[job.sent(job.inversion_prompt) for job in some],
                negative_prompts=[job.domain for job in some],
                edit_masks=masks[0],
                keep_masks=masks[1],
                guidance_scale=settings.guidance_scale,
                num_inference_steps=settings.num_inference_steps,
                skip=settings.skip,
                method=settings.method,
                preset=settings.preset,
                outside=settings.outside,
                batch_size=batch_size,
                pad_batches=True,
                report=lambda index, sentence: run.ledger.enter(
                    f"{stage}-mask", {some[index].edit_id: {"note": sentence}}
                ),
            )
        )
        return [film if isinstance(film, InputError) else next(edited) for film in found]

    items = _items(jobs, stage, model, settings, settings.method)
    return make_items(run, stage, items, make, dataset, batch_size, at_once=EDITS_PER_ROW)


def make_films(
    run: RunFolder,
    stage: str,
    jobs: Sequence[Job],
    model: DiffusionModel,
    settings: Settings,
    batch_size: int = BATCH,
) -> Iterator[dict]:
    """Whole films from the jobs' prompts and seeds (CoRPA); rows as from :func:`make_edits`."""
    from synthorax.diffusion.sampling import sample

    by_id = {job.edit_id: job for job in jobs}

    def make(items: Sequence[Item], batch_size: int) -> list[np.ndarray | InputError]:
        some = [by_id[item.item_id] for item in items]
        full = [*some, *[some[-1]] * (batch_size - len(some))]
        films = sample(
            model,
            [job.sent(job.prompt) for job in full],
            [job.seed for job in full],
            negative_prompts=[job.domain for job in full],
            guidance_scale=settings.guidance_scale,
            num_inference_steps=settings.num_inference_steps,
        )
        return list(films[: len(some)].cpu().numpy())

    items = _items(jobs, stage, model, settings, "text-to-image")
    return make_items(run, stage, items, make, batch_size=batch_size)


def _read(source: Source, job: Job) -> np.ndarray | InputError:
    try:
        return source(job)
    except InputError as error:
        return error


def _items(
    jobs: Sequence[Job], stage: str, model: DiffusionModel, settings: Settings, method: str
) -> list[Item]:
    """Each job with its metadata row."""
    is_edit = isinstance(settings, EditSettings)
    preset = settings.preset if isinstance(settings, EditSettings) else None
    return [
        Item(
            job.edit_id,
            {
                **job.row,
                "file_name": f"{stage}/{job.edit_id}.png",
                "image_id": f"{stage}-{job.edit_id}",
                "edit_mask_file_name": job.edit_mask,
                "keep_mask_file_name": job.keep_mask,
                "prompt": job.sent(job.prompt),
                "inversion_prompt": job.sent(job.inversion_prompt) if is_edit else None,
                "negative_prompt": job.domain,
                "seed": job.seed,
                "method": method,
                "preset": preset,
                "guidance_scale": settings.guidance_scale,
                "num_inference_steps": settings.num_inference_steps,
                "skip": settings.skip if is_edit else None,
                "model_id": model.model_id,
                "model_revision": model.model_revision,
                "model_sha256": model.model_sha256,
                "n_tries": 1,
                "is_synthetic": True,
                "software_version": __version__,
            },
            {"Synthetic": "YES", "Prompt": job.sent(job.prompt)},
        )
        for job in jobs
    ]


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
