"""From a plan to images: edits (CARS), whole films (CoRPA), and sham edits, resumable.

Batches are always full (padded), and a row of a full batch does not depend on its company: so an image's bytes do
not depend on where a run was stopped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from PIL import Image

from synthorax import __version__
from synthorax.dataset import read_png
from synthorax.diffusion.model import DiffusionModel
from synthorax.editing.batches import EDITS_PER_ROW
from synthorax.editing.methods import name_with
from synthorax.errors import InputError
from synthorax.runs.folder import RunFolder
from synthorax.runs.items import BATCH, Batches, Drawing, Item, Made, Noted, make_items


@dataclass(frozen=True)
class Settings:
    """How images are made."""

    guidance_scale: float
    num_inference_steps: int


@dataclass(frozen=True)
class FilmSettings(Settings):
    """How whole films are made; ``sampler`` is one of :data:`synthorax.diffusion.sampling.SAMPLERS`."""

    sampler: str = "ddim"


@dataclass(frozen=True)
class EditSettings(Settings):
    """How films are edited.

    Attributes:
        skip: fraction of the noisiest steps left out.
        method: one of :data:`synthorax.editing.METHODS`.
        preset: one of :data:`synthorax.editing.PRESETS`.
        outside: ``free``, or ``exact``: nothing changes outside the edit mask and its seam.
        fresh_noise: share of the source's noise that is renewed inside the edit mask, see :func:`synthorax.editing.edit`.
    """

    skip: float
    method: str = "radedit"
    preset: str = "exact"
    outside: str = "free"
    fresh_noise: float = 0.0


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
    annotation: str | None = None

    def sent(self, text: str) -> str:
        return f"{self.domain} {text}".strip()


#: A job's source film, float32 ``(H, W)`` in [0, 1].
Source = Callable[[Job], np.ndarray]


@dataclass(frozen=True)
class EditBatch:
    """What a batch of edits needs; a film that cannot be read is the reason instead."""

    jobs: Sequence[Job]
    films: Sequence[np.ndarray | InputError]
    edit_masks: Sequence[np.ndarray | None]
    keep_masks: Sequence[np.ndarray | None]
    settings: EditSettings


def make_edits(
    run: RunFolder,
    stage: str,
    jobs: Sequence[Job],
    source: Source,
    model: DiffusionModel,
    settings: EditSettings,
    dataset: str = "synthetic",
    batch_size: int = BATCH,
    batches: Batches | None = None,
) -> Iterator[dict]:
    """Edit the jobs' sources; films that cannot be read are refused and the rest goes on.

    Returns:
        Metadata rows of the finished jobs, in the plan's order; images are in the run's ``<dataset>/<stage>/``.
    """
    by_id = {job.edit_id: job for job in jobs}

    def read(items: Sequence[Item]) -> EditBatch:
        some = [by_id[item.item_id] for item in items]
        masks = [[_mask(run, getattr(job, which)) for job in some] for which in ("edit_mask", "keep_mask")]
        return EditBatch(some, [_read(source, job) for job in some], masks[0], masks[1], settings)

    items = _items(jobs, stage, model, settings, name_with(settings.method, settings.fresh_noise))
    making = Drawing(read, draw_edits, model, EDITS_PER_ROW)
    return make_items(run, stage, items, making, dataset, batch_size, batches)


def draw_edits(model: DiffusionModel, batch: EditBatch, batch_size: int) -> list[Made]:
    """The edits of a batch, in full calls of the model."""
    from synthorax.editing import edit

    fit = [i for i, film in enumerate(batch.films) if not isinstance(film, InputError)]
    found: list[Made] = list(batch.films)
    if not fit:
        return found
    jobs = [batch.jobs[i] for i in fit]
    notes: dict[int, str] = {}
    edited = edit(
        np.stack([film for film in batch.films if not isinstance(film, InputError)]),
        [job.sent(job.prompt) for job in jobs],
        model=model,
        seeds=[job.seed for job in jobs],
        inversion_prompts=[job.sent(job.inversion_prompt) for job in jobs],
        negative_prompts=[job.domain for job in jobs],
        edit_masks=[batch.edit_masks[i] for i in fit],
        keep_masks=[batch.keep_masks[i] for i in fit],
        guidance_scale=batch.settings.guidance_scale,
        num_inference_steps=batch.settings.num_inference_steps,
        skip=batch.settings.skip,
        fresh_noise=batch.settings.fresh_noise,
        method=batch.settings.method,
        preset=batch.settings.preset,
        outside=batch.settings.outside,
        batch_size=batch_size,
        pad_batches=True,
        report=notes.__setitem__,
    )
    for n, (i, film) in enumerate(zip(fit, edited, strict=True)):
        found[i] = Noted(film, notes[n]) if n in notes else film
    return found


def make_films(
    run: RunFolder,
    stage: str,
    jobs: Sequence[Job],
    model: DiffusionModel,
    settings: FilmSettings,
    batch_size: int = BATCH,
    batches: Batches | None = None,
    dataset: str = "synthetic",
) -> Iterator[dict]:
    """Whole films from the jobs' prompts and seeds (CoRPA), and annotations where all jobs have one (ChexGen); rows as
    from :func:`make_edits`."""
    by_id = {job.edit_id: job for job in jobs}

    def read(items: Sequence[Item]) -> FilmBatch:
        some = [by_id[item.item_id] for item in items]
        pictures = [_picture(run, job.annotation) for job in some if job.annotation]
        return FilmBatch(some, pictures, settings)

    is_annotated = any(job.annotation for job in jobs)
    items = _items(jobs, stage, model, settings, "annotation-to-image" if is_annotated else "text-to-image")
    making = Drawing(read, draw_films, model)
    return make_items(run, stage, items, making, dataset, batch_size, batches)


@dataclass(frozen=True)
class FilmBatch:
    """What a batch of films needs; ``pictures``: of the jobs' annotations, or none at all."""

    jobs: Sequence[Job]
    pictures: Sequence[np.ndarray]
    settings: FilmSettings


def draw_films(model: DiffusionModel, batch: FilmBatch, batch_size: int) -> list[np.ndarray]:
    """The films of a batch, in a full batch of the model's."""
    from synthorax.diffusion.sampling import sample

    some, settings, n_more = batch.jobs, batch.settings, batch_size - len(batch.jobs)
    full = [*some, *[some[-1]] * n_more]
    if batch.pictures:
        model = model.annotated(np.stack([*batch.pictures, *[batch.pictures[-1]] * n_more]))
    films = sample(
        model,
        [job.sent(job.prompt) for job in full],
        [job.seed for job in full],
        negative_prompts=[job.domain for job in full],
        guidance_scale=settings.guidance_scale,
        num_inference_steps=settings.num_inference_steps,
        sampler=settings.sampler,
    )
    return list(films[: len(some)].cpu().numpy())


def _read(source: Source, job: Job) -> np.ndarray | InputError:
    try:
        return source(job)
    except InputError as error:
        return error


def _items(
    jobs: Sequence[Job], stage: str, model: DiffusionModel, settings: Settings, method: str
) -> list[Item]:
    """Each job with its metadata row."""
    own = asdict(settings)
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
                "inversion_prompt": job.sent(job.inversion_prompt) if "skip" in own else None,
                "negative_prompt": job.domain,
                "seed": job.seed,
                "method": method,
                "preset": own.get("preset"),
                "guidance_scale": settings.guidance_scale,
                "num_inference_steps": settings.num_inference_steps,
                "skip": own.get("skip"),
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


def _picture(run: RunFolder, file_name: str) -> np.ndarray:
    with Image.open(run.synthetic / file_name) as image:
        return np.asarray(image.convert("RGB"))


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
