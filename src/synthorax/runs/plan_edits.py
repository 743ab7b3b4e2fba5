"""A plan's edits, and whole films from prompts: the two steps of the main job that make images, on their own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.dataset import METADATA, read_png
from synthorax.diffusion.control import classes_of, read_card, with_control
from synthorax.diffusion.sampling import SAMPLERS
from synthorax.errors import InputError, unknown_choice
from synthorax.files import atomic, sha256_of
from synthorax.generation.obedience import Asked, Judge, asked_of
from synthorax.perturbations import PLAN
from synthorax.runs.annotated_films import read_asked, read_coco, varied, write_pictures, write_tables
from synthorax.runs.edit_judges import asked_of_edits, edit_judges
from synthorax.runs.folder import RunFolder
from synthorax.runs.items import summary, write_dataset
from synthorax.runs.judged import TRIES
from synthorax.runs.making import EditSettings, FilmSettings, Job, make_edits, make_films, plan_jobs
from synthorax.runs.means import DEFAULT, Means
from synthorax.runs.own_films import SIZE, source_films
from synthorax.runs.plan_masks import write_masks
from synthorax.runs.regenerating import make_until_passed
from synthorax.seeds import derive_seed
from synthorax.studies import read_manifest
from synthorax.studies.tables import read_table

EDITS, FILMS = "edits", "films"
DOMAINS = ("real", "simulated")
#: Columns of a table of prompts that go into the films' metadata, where they have the metadata's types.
CARRIED = ("study_id", "patient_id", "source_image_id", "concepts_before", "concepts_after", "concepts_unknown",
           "labels_after", "perturbation_type")  # fmt: skip


@dataclass(frozen=True)
class Done:
    """What a command did: its dataset's metadata, a line of counts, and how many items were refused."""

    metadata: Path
    summary: str
    n_refused: int


def edit_plan(
    plan: Path,
    studies: Path,
    out: Path,
    given: Mapping[str, Any] | None = None,
    means: Means = DEFAULT,
    masks: str = "none",
    is_sham: bool = False,
    judges: Sequence[str] = (),
    budget: int = 4,
) -> Done:
    """Make the edits of ``plan.parquet`` from the films of ``studies.parquet``; resumable.

    ``judges`` must find the labels asked for and no other (see :mod:`synthorax.runs.edit_judges`); an edit that fails is made
    again, ``budget`` tries in all. With ``is_sham`` their controls: each walk as it would be, seed, masks and judges' target
    included, with the source's own findings asked for. ``given`` holds what differs from the model's own
    :class:`~synthorax.runs.making.EditSettings`; ``masks``: see :func:`synthorax.runs.plan_masks.write_masks`.

    Raises:
        InputError: the plan has not its columns, or names films that the manifest has not.
    """
    edits = read_plan(plan, means.limit)
    frame = read_manifest(studies)
    absent = set(edits["image_id"]) - set(frame["image_id"])
    if absent:
        raise InputError(
            f"{plan} names image {min(absent)!r}, which {studies} has not; give the manifest that the plan was made from."
        )
    with means.at_work() as (model, batches):
        settings = EditSettings(**{**model.edit_settings, **(given or {})})
        is_simulated = dict(zip(frame["image_id"], frame["source"] == "phantom", strict=True))
        jobs = plan_jobs(edits, lambda image_id: model.domain(is_simulated[image_id]))
        jobs = [
            replace(
                job,
                row={
                    **job.row,
                    "source_file_name": f"sources/{job.row['source_image_id']}.png",
                    "is_simulated": is_simulated[str(job.row["source_image_id"])],
                },
            )
            for job in means.shard.of(jobs)
        ]
        if is_sham:
            jobs = [_sham_of(job) for job in jobs]
        panel = edit_judges(judges, means.device, all(is_simulated[name] for name in edits["image_id"]))
        judging = {"judges": [judge.identity for judge in panel], "budget": budget} if panel else {}
        run = _open(out, means, {"kind": "edit", **({"is_sham": True} if is_sham else {}), **judging, "plan": str(plan.resolve()), "plan_sha256": sha256_of(plan),
                                 "studies": str(studies.resolve()), "studies_sha256": sha256_of(studies),
                                 "settings": asdict(settings), "masks": masks, "model_sha256": model.model_sha256})  # fmt: skip
        masked = edits.filter(pl.col("edit_id").is_in([job.edit_id for job in jobs]))
        both = write_masks(run, masked, plan, masks, SIZE)
        jobs = [
            replace(job, edit_mask=edit, keep_mask=keep)
            for job in jobs
            for edit, keep in [both.get(job.edit_id, (None, None))]
        ]
        used = {job.row["source_image_id"] for job in jobs}
        sources, rejected = source_films(run, frame.filter(pl.col("image_id").is_in(list(used))))
        table = pl.DataFrame(rejected, schema={"row": pl.Int64, "file_name": pl.String, "reason": pl.String})
        with atomic(run.path / "rejected.csv") as temporary:
            table.write_csv(temporary)
        reasons = {row["file_name"]: row["reason"] for row in rejected}
        names = dict(zip(frame["image_id"], frame["file_name"], strict=True))

        def source(job: Job) -> np.ndarray:
            image_id = str(job.row["source_image_id"])
            if image_id not in sources:
                raise InputError(reasons[names[image_id]])
            return read_png(sources[image_id])

        def make(jobs: Sequence[Job], stage: str = TRIES, dataset: str = TRIES) -> None:
            make_edits(run, stage, jobs, source, model, settings, dataset, means.batch_size, batches)

        wanted = asked_of_edits(edits, sources) if panel else {}
        if wanted:
            make_until_passed(run, EDITS, [job for job in jobs if job.edit_id in wanted], wanted, panel, budget, make)  # fmt: skip
        make([job for job in jobs if job.edit_id not in wanted], EDITS, "synthetic")
        return _finish(run, EDITS)


def _sham_of(job: Job) -> Job:
    """The same walk with nothing asked for, and what its film then shows."""
    shown = {"concepts_after": job.row["concepts_before"], "labels_after": None, "perturbation_type": "sham"}
    return replace(job, prompt=job.inversion_prompt, row={**job.row, **shown})


def generate_films(
    prompts: Path,
    out: Path,
    given: dict[str, Any] | None = None,
    seed: int = 0,
    means: Means = DEFAULT,
    control: Path | None = None,
    is_varied: bool = False,
    judges: Sequence[str] = (),
    budget: int = 4,
    domain: str | None = None,
) -> Done:
    """Make a whole film of each line of a text file, or of each row's ``prompt`` of a CSV or Parquet file; resumable.

    ``given`` holds what differs from the model's own ``sample_settings``. ``control`` is a ControlNet's folder: the films
    follow the file's masks and boxes, see :mod:`synthorax.runs.annotated_films`; with ``is_varied`` each turned, scaled
    and moved a little. ``judges`` are classifiers that must read from a film what its row asks for; one that fails is made
    again, ``budget`` tries in all, see :mod:`synthorax.runs.regenerating`. ``domain`` is ``real`` or ``simulated``: the
    model's words for that kind of film stand before each prompt, and alone are what guidance pushes away from.

    Raises:
        InputError: no prompts there, no annotations with ``control``, an unknown sampler or domain, or judges that read
            nothing that is asked for.
        ModelError: no ControlNet there, or one of another model; no judge there.
    """
    if control is not None and (means.ray is not None or means.shard.n > 1):
        raise InputError(
            "--control works in one process; leave --ray and --shard out, and split the prompts instead."
        )
    if control is None and is_varied:
        raise InputError("--vary changes annotations; give --control with a ControlNet's folder.")
    if control is None and prompts.suffix == ".json":
        raise InputError(f"{prompts} asks for masks or boxes; give --control with a ControlNet's folder.")
    if domain not in (None, *DOMAINS):
        raise unknown_choice("domain", str(domain), DOMAINS)
    asked = read_prompt_rows(prompts, means.limit)
    texts = [text for text, _ in asked]
    panel = [Judge.load(where, means.device) for where in judges]
    with means.at_work() as (model, batches):
        settings = FilmSettings(**{**model.sample_settings, **(given or {})})
        if settings.sampler not in SAMPLERS:
            raise unknown_choice("sampler", settings.sampler, SAMPLERS)
        word = "" if domain is None else model.domain(domain == "simulated")
        jobs = [
            Job(f"film-{i:06d}", text, "", derive_seed(seed, "film", i), row, domain=word)
            for i, (text, row) in enumerate(asked)
        ]
        config = {"kind": "generate", "prompts": texts, "seed": seed, "settings": asdict(settings),
                  "model_sha256": model.model_sha256}  # fmt: skip
        if domain is not None:
            config |= {"domain": word}
        wanted: dict[str, Asked] = {}
        if panel:
            wanted = {
                job.edit_id: one for job, one in zip(jobs, read_wanted(prompts, means.limit), strict=True)
            }
            identity = sha256(repr(list(wanted.values())).encode()).hexdigest()
            config |= {
                "judges": [judge.identity for judge in panel],
                "budget": budget,
                "asked_sha256": identity,
            }

        def make(run: RunFolder, jobs: Sequence[Job]) -> None:
            if panel:
                make_until_passed(
                    run,
                    FILMS,
                    jobs,
                    wanted,
                    panel,
                    budget,
                    lambda tries: make_films(
                        run, TRIES, tries, model, settings, means.batch_size, batches, dataset=TRIES
                    ),
                )
            else:
                make_films(run, FILMS, jobs, model, settings, means.batch_size, batches)

        if control is None:
            run = _open(out, means, config)
            make(run, means.shard.of(jobs))
            return _finish(run, FILMS)
        model, colours = with_control(model, control), classes_of(read_card(control))
        places = read_asked(prompts, len(jobs), colours, model.image_size)
        if is_varied:
            places = [varied(one, job.seed, colours) for one, job in zip(places, jobs, strict=True)]
        pictures = sha256(b"".join(one.picture.tobytes() for one in places)).hexdigest()
        more = {"control_sha256": model.control and model.control.sha256, "annotations_sha256": pictures}
        run = _open(out, means, config | more)
        jobs = [
            replace(job, annotation=write_pictures(run, job.edit_id, one))
            for job, one in zip(jobs, places, strict=True)
        ]
        make(run, jobs)
        names = {row["file_name"] for row in run.ledger.rows(FILMS)}
        films = [
            (f"{FILMS}-{job.edit_id}", f"{FILMS}/{job.edit_id}.png", one)
            for job, one in zip(jobs, places, strict=True)
        ]
        write_tables(run, (film for film in films if film[1] in names))
        return _finish(run, FILMS)


def _open(out: Path, means: Means, config: dict[str, Any]) -> RunFolder:
    """The run, or the shard's own."""
    shard = means.shard
    config |= {"limit": means.limit}
    if shard.n > 1:
        config |= {"shard": [shard.index, shard.n]}
    return RunFolder.open(shard.folder(out), config)


def _finish(run: RunFolder, stage: str) -> Done:
    done = Done(
        write_dataset(run, stage), summary(run), run.ledger.counts().get(stage, {"refused": 0})["refused"]
    )
    run.close()
    return done


def read_plan(plan: Path, limit: int | None = None) -> pl.DataFrame:
    """A plan's first rows.

    Raises:
        InputError: no file there, or one that is no plan.
    """
    edits = read_table(plan)
    missing = [name for name in PLAN if name not in edits.columns]
    if missing:
        raise InputError(f"{plan} has no column {missing[0]!r}; make it with 'synthorax perturb'.")
    return edits.head(limit) if limit else edits


def read_wanted(prompts: Path, limit: int | None = None) -> list[Asked]:
    """What a table asks to see on each film, for the judges; rows as :func:`read_prompt_rows` has them.

    Raises:
        InputError: a file without columns, or an age that is no number.
    """
    if prompts.suffix in (".txt", ".json"):
        raise InputError(
            f"{prompts} says in words alone what is asked for; with --judge give a table with columns sex, age, "
            "view_position, race or labels_after, as 'synthorax cohort' writes it."
        )
    said = read_table(prompts).drop_nulls("prompt")
    try:
        return asked_of(said.head(limit) if limit else said, Vocabulary.load().no_finding_label)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{prompts}: column age holds something else than years ({str(error).splitlines()[0]}); correct it.") from error  # fmt: skip


def read_prompts(prompts: Path, limit: int | None = None) -> list[str]:
    """The first prompts of a text file or a table; errors as :func:`read_prompt_rows`."""
    return [text for text, _ in read_prompt_rows(prompts, limit)]


def read_prompt_rows(prompts: Path, limit: int | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The first prompts, each with what a table says of its film under :data:`CARRIED`.

    Raises:
        InputError: no file there, no column ``prompt``, or no prompt.
    """
    if prompts.suffix == ".txt":
        if not prompts.is_file():
            raise InputError(f"{prompts} does not exist.")
        try:
            lines = prompts.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{prompts} is not UTF-8 text ({error}); save it as UTF-8.") from error
        rows: list[tuple[str, dict[str, Any]]] = [(line.strip(), {}) for line in lines if line.strip()]
    elif prompts.suffix == ".json":
        rows = [(str(image["prompt"]), {}) for image in read_coco(prompts)["images"]]
    else:
        table = read_table(prompts)
        if "prompt" not in table.columns:
            raise InputError(f"{prompts} has no column 'prompt'; it has {', '.join(table.columns)}.")
        if set(PLAN) <= set(table.columns):  # a plan's image is the film that the words were taken from
            table = table.rename({"image_id": "source_image_id"})
        said = table.drop_nulls("prompt")
        kept = said.select(name for name in CARRIED if said.schema.get(name) == METADATA[name])
        rows = list(zip(map(str, said["prompt"]), kept.to_dicts() or [{}] * said.height, strict=True))
    if not rows:
        raise InputError(f"{prompts} has no prompt; write one a line.")
    return rows[:limit] if limit else rows
